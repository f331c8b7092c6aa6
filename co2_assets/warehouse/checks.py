"""What asset checks look for, as queries: each returns a finding in words and figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from co2_assets.schema import AGGREGATED_HOURS, POWER_SYSTEM, VALUE_COLUMNS, Table
from co2_assets.transform.quality import PLAUSIBLE
from co2_assets.warehouse.query import Connection, row, rows

NEWEST = timedelta(days=7)
NEWEST_COMMITS = 50
DAY_MINUTES = 24 * 60


@dataclass(frozen=True)
class Finding:
    """What a check found: nothing when `count` is 0."""

    count: int
    text: str
    details: dict[str, Any] = field(default_factory=dict)


def columns_differ(con: Connection, table: Table) -> Finding:
    """Columns of the stored table that are not as schema.py declares them."""
    stored = dict(
        rows(
            con,
            "SELECT column_name, data_type FROM duckdb_columns()"
            " WHERE schema_name = $schema AND table_name = $name",
            schema=table.schema,
            name=table.name,
        )
    )
    declared = {column.name: _long_type(column.sql_type) for column in table.columns}
    wrong = {
        name: f"stored {stored.get(name)}, declared {declared.get(name)}"
        for name in stored.keys() | declared.keys()
        if stored.get(name) != declared.get(name)
    }
    return Finding(
        len(wrong), f"{len(wrong)} columns differ" if wrong else "as declared", {"columns": wrong}
    )


def _long_type(sql_type: str) -> str:
    return {"TIMESTAMPTZ": "TIMESTAMP WITH TIME ZONE"}.get(sql_type, sql_type)


def keys_repeated(con: Connection, table: Table) -> Finding:
    """Keys that more than one row has, in spite of the primary key.

    Looks at what the newest commits wrote: older rows were looked at when they came.
    """
    (count,) = row(
        con,
        f"SELECT count(*) - count(DISTINCT ({', '.join(table.key)})) FROM {table.qualified_name}"
        " WHERE commit_id > (SELECT max(commit_id) FROM ops.commits) - $newest",
        newest=NEWEST_COMMITS,
    ) or (0,)
    return Finding(count, f"{count} rows repeat a key" if count else "each key once")


def hours_not_contiguous(con: Connection) -> Finding:
    """Hours between the first and the last that have no row."""
    (count,) = row(
        con,
        "SELECT coalesce(date_diff('hour', min(hour_utc), max(hour_utc)) + 1 - count(*), 0)"
        f" FROM {AGGREGATED_HOURS.qualified_name}",
    ) or (0,)
    return Finding(count, f"{count} hours have no row" if count else "no hour left out")


def minutes_missing(con: Connection) -> Finding:
    """Minutes that the newest day that was asked for lacks; hours are made of them later."""
    (seen,) = row(
        con,
        f"""
        SELECT count(*) FROM {POWER_SYSTEM.qualified_name}, (
            SELECT max(window_end_utc) AS asked FROM ops.etl_runs
            WHERE table_name = 'raw.power_system'
        ) WHERE minute_utc >= asked - INTERVAL 24 HOUR AND minute_utc < asked
        """,
    ) or (0,)
    lacking = DAY_MINUTES - int(seen)
    return Finding(lacking, f"{lacking} of the {DAY_MINUTES} minutes of the newest day are missing")


def newest_age(con: Connection, stale_after: timedelta) -> Finding:
    """Whether the newest minute lags behind what was asked for: by the data's own time."""
    newest, asked = row(
        con,
        f"SELECT (SELECT max(minute_utc) FROM {POWER_SYSTEM.qualified_name}),"
        " (SELECT max(window_end_utc) FROM ops.etl_runs WHERE table_name = 'raw.power_system')",
    ) or (None, None)
    if newest is None or asked is None:
        return Finding(1, "no minute is stored")
    age = asked - newest
    return Finding(int(age > stale_after), f"newest minute {newest:%Y-%m-%d %H:%M} UTC, {age} old")


