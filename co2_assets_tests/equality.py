"""When two homes hold the same: equal `raw`, `core` and `ml` but for the audit columns.

`ops` is a log of what was done and grows with every attempt, so it is never compared.
"""

from __future__ import annotations

from pathlib import Path

import duckdb

from co2_assets.schema import TABLES, Table
from co2_assets.warehouse.layout import Layout

COMPARED_TABLES = tuple(table for table in TABLES if table.schema in {"raw", "core", "ml"})
SHOWN = 3


def tables_differ(home_a: Path, home_b: Path) -> list[str]:
    """What the published copies of two homes hold differently, in words; empty when equal.

    Compared are all rows, doubled ones too, by `Table.compared_columns`, value for value.
    """
    with duckdb.connect() as con:
        for name, home in (("a", home_a), ("b", home_b)):
            path = str(Layout(home).public.resolve()).replace("'", "''")
            con.execute(f"ATTACH '{path}' AS {name} (READ_ONLY)")
        return [line for table in COMPARED_TABLES for line in _differences(con, table)]


def _differences(con: duckdb.DuckDBPyConnection, table: Table) -> list[str]:
    columns = ", ".join(table.compared_columns)
    found = []
    for here, there in (("a", "b"), ("b", "a")):
        rows = con.execute(
            f"SELECT {columns} FROM {here}.{table.qualified_name}"
            f" EXCEPT ALL SELECT {columns} FROM {there}.{table.qualified_name}"
        ).fetchall()
        if rows:
            shown = [dict(zip(table.compared_columns, row, strict=True)) for row in rows[:SHOWN]]
            found.append(f"{table.qualified_name}: {len(rows)} rows only in {here}: {shown}")
    return found
