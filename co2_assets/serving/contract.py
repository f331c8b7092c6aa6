"""What API, dashboard and client say, read from the views: each query once.

Every function takes a connection to a published copy. Times are UTC, hours are beginning.
Frames have the columns of the view that they read, unless they say otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from co2_assets.forecasting.advice_calibration import DEFAULTS, Calibrations, from_rows
from co2_assets.schema import AREA, QUANTILE_COLUMNS
from co2_assets.settings import Settings
from co2_assets.warehouse.forecasts import live_accuracy
from co2_assets.warehouse.query import Connection, frame, listed, row, value
from co2_assets.warehouse.status import stale

UNIT = "g/kWh"
ATTRIBUTION = "Energinet, Energi Data Service (energidataservice.dk)"
LICENCE = "CC BY 4.0"

HOUR = timedelta(hours=1)

FORECAST_COLUMNS = (
    "issue_time_utc", "valid_time_utc", "lead_hours", "model_version", *QUANTILE_COLUMNS,
    "issued_at_utc", "is_hindcast", "is_fallback", "fallback_reason", "inputs_missing",
)  # fmt: skip
_FORECAST = f"SELECT {', '.join(FORECAST_COLUMNS)} FROM main.forecast_history WHERE is_served"


@dataclass(frozen=True)
class About:
    """Where an answer comes from, and how far it can be trusted.

    Attributes:
        area: DK.
        unit: of every value without a unit in its name.
        issue_time_utc: of the newest served forecast; None before the first.
        model_version: that made it.
        is_fallback: another model than the champion answered.
        fallback_reason: why.
        inputs_missing: external columns that the champion forecast without: degraded.
        data_until_utc: end of the newest measured hour.
        data_age_minutes: platform's time less `data_until_utc`.
        forecast_age_minutes: platform's time less `issue_time_utc`.
        is_stale: data or forecast are older than a window and an hour.
        stale_reasons: in words.
        source: `live`, or `recorded` for a replay of recordings.
        now_utc: the platform's time; virtual where the source is recorded.
        generation: number of the published copy.
        attribution: whose data these are.
        licence: of the data.
        notes: what else a reader must know.
    """

    area: str
    unit: str
    issue_time_utc: datetime | None
    model_version: str | None
    is_fallback: bool
    fallback_reason: str | None
    inputs_missing: tuple[str, ...]
    data_until_utc: datetime | None
    data_age_minutes: int | None
    forecast_age_minutes: int | None
    is_stale: bool
    stale_reasons: tuple[str, ...]
    source: str
    now_utc: datetime
    generation: int
    attribution: str
    licence: str
    notes: tuple[str, ...]


def about(
    con: Connection, settings: Settings, now: datetime, generation: int, notes: tuple[str, ...]
) -> About:
    """The provenance of every answer from this generation at this time."""
    issue_time, version, is_fallback, reason, missing = row(
        con,
        "SELECT issue_time_utc, model_version, is_fallback, fallback_reason, inputs_missing"
        " FROM main.forecast_history WHERE is_served ORDER BY issue_time_utc DESC LIMIT 1",
    ) or (None, None, False, None, None)
    newest = value(con, "SELECT max(hour_utc) FROM main.actuals WHERE minutes_seen > 0")
    until = None if newest is None else newest + HOUR
    reasons = tuple(stale(con, now))
    return About(
        area=AREA,
        unit=UNIT,
        issue_time_utc=issue_time,
        model_version=version,
        is_fallback=is_fallback,
        fallback_reason=reason,
        inputs_missing=listed(missing),
        data_until_utc=until,
        data_age_minutes=_minutes(now, until),
        forecast_age_minutes=_minutes(now, issue_time),
        is_stale=bool(reasons),
        stale_reasons=reasons,
        source=settings.source,
        now_utc=now,
        generation=generation,
        attribution=ATTRIBUTION,
        licence=LICENCE,
        notes=notes,
    )


def _minutes(now: datetime, time: datetime | None) -> int | None:
    return None if time is None else (now - time) // timedelta(minutes=1)


def this_hour(now: datetime) -> datetime:
    """The hour that `now` lies in."""
    return now.replace(minute=0, second=0, microsecond=0)


def actuals(con: Connection, start: datetime, end: datetime) -> pl.DataFrame:
    """Measured hours of [start, end), `co2.actuals`, one row per hour that is stored."""
    return frame(
        con,
        "SELECT * FROM main.actuals WHERE hour_utc >= $start AND hour_utc < $end ORDER BY hour_utc",
        start=start,
        end=end,
    )


def last_hours(con: Connection, now: datetime, hours: int) -> pl.DataFrame:
    """The newest measured hours: up to `hours` rows that end with the newest one before `now`.

    An hour without a minute is a row whose values are null, never left out.
    """
    newest = value(
        con,
        "SELECT max(hour_utc) FROM main.actuals WHERE minutes_seen > 0 AND hour_utc < $now",
        now=now,
    )
    return actuals(con, (newest or now) + HOUR - hours * HOUR, (newest or now) + HOUR)


def newest_forecast(con: Connection) -> pl.DataFrame:
    """The newest served forecast, one row per lead (`FORECAST_COLUMNS`)."""
    return frame(
        con,
        f"{_FORECAST} AND issue_time_utc = (SELECT max(issue_time_utc)"
        " FROM main.forecast_history WHERE is_served) ORDER BY lead_hours",
    )


def forecast_issued(con: Connection, issue_time: datetime) -> pl.DataFrame:
    """The served forecast of exactly that issue time, one row per lead; maybe none."""
    return frame(
        con, f"{_FORECAST} AND issue_time_utc = $issue ORDER BY lead_hours", issue=issue_time
    )


def forecast_known(con: Connection, as_of: datetime) -> pl.DataFrame:
    """The newest served forecast that had been made by then, one row per lead; maybe none."""
    return frame(
        con,
        f"{_FORECAST} AND issue_time_utc = (SELECT max(issue_time_utc)"
        " FROM main.forecast_history WHERE is_served AND issued_at_utc <= $as_of)"
        " ORDER BY lead_hours",
        as_of=as_of,
    )


def coming(con: Connection, now: datetime, hours: int | None = None) -> pl.DataFrame:
    """The newest served forecast from the current hour on, at most `hours` rows."""
    ahead = newest_forecast(con).filter(pl.col("valid_time_utc") >= this_hour(now))
    return ahead if hours is None else ahead.head(hours)


def forecast_against_actual(
    con: Connection, start: datetime, end: datetime, lead_hours: int | None = None
) -> pl.DataFrame:
    """Served forecasts beside what followed, valid times in [start, end).

    Without a lead, each hour has its newest forecast; hindcasts are in, and marked.
    """
    chosen = (
        "QUALIFY row_number() OVER (PARTITION BY valid_time_utc ORDER BY issue_time_utc DESC) = 1"
        if lead_hours is None
        else "AND lead_hours = $lead"
    )
    return frame(
        con,
        f"SELECT {', '.join(FORECAST_COLUMNS)}, actual_g_per_kwh, error_g_per_kwh,"
        " persistence_g_per_kwh FROM main.forecast_vs_actual WHERE is_served"
        f" AND valid_time_utc >= $start AND valid_time_utc < $end {chosen}"
        " ORDER BY valid_time_utc",
        start=start,
        end=end,
        **({} if lead_hours is None else {"lead": lead_hours}),
    )


def accuracy_by_lead(con: Connection, start: datetime, end: datetime) -> pl.DataFrame:
    """Live served accuracy by lead, beside persistence and climatology.

    Columns: lead_hours, n, mae, crps, coverage_80, persistence_mae, climatology_mae, skill.
    """
    return live_accuracy(con, start, end)


def scoreboard(con: Connection) -> pl.DataFrame:
    """`co2.scoreboard`: by month, lead and predictor, the newest month first."""
    return frame(
        con, "SELECT * FROM main.scoreboard ORDER BY month_utc DESC, lead_hours, predictor"
    )


def models(con: Connection) -> pl.DataFrame:
    """`co2.models`: every version, the newest first."""
    return frame(con, "SELECT * FROM main.models ORDER BY created_utc DESC, model_version")


def champion(con: Connection) -> dict[str, Any] | None:
    """The row of `co2.champion`, or None before the first."""
    found = frame(con, "SELECT * FROM main.champion")
    return None if found.is_empty() else found.row(0, named=True)


def retrain_ledger(con: Connection, limit: int) -> pl.DataFrame:
    """The newest rows of `co2.retrain_ledger`, newest first."""
    return frame(
        con,
        "SELECT * FROM main.retrain_ledger ORDER BY window_start_utc DESC LIMIT $limit",
        limit=limit,
    )


def data_quality(con: Connection, start: datetime, end: datetime) -> pl.DataFrame:
    """Findings of `co2.data_quality` for hours in [start, end), newest first."""
    return frame(
        con,
        "SELECT * FROM main.data_quality WHERE hour_utc >= $start AND hour_utc < $end"
        " ORDER BY hour_utc DESC, dataset, kind, column_name",
        start=start,
        end=end,
    )


def advice_calibrations(con: Connection) -> Calibrations:
    """How advice from the newest forecast is calibrated: by what was known at its issue time."""
    if not value(
        con,
        "SELECT count(*) FROM information_schema.tables"
        " WHERE table_schema = 'main' AND table_name = 'advice_calibration'",
    ):
        return DEFAULTS  # a copy from before advice was calibrated; the next tick brings it
    found = frame(
        con,
        "SELECT * FROM main.advice_calibration"
        " WHERE issue_time_utc = (SELECT max(issue_time_utc) FROM main.advice_calibration)",
    )
    return from_rows(found.to_dicts()) or DEFAULTS


def window_receipts(
    con: Connection, limit: int, duration_hours: int | None = None, within_hours: int | None = None
) -> pl.DataFrame:
    """The newest rows of `co2.window_receipts`, newest first; of certain jobs where asked."""
    return frame(
        con,
        "SELECT * FROM main.window_receipts"
        " WHERE ($duration IS NULL OR duration_hours = $duration)"
        " AND ($within IS NULL OR within_hours = $within)"
        " ORDER BY issue_time_utc DESC, duration_hours, within_hours LIMIT $limit",
        duration=duration_hours,
        within=within_hours,
        limit=limit,
    )


def input_drift(con: Connection) -> pl.DataFrame:
    """The newest check of each input against the champion's training, the furthest first."""
    return frame(
        con,
        "SELECT window_start_utc, column_name, psi, usual_psi, is_unusual, n_hours, model_version"
        " FROM ml.input_drift"
        " WHERE window_start_utc = (SELECT max(window_start_utc) FROM ml.input_drift)"
        " ORDER BY psi DESC",
    )
