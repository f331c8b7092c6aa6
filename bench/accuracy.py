"""Accuracy of every model on the same issue times: fitted once, every hour of the test.

Every hour an issue time is the larger sample; the platform issues at 00, 06, 12 and 18 UTC, so
those are shown apart, by hour of issue. What others had published counts up to the cut-off of
each issue time, as in a tick; `bench.live` shows that both are the same.
"""

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
from co2_assets.forecasting.evaluate import by_leads
from co2_assets.forecasting.external import GROUPS, without
from co2_assets.forecasting.registry import RECIPES, Fit, Shape, fit_named
from co2_assets.replay.dataset import Dataset
from co2_assets.schema import EXTERNAL_COLUMNS, EXTERNAL_GROUPS, MISSION_LEADS
from co2_assets.settings import Settings

TRAIN_START = datetime(2022, 12, 31, tzinfo=UTC)
TEST_START = datetime(2024, 7, 1, tzinfo=UTC)
TEST_END = datetime(2025, 1, 31, tzinfo=UTC)
SHAPE = Shape(
    lookback_hours=24, horizon_hours=24, seed=0, members=Settings.model_fields["members"].default
)

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
    """What was measured.

    Attributes:
        figures: by model, also without each external column and group.
        differences: of the champion to each rival, paired.
        by_hour: of the six-hourly issue times, by hour of issue.
    """

    figures: Rows
    differences: Rows
    by_hour: Rows


def measure(dataset: Dataset, say: Callable[[str], None]) -> Accuracy:
    """Every model, the champion without each column and each group, and by hour of issue.

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
    figures += _without_inputs(dataset, found, told)
    own_champion = f"{CHAMPION}_own"
    told(f"{own_champion}, refitted monthly")
    monthly = replace(short, models=(own_champion,), refit="monthly")
    figures += _rows(
        run_backtest(*dataset, monthly, told).figures,
        suffix=", refitted monthly",
        leave_out=("persistence",),
    )
    return Accuracy(figures, _differences(six.paired | found.paired), _by_hour(found, six))


def _by_hour(found: Backtest, six: Backtest) -> Rows:
    """MAE of the platform's own issue times, by hour of issue and over all of them."""
    rows: Rows = []
    for name, paired in ({n: six.paired[n] for n in SIX_LEADS} | found.paired).items():
        error = (pl.col("p50_g_per_kwh") - pl.col("actual_g_per_kwh")).abs()
        ticks = paired.filter(pl.col("issue_time_utc").dt.hour() % 6 == 0)
        parts = {f"{hour:02d}": ticks.filter(pl.col("issue_time_utc").dt.hour() == hour)
                 for hour in (0, 6, 12, 18)} | {"all": ticks}  # fmt: skip
        rows += [
            {
                "model": name.removesuffix("_own"),
                "inputs": _inputs(name),
                "hour_of_issue": hour,
                "leads": leads,
                "mae": float(of_leads.select(error.mean()).item()),
                "n": of_leads.height,
            }
            for hour, part in parts.items()
            for leads, of_leads in by_leads(part)
            if "-" in leads
        ]
    return rows


def _without_inputs(dataset: Dataset, found: Backtest, told: Callable[[str], None]) -> Rows:
    """The champion when a column or a group stays away from the first issue time on."""
    plan, persistence = found.plan, found.paired["persistence"]
    start = max(plan.start - timedelta(days=plan.training_days), dataset.history["hour_utc"][0])
    model = fit_named(CHAMPION, Fit(*dataset, start, plan.start, plan.shape))
    times = persistence["issue_time_utc"].unique().sort().to_list()
    figures: Rows = []
    groups = {" and ".join(names): [column for name in names for column in EXTERNAL_GROUPS[name]]
              for names in (*((group,) for group in GROUPS), GROUPS)}  # fmt: skip
    single = {column: [column] for column in EXTERNAL_COLUMNS if [column] not in groups.values()}
    for lacking, columns in (single | groups).items():
        name = f"{CHAMPION} without {lacking}"
        rows = roll(model, dataset.history, times, without(dataset.external, columns, TEST_START))
        figures += _rows(figures_of(name, roll_margins(rows), persistence), inputs="external")
        told(name)
    return figures


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
