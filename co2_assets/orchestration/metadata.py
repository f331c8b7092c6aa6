"""Metadata that Dagster's UI understands, from schema.py and from what a step did."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import dagster as dg

from co2_assets.schema import Table
from co2_assets.warehouse.query import Connection, row


def definition_metadata(table: Table) -> dict[str, Any]:
    """What is known of a table before it is ever materialized."""
    return {
        "dagster/table_name": f"co2.{table.qualified_name}",
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(
                    name=column.name,
                    type=column.sql_type,
                    description=column.meaning + (f" [{column.unit}]" if column.unit else ""),
                    constraints=dg.TableColumnConstraints(
                        nullable=column.nullable, unique=(column.name,) == table.key
                    ),
                    tags={"audit": ""} if column.audit else {},
                )
                for column in table.columns
            ],
            constraints=dg.TableConstraints(other=[f"primary key ({', '.join(table.key)})"]),
        ),
        "primary key": ", ".join(table.key),
    }


def table_metadata(con: Connection, table: Table, time_column: str) -> dict[str, Any]:
    """Row count and extent of a table as stored now."""
    count, first, last = row(
        con,
        f"SELECT count(*), min({time_column}), max({time_column}) FROM {table.qualified_name}",
    ) or (0, None, None)
    return {
        "dagster/row_count": count,
        f"first {time_column}": time_value(first),
        f"last {time_column}": time_value(last),
    }


def time_value(time: datetime | None) -> dg.MetadataValue:
    """A time for the UI, or an explicit nothing."""
    return dg.MetadataValue.null() if time is None else dg.MetadataValue.timestamp(time)


def markdown_table(rows: list[Mapping[str, Any]]) -> dg.MetadataValue:
    """Rows of like keys as a Markdown table; figures with two decimals.

    Without spaces: the UI hides Markdown of 1,000 characters or more behind a link.
    """
    if not rows:
        return dg.MetadataValue.text("no rows")
    head = list(rows[0])
    lines = [head, ["-"] * len(head), *([_cell(row[name]) for name in head] for row in rows)]
    return dg.MetadataValue.md("\n".join(f"|{'|'.join(cells)}|" for cells in lines))


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)
