"""Loads of the raw tables: merging, vintages, coverage and the audit of each load."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import NamedTuple

import polars as pl

from co2_assets.schema import (
    CO2_PROGNOSIS,
    COVERAGE,
    DAY_AHEAD_PRICES,
    ETL_RUNS,
    POWER_SYSTEM,
    VALUE_COLUMNS,
    WIND_SOLAR_FORECASTS,
    Table,
)
from co2_assets.warehouse.query import Connection, frame, registered, rows, value
from co2_assets.warehouse.store import Transaction
from co2_assets.warehouse.upsert import Counts

Span = tuple[datetime, datetime]
"""Start and exclusive end, UTC."""


@dataclass(frozen=True)
class EtlRun:
    """One load of a dataset, for `ops.etl_runs`; fields as there."""

    etl_run_id: str
    dataset: str
    table_name: str
    status: str
    source: str
    window_start_utc: datetime
    window_end_utc: datetime
    started_at_utc: datetime
    duration_seconds: float
    url: str | None = None
    rows_read: int = 0
    rows_new: int = 0
    rows_revised: int = 0
    rows_unchanged: int = 0
    rows_rejected: int = 0
    bytes_read: int = 0
    response_sha256: str | None = None
    error: str | None = None
    error_field: str | None = None
    error_row: int | None = None
    error_found: str | None = None
    error_expected: str | None = None
    dagster_run_id: str | None = None


_POLARS_TYPES: dict[str, pl.DataType | type[pl.DataType]] = {
    "VARCHAR": pl.String,
    "JSON": pl.String,
    "BIGINT": pl.Int64,
    "INTEGER": pl.Int32,
    "DOUBLE": pl.Float64,
    "BOOLEAN": pl.Boolean,
    "TIMESTAMPTZ": pl.Datetime("us", "UTC"),
    "TIMESTAMP": pl.Datetime("us"),
}


def polars_schema(table: Table) -> dict[str, pl.DataType | type[pl.DataType]]:
    """Polars types of a table's columns, without `commit_id`."""
    return {c.name: _POLARS_TYPES[c.sql_type] for c in table.columns if c.name != "commit_id"}


def record_etl_run(transaction: Transaction, run: EtlRun) -> None:
    """Add one row to `ops.etl_runs`."""
    transaction.upsert(ETL_RUNS, pl.DataFrame([asdict(run)], schema=polars_schema(ETL_RUNS)))


def store_replacing(transaction: Transaction, table: Table, rows_in: pl.DataFrame) -> Counts:
    """Merge rows of a table in which a revised value replaces the stored one.

    A reply that was fetched before the stored row was changes nothing, so that two runs
    at once cannot take back each other's news.
    """
    return transaction.upsert(table, rows_in, newest_by="fetched_at_utc")


def store_vintages(transaction: Transaction, rows_in: pl.DataFrame) -> Counts:
    """Append to `raw.co2_prognosis` what differs from the newest stored vintage.

    Args:
        transaction: where to.
        rows_in: columns of the table without `vintage`, one row per time and area.
    """
    con = transaction.con
    with registered(con, "arriving", rows_in):
        fresh = frame(
            con,
            """
            WITH newest AS (
                SELECT time_utc, area, max(vintage) AS vintage,
                    arg_max_null(co2_g_per_kwh, vintage) AS known, max(fetched_at_utc) AS fetched
                FROM raw.co2_prognosis
                WHERE time_utc >= (SELECT min(time_utc) FROM arriving)
                GROUP BY time_utc, area
            )
            SELECT arriving.*, coalesce(newest.vintage, 0) + 1 AS vintage
            FROM arriving LEFT JOIN newest USING (time_utc, area)
            WHERE newest.vintage IS NULL
                OR (arriving.co2_g_per_kwh IS DISTINCT FROM newest.known
                    AND arriving.fetched_at_utc >= newest.fetched)
            """,
        )
    written = transaction.upsert(
        CO2_PROGNOSIS, fresh.with_columns(pl.col("vintage").cast(pl.Int32)), keep_existing=True
    ).new
    first = fresh.filter(pl.col("vintage") == 1).height
    return Counts(new=first, revised=written - first, unchanged=rows_in.height - written)


