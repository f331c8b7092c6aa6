"""Issuing the forecast of one issue time: the champion's, and the shadows beside it.

A forecast is always issued while there is anything to issue it from. Without some of its
inputs from others the champion does without them: the forecast is degraded, and says what it
lacks. Where the champion cannot forecast at all, the previous champion does, and then damped
climatology: that is a fallback, and says why.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl

from co2_assets.errors import InputsMissing, ModelError
from co2_assets.forecasting.artifact import load
from co2_assets.forecasting.baselines import fit_climatology, fit_persistence
from co2_assets.forecasting.calibration import SplitMargins, calibrate, select_margins
from co2_assets.forecasting.drift import NO_CHAMPION, unusable
from co2_assets.forecasting.external import missing_columns
from co2_assets.forecasting.prognosis import fit_prognosis
from co2_assets.orchestration.history import history_start, read_external, read_history
from co2_assets.schema import AREA, QUANTILE_COLUMNS
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
    inputs_missing: tuple[str, ...] = ()
    """External columns that the served forecast was made without."""


def issue(
    warehouse: Warehouse, settings: Settings, *, issue_time: datetime, now: datetime, run_id: str
) -> Issued:
    """Make and store the forecasts of one issue time, unless it has them already.

    Args:
        warehouse: where from and where to.
        settings: horizon, history and artifacts.
        issue_time: end of the measured hours that may be used; lead 1 begins here.
        now: the platform's time. It is the cut-off for what others publish; more than an
            hour late makes a hindcast, with the cut-off that every forecast afterwards has.
        run_id: for the audit.
    """
    is_hindcast = now > issue_time + HINDCAST_AFTER
    cutoff = None if is_hindcast else now
    with warehouse.read("history for a forecast") as con:
        if stored.has_served(con, issue_time):
            return Issued("already issued", 0, None)
        ground = _read(con, settings, issue_time, cutoff, is_hindcast=is_hindcast)
        ages = stored.input_ages(con, issue_time, cutoff or issue_time + settings.issue_delay)
    shadows, lacking = _shadows(settings, ground)
    if not shadows:
        return Issued("no data", 0, lacking)
    served = _served(settings, ground, shadows)
    forecasts = pl.concat([*served.shadows, served.forecast]).with_columns(
        pl.lit(AREA).alias("area"),
        pl.lit(is_hindcast).alias("is_hindcast"),
        pl.lit(cutoff or issue_time + settings.issue_delay)
        .dt.cast_time_unit("us")
        .alias("cutoff_utc"),
        *(pl.lit(age, pl.Float64).alias(name) for name, age in ages._asdict().items()),
        pl.lit(now).dt.cast_time_unit("us").alias("issued_at_utc"),
        pl.lit(run_id).alias("dagster_run_id"),
    )
    with warehouse.write("ml.forecasts", run_id) as tx:
        counts = stored.store_forecasts(tx, forecasts)
        if counts.new and served.calibration is not None:
            calibrated.store(tx, served.calibration.with_columns(pl.lit(AREA).alias("area")))
    return Issued(
        "issued" if counts.new else "already issued",
        counts.new,
        served.reason,
        served.inputs_missing,
    )


class _Ground(NamedTuple):
    """All that a forecast of one issue time may go by."""

    issue_time: datetime
    history: pl.DataFrame
    external: pl.DataFrame
    versions: list[ModelVersion]
    """Whose forecast it may be, the best first."""
    evidence: pl.DataFrame
    """Forecasts before their calibration, with the actuals that are known by now."""
    margins: dict[str, SplitMargins]
    """Margins of each version's own holdout."""
    former: ModelVersion | None
    """The champion that was replaced not long ago."""


