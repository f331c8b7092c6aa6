"""How often the gate promotes challengers that are equal, and that are better.

    python -m bench.gate             (make bench-gate, about two minutes)
    python -m bench.gate --record    fit and roll all models again first, about half an hour

Real differences are resampled: the daily losses of pairs of models on the same issue times, drawn
in blocks of two weeks, so that what lasts for days stays together. Losses of the challenger are
scaled so that over the whole record it is equal to the champion, or better by a given share, in
every measure that the gate reads. Both models of a pair play the challenger in turn. Results go
to bench/results/gate.json and are printed as Markdown.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import permutations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.signal import lfilter

from co2_assets.forecasting.challenge import roll
from co2_assets.forecasting.forecaster import Floats
from co2_assets.forecasting.gate import GUARDS, MISSION, Comparison, Measure, losses_of
from co2_assets.forecasting.registry import Fit, Shape, fit_named
from co2_assets.forecasting.windows import whole_before
from co2_assets.replay.dataset import Dataset, recorded_dataset
from co2_assets.settings import Settings

RESULTS = Path(__file__).parent / "results"
RECORD = RESULTS / "gate_losses.parquet"
"""Mean loss of each model and measure on each day, six-hourly and hourly issue times."""

CONFIDENCE: float = Settings.model_fields["gate_confidence"].default
DAYS = (7, 14, 28, 56)
GAINS = (0.0, 0.05, 0.1)
BLOCK_DAYS = 14
TRIALS = 2000
"""Holdouts of each pair of models, in each direction."""

TRAIN_START, END = datetime(2022, 12, 31, tzinfo=UTC), datetime(2025, 1, 31, tzinfo=UTC)
MEASURES = (MISSION, *GUARDS)
AR_NOISE = 0.2
AR_CORRELATIONS = (0.0, 0.2, 0.4)

Rows = list[dict[str, Any]]


class Model(NamedTuple):
    """A model, fitted from the start of the recordings up to a day."""

    recipe: str
    fitted_to: str
    seed: int = 0
    members: int = 3
    """Those that the committed record was fitted with."""

    @property
    def name(self) -> str:
        """What it is called in the record."""
        return f"{self.recipe} to {self.fitted_to}, seed {self.seed}, members {self.members}"


ERAS: dict[str, tuple[Model, ...]] = {
    "2023-10-01": (
        Model("attention_lstm", "2023-09-01"),
        Model("attention_lstm", "2023-10-01"),
        Model("attention_lstm", "2023-10-01", seed=10),
        Model("attention_lstm", "2023-09-01", seed=20, members=1),
        Model("attention_lstm", "2023-10-01", seed=30, members=1),
        Model("attention_lstm_own", "2023-09-01"),
        Model("attention_lstm_own", "2023-10-01"),
        Model("log_ridge", "2023-07-01"),
        Model("log_ridge", "2023-09-01"),
        Model("log_ridge", "2023-10-01"),
        Model("log_ridge_own", "2023-10-01"),
    ),
    "2024-07-01": (
        Model("attention_lstm", "2024-04-01"),
        Model("attention_lstm", "2024-06-01"),
        Model("attention_lstm", "2024-07-01"),
        Model("attention_lstm_own", "2024-06-01"),
        Model("attention_lstm_own", "2024-07-01"),
        Model("log_ridge", "2024-04-01"),
        Model("log_ridge", "2024-06-01"),
        Model("log_ridge", "2024-07-01"),
        Model("lightgbm", "2024-07-01", members=1),
    ),
}
"""Models by the first day on which they are judged; all are judged to the end.

