"""Merging a frame into a table by its primary key: the one way rows are written."""

from __future__ import annotations

from typing import NamedTuple

import duckdb
import polars as pl

from co2_assets.errors import WarehouseInvalid
from co2_assets.schema import Table
from co2_assets.warehouse.query import Connection, registered, row


class Counts(NamedTuple):
    """What became of the rows of a frame."""

    new: int = 0
    revised: int = 0
    unchanged: int = 0

    @property
    def written(self) -> int:
        """Rows that are in the table now and were not before."""
        return self.new + self.revised


def check_frame(table: Table, incoming: pl.DataFrame) -> None:
    """Refuse a frame that must not reach `table`.

    Raises:
        WarehouseInvalid: columns missing or unknown, nulls where none may be, or a
            repeated key; names the table, the column and the row.
    """
    if set(incoming.columns) != set(table.column_names):
        missing = sorted(set(table.column_names) - set(incoming.columns))
        unknown = sorted(set(incoming.columns) - set(table.column_names))
        raise WarehouseInvalid(
            "rows do not have the table's columns",
            where=f"table {table.qualified_name}",
            found=f"missing {missing}, unknown {unknown}",
            expected="the columns that schema.py declares",
        )
    for column in table.columns:
        if not column.nullable and incoming[column.name].null_count():
            raise WarehouseInvalid(
                "a value is missing",
                where=f"table {table.qualified_name}, column {column.name},"
                f" row {incoming[column.name].is_null().arg_max()}",
                found="null",
                expected=column.sql_type,
            )
    repeated = incoming.select(table.key).is_duplicated()
    if repeated.any():
        index = repeated.arg_max()
        raise WarehouseInvalid(
            "a key is repeated",
            where=f"table {table.qualified_name}, row {index}",
            found=incoming.select(table.key).row(index or 0, named=True),
            expected="each key once",
        )


def upsert(
    con: Connection,
    table: Table,
    incoming: pl.DataFrame,
    *,
    keep_existing: bool = False,
    newest_by: str | None = None,
) -> Counts:
    """Insert new keys, replace rows whose compared columns differ, leave the rest.

    Args:
        con: a connection inside a transaction.
        table: where to; its audit columns never make two rows differ.
        incoming: all columns of the table, each key once.
        keep_existing: a key that exists is never changed (write-once tables).
        newest_by: a column; a row older by it than the stored one changes nothing.

    Raises:
        WarehouseInvalid: as `check_frame`, or DuckDB refused the rows.
    """
    check_frame(table, incoming)
    if incoming.is_empty():
        return Counts()
    names = ", ".join(table.column_names)
    on = " AND ".join(f"stored.{key} = incoming.{key}" for key in table.key)
    compared = [name for name in table.compared_columns if name not in table.key]
    differs = (
        f"({_row('stored', compared)} IS DISTINCT FROM {_row('incoming', compared)})"
        if compared and not keep_existing
        else "false"
    )
    if newest_by:
        differs += f" AND incoming.{newest_by} >= stored.{newest_by}"
    updates = ", ".join(
        f"{name} = incoming.{name}" for name in table.column_names if name not in table.key
    )
    try:
        with registered(con, "incoming", incoming.select(table.column_names)):
            counted = row(
                con,
                f"SELECT count(*) FILTER (stored.{table.key[0]} IS NULL),"
                f" count(*) FILTER (stored.{table.key[0]} IS NOT NULL AND {differs}), count(*)"
                f" FROM incoming LEFT JOIN {table.qualified_name} AS stored ON {on}",
            )
            con.execute(
                f"MERGE INTO {table.qualified_name} AS stored USING incoming ON {on}"
                f" WHEN MATCHED AND {differs} THEN UPDATE SET {updates}"
                f" WHEN NOT MATCHED THEN INSERT ({names}) VALUES"
                f" ({', '.join(f'incoming.{name}' for name in table.column_names)})"
            )
    except (duckdb.ConstraintException, duckdb.ConversionException) as error:
        raise WarehouseInvalid(
            "DuckDB refused the rows", where=f"table {table.qualified_name}", found=error
        ) from error
    new, revised, total = counted or (0, 0, 0)
    return Counts(new, revised, total - new - revised)


def _row(relation: str, columns: list[str]) -> str:
    return "row(" + ", ".join(f"{relation}.{column}" for column in columns) + ")"
