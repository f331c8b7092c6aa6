"""Accuracy of every model on the same issue times: fitted once, every hour of the test."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import polars as pl

from co2_assets.forecasting.backtest import (
    Backtest,
    Figure,
    Plan,
    figures_of,
    paired_difference,
    run_backtest,
)
from co2_assets.forecasting.calibration import roll_margins
from co2_assets.forecasting.challenge import roll
from co2_assets.forecasting.external import GROUPS
from co2_assets.forecasting.registry import RECIPES, Fit, Shape, fit_named
from co2_assets.replay.dataset import Dataset
from co2_assets.schema import EXTERNAL_GROUPS, MISSION_LEADS

TRAIN_START = datetime(2022, 12, 31, tzinfo=UTC)
TEST_START = datetime(2024, 7, 1, tzinfo=UTC)
TEST_END = datetime(2025, 1, 31, tzinfo=UTC)
SHAPE = Shape(lookback_hours=24, horizon_hours=24, seed=0, members=3)

SHORT = SHAPE._replace(horizon_hours=6)
"""The mission's leads: measured inputs alone know little beyond, and 24 leads of LightGBM with
seven quantiles and three seeds are 504 models."""

MODELS = (
    "persistence",
    "seasonal_naive",
    "climatology",
    "energinet",
    "energinet_recalibrated",
    "log_ridge",
    "attention_lstm",
)
SIX_LEADS = ("lightgbm", "lightgbm_own", "log_ridge_own", "attention_lstm_own", "seed")
CHAMPION = "attention_lstm"
RIVALS = ("lightgbm", "log_ridge", "energinet", "energinet_recalibrated", "persistence")

Rows = list[dict[str, Any]]


class Accuracy(NamedTuple):
    """What was measured: figures by model, paired differences, forecasts without groups."""

    figures: Rows
    differences: Rows


def measure(dataset: Dataset, say: Callable[[str], None]) -> Accuracy:
    """Every model and the champion without each group.

    Figures are rows of model, inputs, leads, metric, value, low, high; low and high are the
    90 % interval of a weekly block bootstrap.
    """
    started = time.monotonic()

    def told(line: str) -> None:
        say(f"  {time.monotonic() - started:6.0f} s  {line}")

    days = (TEST_START - TRAIN_START).days
    hour = timedelta(hours=1)
    plan = Plan(TEST_START, TEST_END, MODELS, hour, "never", days, SHAPE)
    short = replace(plan, models=SIX_LEADS, shape=SHORT)
    found = run_backtest(*dataset, plan, told)
    six = run_backtest(*dataset, short, told)
    figures = _rows(found.figures)
    figures += _rows(six.figures, leave_out=("persistence",))
    figures += _without_groups(dataset, found, told)
    own_champion = f"{CHAMPION}_own"
    told(f"{own_champion}, refitted monthly")
    monthly = replace(short, models=(own_champion,), refit="monthly")
    figures += _rows(
        run_backtest(*dataset, monthly, told).figures,
        suffix=", refitted monthly",
        leave_out=("persistence",),
    )
    return Accuracy(figures, _differences(six.paired | found.paired))


def _without_groups(dataset: Dataset, found: Backtest, told: Callable[[str], None]) -> Rows:
    """The champion when a group stays away from the first issue time on."""
    plan, persistence = found.plan, found.paired["persistence"]
    start = max(plan.start - timedelta(days=plan.training_days), dataset.history["hour_utc"][0])
    model = fit_named(CHAMPION, Fit(*dataset, start, plan.start, plan.shape))
    times = persistence["issue_time_utc"].unique().sort().to_list()
    figures: Rows = []
    for lacking in (*((group,) for group in GROUPS), GROUPS):
        name = f"{CHAMPION} without {' and '.join(lacking)}"
        rows = roll(model, dataset.history, times, _without(dataset.external, lacking))
        figures += _rows(figures_of(name, roll_margins(rows), persistence), inputs="external")
        told(name)
    return figures


def _without(external: pl.DataFrame, groups: tuple[str, ...]) -> pl.DataFrame:
    """The external frame as if these groups had not been published since the test began."""
    columns = [name for group in groups for name in EXTERNAL_GROUPS[group]]
    later = pl.col("hour_utc") >= TEST_START
    return external.with_columns(pl.when(~later).then(name).alias(name) for name in columns)


def _rows(
    figures: list[Figure],
    *,
    suffix: str = "",
    leave_out: tuple[str, ...] = (),
    inputs: str | None = None,
) -> Rows:
    return [
        {
            "model": figure.model.removesuffix("_own") + suffix,
            "inputs": inputs or _inputs(figure.model),
            "leads": figure.leads,
            "metric": figure.metric,
            "value": figure.value if math.isfinite(figure.value) else None,
            "low": figure.low,
            "high": figure.high,
        }
        for figure in figures
        if figure.model not in leave_out
    ]


def _inputs(name: str) -> str:
    if name.startswith("energinet"):
        return "external"
    return "external" if name in RECIPES and not RECIPES[name].own_inputs else "own"


def _differences(paired: dict[str, pl.DataFrame]) -> Rows:
    """MAE of the champion less that of each rival, on the values that both forecast."""
    rows = []
    for rival in RIVALS:
        leads = {
            **{str(lead): [lead] for lead in range(1, SHAPE.horizon_hours + 1)},
            "1-6": list(range(1, MISSION_LEADS + 1)),
            "1-24": list(range(1, SHAPE.horizon_hours + 1)),
        }
        reach = int(paired[rival]["lead_hours"].max() or 0)  # type: ignore[arg-type]
        for name, chosen in leads.items():
            if max(chosen) > reach:
                continue
            difference, low, high, n = paired_difference(paired[CHAMPION], paired[rival], chosen)
            rows.append(
                {
                    "model": CHAMPION,
                    "against": rival,
                    "leads": name,
                    "difference": difference,
                    "low": low,
                    "high": high,
                    "n": n,
                }
            )
    return rows