LightGBM does not go on learning: fitted on nine months, it would age over the sixteen that follow
and be nobody's equal on any day of them.
"""


def main(asked: list[str]) -> None:
    """Simulate, print, write."""
    if unknown := set(asked) - {"--record"}:
        raise SystemExit(f"unknown: {', '.join(sorted(unknown))}; there is only --record")
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"  {time.monotonic() - began:6.0f} s  {line}", flush=True)

    if asked:
        record(say).write_parquet(RECORD, compression="zstd", compression_level=19)
    rows = [*on_real_days(pl.read_parquet(RECORD), say), *on_simulated_days(say)]
    (RESULTS / "gate.json").write_text(json.dumps(rows, indent=1) + "\n")
    print(markdown(rows))


# The record


def record(say: Callable[[str], None]) -> pl.DataFrame:
    """Losses of all models by day, on the issue times that all models of an era forecast."""
    dataset = recorded_dataset()
    found = []
    for era, models in ERAS.items():
        losses = {}
        for model in models:
            losses[model.name] = losses_of(rolled(dataset, model, era))
            say(f"{model.name}: rolled from {era}")
        common = next(iter(losses.values())).select("issue_time_utc").unique()
        for one in losses.values():
            common = common.join(one, on="issue_time_utc", how="semi")
        for name, one in losses.items():
            kept = one.join(common, on="issue_time_utc", how="semi")
            found += [
                by_day(kept, every, measure).with_columns(
                    era=pl.lit(era), every_hours=pl.lit(every, pl.Int8), model=pl.lit(name)
                )
                for every in (6, 1)
                for measure in MEASURES
            ]
    return pl.concat(found)


def rolled(dataset: Dataset, model: Model, era: str) -> pl.DataFrame:
    """A model's forecasts of every hour of its era, with what followed."""
    horizon = 6 if model.recipe == "lightgbm" else 24
    shape = Shape(24, horizon, model.seed, model.members)
    start, fitted_to = (
        datetime.fromisoformat(day).replace(tzinfo=UTC) for day in (era, model.fitted_to)
    )
    history = dataset.history
    whole = whole_before(history["is_usable"].to_numpy(), shape.lookback_hours)[:-1]
    within = pl.col("hour_utc").is_between(start, END, closed="left")
    times = history.filter(within & pl.Series(whole))["hour_utc"].to_list()
    job = Fit(history, dataset.external, TRAIN_START, fitted_to, shape)
    return roll(fit_named(model.recipe, job), history, times, dataset.external)


def by_day(losses: pl.DataFrame, every: int, measure: Measure) -> pl.DataFrame:
    """Mean loss and number of values of each day."""
    return (
        losses.filter(measure.leads, pl.col("issue_time_utc").dt.hour() % every == 0)
        .group_by(pl.col("issue_time_utc").dt.date().alias("day"))
        .agg(loss=pl.col(measure.loss).mean().cast(pl.Float32), n=pl.len().cast(pl.Int16))
        .with_columns(measure=pl.lit(measure.name))
        .sort("day")
    )


# Real days


class Pair(NamedTuple):
    """Sums of the losses of two models on the days that both have, and counts, by measure."""

    champion: list[Floats]
    challenger: list[Floats]
    counts: list[Floats]


def on_real_days(recorded: pl.DataFrame, say: Callable[[str], None]) -> Rows:
    """The rows of all scenarios whose days are real."""
    rows = []
    for every, lengths in ((6, DAYS), (1, (28,))):
        pairs = pairs_of(recorded.filter(every_hours=every))
        for scenario, of_scenario in pairs.items():
            for days in lengths:
                rows += simulated(of_scenario, days, {"scenario": scenario, "every_hours": every})
                say(f"{scenario}, {days} days, every {every} h")
    return rows


def pairs_of(recorded: pl.DataFrame) -> dict[str, list[Pair]]:
    """Pairs of models by scenario, both directions.

    All refits of a recipe; of different recipes and inputs, those fitted up to the first day.
    """
    found: dict[str, list[Pair]] = {}
    for era, models in ERAS.items():
        of_era = recorded.filter(era=era)
        for one, other in permutations(models, 2):
            newest = one.fitted_to == other.fitted_to == era and one.seed == other.seed == 0
            if one.recipe == other.recipe:
                scenario = f"refits of {one.recipe.removesuffix('_own')}"
            elif not newest:
                continue
            elif one.recipe.endswith("_own") == other.recipe.endswith("_own"):
                scenario = "different recipes"
            elif one.recipe.removesuffix("_own") == other.recipe.removesuffix("_own"):
                scenario = "different inputs"
            else:
                continue
            found.setdefault(scenario, []).append(pair_of(of_era, one.name, other.name))
    return found


def pair_of(of_era: pl.DataFrame, champion: str, challenger: str) -> Pair:
    """Daily losses of two models, the challenger's scaled to the same mean in each measure."""
    both = of_era.filter(model=champion).join(
        of_era.filter(model=challenger), on=["measure", "day"], suffix="_challenger"
    )
    measures = both["measure"].n_unique()  # those beyond lead 6 not with a model of six leads
    both = both.filter(pl.len().over("day") == measures).sort("day")
    pair = Pair([], [], [])
    for measure in MEASURES:
        counts, mine, other = (
            both.filter(measure=measure.name)[name].to_numpy().astype(np.float64)
            for name in ("n", "loss", "loss_challenger")
        )
        if len(counts):
            pair.champion.append(mine * counts)
            pair.challenger.append(other * counts * (mine @ counts) / (other @ counts))
            pair.counts.append(counts)
    return pair


# Correlated days of a known kind


def on_simulated_days(say: Callable[[str], None]) -> Rows:
    """The same with differences that follow an autoregression with heavy tails."""
    rows = []
    for correlation in AR_CORRELATIONS:
        pair = autoregressive(correlation)
        for days in DAYS:
            row = {"scenario": "autoregression", "every_hours": 6}
            rows += simulated([pair], days, row, block_days=days, trials=10 * TRIALS)
        say(f"autoregression, {correlation}")
    return rows