def implausible_hours(con: Connection) -> Finding:
    """Reported values of the newest week outside `PLAUSIBLE`, by column."""
    counts = ", ".join(
        f"count(*) FILTER ({name} NOT BETWEEN {PLAUSIBLE[name][0]} AND {PLAUSIBLE[name][1]})"
        for name in VALUE_COLUMNS
    )
    found = row(
        con,
        f"SELECT {counts} FROM {AGGREGATED_HOURS.qualified_name} WHERE hour_utc >"
        f" (SELECT max(hour_utc) FROM {AGGREGATED_HOURS.qualified_name}) - to_days($days)",
        days=NEWEST.days,
    ) or (0,) * len(VALUE_COLUMNS)
    by_column = {name: n for name, n in zip(VALUE_COLUMNS, found, strict=True) if n}
    total = sum(by_column.values())
    return Finding(total, f"{total} values outside plausible ranges", {"columns": by_column})


def hours_of_quality(con: Connection, quality: str) -> Finding:
    """Hours of the newest week that are marked so, with dataset, field and value."""
    found = rows(
        con,
        "SELECT hour_utc, column_name, value FROM main.data_quality WHERE kind = $kind"
        f" AND hour_utc > (SELECT max(hour_utc) FROM {AGGREGATED_HOURS.qualified_name})"
        " - to_days($days) ORDER BY ALL",
        kind=quality,
        days=NEWEST.days,
    )
    hours = sorted({time for time, _, _ in found})
    marked = [f"{time:%Y-%m-%dT%H} {column} = {value}" for time, column, value in found]
    return Finding(
        len(hours),
        f"{len(hours)} hours marked {quality}" + (f": {'; '.join(marked[:8])}" if marked else ""),
        {"dataset": "PowerSystemRightNow", "marked": marked[:100]},
    )


def forecasts_not_monotone(con: Connection) -> Finding:
    """Forecast rows whose quantiles fall, or issues that lack leads.

    Energinet's own prognosis has the leads that it was published for.
    """
    (falling,) = row(
        con,
        "SELECT count(*) FROM ml.forecasts WHERE NOT ("
        "p05_g_per_kwh <= p10_g_per_kwh AND p10_g_per_kwh <= p25_g_per_kwh"
        " AND p25_g_per_kwh <= p50_g_per_kwh AND p50_g_per_kwh <= p75_g_per_kwh"
        " AND p75_g_per_kwh <= p90_g_per_kwh AND p90_g_per_kwh <= p95_g_per_kwh)",
    ) or (0,)
    (gaps,) = row(
        con,
        "SELECT count(*) FROM (SELECT 1 FROM ml.forecasts"
        " WHERE NOT starts_with(model_version, 'energinet')"
        " GROUP BY issue_time_utc, model_version HAVING max(lead_hours) <> count(*))",
    ) or (0,)
    return Finding(falling + gaps, f"{falling} rows fall, {gaps} forecasts lack a lead")


def unusual_inputs(con: Connection) -> Finding:
    """Inputs whose newest two weeks lie farther from the training than two weeks usually do."""
    found = rows(
        con,
        "SELECT column_name, psi, usual_psi, is_unusual FROM ml.input_drift"
        " WHERE window_start_utc = (SELECT max(window_start_utc) FROM ml.input_drift)"
        " ORDER BY psi DESC",
    )
    unusual = [
        f"{column}: PSI {psi:.2f}, usually up to {usual:.2f}"
        for column, psi, usual, is_unusual in found
        if is_unusual
    ]
    return Finding(
        len(unusual),
        "; ".join(unusual) or f"{len(found)} inputs compared, none unusual",
        {"psi": {column: round(psi, 3) for column, psi, _, _ in found}},
    )


def coverage_80(con: Connection, tolerance: float) -> Finding:
    """Whether the served 80 % band held far more or less than 80 % of the last 28 days."""
    n, share = row(
        con,
        "SELECT count(*), avg(CAST(hit_80 AS INTEGER)) FROM ml.forecast_evaluations"
        " WHERE is_served AND NOT is_hindcast AND valid_time_utc >"
        " (SELECT max(valid_time_utc) FROM ml.forecast_evaluations) - INTERVAL 28 DAY",
    ) or (0, None)
    if not n or share is None:
        return Finding(0, "nothing scored yet")
    # With few values the share says little: three standard errors on top of the tolerance.
    allowed = tolerance + 3 * (0.8 * 0.2 / n) ** 0.5
    return Finding(
        int(abs(share - 0.8) > allowed), f"{share:.0%} of {n} values", {"coverage": share, "n": n}
    )
