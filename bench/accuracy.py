"""Accuracy of every forecaster on the same issue times: one fit, every hour of the test."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl

from co2_assets.forecasting.baselines import (
    fit_climatology,
    fit_persistence,
    fit_seasonal_naive,
)
from co2_assets.forecasting.evaluate import rolling_origin, summarise
from co2_assets.forecasting.forecaster import Forecaster
from co2_assets.forecasting.registry import RECIPES, Shape
from co2_assets.forecasting.windows import training_rows

TRAIN_START = datetime(2022, 12, 31, tzinfo=UTC)
TEST_START = datetime(2024, 7, 1, tzinfo=UTC)
TEST_END = datetime(2025, 1, 31, tzinfo=UTC)
SHAPE = Shape(lookback_hours=24, horizon_hours=6, seed=0)
RESAMPLES = 1000
LEVELS = (0.05, 0.95)


def measure(history: pl.DataFrame, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Rows of model, inputs, lead, metric, value, low, high; lead "1-6" is pooled.

    Low and high are the 90 % interval of a weekly block bootstrap, for MAE.
    """
    issue_times = _issue_times(history)
    say(f"accuracy: {len(issue_times)} hourly issue times from {TEST_START:%Y-%m-%d}")
    rows: list[dict[str, Any]] = []
    for name, fit in _fits().items():
        started = time.monotonic()
        forecaster = fit(history)
        took = time.monotonic() - started
        paired = rolling_origin(forecaster, history, issue_times)
        intervals = _intervals(paired)
        for figure in summarise(paired):
            lead = figure["lead_hours"] or "1-6"
            low, high = intervals[lead] if figure["metric"] == "mae" else (None, None)
            rows.append(
                {
                    "model": name,
                    "inputs": "own",
                    "lead": lead,
                    "metric": figure["metric"],
                    "value": figure["value"],
                    "low": low,
                    "high": high,
                }
            )
        say(f"  {name}: fitted in {took:.1f} s, MAE {intervals['mae']:.2f} g/kWh")
    return rows


def _fits() -> dict[str, Callable[[pl.DataFrame], Forecaster]]:
    baselines = {
        "persistence": fit_persistence,
        "seasonal_naive": fit_seasonal_naive,
        "climatology": fit_climatology,
    }
    return {
        **{
            name: lambda history, fit=fit: fit(
                history, TRAIN_START, TEST_START, SHAPE.horizon_hours
            )
            for name, fit in baselines.items()
        },
        **{
            name: lambda history, recipe=recipe: recipe.fit(
                history, TRAIN_START, TEST_START, SHAPE, None
            )
            for name, recipe in RECIPES.items()
        },
    }


def _issue_times(history: pl.DataFrame) -> list[datetime]:
    """Every hour whose inputs and actuals are whole, so that all models face the same ones."""
    rows = training_rows(
        history,
        TEST_START - timedelta(hours=SHAPE.lookback_hours),
        TEST_END,
        lookback_hours=SHAPE.lookback_hours,
        horizon_hours=SHAPE.horizon_hours,
    )
    first = history["hour_utc"][0]
    return [first + timedelta(hours=int(row)) for row in rows]


def _intervals(paired: pl.DataFrame) -> dict[Any, Any]:
    """MAE intervals by lead, and the pooled MAE under `mae`."""
    errors = paired.select(
        "lead_hours",
        (pl.col("issue_time_utc").dt.epoch("s") // (7 * 86_400)).alias("week"),
        (pl.col("p50_g_per_kwh") - pl.col("actual_g_per_kwh")).abs().alias("error"),
    )
    found: dict[Any, Any] = {"1-6": _bootstrap(errors), "mae": errors["error"].mean()}
    for lead in sorted(errors["lead_hours"].unique().to_list()):
        found[lead] = _bootstrap(errors.filter(pl.col("lead_hours") == lead))
    return found


def _bootstrap(errors: pl.DataFrame) -> tuple[float, float]:
    weeks = errors.group_by("week").agg(pl.col("error").sum(), pl.len().alias("n")).sort("week")
    total, count = weeks["error"].to_numpy(), weeks["n"].to_numpy()
    drawn = np.random.default_rng(0).integers(0, len(total), (RESAMPLES, len(total)))
    means = total[drawn].sum(axis=1) / count[drawn].sum(axis=1)
    low, high = np.quantile(means, LEVELS)
    return float(low), float(high)
