"""Training a challenger, judging it at the gate, and putting the outcome on record."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from importlib.metadata import version as package_version

from co2_assets.errors import InputsMissing, ModelError
from co2_assets.forecasting.artifact import load, save
from co2_assets.forecasting.challenge import Challenge, train_challenger
from co2_assets.forecasting.forecaster import Forecaster
from co2_assets.forecasting.registry import Shape, recipe
from co2_assets.orchestration.history import history_start, read_external, read_history
from co2_assets.schema import DAY_AHEAD_PRICES, EXTERNAL_COLUMNS, WIND_SOLAR_FORECASTS
from co2_assets.settings import WINDOW, Settings
from co2_assets.warehouse import hours as hourly
from co2_assets.warehouse import raw, registry
from co2_assets.warehouse.query import Connection
from co2_assets.warehouse.store import Transaction, Warehouse


@dataclass(frozen=True)
class TrainingRequest:
    """What is to be trained, and why.

    `now` is the end of the data that may be used; None takes the end of the last complete
    hour stored, never the wall clock. A training that `waits` is put off while the history of
    a dataset that fails may still come; one by hand does not wait.
    """

    now: datetime | None
    run_id: str
    created_at: datetime
    decision_window_start: datetime | None = None
    waits: bool = False


@dataclass(frozen=True)
class PutOff:
    """A first training that waits for the history of datasets whose load failed."""

    datasets: tuple[str, ...]


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
) -> Trained | PutOff:
    """Train, judge and register one version; it is promoted only if the gate says so.

    Head is held only to read and to register: ticks go on while the model trains. A champion
    that was trained without inputs that are there now does not defend: its training is repeated.

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
        external = read_external(con, settings, start, now)
        champion = registry.champion_at(con, now)
        if request.waits and champion is None and (awaited := awaited_inputs(con, settings, now)):
            progress(f"put off: waits for the history of {', '.join(awaited)}")
            return PutOff(awaited)
        lacking = _lacking_inputs(con, settings, start, now)
    lacked = champion.inputs_missing if champion else ()
    repeated = [column for column in lacked if column not in lacking]
    defender = None if repeated else _loaded(settings, champion, progress)
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
        champion=defender,
        # One that cannot be loaded takes no part: nothing need be unseen by it.
        champion_train_end=champion.train_end_utc if champion and defender else None,
        confidence=settings.gate_confidence,
        progress=progress,
    )
    if champion and repeated:
        why = f"{champion.model_version} had to do without {', '.join(repeated)}: no defender"
        outcome = replace(challenge.outcome, reason=f"{challenge.outcome.reason}; {why}")
        challenge = replace(challenge, outcome=outcome)
    with warehouse.write("ml.model_versions", request.run_id) as tx:
        name = _register(tx, settings, request, now, challenge, lacking)
    return Trained(name, challenge)


HEALED_SHARE, MOST_SHARE = 0.9, 0.5
"""Of the hours of a training range: enough to say that a history is there; most of them."""


def awaited_inputs(con: Connection, settings: Settings, now: datetime) -> tuple[str, ...]:
    """Datasets whose history a first training waits for: their newest load failed.

    An outage of minutes must not choose the model of months; an outage of days must not stop
    the first model. Energinet's prognosis is not waited for: its past cannot be had again.
    """
    if recipe(settings.recipe).own_inputs or settings.first_window is None:
        return ()
    patience = timedelta(hours=settings.first_training_patience_hours)
    if now >= settings.first_window + WINDOW + patience:
        return ()
    failed, start = raw.failed_loads(con), history_start(settings, now)
    return tuple(
        table.qualified_name
        for table in (WIND_SOLAR_FORECASTS, DAY_AHEAD_PRICES)
        if table.qualified_name in failed
        and raw.covered_share(con, table, start, now) < HEALED_SHARE
    )


def healed_inputs(con: Connection, now: datetime) -> tuple[str, ...]:
    """External columns that the newest training had to do without, and whose history is there."""
    last = registry.last_training(con, now)
    if last is None:
        return ()
    return tuple(
        column
        for column in last.inputs_missing
        if raw.known_share(con, column, last.start, last.end) >= HEALED_SHARE
    )


def _lacking_inputs(
    con: Connection, settings: Settings, start: datetime, end: datetime
) -> tuple[str, ...]:
    """External columns that most hours of a training range lack; none where none are read."""
    if recipe(settings.recipe).own_inputs:
        return ()
    return tuple(
        column
        for column in EXTERNAL_COLUMNS
        if raw.known_share(con, column, start, end) < MOST_SHARE
    )


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
    lacking: tuple[str, ...],
) -> str:
    name = registry.next_version(tx.con)
    newest = registry.newest_promotion(tx.con)
    status, reason = "rejected", challenge.outcome.reason
    if challenge.outcome.promoted:
        status = "promoted"
        if newest is not None and newest > now:
            status = "outdated"
            reason += f"; a newer promotion stands, from {newest:%Y-%m-%dT%H:%M} UTC"
    folder = settings.artifacts_dir / name
    # A folder without a row is what a killed registration left behind.
    shutil.rmtree(folder, ignore_errors=True)
    card = {
        "model_version": name,
        "recipe": settings.recipe,
        "status": status,
        "reason": reason,
        "train_start_utc": challenge.train_start.isoformat(),
        "train_end_utc": challenge.train_end.isoformat(),
        "holdout_start_utc": challenge.holdout_start.isoformat(),
        "holdout_end_utc": challenge.holdout_end.isoformat(),
        "seed": settings.seed,
        "hyperparameters": challenge.hyperparameters,
        "features": list(challenge.features),
        "inputs_missing": list(lacking),
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
            "inputs_missing": ", ".join(lacking) or None,
            "data_fingerprint": challenge.data_fingerprint,
            "artifact_path": str(folder.relative_to(settings.home)),
            "artifact_sha256": sha256,
            "status": status,
            "reason": reason,
            "decision_window_start_utc": request.decision_window_start,
            "code_version": package_version("co2_assets"),
            "created_utc": request.created_at,
            "training_seconds": challenge.training_seconds,
            "dagster_run_id": request.run_id,
        },
        challenge.metrics,
    )
    if status == "promoted":
        registry.promote(tx, name, valid_from=now, reason=reason)
    return name
