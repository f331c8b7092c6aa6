"""Stored forecasts and their scores: write-once rows, and exactly rescored windows."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from co2_assets.schema import (
    AGGREGATED_HOURS,
    FORECAST_EVALUATIONS,
    FORECASTS,
    QUANTILE_COLUMNS,
)
from co2_assets.settings import window_floor
from co2_assets.warehouse.hours import advance_watermark, watermark
from co2_assets.warehouse.query import Connection, frame, registered, row, rows, value
from co2_assets.warehouse.raw import Span
from co2_assets.warehouse.store import Transaction
from co2_assets.warehouse.upsert import Counts


class InputAges(NamedTuple):
    """Hours from the newest input of a forecast to its issue time, or to its cut-off."""

    power_system_age_hours: float | None
    wind_solar_age_hours: float | None
    co2_prognosis_age_hours: float | None
    prices_age_hours: float | None


def input_ages(con: Connection, issue_time: datetime, cutoff: datetime) -> InputAges:
    """How old each group of inputs is; None where there is none.

    Measured hours are as old as they are at the issue time, what others publish at the cut-off.
    """
    found = row(
        con,
        """
        SELECT
            (SELECT max(hour_utc) + INTERVAL 1 HOUR FROM main.actuals
                WHERE hour_utc < $issue AND co2_g_per_kwh IS NOT NULL),
            (SELECT max(available_utc) FROM raw.wind_solar_forecasts
                WHERE available_utc <= $cutoff AND hour_utc >= $since),
            (SELECT max(available_utc) FROM raw.co2_prognosis
                WHERE available_utc <= $cutoff AND time_utc >= $since),
            (SELECT max(available_utc) FROM raw.day_ahead_prices
                WHERE available_utc <= $cutoff AND time_utc >= $since)
        """,
        issue=issue_time,
        cutoff=cutoff,
        # Older rows cannot be the newest; the bound lets DuckDB skip two years of them.
        since=issue_time - timedelta(days=14),
    )
    return InputAges(
        *(
            None if newest is None else (end - newest) / timedelta(hours=1)
            for newest, end in zip(
                found or (None,) * 4, (issue_time, cutoff, cutoff, cutoff), strict=True
            )
        )
    )


def issued_versions(con: Connection, issue_time: datetime) -> set[str]:
    """The versions whose forecast of an issue time is stored already."""
    return {
        version
        for (version,) in rows(
            con,
            f"SELECT DISTINCT model_version FROM {FORECASTS.qualified_name}"
            " WHERE issue_time_utc = $issue",
            issue=issue_time,
        )
    }


def has_served(con: Connection, issue_time: datetime) -> bool:
    """Whether an issue time has its served forecast."""
    found = row(
        con,
        f"SELECT count(*) FROM {FORECASTS.qualified_name}"
        " WHERE issue_time_utc = $issue AND is_served",
        issue=issue_time,
    )
    return bool(found and found[0])


def champion_problem(con: Connection, issue_time: datetime) -> str | None:
    """Why the champion was unusable at an issue time, or None if it was not."""
    found: str | None = value(
        con,
        f"SELECT max(fallback_reason) FROM {FORECASTS.qualified_name}"
        " WHERE issue_time_utc = $issue AND is_served AND fallback_kind = 'champion_unusable'",
        issue=issue_time,
    )
    return found


def fallbacks_in_a_row(con: Connection) -> int:
    """How many of the newest live served forecasts, one after another, are fallbacks."""
    return int(
        value(
            con,
            f"""
            SELECT count(DISTINCT issue_time_utc) FROM {FORECASTS.qualified_name}
            WHERE is_served AND NOT is_hindcast AND issue_time_utc > coalesce((
                SELECT max(issue_time_utc) FROM {FORECASTS.qualified_name}
                WHERE is_served AND NOT is_hindcast AND NOT is_fallback
            ), TIMESTAMPTZ '1970-01-01 00:00:00+00')
            """,
        )
    )


def store_forecasts(transaction: Transaction, forecasts: pl.DataFrame) -> Counts:
    """Add forecasts of one issue time; one that has been issued already stays as it is."""
    issue_time = forecasts["issue_time_utc"][0]
    if has_served(transaction.con, issue_time):
        return Counts(unchanged=forecasts.height)
    return transaction.upsert(FORECASTS, forecasts, keep_existing=True)


def read_issue(con: Connection, issue_time: datetime) -> pl.DataFrame:
    """All stored forecasts of one issue time, by version and lead."""
    return frame(
        con,
        f"SELECT * EXCLUDE (commit_id) FROM {FORECASTS.qualified_name}"
        " WHERE issue_time_utc = $issue ORDER BY model_version, lead_hours",
        issue=issue_time,
    )


def windows_to_score(con: Connection, window: Span) -> list[datetime]:
    """Starts of the six-hour windows to score: the asked one, and all with news.

    News is a forecast or an actual written since the last scoring: a late minute, a
    hindcast, a window that was materialized out of order.
    """
    changed = rows(
        con,
        """
        SELECT valid_time_utc FROM ml.forecasts WHERE commit_id > $forecasts
        UNION
        SELECT hours.hour_utc FROM core.aggregated_hours AS hours
        SEMI JOIN ml.forecasts AS forecasts ON forecasts.valid_time_utc = hours.hour_utc
        WHERE hours.commit_id > $hours
        """,
        forecasts=watermark(con, FORECAST_EVALUATIONS, FORECASTS),
        hours=watermark(con, FORECAST_EVALUATIONS, AGGREGATED_HOURS),
    )
    return sorted({window[0], *(window_floor(time) for (time,) in changed)})


def read_to_score(con: Connection, window_start: datetime, window_end: datetime) -> pl.DataFrame:
    """Every stored forecast value with valid time in a window and an actual.

    Columns: keys of `ml.forecast_evaluations`, `lead_hours`, the quantiles, the flags,
    `actual_g_per_kwh`, and `persistence_g_per_kwh` and `climatology_g_per_kwh` as issued
    at the same issue time and lead.
    """
    return frame(
        con,
        f"""
        SELECT
            made.area, made.valid_time_utc, made.issue_time_utc, made.model_version,
            made.lead_hours, {", ".join(f"made.{name}" for name in QUANTILE_COLUMNS)},
            made.is_served, made.is_hindcast, made.is_fallback,
            actuals.co2_g_per_kwh AS actual_g_per_kwh,
            persistence.p50_g_per_kwh AS persistence_g_per_kwh,
            climatology.p50_g_per_kwh AS climatology_g_per_kwh
        FROM ml.forecasts AS made
        JOIN main.actuals AS actuals
            ON actuals.area = made.area AND actuals.hour_utc = made.valid_time_utc
            AND actuals.co2_g_per_kwh IS NOT NULL
        LEFT JOIN ml.forecasts AS persistence
            ON persistence.area = made.area AND persistence.lead_hours = made.lead_hours
            AND persistence.issue_time_utc = made.issue_time_utc
            AND persistence.model_version = 'persistence'
        LEFT JOIN ml.forecasts AS climatology
            ON climatology.area = made.area AND climatology.lead_hours = made.lead_hours
            AND climatology.issue_time_utc = made.issue_time_utc
            AND climatology.model_version = 'climatology'
        WHERE made.valid_time_utc >= $start AND made.valid_time_utc < $end
        ORDER BY made.valid_time_utc, made.issue_time_utc, made.model_version
        """,
        start=window_start,
        end=window_end,
    )


def replace_scores(
    transaction: Transaction, window_start: datetime, window_end: datetime, scores: pl.DataFrame
) -> Counts:
    """Make the rows with valid time in the window exactly `scores`."""
    with registered(transaction.con, "scores", scores):
        transaction.execute(
            f"""
            DELETE FROM {FORECAST_EVALUATIONS.qualified_name} AS stored
            WHERE valid_time_utc >= $start AND valid_time_utc < $end AND NOT EXISTS (
                SELECT 1 FROM scores WHERE scores.area = stored.area
                    AND scores.valid_time_utc = stored.valid_time_utc
                    AND scores.issue_time_utc = stored.issue_time_utc
                    AND scores.model_version = stored.model_version
            )
            """,
            start=window_start,
            end=window_end,
        )
    return transaction.upsert(FORECAST_EVALUATIONS, scores)


def all_scored(transaction: Transaction) -> None:
    """Note that everything stored so far has been scored."""
    advance_watermark(transaction, FORECAST_EVALUATIONS, FORECASTS)
    advance_watermark(transaction, FORECAST_EVALUATIONS, AGGREGATED_HOURS)


def live_accuracy(con: Connection, start: datetime, end: datetime) -> pl.DataFrame:
    """Live served accuracy by lead over valid times in [start, end), persistence beside it.

    Columns: lead_hours, n, mae, crps, coverage_80, persistence_mae, climatology_mae, skill.
    """
    return frame(
        con,
        f"""
        SELECT
            lead_hours, count(*) AS n,
            avg(absolute_error_g_per_kwh) AS mae,
            2 * avg(pinball_g_per_kwh) AS crps,
            avg(CAST(hit_80 AS INTEGER)) AS coverage_80,
            avg(abs(persistence_g_per_kwh - actual_g_per_kwh)) AS persistence_mae,
            avg(abs(climatology_g_per_kwh - actual_g_per_kwh)) AS climatology_mae,
            1 - mae / nullif(persistence_mae, 0) AS skill
        FROM {FORECAST_EVALUATIONS.qualified_name}
        WHERE is_served AND NOT is_hindcast AND valid_time_utc >= $start AND valid_time_utc < $end
        GROUP BY lead_hours ORDER BY lead_hours
        """,
        start=start,
        end=end,
    )
