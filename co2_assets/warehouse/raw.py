"""Loads of the raw tables: merging, vintages, coverage and the audit of each load."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from co2_assets.schema import (
    CO2_PROGNOSIS,
    COVERAGE,
    DAY_AHEAD_PRICES,
    ETL_RUNS,
    FORECAST_TYPES,
    POWER_SYSTEM,
    PRICE_AREAS,
    VALUE_COLUMNS,
    WIND_SOLAR_FORECASTS,
    Table,
    price_column,
    wind_solar_column,
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


def store_vintages(transaction: Transaction, table: Table, rows_in: pl.DataFrame) -> Counts:
    """Append to a table of forecasts what differs from the newest stored vintage.

    A value that differs is known from when it was seen, never from when the older one was.
    Of a CO2 prognosis that is seen after its time nobody knows whether it was a forecast:
    it is kept, and never used.

    Args:
        transaction: where to.
        table: one whose key ends with `vintage`.
        rows_in: its columns without `vintage`, one row per rest of the key.
    """
    con = transaction.con
    key = ", ".join(name for name in table.key if name != "vintage")
    compared = [name for name in table.compared_columns if name not in table.key]
    seen_late = "NULL" if table is CO2_PROGNOSIS else "arriving.fetched_at_utc"
    with registered(con, "arriving", rows_in):
        fresh = frame(
            con,
            f"""
            WITH newest AS (
                SELECT * FROM {table.qualified_name}
                WHERE {table.key[0]} >= (SELECT min({table.key[0]}) FROM arriving)
                QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY vintage DESC) = 1
            )
            SELECT
                arriving.* REPLACE (
                    CASE WHEN newest.vintage IS NULL THEN arriving.available_utc
                        ELSE coalesce(arriving.first_seen_utc, {seen_late}) END AS available_utc
                ),
                coalesce(newest.vintage, 0) + 1 AS vintage
            FROM arriving LEFT JOIN newest USING ({key})
            WHERE newest.vintage IS NULL
                OR (({_columns("arriving", compared)}) IS DISTINCT FROM
                        ({_columns("newest", compared)})
                    AND arriving.fetched_at_utc >= newest.fetched_at_utc)
            """,
        )
    written = transaction.upsert(
        table, fresh.with_columns(pl.col("vintage").cast(pl.Int32)), keep_existing=True
    ).new
    first = fresh.filter(pl.col("vintage") == 1).height
    return Counts(new=first, revised=written - first, unchanged=rows_in.height - written)


def _columns(relation: str, names: list[str]) -> str:
    return ", ".join(f"{relation}.{name}" for name in names)


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


def covered_share(con: Connection, table: Table, start: datetime, end: datetime) -> float:
    """Which part of [start, end) was asked for and answered, from 0 to 1."""
    lacking = sum(((b - a) for a, b in uncovered(con, table, start, end)), timedelta())
    return 1 - lacking / (end - start)


def failed_loads(con: Connection) -> set[str]:
    """Names of the tables whose newest load failed."""
    found = rows(
        con,
        "SELECT table_name FROM (SELECT * FROM ops.etl_runs QUALIFY row_number() OVER"
        " (PARTITION BY table_name ORDER BY started_at_utc DESC, commit_id DESC) = 1)"
        " WHERE status = 'source_failed'",
    )
    return {name for (name,) in found}


_HOURS_OF = {
    **{
        wind_solar_column(kind): (
            f"hour_utc AS hour FROM raw.wind_solar_forecasts WHERE forecast_type = '{kind}'"
            " AND kind = 'day_ahead' AND hour_utc >= $start AND hour_utc < $end"
        )
        for kind in FORECAST_TYPES
    },
    "co2_prognosis_g_per_kwh": (
        "date_trunc('hour', time_utc) AS hour FROM raw.co2_prognosis"
        " WHERE co2_g_per_kwh IS NOT NULL AND time_utc >= $start AND time_utc < $end"
    ),
    **{
        price_column(area): (
            f"date_trunc('hour', time_utc) AS hour FROM raw.day_ahead_prices WHERE area = '{area}'"
            " AND price_eur_per_mwh IS NOT NULL AND time_utc >= $start AND time_utc < $end"
        )
        for area in PRICE_AREAS
    },
}
"""Where each external column has its hours."""


def known_share(con: Connection, column: str, start: datetime, end: datetime) -> float:
    """In which part of the hours of [start, end) an external column was known, from 0 to 1."""
    hours = value(
        con,
        f"SELECT count(*) FROM (SELECT DISTINCT {_HOURS_OF[column]} AND available_utc IS NOT NULL)",
        start=start,
        end=end,
    )
    return int(hours) / max((end - start) / timedelta(hours=1), 1)


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

    def usable(self, usable_from: pl.Expr) -> StoredForecasts:
        """The rows with another `available_utc`, such as the issue time that may use them."""
        return StoredForecasts(*(part.with_columns(available_utc=usable_from) for part in self))


def read_forecasts(
    con: Connection, start: datetime, end: datetime, known_by: datetime
) -> StoredForecasts:
    """Forecasts of others for times in [start, end), of what was known by a time, by vintage."""
    span = {"start": start, "end": end, "known_by": known_by}
    return StoredForecasts(
        frame(
            con,
            "SELECT hour_utc, area, forecast_type, kind, forecast_mw, available_utc"
            f" FROM {WIND_SOLAR_FORECASTS.qualified_name} WHERE hour_utc >= $start"
            " AND hour_utc < $end AND available_utc <= $known_by AND kind = 'day_ahead'"
            " ORDER BY hour_utc, vintage",
            **span,
        ),
        frame(
            con,
            "SELECT time_utc, area, co2_g_per_kwh, step_minutes, available_utc"
            f" FROM {CO2_PROGNOSIS.qualified_name} WHERE time_utc >= $start"
            " AND time_utc < $end AND available_utc <= $known_by ORDER BY time_utc, vintage",
            **span,
        ),
        frame(
            con,
            "SELECT time_utc, area, price_eur_per_mwh, step_minutes, available_utc"
            f" FROM {DAY_AHEAD_PRICES.qualified_name} WHERE time_utc >= $start"
            " AND time_utc < $end AND available_utc <= $known_by ORDER BY time_utc, vintage",
            **span,
        ),
    )
