"""CREATE TABLE statements from schema.py."""

from __future__ import annotations

from collections.abc import Iterable

from co2_assets.schema import TABLES, Column, Table


def create_table(table: Table) -> str:
    """The statement that creates `table` with its types, nullability and primary key."""
    lines = [_column(column) for column in table.columns]
    lines.append(f"PRIMARY KEY ({', '.join(table.key)})")
    return f"CREATE TABLE {table.qualified_name} (\n    " + ",\n    ".join(lines) + "\n);"


def _column(column: Column) -> str:
    return f"{column.name} {column.sql_type}" + ("" if column.nullable else " NOT NULL")


def create_all(tables: Iterable[Table] = TABLES) -> str:
    """Statements that create the schemas and all tables."""
    tables = tuple(tables)
    schemas = dict.fromkeys(table.schema for table in tables)
    return "\n\n".join(
        [
            *(f"CREATE SCHEMA IF NOT EXISTS {schema};" for schema in schemas),
            *(create_table(table) for table in tables),
        ]
    )
