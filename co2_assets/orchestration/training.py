"""Training a challenger, judging it at the gate, and putting the outcome on record."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.metadata import version as package_version

from co2_assets.errors import InputsMissing, ModelError
from co2_assets.forecasting.artifact import load, save
from co2_assets.forecasting.challenge import Challenge, train_challenger
from co2_assets.forecasting.forecaster import Forecaster
from co2_assets.forecasting.registry import Shape
from co2_assets.orchestration.history import history_start, read_external, read_history
from co2_assets.settings import Settings
from co2_assets.warehouse import hours as hourly
from co2_assets.warehouse import registry
from co2_assets.warehouse.store import Transaction, Warehouse


@dataclass(frozen=True)
class TrainingRequest:
    """What is to be trained, and why.

    `now` is the end of the data that may be used; None takes the end of the last complete
    hour stored, never the wall clock.
    """

    now: datetime | None
    run_id: str
    created_at: datetime
    decision_window_start: datetime | None = None


@dataclass(frozen=True)
class Trained:
    """A registered version and how it came about."""

    model_version: str
    challenge: Challenge


def train(
    warehouse: Warehouse,
    settings: Settings,
    request: TrainingRequest,
    progress: Callable[[str], None],
) -> Trained:
    """Train, judge and register one version; it is promoted only if the gate says so.

    Head is held only to read and to register: ticks go on while the model trains.

    Raises:
        InputsMissing: nothing is stored to train on.
        ModelError: the training itself is impossible.
    """
    with warehouse.read("history for a training") as con:
        now = request.now or hourly.last_complete_hour_end(con)
        if now is None:
            raise InputsMissing(
                "there is nothing to train on",
                where="core.aggregated_hours",
                found="no complete hour",
                expected=f"{settings.training_days} days of hours",
                next_step="materialize raw/power_system and core/* first, or run `first_tick`",
            )
        start = history_start(settings, now)
        history = read_history(con, start, now)
        external = read_external(
            con, start, now + timedelta(hours=settings.horizon_hours), known_by=now
        )
        champion = registry.champion_at(con, now)
    challenge = train_challenger(
        history,
        now,
        external=external,
        recipe_name=settings.recipe,
        training_days=settings.training_days,
        holdout_days=settings.holdout_days,
        shape=Shape(
            settings.lookback_hours, settings.horizon_hours, settings.seed, settings.members
        ),
        champion=_loaded(settings, champion, progress),
        champion_train_end=champion.train_end_utc if champion else None,
        confidence=settings.gate_confidence,
        progress=progress,
    )
    with warehouse.write("ml.model_versions", request.run_id) as tx:
        name = _register(tx, settings, request, now, challenge)
    return Trained(name, challenge)


def _loaded(
    settings: Settings, champion: registry.ModelVersion | None, progress: Callable[[str], None]
) -> Forecaster | None:
    if champion is None:
        return None
    try:
        return load(settings.home / champion.artifact_path, champion.artifact_sha256)
    except ModelError as error:
        # A champion that cannot be loaded cannot defend its title; the reason is logged.
        progress(f"champion {champion.model_version} takes no part: {error}")
        return None


def _register(
    tx: Transaction,
    settings: Settings,
    request: TrainingRequest,
    now: datetime,
    challenge: Challenge,
) -> str:
    name = registry.next_version(tx.con)
    folder = settings.artifacts_dir / name
    # A folder without a row is what a killed registration left behind.
    shutil.rmtree(folder, ignore_errors=True)
    card = {
        "model_version": name,
        "recipe": settings.recipe,
        "status": "promoted" if challenge.outcome.promoted else "rejected",
        "reason": challenge.outcome.reason,
        "train_start_utc": challenge.train_start.isoformat(),
        "train_end_utc": challenge.train_end.isoformat(),
        "holdout_start_utc": challenge.holdout_start.isoformat(),
        "holdout_end_utc": challenge.holdout_end.isoformat(),
        "seed": settings.seed,
        "hyperparameters": challenge.hyperparameters,
        "features": list(challenge.features),
        "data_fingerprint": challenge.data_fingerprint,
        "metrics": challenge.metrics,
        "data": "Energinet (energidataservice.dk), CC BY 4.0",
    }
    sha256 = save(challenge.forecaster, folder, card)
    registry.register(
        tx,
        {
            "model_version": name,
            "recipe": settings.recipe,
            "train_start_utc": challenge.train_start,
            "train_end_utc": challenge.train_end,
            "holdout_start_utc": challenge.holdout_start,
            "holdout_end_utc": challenge.holdout_end,
            "seed": settings.seed,
            "hyperparameters": challenge.hyperparameters,
            "features": list(challenge.features),
            "data_fingerprint": challenge.data_fingerprint,
            "artifact_path": str(folder.relative_to(settings.home)),
            "artifact_sha256": sha256,
            "status": card["status"],
            "reason": challenge.outcome.reason,
            "decision_window_start_utc": request.decision_window_start,
            "code_version": package_version("co2_assets"),
            "created_utc": request.created_at,
            "training_seconds": challenge.training_seconds,
            "dagster_run_id": request.run_id,
        },
        challenge.metrics,
    )
    if challenge.outcome.promoted:
        registry.promote(tx, name, valid_from=now, reason=challenge.outcome.reason)
    return name
