"""The retrain rule on the recorded years: false alarms, a stale model, feeds at fault.

    python -m bench.drift          (make bench-drift)

Forecasts, scores, evidence and decisions go through the platform's own tables and rule; only
Dagster is left out. Results go to bench/results/drift.json and are printed as Markdown.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from co2_assets.forecasting.baselines import fit_climatology, fit_persistence
from co2_assets.forecasting.challenge import roll, six_hourly, train_challenger
from co2_assets.forecasting.drift import (
    RETRAIN,
    RetrainDecision,
    RetrainEvidence,
    RetrainRule,
    decide_retrain,
)
from co2_assets.forecasting.evaluate import score
from co2_assets.forecasting.forecaster import Forecaster
from co2_assets.forecasting.registry import Fit, Shape, fit_named
from co2_assets.replay.dataset import Dataset, history_of, recorded_dataset, recorded_hours
from co2_assets.replay.recordings import Recordings
from co2_assets.schema import (
    AGGREGATED_HOURS,
    CO2_COLUMN,
    FORECAST_EVALUATIONS,
    FORECASTS,
    QUANTILE_COLUMNS,
    VALUE_COLUMNS,
)
from co2_assets.settings import Settings
from co2_assets.transform.quality import assess, is_trainable
from co2_assets.warehouse.decisions import live_evidence
from co2_assets.warehouse.forecasts import read_to_score
from co2_assets.warehouse.raw import polars_schema
from co2_assets.warehouse.store import Warehouse

RESULTS = Path(__file__).parent / "results"
WINDOW = timedelta(hours=6)
DAY = timedelta(days=1)
SHAPE = Shape(
    lookback_hours=24, horizon_hours=6, seed=0, members=Settings.model_fields["members"].default
)
"""The rule speaks of the mission's six leads."""

HEALTHY = datetime(2024, 7, 1, tzinfo=UTC), datetime(2025, 1, 31, tzinfo=UTC)
TRAIN_START = datetime(2022, 12, 31, tzinfo=UTC)
SUMMER = datetime(2023, 6, 1, tzinfo=UTC), datetime(2023, 9, 1, tzinfo=UTC)
STARTS = datetime(2023, 10, 1, tzinfo=UTC), datetime(2023, 12, 1, tzinfo=UTC)
STALE_RECIPES = ("attention_lstm", "attention_lstm_own", "seed")
JUDGED_STARTS = 2
FAULT = datetime(2025, 1, 6, tzinfo=UTC), datetime(2025, 1, 13, tzinfo=UTC)

Rows = list[dict[str, Any]]
Say = Callable[[str], None]


def main() -> None:
    """Measure, print, write."""
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"  {time.monotonic() - began:6.0f} s  {line}", flush=True)

    rows: Rows = [*healthy(say), *stale(say), *faults(say)]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "drift.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(markdown(rows))


def markdown(rows: Rows) -> str:
    """The table for a reader."""
    lines = ["| scenario | what | value |", "|---|---|---|"]
    lines += [f"| {row['scenario']} | {row['what']} | {_shown(row['value'])} |" for row in rows]
    return "\n".join(lines)


