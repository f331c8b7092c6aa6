"""Issuing the forecast of one issue time: the champion's, and the shadows beside it.

A forecast is always issued while there is anything to issue it from: without a champion,
or without what it needs, damped climatology answers, marked, with its own wider bands.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from co2_assets.errors import ModelError
from co2_assets.forecasting.artifact import load
from co2_assets.forecasting.baselines import fit_climatology, fit_persistence
from co2_assets.forecasting.forecaster import Forecaster
from co2_assets.orchestration.history import history_start, read_history
from co2_assets.schema import AREA
from co2_assets.settings import Settings
from co2_assets.warehouse import forecasts as stored
from co2_assets.warehouse import registry
from co2_assets.warehouse.query import Connection
from co2_assets.warehouse.registry import ModelVersion
from co2_assets.warehouse.store import Warehouse

HINDCAST_AFTER = timedelta(hours=1)
PERSISTENCE, CLIMATOLOGY = "persistence", "climatology"


@dataclass(frozen=True)
class Issued:
    """What became of an issue time."""

    status: str
    """`issued`, `already issued` or `no data`."""
    rows_new: int
    reason: str | None
    """Why the served forecast is a fallback, or why there is none."""


def issue(
    warehouse: Warehouse, settings: Settings, *, issue_time: datetime, now: datetime, run_id: str
) -> Issued:
    """Make and store the forecasts of one issue time, unless it has them already.

    Args:
        warehouse: where from and where to.
        settings: horizon, history and artifacts.
        issue_time: end of the data that may be used; lead 1 begins here.
        now: the platform's time: more than an hour late makes a hindcast.
        run_id: for the audit.
    """
    with warehouse.read("history for a forecast") as con:
        if stored.has_served(con, issue_time):
            return Issued("already issued", 0, None)
        history = read_history(con, history_start(settings, issue_time), issue_time)
        is_hindcast = now > issue_time + HINDCAST_AFTER
        version = _version_for(con, issue_time, is_hindcast=is_hindcast)
        ages = stored.input_ages(con, issue_time)
    made = _forecasts(settings, history, issue_time, version)
    if made.forecasts is None:
        return Issued("no data", 0, made.reason)
    rows = made.forecasts.with_columns(
        pl.lit(AREA).alias("area"),
        pl.lit(is_hindcast).alias("is_hindcast"),
        *(pl.lit(age, pl.Float64).alias(name) for name, age in ages._asdict().items()),
        pl.lit(now).dt.cast_time_unit("us").alias("issued_at_utc"),
        pl.lit(run_id).alias("dagster_run_id"),
    )
    with warehouse.write("ml.forecasts", run_id) as tx:
        counts = stored.store_forecasts(tx, rows)
    return Issued("issued" if counts.new else "already issued", counts.new, made.reason)


@dataclass(frozen=True)
class _Made:
    forecasts: pl.DataFrame | None
    reason: str | None


def _version_for(
    con: Connection, issue_time: datetime, *, is_hindcast: bool
) -> ModelVersion | None:
    """Whose forecast it is: the champion's of that time, that had not seen what followed."""
    champion = registry.champion_at(con, issue_time)
    if champion is not None and champion.train_end_utc <= issue_time:
        return champion
    return registry.trained_by(con, issue_time) if is_hindcast else None


def _forecasts(
    settings: Settings, history: pl.DataFrame, issue_time: datetime, version: ModelVersion | None
) -> _Made:
    shadows = []
    for name, fit in ((PERSISTENCE, fit_persistence), (CLIMATOLOGY, fit_climatology)):
        try:
            baseline = fit(
                history, history_start(settings, issue_time), issue_time, settings.horizon_hours
            )
            shadows.append(_marked(baseline.predict(history, [issue_time]), name))
        except ModelError as error:
            lacking = f"{name}: {error}"
    if not shadows:
        return _Made(None, lacking)
    try:
        champion = _load(settings, version)
        served = _marked(
            champion.predict(history, [issue_time]),
            version.model_version,
            is_served=True,  # type: ignore[union-attr]
        )
    except ModelError as error:
        # The best shadow answers; it is that version's row, marked as served and fallback.
        *others, best = shadows
        fallback = best.with_columns(
            is_served=True, is_fallback=True, fallback_reason=pl.lit(str(error))
        )
        return _Made(pl.concat([*others, fallback]), str(error))
    return _Made(pl.concat([*shadows, served]), None)


def _load(settings: Settings, version: ModelVersion | None) -> Forecaster:
    if version is None:
        raise ModelError(
            "no champion", next_step="the tick decides to retrain; `co2 status` follows it"
        )
    return load(settings.home / version.artifact_path, version.artifact_sha256)


def _marked(forecast: pl.DataFrame, version: str, *, is_served: bool = False) -> pl.DataFrame:
    return forecast.with_columns(
        pl.lit(version).alias("model_version"),
        pl.lit(is_served).alias("is_served"),
        pl.lit(False).alias("is_fallback"),
        pl.lit(None, pl.String).alias("fallback_reason"),
    )
