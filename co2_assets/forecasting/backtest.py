"""Backtests: rolling-origin forecasts of several models, on the same issue times.

A model is fitted on what lay before the first issue time, or again at the start of each
month; its forecasts are calibrated as they would have been. Comparisons are paired:
intervals come from a bootstrap of whole weeks (Carlstein, 1986), tests from Diebold and
Mariano (1995) with the small-sample correction of Harvey, Leybourne and Newbold (1997).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Literal

import numpy as np
import polars as pl
from scipy.special import stdtr

from co2_assets.errors import InputsMissing, SettingsError
from co2_assets.forecasting import metrics
from co2_assets.forecasting.calibration import roll_margins
from co2_assets.forecasting.challenge import roll
from co2_assets.forecasting.evaluate import by_leads
from co2_assets.forecasting.forecaster import Floats, Forecaster, first_hour
from co2_assets.forecasting.gate import KEYS
from co2_assets.forecasting.prognosis import fit_prognosis
from co2_assets.forecasting.registry import BASELINES, RECIPES, Fit, Shape, fit_named
from co2_assets.forecasting.train import Progress
from co2_assets.forecasting.windows import whole_before
from co2_assets.schema import QUANTILE_COLUMNS

Refit = Literal["never", "monthly"]
REFITS: tuple[Refit, ...] = ("never", "monthly")

REFERENCE = "persistence"
PROGNOSES = {"energinet": False, "energinet_recalibrated": True}
"""Energinet's own prognosis, and whether it is less its error of the last day."""

MODELS = (*BASELINES, *PROGNOSES, *RECIPES)

RESAMPLES = 1000
WEEK_S = 7 * 86_400
INTERVAL = (0.05, 0.95)


@dataclass(frozen=True)
class Plan:
    """What is compared, and over which issue times.

    Attributes:
        start: first issue time.
        end: exclusive end of the issue times.
        models: names in `MODELS`.
        every: between issue times.
        refit: fit once at `start`, or again at the start of each month.
        training_days: days before a fit that it is trained on.
        shape: lookback, horizon, seed and members.
    """

    start: datetime
    end: datetime
    models: tuple[str, ...]
    every: timedelta
    refit: Refit
    training_days: int
    shape: Shape


@dataclass(frozen=True)
class Figure:
    """One figure of one model, with its interval where it has one."""

    model: str
    leads: str
    metric: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Backtest:
    """The figures, and the forecasts they were made from, by model."""

    plan: Plan
    figures: list[Figure]
    paired: dict[str, pl.DataFrame]

    @cached_property
    def by_key(self) -> dict[tuple[str, str, str], Figure]:
        """The figures by model, leads (see `schema.lead_groups`) and metric."""
        return {(one.model, one.leads, one.metric): one for one in self.figures}

    @property
    def leads(self) -> list[int]:
        """The leads that were forecast, each by itself."""
        return sorted({int(one.leads) for one in self.figures if one.leads.isdigit()})

    @property
    def pooled(self) -> list[str]:
        """Labels of the pooled figures, those of the mission first."""
        return list(dict.fromkeys(one.leads for one in self.figures if not one.leads.isdigit()))

    def value(self, model: str, leads: str, metric: str) -> float:
        """One figure's value.

        Raises:
            KeyError: there is no such figure.
        """
        return self.by_key[model, leads, metric].value


def run_backtest(
    history: pl.DataFrame,
    external: pl.DataFrame | None,
    plan: Plan,
    progress: Progress | None = None,
) -> Backtest:
    """Forecast every issue time of the plan with every model, and compare.

    Args:
        history: see the package; at least the training range before the start.
        external: inputs from elsewhere.
        plan: what to do.
        progress: told each fit.

    Raises:
        SettingsError: an unknown model, or a plan without issue times.
        InputsMissing: too little history, or no value that all models forecast.
    """
    _refuse_unknown(plan.models)
    times = _forecastable(history, _issue_times(plan), plan.shape.lookback_hours)
    paired = {
        name: _forecasts(name, history, external, plan, times, progress)
        for name in dict.fromkeys((REFERENCE, *plan.models))
    }
    paired = _in_common(paired)
    figures = [
        figure for name in paired for figure in figures_of(name, paired[name], paired[REFERENCE])
    ]
    return Backtest(plan, figures, paired)