def autoregressive(correlation: float) -> Pair:
    """Many days of differences like those of different recipes, correlated from day to day."""
    noise = np.random.default_rng(1).standard_t(5, 200_000)
    difference = lfilter([1.0], [1.0, -correlation], noise)
    difference *= AR_NOISE / difference.std()
    counts = np.full(len(difference), 24.0)
    return Pair([counts], [counts * (1 - difference)], [counts])


# The simulation


def simulated(
    pairs: list[Pair],
    days: int,
    row: dict[str, Any],
    *,
    block_days: int = BLOCK_DAYS,
    trials: int = TRIALS,
) -> Rows:
    """A row for each gain: how often challengers are promoted, and what the noise allows.

    The noise allows what a test would reach that promotes equal challengers as often and knows
    how their mean difference scatters over all holdouts.
    """
    random = np.random.default_rng(0)
    rates: dict[float, list[float]] = {gain: [] for gain in GAINS}
    allowed: dict[float, list[float]] = {gain: [] for gain in GAINS}
    noise, correlation = [], []
    for pair in pairs:
        champion, challenger, counts = (part[0] for part in pair)
        difference = (champion - challenger) / counts
        noise.append(difference.std() / (champion.sum() / counts.sum()))
        correlation.append(np.corrcoef(difference[1:], difference[:-1])[0, 1])
        drawn = blocks(len(counts), days, trials, min(block_days, days), random)
        gains = (champion - challenger)[drawn].sum(axis=1)
        for gain in GAINS:
            rates[gain].append(float(np.mean([promoted(pair, some, gain) for some in drawn])))
            limit = np.quantile(gains, 1 - rates[0.0][-1])
            allowed[gain].append(
                float(np.mean(gains + gain * challenger[drawn].sum(axis=1) > limit))
            )
    return [
        row
        | {
            "days": days,
            "correlation": float(np.mean(correlation)),
            "noise_percent": 100 * float(np.mean(noise)),
            "gain_percent": 100 * gain,
            "trials": trials * len(pairs),
            "promoted": float(np.mean(rates[gain])),
            "standard_error": math.sqrt(
                np.mean(rates[gain]) * (1 - np.mean(rates[gain])) / (trials * len(pairs))
            ),
            "lowest_pair": min(rates[gain]),
            "highest_pair": max(rates[gain]),
            "noise_allows": float(np.mean(allowed[gain])),
        }
        for gain in GAINS
    ]


def blocks(
    count: int, days: int, trials: int, block_days: int, random: np.random.Generator
) -> NDArray[np.int64]:
    """Indices of days in blocks that begin anywhere, shape (trials, days)."""
    starts = random.integers(0, count - block_days + 1, (trials, -(-days // block_days)))
    return (starts[:, :, None] + np.arange(block_days)).reshape(trials, -1)[:, :days]


def promoted(pair: Pair, drawn: NDArray[np.int64], gain: float) -> bool:
    """Whether the gate promotes a challenger on these days whose losses are lower by a gain."""
    compared = (
        Comparison.of_days(challenger[drawn] * (1 - gain), champion[drawn], counts[drawn])
        for champion, challenger, counts in zip(*pair, strict=True)
    )
    return next(compared).is_better(CONFIDENCE) and not any(
        guard.is_worse(CONFIDENCE) or guard.is_much_worse() for guard in compared
    )


def markdown(rows: Rows) -> str:
    """The tables for a reader: per cent of the holdouts in which the challenger is promoted."""
    by: dict[tuple[str, float, int, int], dict[float, dict[str, Any]]] = {}
    for row in rows:
        key = row["scenario"], row["correlation"], row["every_hours"], row["days"]
        by.setdefault(key, {})[row["gain_percent"]] = row
    lines = [
        f"Promotions, per cent of the holdouts, at a confidence of {CONFIDENCE}:",
        "",
        "| scenario | noise | correlation | issue times | days | equal | pairs"
        " | 5 % better | noise allows | 10 % better | noise allows |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (scenario, correlation, every, days), gains in by.items():
        equal, five, ten = (gains[100 * gain] for gain in GAINS)
        lines.append(
            f"| {scenario} | {equal['noise_percent']:.1f} | {correlation:.2f} | every {every} h"
            f" | {days} | {100 * equal['promoted']:.1f}"
            f" | {100 * equal['lowest_pair']:.0f} to {100 * equal['highest_pair']:.0f}"
            f" | {100 * five['promoted']:.0f} | {100 * five['noise_allows']:.0f}"
            f" | {100 * ten['promoted']:.0f} | {100 * ten['noise_allows']:.0f} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main(sys.argv[1:])