def _read(
    con: Connection,
    settings: Settings,
    issue_time: datetime,
    cutoff: datetime | None,
    *,
    is_hindcast: bool,
) -> _Ground:
    versions = _versions_for(con, issue_time, is_hindcast=is_hindcast)
    former = (
        None if is_hindcast else registry.replaced_since(con, issue_time - COMPARED_FOR, issue_time)
    )
    trained = [version.train_end_utc - timedelta(days=INPUT_DAYS) for version in versions]
    return _Ground(
        issue_time=issue_time,
        history=read_history(con, history_start(settings, issue_time), issue_time),
        external=read_external(
            con,
            settings,
            min([issue_time - timedelta(days=EXTERNAL_DAYS), *trained]),
            issue_time,
            cutoff=cutoff,
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
    inputs_missing: tuple[str, ...] = ()


def _served(settings: Settings, ground: _Ground, shadows: list[pl.DataFrame]) -> _Served:
    """The platform's answer: the first of the versions that can forecast, or a baseline."""
    kind, reasons = (None, []) if ground.versions else ("no_champion", [NO_CHAMPION])
    for rank, version in enumerate(ground.versions):
        try:
            made = _made(settings, ground, version)
        except ModelError as error:
            kind = kind or _kind(error)
            reasons.append(_said_of(version, error))
            continue
        calibration = made.calibration
        if rank:
            reasons.append(f"{version.model_version} answers, the champion before")
        elif ground.former is not None:
            former = _former(settings, ground, ground.former)
            shadows = [*shadows, *(one.forecast for one in former)]
            calibration = pl.concat([calibration, *(one.calibration for one in former)])
        reason = "; ".join(reasons) or None
        forecast = made.forecast.with_columns(
            is_served=True,
            is_fallback=pl.lit(rank > 0),
            fallback_kind=pl.lit(kind, pl.String),
            fallback_reason=pl.lit(reason, pl.String),
        )
        return _Served(forecast, shadows, calibration, reason, made.inputs_missing)
    # The best shadow answers; it is that version's row, marked as served and fallback.
    *others, best = sorted(shadows, key=lambda made: made["model_version"][0] == CLIMATOLOGY)
    reason = "; ".join(reasons)
    fallback = best.with_columns(
        is_served=True,
        is_fallback=True,
        fallback_kind=pl.lit(kind, pl.String),
        fallback_reason=pl.lit(reason, pl.String),
    )
    return _Served(fallback, others, None, reason)


def _kind(error: ModelError) -> str:
    return "measurements_missing" if isinstance(error, InputsMissing) else "champion_unusable"


def _said_of(version: ModelVersion, error: ModelError) -> str:
    if isinstance(error, InputsMissing):
        return f"{version.model_version}: {error}"
    return unusable(version.model_version, str(error))


class _Made(NamedTuple):
    """What one version says."""

    forecast: pl.DataFrame
    calibration: pl.DataFrame
    inputs_missing: tuple[str, ...]


def _made(settings: Settings, ground: _Ground, version: ModelVersion) -> _Made:
    """The calibrated forecast of a version.

    Raises:
        ModelError: it cannot be loaded, or cannot forecast.
    """
    name, issue_time = version.model_version, ground.issue_time
    model = load(settings.home / version.artifact_path, version.artifact_sha256)
    raw = _predicted(model.predict, ground, name)
    missing = tuple(
        column
        for column in missing_columns(ground.external, issue_time, model.horizon_hours)
        if column in model.reads
    )
    lacked = ", ".join(missing) or None
    alike = ground.evidence.filter(
        pl.col("model_version") == name,
        pl.col("inputs_missing").eq_missing(pl.lit(lacked, pl.String)),
    )
    margins = select_margins(alike, ground.margins[name], missing, issue_time, model.horizon_hours)
    forecast = _marked(calibrate(raw, margins), name, lacked)
    return _Made(forecast, calibrated.rows(raw, margins, name), missing)


def _predicted(predict: Callable[..., pl.DataFrame], ground: _Ground, name: str) -> pl.DataFrame:
    """What a version says, whole.

    Raises:
        ModelError: it fails, in whatever way, or gives a quantile that is no number.
    """
    try:
        raw = predict(ground.history, [ground.issue_time], ground.external)
    except ModelError:
        raise
    except Exception as error:  # a stored model must not stop the tick, whatever is wrong with it
        raise ModelError(
            "a version fails to forecast", where=name, found=f"{type(error).__name__}: {error}"
        ) from error
    values = raw.select(QUANTILE_COLUMNS).to_numpy()
    if not np.isfinite(values).all():
        raise ModelError(
            "a version forecasts what is no number",
            where=name,
            found=f"{int((~np.isfinite(values)).sum())} of {values.size} quantiles",
            expected="finite ones",
        )
    return raw


def _former(settings: Settings, ground: _Ground, former: ModelVersion) -> list[_Made]:
    """What the replaced champion would have said; nothing if it no longer can."""
    try:
        return [_made(settings, ground, former)]
    except ModelError:
        return []


def _marked(forecast: pl.DataFrame, version: str, missing: str | None = None) -> pl.DataFrame:
    return forecast.with_columns(
        pl.lit(version).alias("model_version"),
        pl.lit(False).alias("is_served"),
        pl.lit(False).alias("is_fallback"),
        pl.lit(None, pl.String).alias("fallback_kind"),
        pl.lit(None, pl.String).alias("fallback_reason"),
        pl.lit(missing, pl.String).alias("inputs_missing"),
    )