def _refuse_unknown(models: Sequence[str]) -> None:
    if unknown := [name for name in models if name not in MODELS]:
        raise SettingsError(
            "unknown model",
            where="models of the backtest",
            found=", ".join(unknown),
            expected="some of " + ", ".join(MODELS),
        )


def _issue_times(plan: Plan) -> list[datetime]:
    count = -(-(plan.end - plan.start) // plan.every)
    if count < 1:
        raise SettingsError(
            "a backtest without issue times",
            where="--from and --to",
            found=f"{plan.start:%Y-%m-%dT%H} to {plan.end:%Y-%m-%dT%H}",
            expected="an end after the start",
        )
    return [plan.start + index * plan.every for index in range(count)]


def _forecastable(
    history: pl.DataFrame, times: list[datetime], lookback_hours: int
) -> list[datetime]:
    """The issue times that have their whole lookback: what a gap hides judges nobody."""
    whole = whole_before(history["is_usable"].to_numpy(), lookback_hours)
    first = first_hour(history)
    rows = [(time - first) // timedelta(hours=1) for time in times]
    return [
        time for time, row in zip(times, rows, strict=True) if 0 <= row < len(whole) and whole[row]
    ]


def _forecasts(
    name: str,
    history: pl.DataFrame,
    external: pl.DataFrame | None,
    plan: Plan,
    times: list[datetime],
    progress: Progress | None,
) -> pl.DataFrame:
    """Calibrated forecasts of one model with what followed."""
    parts = []
    for fit_time, of_fit in _by_fit(plan, times):
        job = Fit(
            history,
            external,
            max(fit_time - timedelta(days=plan.training_days), first_hour(history)),
            fit_time,
            plan.shape,
        )
        model = _fit(name, job)
        rolled = roll(model, history, of_fit, external)
        if rolled.height:  # a month in which a model had nothing to go by adds nothing
            parts.append(rolled)
        if progress:
            progress(f"{name}: fitted to {fit_time:%Y-%m-%d}, {len(of_fit)} issue times")
    if not parts:
        raise InputsMissing(
            "a model has no forecast with an actual",
            where=f"{name}, {plan.start:%Y-%m-%dT%H} to {plan.end:%Y-%m-%dT%H}",
            found="no issue time with all it needs",
            expected="hours in core.engineered_features before and after the issue times",
        )
    made = pl.concat(parts)
    return roll_margins(made) if name in RECIPES else made


def _fit(name: str, job: Fit) -> Forecaster:
    if name in PROGNOSES:
        return fit_prognosis(
            job.history,
            job.external,
            job.start,
            job.end,
            job.shape.horizon_hours,
            recalibrated=PROGNOSES[name],
        )
    return fit_named(name, job)


def _by_fit(plan: Plan, times: list[datetime]) -> list[tuple[datetime, list[datetime]]]:
    """When to fit, and the issue times that each fit forecasts."""
    if plan.refit == "never":
        return [(plan.start, times)]
    months: dict[tuple[int, int], list[datetime]] = {}
    for time in times:
        months.setdefault((time.year, time.month), []).append(time)
    return [
        (max(plan.start, of_month[0].replace(day=1, hour=0)), of_month)
        for of_month in months.values()
    ]


def _in_common(paired: dict[str, pl.DataFrame]) -> dict[str, pl.DataFrame]:
    """Only values that all models have; Energinet's prognosis keeps those that it has of them."""
    everywhere = paired[REFERENCE].select(KEYS)
    for name, rows in paired.items():
        if name not in PROGNOSES:
            everywhere = everywhere.join(rows.select(KEYS), on=KEYS, how="semi")
    if everywhere.is_empty():
        raise InputsMissing(
            "no value was forecast by all models",
            where="backtest",
            found="nothing in common",
            expected="issue times with all inputs",
        )
    return {
        name: rows.join(everywhere, on=KEYS, how="semi").sort(KEYS) for name, rows in paired.items()
    }


def figures_of(name: str, rows: pl.DataFrame, reference: pl.DataFrame) -> list[Figure]:
    """All figures of one model's forecasts, by lead and pooled (`schema.lead_groups`).

    Args:
        name: of the model.
        rows: its forecasts with `actual_g_per_kwh`.
        reference: those of persistence; only values that both have count.
    """
    both = rows.join(
        reference.select(*KEYS, pl.col("p50_g_per_kwh").alias("reference_p50")), on=KEYS
    )
    found = []
    for leads, part in by_leads(both):
        values = _Values.of(part)
        weeks = _weeks(part)
        for metric, (value, resampled) in values.measured().items():
            low, high = (None, None) if resampled is None else interval(resampled, weeks)
            found.append(Figure(name, leads, metric, value, low, high))
        if name != REFERENCE:
            statistic, p_value = diebold_mariano(*_losses(part, values), lags=_lags(part))
            found.append(Figure(name, leads, "dm_statistic", statistic))
            found.append(Figure(name, leads, "dm_p_value", p_value))
    return found


@dataclass(frozen=True)
class _Values:
    quantiles: Floats
    actual: Floats
    error: Floats
    reference_error: Floats

    @classmethod
    def of(cls, part: pl.DataFrame) -> _Values:
        quantiles = part.select(QUANTILE_COLUMNS).to_numpy().astype(np.float64)
        actual = part["actual_g_per_kwh"].to_numpy().astype(np.float64)
        middle = len(QUANTILE_COLUMNS) // 2
        return cls(
            quantiles,
            actual,
            quantiles[:, middle] - actual,
            part["reference_p50"].to_numpy().astype(np.float64) - actual,
        )

    def measured(self) -> dict[str, tuple[float, tuple[Floats, Floats] | None]]:
        """Each metric with the terms that its interval is resampled from.

        The terms are a pair: the metric is the sum of the first over that of the second.
        """
        one = np.ones(len(self.actual))
        absolute, reference = np.abs(self.error), np.abs(self.reference_error)
        loss = metrics.pinball(self.quantiles, self.actual)

        def held(low: int, high: int) -> Floats:
            return (
                (self.actual >= self.quantiles[:, low]) & (self.actual <= self.quantiles[:, high])
            ).astype(np.float64)

        def mean(terms: Floats) -> tuple[float, tuple[Floats, Floats]]:
            return float(terms.mean()), (terms, one)

        def width(low: int, high: int) -> float:
            return float((self.quantiles[:, high] - self.quantiles[:, low]).mean())

        return {
            "n": (float(len(one)), None),
            "mae": mean(absolute),
            "rmse": (metrics.rmse(self.error), None),
            "bias": mean(self.error),
            "mape": (metrics.mape(self.error, self.actual), None),
            "wape": (metrics.wape(self.error, self.actual), None),
            "r2": (metrics.r2(self.error, self.actual), None),
            "pseudo_accuracy": (metrics.pseudo_accuracy(self.error, self.actual), None),
            "pinball": (float(loss.mean()), None),
            "crps": mean(2 * loss),
            "coverage_50": mean(held(2, 4)),
            "coverage_80": mean(held(1, 5)),
            "coverage_90": mean(held(0, 6)),
            "width_80": (width(1, 5), None),
            "skill": (
                metrics.skill(float(absolute.mean()), float(reference.mean())),
                (reference - absolute, reference),
            ),
        }


def _weeks(part: pl.DataFrame) -> Floats:
    return (part["issue_time_utc"].dt.epoch("s") // WEEK_S).to_numpy().astype(np.float64)


def interval(
    terms: tuple[Floats, Floats],
    blocks: Floats,
    *,
    levels: tuple[float, float] = INTERVAL,
    seed: int = 0,
) -> tuple[float, float]:
    """Interval of a ratio of sums by a bootstrap of whole blocks that do not overlap.

    Carlstein (1986); Kuensch (1989) has the one whose blocks overlap.

    Args:
        terms: numerators and denominators, one pair per value.
        blocks: the block of each value.
        levels: quantiles of the resampled ratios.
        seed: of the resampling.
    """
    ratios = metrics.resampled_ratios(*terms, blocks, resamples=RESAMPLES, seed=seed)
    low, high = np.quantile(ratios, levels)
    return float(low), float(high)


def paired_difference(
    one: pl.DataFrame, other: pl.DataFrame, leads: Sequence[int] | None = None
) -> tuple[float, float, float, int]:
    """How much lower the MAE of one is than that of another, on the values of both.

    Returns:
        The difference in g/kWh (negative: the first is better), its 90 % interval, and
        the number of values.
    """
    both = one.join(other.select(*KEYS, pl.col("p50_g_per_kwh").alias("other_p50")), on=KEYS)
    if leads is not None:
        both = both.filter(pl.col("lead_hours").is_in(list(leads)))
    actual = both["actual_g_per_kwh"].to_numpy()
    terms = np.abs(both["p50_g_per_kwh"].to_numpy() - actual) - np.abs(
        both["other_p50"].to_numpy() - actual
    )
    low, high = interval((terms, np.ones(len(terms))), _weeks(both))
    return float(terms.mean()), low, high, both.height


def _losses(part: pl.DataFrame, values: _Values) -> tuple[Floats, Floats]:
    """Mean absolute errors of each issue time, of the model and of the reference."""
    by_issue = (
        part.select("issue_time_utc")
        .with_columns(
            model=pl.Series(np.abs(values.error)),
            reference=pl.Series(np.abs(values.reference_error)),
        )
        .sort("issue_time_utc")
        .group_by("issue_time_utc", maintain_order=True)
        .mean()
    )
    return by_issue["model"].to_numpy(), by_issue["reference"].to_numpy()


def _lags(part: pl.DataFrame) -> int:
    """Issue times whose errors overlap: forecasts closer than the longest lead share hours."""
    lead = int(part["lead_hours"].max() or 0)  # type: ignore[arg-type]
    times = part["issue_time_utc"].unique().sort()
    step = times.diff().drop_nulls().min()
    if not isinstance(step, timedelta):
        return 0
    return max(math.ceil(lead * timedelta(hours=1) / step) - 1, 0)


def diebold_mariano(one: Floats, other: Floats, *, lags: int) -> tuple[float, float]:
    """Test whether two series of losses have the same mean.

    Variance by Newey and West (1987): losses of overlapping forecasts go together, and
    errors last beyond the overlap, so at least n^(1/3) lags are taken in.

    Args:
        one: losses of the first, one per issue time, in order.
        other: of the second.
        lags: issue times that overlap.

    Returns:
        The statistic (negative: the first is better) and its two-sided p-value; NaN where
        the losses never differ.
    """
    difference = one - other
    n = len(difference)
    if n < 3 or not np.any(difference != difference[0]):
        return float("nan"), float("nan")
    lags = min(max(lags, int(n ** (1 / 3))), n - 2)
    centred = difference - difference.mean()
    variance = float(centred @ centred) / n
    for lag in range(1, lags + 1):
        weight = 1 - lag / (lags + 1)
        variance += 2 * weight * float(centred[lag:] @ centred[:-lag]) / n
    statistic = float(difference.mean() / math.sqrt(variance / n))
    horizon = lags + 1
    statistic *= math.sqrt(max((n + 1 - 2 * horizon + horizon * (horizon - 1) / n) / n, 0.0))
    return statistic, float(2 * stdtr(n - 1, -abs(statistic)))
