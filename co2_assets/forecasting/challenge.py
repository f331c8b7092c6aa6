"""A challenge: train up to a holdout, compare on it, refit what wins on the whole range."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from co2_assets.errors import InputsMissing, ModelError
from co2_assets.forecasting.advice_holdout import advice_metrics
from co2_assets.forecasting.baselines import fit_climatology, fit_persistence
from co2_assets.forecasting.calibration import holdout_without, margins_of
from co2_assets.forecasting.evaluate import rolling_origin, summarise
from co2_assets.forecasting.external import without
from co2_assets.forecasting.forecaster import Forecaster, first_hour
from co2_assets.forecasting.gate import FEWEST_DAYS, GateOutcome, decide_gate
from co2_assets.forecasting.metrics import skill
from co2_assets.forecasting.registry import Fit, Shape, recipe
from co2_assets.forecasting.train import Progress
from co2_assets.schema import (
    CO2_COLUMN,
    EXTERNAL_COLUMNS,
    EXTERNAL_GROUPS,
    FEATURE_COLUMNS,
    QUANTILE_COLUMNS,
    available_column,
)

ISSUE_EVERY = timedelta(hours=6)
FEWEST_HOLDOUT = timedelta(days=FEWEST_DAYS)
FEWEST_HISTORY = 3 * FEWEST_HOLDOUT
"""A holdout, and twice as much to train on."""


@dataclass(frozen=True)
class Challenge:
    """A trained model, how it was judged, and all that goes on record."""

    forecaster: Forecaster
    outcome: GateOutcome
    metrics: list[dict[str, Any]]
    train_start: datetime
    train_end: datetime
    holdout_start: datetime
    holdout_end: datetime
    hyperparameters: dict[str, Any]
    features: tuple[str, ...]
    data_fingerprint: str
    training_seconds: float


def train_challenger(
    history: pl.DataFrame,
    now: datetime,
    *,
    external: pl.DataFrame | None = None,
    recipe_name: str,
    training_days: int,
    holdout_days: int,
    shape: Shape,
    champion: Forecaster | None,
    champion_train_end: datetime | None,
    confidence: float,
    progress: Progress | None = None,
) -> Challenge:
    """Train a challenger on what was known at `now`, and judge it.

    The holdout is the newest stretch that neither side saw in training: `holdout_days`
    long, or what came after the champion's training, but never less than a week. With less
    that the champion has not seen, nobody is promoted. A winner is trained again on the whole
    range; a loser stays as it was judged.

    Args:
        history: up to `now`; see the package.
        now: end of the data that may be used.
        external: inputs from elsewhere, each with the time from which it may be used.
        recipe_name: a name in `registry.RECIPES`.
        training_days: days before `now` that are trained on.
        holdout_days: days before `now` that are held out for the gate; a week to a fifth of
            a short history.
        shape: lookback, horizon and seed.
        champion: the defender, or None.
        champion_train_end: end of what the defender was trained on.
        confidence: of the gate.
        progress: told what goes on.

    Raises:
        InputsMissing: no history, or too little for the training or the holdout.
        SettingsError: no such recipe.
    """
    chosen = recipe(recipe_name)
    started = time.monotonic()
    start = max(now - timedelta(days=training_days), first_hour(history))
    held = _holdout_start(now, start, holdout_days)
    # Only a champion that takes part can have an advantage from what it has seen.
    seen_until = champion_train_end if champion is not None else None
    holdout_start = held
    if seen_until is not None:
        holdout_start = min(max(held, seen_until), now)
    _tell(progress, f"fit on {start:%Y-%m-%d} to {holdout_start:%Y-%m-%d}, before the holdout")
    job = Fit(history, external, start, holdout_start, shape, progress)
    gate_fit = chosen.fit(job)
    if now - holdout_start < FEWEST_HOLDOUT:
        outcome = _incomparable(holdout_start, now)
        metrics: list[dict[str, Any]] = []
    else:
        outcome, metrics = _judge(job, gate_fit, champion, now, confidence)
        metrics += _margins_without(job, gate_fit, now)
    _tell(progress, outcome.reason)
    forecaster, end = gate_fit, holdout_start
    if outcome.promoted:
        _tell(progress, f"refit on {start:%Y-%m-%d} to {now:%Y-%m-%d}")
        forecaster, end = chosen.refit(gate_fit, job._replace(end=now)), now
    return Challenge(
        forecaster=forecaster,
        outcome=outcome,
        metrics=metrics,
        train_start=start,
        train_end=end,
        holdout_start=holdout_start,
        holdout_end=now,
        hyperparameters=chosen.hyperparameters(shape),
        features=chosen.features(shape),
        data_fingerprint=fingerprint(history, external, end),
        training_seconds=time.monotonic() - started,
    )


def _holdout_start(now: datetime, start: datetime, holdout_days: int) -> datetime:
    """Start of the holdout: no more than a fifth of a short history, no less than a week."""
    history = now - start
    if history < FEWEST_HISTORY:
        raise InputsMissing(
            "too little history for a training and a holdout",
            where=f"{start:%Y-%m-%dT%H} to {now:%Y-%m-%dT%H} UTC",
            found=f"{history / timedelta(days=1):.1f} days",
            expected=f"at least {FEWEST_HISTORY.days} days: {FEWEST_HOLDOUT.days} to compare on,"
            " the rest to train on",
            next_step="load more history (CO2_TRAINING_DAYS)",
        )
    length = max(min(timedelta(days=holdout_days), history / 5), FEWEST_HOLDOUT)
    return (now - length).replace(minute=0, second=0, microsecond=0)


def _incomparable(champion_train_end: datetime, now: datetime) -> GateOutcome:
    return GateOutcome(
        False,
        f"nothing to compare on: the champion was trained up to {champion_train_end:%Y-%m-%dT%H},"
        f" data end at {now:%Y-%m-%dT%H} UTC, and a comparison needs {FEWEST_HOLDOUT.days} days"
        " that it has not seen",
    )


def _judge(
    job: Fit,
    gate_fit: Forecaster,
    champion: Forecaster | None,
    now: datetime,
    confidence: float,
) -> tuple[GateOutcome, list[dict[str, Any]]]:
    history, start, holdout_start, shape = job.history, job.start, job.end, job.shape
    issue_times = six_hourly(holdout_start, now)
    contenders: dict[str, Forecaster] = {
        "challenger": gate_fit,
        "persistence": fit_persistence(history, start, holdout_start, shape.horizon_hours),
        "climatology": fit_climatology(history, start, holdout_start, shape.horizon_hours),
    }
    if champion is not None:
        contenders["champion"] = champion
    paired = {
        name: roll(forecaster, history, issue_times, job.external)
        for name, forecaster in contenders.items()
    }
    if paired["challenger"].is_empty():
        raise InputsMissing(
            "the holdout has no forecast with an actual",
            where=f"{holdout_start:%Y-%m-%dT%H} to {now:%Y-%m-%dT%H} UTC",
            found="no issue time with all its inputs",
            expected="a feed that works: see co2.data_quality",
        )
    outcome = decide_gate(
        paired["challenger"],
        paired.get("champion"),
        {name: paired[name] for name in ("persistence", "climatology")},
        confidence=confidence,
    )
    return outcome, _metrics(paired) + advice_metrics(paired["challenger"])


def six_hourly(start: datetime, end: datetime) -> list[datetime]:
    """Six-hourly issue times in [start, end), on 00, 06, 12 and 18 UTC."""
    first = start.replace(hour=0) + ISSUE_EVERY * -(-start.hour // 6)
    count = max(0, -(-(end - first) // ISSUE_EVERY))
    return [first + ISSUE_EVERY * index for index in range(count)]


def roll(
    forecaster: Forecaster,
    history: pl.DataFrame,
    issue_times: Sequence[datetime],
    external: pl.DataFrame | None,
) -> pl.DataFrame:
    """Forecasts of the issue times that have their inputs, paired with what followed.

    All at once where all do; else by halves, so that a gap costs little.
    """
    try:
        return rolling_origin(forecaster, history, issue_times, external)
    except InputsMissing:
        if len(issue_times) <= 1:
            return _NOTHING
    except ModelError:
        if len(issue_times) <= 1:
            raise
    middle = len(issue_times) // 2
    halves = (
        roll(forecaster, history, some, external)
        for some in (issue_times[:middle], issue_times[middle:])
    )
    return pl.concat([half for half in halves if half.height] or [_NOTHING])


_NOTHING = pl.DataFrame(
    schema={
        "issue_time_utc": pl.Datetime("us", "UTC"),
        "lead_hours": pl.Int32,
        **dict.fromkeys(QUANTILE_COLUMNS, pl.Float64),
        "actual_g_per_kwh": pl.Float64,
    }
)


def _metrics(paired: dict[str, pl.DataFrame]) -> list[dict[str, Any]]:
    """Figures of every contender by lead, with skill against persistence."""
    rows: list[dict[str, Any]] = [
        {"scope": "holdout", "predictor": name, **figure}
        for name, frame in paired.items()
        if frame.height
        for figure in summarise(frame)
    ]
    reference = {
        row["leads"]: row["value"]
        for row in rows
        if row["predictor"] == "persistence" and row["metric"] == "mae"
    }
    return (
        rows
        + _margins(paired["challenger"], "holdout")
        + [
            {**row, "metric": "skill", "value": skill(row["value"], reference[row["leads"]])}
            for row in rows
            if row["metric"] == "mae" and row["leads"] in reference
        ]
    )


def _margins_without(job: Fit, gate_fit: Forecaster, now: datetime) -> list[dict[str, Any]]:
    """The same for forecasts that lack a group of external inputs, or all of them.

    So that a dataset that ends finds margins for what is forecast without it.
    """
    if job.external is None or not gate_fit.reads:
        return []
    times = six_hourly(job.end, now)
    rows: list[dict[str, Any]] = []
    for groups in (*((group,) for group in EXTERNAL_GROUPS), tuple(EXTERNAL_GROUPS)):
        columns = [column for group in groups for column in EXTERNAL_GROUPS[group]]
        rolled = roll(gate_fit, job.history, times, without(job.external, columns, job.end))
        if rolled.height:
            scope = holdout_without(groups)
            counts = rolled.group_by("lead_hours").len().sort("lead_hours").iter_rows()
            rows += _margins(rolled, scope)
            rows += [
                {"scope": scope, "predictor": "challenger", "leads": str(lead), "metric": "n",
                 "value": float(n)}
                for lead, n in counts
            ]  # fmt: skip
    return rows


def _margins(challenger: pl.DataFrame, scope: str) -> list[dict[str, Any]]:
    """What split conformal adds to the challenger's bands, by lead, in log units."""
    margins = margins_of(challenger, int(challenger["lead_hours"].max() or 0), "split")  # type: ignore[arg-type]
    return [
        {
            "scope": scope,
            "predictor": "challenger",
            "leads": str(row["lead_hours"]),
            "metric": f"margin_{row['band']}",
            "value": row["margin_log"],
        }
        for row in margins.frame().to_dicts()
    ]


def fingerprint(history: pl.DataFrame, external: pl.DataFrame | None, end: datetime) -> str:
    """Hash of all that a training up to `end` may read: the same data give the same hash.

    Measured hours, also those before the first window that serve as analogues, and what
    others had forecast by then.
    """
    columns = ["hour_utc", *FEATURE_COLUMNS, CO2_COLUMN, "is_trainable"]
    parts = [history.filter(pl.col("hour_utc") < end).select(columns)]
    if external is not None:
        known = {name: pl.col(available_column(name)) <= end for name in EXTERNAL_COLUMNS}
        parts.append(
            external.select(
                "hour_utc",
                *(
                    pl.when(is_known).then(part).alias(part)
                    for name, is_known in known.items()
                    for part in (name, available_column(name))
                ),
            ).filter(pl.any_horizontal(pl.col(EXTERNAL_COLUMNS).is_not_null()))
        )
    digest = hashlib.sha256()
    for column in (column for part in parts for column in part.iter_columns()):
        digest.update(column.name.encode())
        digest.update(column.cast(pl.Float64, strict=False).to_numpy().tobytes())
    return digest.hexdigest()


def _tell(progress: Progress | None, line: str) -> None:
    if progress:
        progress(line)
