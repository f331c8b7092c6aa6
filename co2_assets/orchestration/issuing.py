"""Issuing the forecast of one issue time: the champion's, and the shadows beside it.

A forecast is always issued while there is anything to issue it from. Without some of its
inputs the champion does without them; where it cannot forecast at all, the previous
champion does, and then damped climatology. Whatever is not the champion's forecast with
all its inputs is marked, with the reason; its bands are wider beside its median.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from co2_assets.errors import ModelError
from co2_assets.forecasting.artifact import load
from co2_assets.forecasting.baselines import fit_climatology, fit_persistence
from co2_assets.forecasting.calibration import Margins, calibrate, choose
from co2_assets.forecasting.external import missing_groups
from co2_assets.forecasting.forecaster import Forecaster
from co2_assets.forecasting.prognosis import fit_prognosis
from co2_assets.orchestration.history import history_start, read_external, read_history
from co2_assets.schema import AREA
from co2_assets.settings import Settings
from co2_assets.warehouse import calibration as calibrated
from co2_assets.warehouse import forecasts as stored
from co2_assets.warehouse import registry
from co2_assets.warehouse.query import Connection
from co2_assets.warehouse.registry import ModelVersion
from co2_assets.warehouse.store import Warehouse

HINDCAST_AFTER = timedelta(hours=1)
PERSISTENCE, CLIMATOLOGY = "persistence", "climatology"
ENERGINET, RECALIBRATED = "energinet", "energinet_recalibrated"

EXTERNAL_DAYS = 70
"""Days of external inputs that are read at least: the prognosis' errors of two months."""

COMPARED_FOR = timedelta(days=14)
"""After a change of champion the former one forecasts on, so that the change can be judged."""

INPUT_DAYS = 40
"""Days before the end of a version's training whose inputs its covariates may reach."""


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
        is_hindcast = now > issue_time + HINDCAST_AFTER
        ground = _read(con, settings, issue_time, is_hindcast=is_hindcast)
        ages = stored.input_ages(con, issue_time)
    shadows, lacking = _shadows(settings, ground)
    if not shadows:
        return Issued("no data", 0, lacking)
    served = _served(settings, ground, shadows)
    forecasts = pl.concat([*served.shadows, served.forecast]).with_columns(
        pl.lit(AREA).alias("area"),
        pl.lit(is_hindcast).alias("is_hindcast"),
        *(pl.lit(age, pl.Float64).alias(name) for name, age in ages._asdict().items()),
        pl.lit(now).dt.cast_time_unit("us").alias("issued_at_utc"),
        pl.lit(run_id).alias("dagster_run_id"),
    )
    with warehouse.write("ml.forecasts", run_id) as tx:
        counts = stored.store_forecasts(tx, forecasts)
        if counts.new and served.calibration is not None:
            calibrated.store(tx, served.calibration.with_columns(pl.lit(AREA).alias("area")))
    return Issued("issued" if counts.new else "already issued", counts.new, served.reason)


class _Ground(NamedTuple):
    """All that a forecast of one issue time may go by."""

    issue_time: datetime
    history: pl.DataFrame
    external: pl.DataFrame
    versions: list[ModelVersion]
    """Whose forecast it may be, the best first."""
    evidence: pl.DataFrame
    """Forecasts before their calibration, with the actuals that are known by now."""
    margins: dict[str, Margins]
    """Margins of each version's own holdout."""
    former: ModelVersion | None
    """The champion that was replaced not long ago."""


def _read(
    con: Connection, settings: Settings, issue_time: datetime, *, is_hindcast: bool
) -> _Ground:
    versions = _versions_for(con, issue_time, is_hindcast=is_hindcast)
    former = (
        None if is_hindcast else registry.replaced_since(con, issue_time - COMPARED_FOR, issue_time)
    )
    taught = [version.train_end_utc - timedelta(days=INPUT_DAYS) for version in versions]
    return _Ground(
        issue_time=issue_time,
        history=read_history(con, history_start(settings, issue_time), issue_time),
        external=read_external(
            con,
            min([issue_time - timedelta(days=EXTERNAL_DAYS), *taught]),
            issue_time + timedelta(hours=settings.horizon_hours),
            known_by=issue_time,
        ),
        versions=versions,
        evidence=calibrated.evidence(con, issue_time),
        margins={
            version.model_version: calibrated.holdout_margins(con, version.model_version)
            for version in versions
        },
        former=former if former in versions else None,
    )