def _shown(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# A healthy replay


def healthy(say: Say) -> Rows:
    """Every six hours of seven months by a model trained before them."""
    dataset = recorded_dataset()
    start, end = HEALTHY
    job = Fit(*dataset, TRAIN_START, start, SHAPE)
    model = fit_named("attention_lstm", job)
    say("healthy: trained")
    with scored(dataset, recorded_hours(Recordings.load()), model, start, end) as store:
        decisions = list(decided(store, start, end, last_training=start))
    say("healthy: decided")
    retrains = [when for when, decision in decisions if decision.decision == RETRAIN]
    accuracies = [e for e in (one.reason for _, one in decisions) if e]
    days = (end - start) / DAY
    scenario = "healthy, Jul 2024 to Jan 2025"
    return [
        _row(scenario, "ticks", len(decisions)),
        _row(scenario, "retrain decisions", len(retrains)),
        _row(scenario, "false retrains per 30 days", 30 * len(retrains) / days),
        *(
            _row(scenario, f"decisions by rule: {rule}", sum(d.rule == rule for _, d in decisions))
            for rule in sorted({d.rule for _, d in decisions})
        ),
        _row(scenario, "last reason", accuracies[-1]),
    ]


# A stale model


def stale(say: Say) -> Rows:
    """A model of one summer serves from each day of October and November on."""
    dataset = recorded_dataset()
    rows: Rows = []
    for recipe in STALE_RECIPES:
        model = fit_named(recipe, Fit(*dataset, *SUMMER, SHAPE))
        scenario = f"summer 2023 only: {recipe}"
        first, last = STARTS
        starts = [first + index * DAY for index in range((last - first).days)]
        with scored(
            dataset, recorded_hours(Recordings.load()), model, first, last + 30 * DAY
        ) as store:
            waits = {begin: _days_until_retrain(store, begin) for begin in starts}
            mape = _pseudo_accuracy(store, last)
        caught = [wait for wait in waits.values() if wait is not None]
        say(f"{scenario}: decided")
        rows += [
            _row(scenario, "start days", len(starts)),
            _row(scenario, "pseudo-accuracy, October and November", mape),
            _row(scenario, "caught within 7 days", sum(w <= 7 for w in caught) / len(starts)),
            _row(scenario, "caught within 30 days", sum(w <= 30 for w in caught) / len(starts)),
        ]
        rows += _judged(dataset, model, recipe, scenario, waits, say)
    return rows


def _days_until_retrain(store: Warehouse, begin: datetime) -> float | None:
    """Days of serving until the rule asks for a training; None in thirty days."""
    with store.write("serve from here", "bench") as tx:
        tx.execute(
            "UPDATE ml.forecast_evaluations SET is_served = issue_time_utc >= $begin"
            " WHERE model_version = 'model'",
            begin=begin,
        )
    for when, decision in decided(store, begin, begin + 30 * DAY, last_training=SUMMER[1]):
        if decision.decision == RETRAIN:
            return (when - begin) / DAY
    return None


def _judged(
    dataset: Dataset,
    model: Forecaster,
    recipe: str,
    scenario: str,
    waits: dict[datetime, float | None],
    say: Say,
) -> Rows:
    """What the gate says of the challenger, at the first retrains of some start days."""
    asked = [(begin, wait) for begin, wait in waits.items() if wait is not None]
    chosen = asked[:: max(1, len(asked) // JUDGED_STARTS)][:JUDGED_STARTS]
    rows: Rows = []
    for begin, wait in chosen:
        now = begin + wait * DAY
        challenge = train_challenger(
            dataset.history.filter(pl.col("hour_utc") < now),
            now,
            external=dataset.external,
            recipe_name=recipe if recipe != "seed" else "attention_lstm",
            training_days=730,
            holdout_days=28,
            shape=SHAPE,
            champion=model,
            champion_train_end=SUMMER[1],
            confidence=Settings().gate_confidence,
        )
        say(f"{scenario}: {challenge.outcome.reason}")
        rows.append(
            _row(
                scenario,
                f"gate, served from {begin:%Y-%m-%d}",
                ("promoted: " if challenge.outcome.promoted else "rejected: ")
                + challenge.outcome.reason,
            )
        )
    return rows


def _pseudo_accuracy(store: Warehouse, end: datetime) -> float | None:
    with store.read("pooled") as con:
        return live_evidence(con, end, accuracy_days=61, skill_days=14).pseudo_accuracy


# Feeds at fault

FAULTS: dict[str, Callable[[pl.Expr], dict[str, pl.Expr]]] = {
    "wind stuck at zero": lambda _: {"onshore_wind_mw": pl.lit(0.0)},
    "frozen feed": lambda inside: {
        name: pl.when(inside).then(None).otherwise(name).forward_fill() for name in VALUE_COLUMNS
    },
    "unit error, onshore wind x 1000": lambda _: {
        "onshore_wind_mw": pl.col("onshore_wind_mw") * 1000
    },
    "unit error, CO2 x 1000": lambda _: {CO2_COLUMN: pl.col(CO2_COLUMN) * 1000},
}


def faults(say: Say) -> Rows:
    """A week of a broken feed: what the data checks mark, and that nothing trains on it."""
    dataset = recorded_dataset()
    start, end = FAULT
    model = fit_named("attention_lstm", Fit(*dataset, TRAIN_START, HEALTHY[0], SHAPE))
    rows: Rows = []
    for name, spoil in FAULTS.items():
        inside = pl.col("hour_utc").is_between(start, end, closed="left")
        reported = recorded_hours(Recordings.load()).select(
            "hour_utc", *VALUE_COLUMNS, "minutes_seen"
        )
        hours = assess(
            reported.with_columns(
                pl.when(inside).then(value).otherwise(column).alias(column)
                for column, value in spoil(inside).items()
            )
        )
        spoiled = Dataset(history_of(hours), dataset.external)
        week = hours.filter(inside)
        trained_on = week.filter(is_trainable(hours).filter(hours.select(inside).to_series()))
        with scored(spoiled, hours, model, start - 14 * DAY, end + DAY) as store:
            decisions = list(decided(store, start, end + DAY, last_training=HEALTHY[0]))
        say(f"{name}: decided")
        rows += [
            _row(name, "hours of the week marked", week.filter(quality="ok").height * -1 + 168),
            _row(name, "hours of it that a training would use", trained_on.height),
            _row(
                name,
                "ticks that decided to retrain",
                sum(d.decision == RETRAIN for _, d in decisions),
            ),
            _row(
                name,
                "ticks that said: feed at fault",
                sum(d.rule == "feed_at_fault" for _, d in decisions),
            ),
        ]
    return rows


# The platform's tables


@contextmanager
def scored(
    dataset: Dataset, hours: pl.DataFrame, model: Forecaster, start: datetime, end: datetime
) -> Iterator[Warehouse]:
    """A warehouse with six-hourly forecasts of a model and the baselines, all scored."""
    times = six_hourly(start, end)
    before = start - timedelta(days=120)
    makers = {
        "model": model,
        "persistence": fit_persistence(dataset.history, before, start, SHAPE.horizon_hours),
        "climatology": fit_climatology(dataset.history, before, start, SHAPE.horizon_hours),
    }
    with tempfile.TemporaryDirectory() as folder:
        store = Warehouse(Path(folder))
        with store.write("hours and forecasts", "bench") as tx:
            tx.upsert(AGGREGATED_HOURS, hours.filter(pl.col("hour_utc") < end))
            for name, maker in makers.items():
                made = roll(maker, dataset.history, times, dataset.external)
                tx.upsert(FORECASTS, _stored(made, name, is_served=name == "model"))
            scores = score(read_to_score(tx.con, start, end))
            tx.upsert(FORECAST_EVALUATIONS, scores)
        yield store


def _stored(made: pl.DataFrame, name: str, *, is_served: bool) -> pl.DataFrame:
    wanted = polars_schema(FORECASTS)
    known = made.select(
        "issue_time_utc", "lead_hours", "valid_time_utc", *QUANTILE_COLUMNS
    ).with_columns(
        area=pl.lit("DK"),
        model_version=pl.lit(name),
        is_served=pl.lit(is_served),
        is_hindcast=pl.lit(False),
        is_fallback=pl.lit(False),
        issued_at_utc="issue_time_utc",
    )
    missing = [name for name in wanted if name not in known.columns]
    return known.with_columns(pl.lit(None).alias(name) for name in missing).select(
        pl.col(name).cast(kind) for name, kind in wanted.items()
    )


def decided(
    store: Warehouse, start: datetime, end: datetime, *, last_training: datetime
) -> Iterator[tuple[datetime, RetrainDecision]]:
    """The decision at the end of each window; a retrain starts the cooldown, as a training does."""
    settings = Settings()
    rule = RetrainRule(
        below=settings.retrain_below,
        min_forecasts=settings.retrain_min_forecasts,
        cooldown_days=settings.retrain_cooldown_days,
        faulty_share_max=settings.faulty_share_max,
    )
    with store.read("decisions") as con:
        when = start + WINDOW
        while when <= end:
            live = live_evidence(
                con,
                when,
                accuracy_days=settings.retrain_window_days,
                skill_days=settings.retrain_skill_days,
            )
            decision = decide_retrain(
                RetrainEvidence(
                    window_start=when - WINDOW,
                    window_end=when,
                    **live._asdict(),
                    champion="model",
                    last_training_end=last_training,
                ),
                rule,
            )
            if decision.decision == RETRAIN:
                last_training = when
            yield when, decision
            when += WINDOW


def _row(scenario: str, what: str, value: Any) -> dict[str, Any]:
    return {"scenario": scenario, "what": what, "value": value}


if __name__ == "__main__":
    main()
