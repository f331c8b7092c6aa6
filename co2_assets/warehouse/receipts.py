"""Stored receipts of recommended windows, and what advice is calibrated by."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import polars as pl

from co2_assets.schema import ADVICE_CALIBRATION, AGGREGATED_HOURS, FORECASTS, WINDOW_RECEIPTS
from co2_assets.warehouse.hours import advance_watermark, watermark
from co2_assets.warehouse.query import Connection, frame, rows
from co2_assets.warehouse.raw import polars_schema
from co2_assets.warehouse.store import Transaction
from co2_assets.warehouse.upsert import Counts


def issues_with_news(con: Connection) -> list[datetime]:
    """Issue times whose served forecast or measured hours were written since the last look."""
    found = rows(
        con,
        """
        SELECT issue_time_utc FROM ml.forecasts WHERE is_served AND commit_id > $forecasts
        UNION
        SELECT receipts.issue_time_utc FROM ml.window_receipts AS receipts
        SEMI JOIN core.aggregated_hours AS hours
            ON hours.commit_id > $hours AND hours.hour_utc >= receipts.issue_time_utc
            AND hours.hour_utc < receipts.issue_time_utc + to_hours(receipts.within_hours)
        ORDER BY 1
        """,
        forecasts=watermark(con, WINDOW_RECEIPTS, FORECASTS),
        hours=watermark(con, WINDOW_RECEIPTS, AGGREGATED_HOURS),
    )
    return [time for (time,) in found]


def read_receipts(con: Connection, issue_times: Sequence[datetime]) -> pl.DataFrame:
    """The stored receipts of some issue times."""
    return frame(
        con,
        f"SELECT * EXCLUDE (commit_id) FROM {WINDOW_RECEIPTS.qualified_name}"
        " WHERE list_contains($times, issue_time_utc) ORDER BY ALL",
        times=list(issue_times),
    )


def receipts_before(con: Connection, since: datetime, but: Sequence[datetime]) -> pl.DataFrame:
    """The stored receipts of issue times from then on, except some."""
    return receipts_frame(
        frame(
            con,
            f"SELECT * EXCLUDE (commit_id) FROM {WINDOW_RECEIPTS.qualified_name}"
            " WHERE issue_time_utc >= $since AND NOT list_contains($but, issue_time_utc)"
            " ORDER BY ALL",
            since=since,
            but=list(but),
        ).to_dicts()
    )


def receipts_frame(receipts: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Receipts as rows of the table, but for the commit."""
    return pl.DataFrame(receipts, schema=polars_schema(WINDOW_RECEIPTS))


def advice_metrics(con: Connection, model_version: str) -> dict[str, float]:
    """What the gate's holdout said of the advice of a version, by metric; maybe nothing."""
    return dict(
        rows(
            con,
            "SELECT metric, value FROM ml.model_metrics WHERE model_version = $version"
            " AND scope = 'holdout' AND predictor = 'challenger' AND starts_with(metric, 'advice')",
            version=model_version,
        )
    )


def store_calibrations(transaction: Transaction, calibrations: Sequence[dict[str, Any]]) -> Counts:
    """Keep the calibrations of new issue times; what is kept already stays as it is."""
    incoming = pl.DataFrame(calibrations, schema=polars_schema(ADVICE_CALIBRATION))
    return transaction.upsert(ADVICE_CALIBRATION, incoming, keep_existing=True)


def measured_hours(
    con: Connection, start: datetime, end: datetime
) -> dict[datetime, tuple[float | None, str]]:
    """CO2 (null unless complete and ok) and quality of each stored hour of [start, end)."""
    found = rows(
        con,
        "SELECT hour_utc, co2_g_per_kwh, quality FROM main.actuals"
        " WHERE hour_utc >= $start AND hour_utc < $end",
        start=start,
        end=end,
    )
    return {hour: (co2, quality) for hour, co2, quality in found}


def store_receipts(transaction: Transaction, receipts: Sequence[dict[str, Any]]) -> Counts:
    """Write receipts whose values changed, and note that all news has been taken in."""
    counts = transaction.upsert(WINDOW_RECEIPTS, receipts_frame(receipts))
    advance_watermark(transaction, WINDOW_RECEIPTS, FORECASTS)
    advance_watermark(transaction, WINDOW_RECEIPTS, AGGREGATED_HOURS)
    return counts


def captured(con: Connection) -> pl.DataFrame:
    """Saving realised so far in per cent of the best there was, by job; a hindcast never counts.

    Columns: duration_hours, within_hours, n, captured_percent (null where nothing could be
    saved), saved, best and regret (means, g/kWh).
    """
    return frame(
        con,
        """
        SELECT
            duration_hours, within_hours, count(*) AS n,
            100 * sum(realised_saving_g_per_kwh) / nullif(sum(best_saving_g_per_kwh), 0)
                AS captured_percent,
            avg(realised_saving_g_per_kwh) AS saved,
            avg(best_saving_g_per_kwh) AS best,
            avg(regret_g_per_kwh) AS regret
        FROM main.window_receipts
        WHERE is_settled AND NOT is_hindcast
        GROUP BY ALL ORDER BY within_hours, duration_hours
        """,
    )


def newest_receipts(con: Connection, duration_hours: int, count: int) -> pl.DataFrame:
    """The newest receipts of jobs of so many hours, newest first."""
    return frame(
        con,
        """
        SELECT issue_time_utc, within_hours, recommended_start_utc, expected_saving_g_per_kwh,
            chance_beats_now, realised_saving_g_per_kwh, regret_g_per_kwh
        FROM main.window_receipts
        WHERE duration_hours = $duration
        ORDER BY issue_time_utc DESC, within_hours
        LIMIT $count
        """,
        duration=duration_hours,
        count=count,
    )