def _versions_for(
    con: Connection, issue_time: datetime, *, is_hindcast: bool
) -> list[ModelVersion]:
    """The champion of that time and the one before, that had not seen what followed."""
    found = [registry.champion_at(con, issue_time), registry.previous_at(con, issue_time)]
    if is_hindcast:
        found.append(registry.trained_by(con, issue_time))
    honest = [
        version for version in found if version is not None and version.train_end_utc <= issue_time
    ]
    return list(dict.fromkeys(honest))


def _shadows(settings: Settings, ground: _Ground) -> tuple[list[pl.DataFrame], str | None]:
    """Forecasts of the baselines, and why one is missing."""
    history, external, issue_time = ground.history, ground.external, ground.issue_time
    start, horizon = history_start(settings, issue_time), settings.horizon_hours
    recent = issue_time - timedelta(days=EXTERNAL_DAYS)
    fits = {
        PERSISTENCE: lambda: fit_persistence(history, start, issue_time, horizon),
        CLIMATOLOGY: lambda: fit_climatology(history, start, issue_time, horizon),
        ENERGINET: lambda: fit_prognosis(
            history, external, recent, issue_time, horizon, recalibrated=False
        ),
        RECALIBRATED: lambda: fit_prognosis(
            history, external, recent, issue_time, horizon, recalibrated=True
        ),
    }
    made, lacking = [], None
    for name, fit in fits.items():
        try:
            made.append(_marked(fit().predict(history, [issue_time], external), name))
        except ModelError as error:
            lacking = lacking or f"{name}: {error}"
    return made, lacking


@dataclass(frozen=True)
class _Served:
    forecast: pl.DataFrame
    shadows: list[pl.DataFrame]
    calibration: pl.DataFrame | None
    reason: str | None


def _served(settings: Settings, ground: _Ground, shadows: list[pl.DataFrame]) -> _Served:
    """The platform's answer: the first of the versions that can forecast, or a baseline."""
    reasons = [] if ground.versions else ["no champion: the tick decides to retrain"]
    for rank, version in enumerate(ground.versions):
        try:
            made = _made(settings, ground, version)
        except ModelError as error:
            reasons.append(f"{version.model_version}: {error}")
            continue
        if rank:
            reasons.append(f"{version.model_version} answers, the champion before")
        elif ground.former is not None:
            shadows = [*shadows, *_former_forecast(settings, ground, ground.former)]
        reasons += _without(made.model, ground)
        reason = "; ".join(reasons) or None
        forecast = made.forecast.with_columns(
            is_served=True,
            is_fallback=pl.lit(reason is not None),
            fallback_reason=pl.lit(reason, pl.String),
        )
        return _Served(forecast, shadows, made.calibration, reason)
    # The best shadow answers; it is that version's row, marked as served and fallback.
    *others, best = sorted(shadows, key=lambda made: made["model_version"][0] == CLIMATOLOGY)
    reason = "; ".join(reasons)
    fallback = best.with_columns(
        is_served=True, is_fallback=True, fallback_reason=pl.lit(reason, pl.String)
    )
    return _Served(fallback, others, None, reason)


class _Made(NamedTuple):
    """What one version says."""

    model: Forecaster
    forecast: pl.DataFrame
    calibration: pl.DataFrame


def _made(settings: Settings, ground: _Ground, version: ModelVersion) -> _Made:
    """The calibrated forecast of a version.

    Raises:
        ModelError: it cannot be loaded, or cannot forecast.
    """
    model = load(settings.home / version.artifact_path, version.artifact_sha256)
    raw = model.predict(ground.history, [ground.issue_time], ground.external)
    name = version.model_version
    margins = choose(ground.evidence, ground.margins[name], ground.issue_time, model.horizon_hours)
    forecast = _marked(calibrate(raw, margins), name)
    return _Made(model, forecast, calibrated.rows(raw, margins, name))


def _former_forecast(
    settings: Settings, ground: _Ground, former: ModelVersion
) -> list[pl.DataFrame]:
    """What the replaced champion would have said; nothing if it no longer can."""
    try:
        return [_made(settings, ground, former).forecast]
    except ModelError:
        return []


def _without(model: Forecaster, ground: _Ground) -> list[str]:
    """Which of its inputs a model does without."""
    lacking = [
        group
        for group in missing_groups(ground.external, ground.issue_time, model.horizon_hours)
        if group in model.reads
    ]
    return [f"without {', '.join(lacking)}: not published by the issue time"] if lacking else []


def _marked(forecast: pl.DataFrame, version: str) -> pl.DataFrame:
    return forecast.with_columns(
        pl.lit(version).alias("model_version"),
        pl.lit(False).alias("is_served"),
        pl.lit(False).alias("is_fallback"),
        pl.lit(None, pl.String).alias("fallback_reason"),
    )