def uncovered(con: Connection, table: Table, start: datetime, end: datetime) -> list[Span]:
    """The parts of [start, end) that were never asked for and answered."""
    spans: list[Span] = []
    position = start
    for covered_start, covered_end in rows(
        con,
        "SELECT start_utc, end_utc FROM ops.coverage"
        " WHERE dataset = $dataset AND end_utc > $start AND start_utc < $end ORDER BY start_utc",
        dataset=table.qualified_name,
        start=start,
        end=end,
    ):
        if covered_start > position:
            spans.append((position, covered_start))
        position = max(position, covered_end)
    if position < end:
        spans.append((position, end))
    return spans


def add_coverage(transaction: Transaction, table: Table, start: datetime, end: datetime) -> None:
    """Note that [start, end) was asked for and answered; spans that touch become one."""
    touching = rows(
        transaction.con,
        "SELECT start_utc, end_utc FROM ops.coverage"
        " WHERE dataset = $dataset AND end_utc >= $start AND start_utc <= $end",
        dataset=table.qualified_name,
        start=start,
        end=end,
    )
    whole = (
        (min(start, *(s for s, _ in touching)), max(end, *(e for _, e in touching)))
        if (touching)
        else (start, end)
    )
    if whole in touching:
        return
    transaction.execute(
        "DELETE FROM ops.coverage"
        " WHERE dataset = $dataset AND end_utc >= $start AND start_utc <= $end",
        dataset=table.qualified_name,
        start=start,
        end=end,
    )
    transaction.upsert(
        COVERAGE,
        pl.DataFrame(
            [(table.qualified_name, *whole)], schema=polars_schema(COVERAGE), orient="row"
        ),
    )


def covered_until(con: Connection, table: Table) -> datetime | None:
    """End of what was asked for and answered, or None."""
    end: datetime | None = value(
        con,
        "SELECT max(end_utc) FROM ops.coverage WHERE dataset = $dataset",
        dataset=table.qualified_name,
    )
    return end


def read_minutes(con: Connection, start: datetime, end: datetime) -> pl.DataFrame:
    """Minutes of [start, end): `minute_utc` and the seven measured columns, in order."""
    return frame(
        con,
        f"SELECT minute_utc, {', '.join(VALUE_COLUMNS)} FROM {POWER_SYSTEM.qualified_name}"
        " WHERE minute_utc >= $start AND minute_utc < $end ORDER BY minute_utc",
        start=start,
        end=end,
    )


def archive_is_loaded(con: Connection) -> bool:
    """Whether this home has taken in the archive of first-published prognoses."""
    return bool(value(con, "SELECT count(*) FROM ops.etl_runs WHERE source = 'archive'"))


class StoredForecasts(NamedTuple):
    """Rows of the three tables of forecasts that others make."""

    wind_solar: pl.DataFrame
    prognosis: pl.DataFrame
    prices: pl.DataFrame


def read_forecasts(
    con: Connection, start: datetime, end: datetime, known_by: datetime
) -> StoredForecasts:
    """Forecasts of others for times in [start, end), of what could be used by a time."""
    span = {"start": start, "end": end, "known_by": known_by}
    return StoredForecasts(
        frame(
            con,
            "SELECT hour_utc, area, forecast_type, kind, forecast_mw, available_utc"
            f" FROM {WIND_SOLAR_FORECASTS.qualified_name} WHERE hour_utc >= $start"
            " AND hour_utc < $end AND available_utc <= $known_by AND kind = 'day_ahead'",
            **span,
        ),
        frame(
            con,
            "SELECT time_utc, area, co2_g_per_kwh, step_minutes, available_utc"
            f" FROM {CO2_PROGNOSIS.qualified_name} WHERE time_utc >= $start"
            " AND time_utc < $end AND available_utc <= $known_by",
            **span,
        ),
        frame(
            con,
            "SELECT time_utc, area, price_eur_per_mwh, step_minutes, available_utc"
            f" FROM {DAY_AHEAD_PRICES.qualified_name} WHERE time_utc >= $start"
            " AND time_utc < $end AND available_utc <= $known_by",
            **span,
        ),
    )
