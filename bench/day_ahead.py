"""The greenest three hours of a Danish day, decided at 17:30 UTC the day before.

Measured hours end at 17:00; what others publish counts if it was known by 17:30. All rivals
choose on the same days, and only days that are measured whole and that all rivals forecast whole
count. Saved is the day's mean less what the chosen hours emitted.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from bench.accuracy import SHAPE, TEST_END, TEST_START, TRAIN_START
from bench.decision_replay import Replay, by_issue_time
from bench.sarimax import forecast_sarimax
from co2_assets.forecasting.advice_calibration import usual_quantile
from co2_assets.forecasting.backtest import Plan, interval, run_backtest
from co2_assets.forecasting.greenest import window_means
from co2_assets.replay.dataset import Dataset
from co2_assets.schema import EXTERNAL_COLUMNS, QUANTILES, available_column

DENMARK = ZoneInfo("Europe/Copenhagen")
ISSUE_HOUR, DECIDED_AFTER = 17, timedelta(minutes=30)
HORIZON_HOURS = 30
"""From 17:00 UTC to the end of the next Danish day, in winter."""

DURATION_HOURS = 3

Rows = list[dict[str, Any]]
Policies = dict[str, tuple[str, float | None]]


def measure_day_ahead(
    dataset: Dataset, models: tuple[str, ...], policies: Policies, say: Callable[[str], None]
) -> Rows:
    """Captured share by policy, of what a perfect choice saves against the day's mean.

    Args:
        dataset: the recordings.
        models: to fit and forecast with.
        policies: by name, whose forecast decides and which quantile of it; None is the
            platform's rule.
        say: told each fit.
    """
    known = dataset._replace(external=known_by_half_past(dataset.external))
    plan = Plan(
        TEST_START.replace(hour=ISSUE_HOUR),
        TEST_END,
        models,
        timedelta(days=1),
        "never",
        (TEST_START - TRAIN_START).days,
        SHAPE._replace(horizon_hours=HORIZON_HOURS),
    )
    replayed = by_issue_time(run_backtest(*known, plan, say).paired)
    sarimax = forecast_sarimax(known, replayed.times, HORIZON_HOURS)
    return captured(replayed.with_points("sarimax", sarimax), policies)


def known_by_half_past(external: pl.DataFrame) -> pl.DataFrame:
    """With all that is known by half past counted as known at the hour."""
    return external.with_columns(
        pl.col(available_column(column)) - DECIDED_AFTER for column in EXTERNAL_COLUMNS
    )


def captured(replayed: Replay, policies: Policies) -> Rows:
    """What each policy's three hours saved of the best, on the days that all know."""
    saved: dict[str, list[float]] = {name: [] for name in policies}
    best: list[float] = []
    weeks: list[float] = []
    for row, issue_time in enumerate(replayed.times):
        first, last = next_danish_day(issue_time)
        forecasts = {
            name: quantiles[row, first:last] for name, quantiles in replayed.quantiles.items()
        }
        if any(np.isnan(forecasts[whose]).any() for whose, _ in policies.values()):
            continue
        actual = replayed.actual[row, first:last]
        means = window_means(actual, DURATION_HOURS)
        best.append(actual.mean() - means.min())
        weeks.append(replayed.weeks[row])
        for name, (whose, quantile) in policies.items():
            decides = usual_quantile(last) if quantile is None else quantile
            deciding = forecasts[whose][:, QUANTILES.index(decides)]
            start = int(window_means(deciding, DURATION_HOURS).argmin())
            saved[name].append(actual.mean() - means[start])
    return [
        {
            "policy": name,
            "captured_share": float(np.sum(found) / np.sum(best)),
            "low": low,
            "high": high,
            "saved": float(np.mean(found)),
            "best": float(np.mean(best)),
            "days": len(best),
        }
        for name, found in saved.items()
        for low, high in [interval((np.array(found), np.array(best)), np.array(weeks))]
    ]


def next_danish_day(issue_time: datetime) -> tuple[int, int]:
    """Hours from an issue time to the begin and to the end of the Danish day after it."""
    today = issue_time.astimezone(DENMARK).date()
    begin, end = (
        datetime.combine(today + timedelta(days=days), datetime.min.time(), DENMARK)
        for days in (1, 2)
    )
    return tuple(  # type: ignore[return-value]
        round((moment.timestamp() - issue_time.timestamp()) / 3600) for moment in (begin, end)
    )
