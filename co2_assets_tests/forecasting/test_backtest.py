"""A backtest judges all models on the same hours, by what each could know at the time."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from co2_assets.errors import InputsMissing, SettingsError
from co2_assets.forecasting.backtest import (
    MODELS,
    Backtest,
    Plan,
    diebold_mariano,
    interval,
    paired_difference,
    run_backtest,
)
from co2_assets.forecasting.registry import Shape
from co2_assets.schema import (
    CO2_COLUMN,
    FEATURE_COLUMNS,
    MISSION_LABEL,
    QUANTILE_COLUMNS,
    QUANTILE_WEIGHTS,
    QUANTILES,
)
from co2_assets_tests.forecasting.small import HOUR

START, NOVEMBER = datetime(2024, 10, 21, tzinfo=UTC), datetime(2024, 11, 1, tzinfo=UTC)
END = datetime(2024, 11, 22, tzinfo=UTC)
HORIZON = 8
CHEAP = ("persistence", "climatology", "seasonal_naive", "energinet")
KEYS = ["issue_time_utc", "lead_hours"]


def plan(*models: str, **given: Any) -> Plan:
    options: dict[str, Any] = {
        "start": START,
        "end": END,
        "every": 6 * HOUR,
        "refit": "monthly",
        "training_days": 60,
        "shape": Shape(lookback_hours=24, horizon_hours=HORIZON, seed=0, members=1),
    }
    return Plan(models=models, **{**options, **given})


@pytest.fixture(scope="module")
def found(history: pl.DataFrame, external: pl.DataFrame) -> Backtest:
    return run_backtest(history, external, plan(*CHEAP))


def test_all_models_are_judged_on_the_same_values(found: Backtest) -> None:
    keys = {name: set(rows.select(KEYS).iter_rows()) for name, rows in found.paired.items()}
    assert tuple(keys) == CHEAP
    assert keys["persistence"] == keys["climatology"] == keys["seasonal_naive"]
    assert {lead for _, lead in keys["persistence"]} == set(range(1, HORIZON + 1))
    # Energinet speaks of most of them, and of nothing that the others do not speak of.
    assert keys["energinet"] < keys["persistence"]
    assert len(keys["energinet"]) > 0.99 * len(keys["persistence"])


def test_an_issue_time_with_a_gap_in_its_lookback_judges_nobody(
    found: Backtest, history: pl.DataFrame
) -> None:
    usable = dict(zip(history["hour_utc"], history["is_usable"], strict=True))
    planned = [START + 6 * HOUR * step for step in range((END - START) // (6 * HOUR))]
    whole = {
        time for time in planned if all(usable[time - back * HOUR] for back in range(1, 24 + 1))
    }
    judged = set(found.paired["persistence"]["issue_time_utc"])
    assert judged <= whole < set(planned)
    # What is whole but not judged has no actual: the feed stood still when it was issued.
    actual = dict(zip(history["hour_utc"], history[CO2_COLUMN], strict=True))
    for time in whole - judged:
        assert all(actual[time + ahead * HOUR] is None for ahead in range(HORIZON))


def by_hand(rows: pl.DataFrame, reference: pl.DataFrame) -> dict[str, float]:
    """The textbook's sums, quantile by quantile."""
    both = rows.join(reference.select(*KEYS, persisted="p50_g_per_kwh"), on=KEYS)
    y, error = both["actual_g_per_kwh"], both["p50_g_per_kwh"] - both["actual_g_per_kwh"]
    losses = [
        weight * (level * max(actual - quantile, 0) + (1 - level) * max(quantile - actual, 0))
        for level, weight, name in zip(QUANTILES, QUANTILE_WEIGHTS, QUANTILE_COLUMNS, strict=True)
        for quantile, actual in zip(both[name], y, strict=True)
    ]

    def share(low: str, high: str) -> float:
        held = y.is_between(both[f"{low}_g_per_kwh"], both[f"{high}_g_per_kwh"])
        return int(held.sum()) / len(y)

    absolute, squares = float(error.abs().sum()), float((error * error).sum())
    percentage = 100 * float((error.abs() / y).sum()) / len(y)
    pinball = sum(losses) / len(y)
    return {
        "n": len(y),
        "mae": absolute / len(y),
        "rmse": math.sqrt(squares / len(y)),
        "bias": float(error.sum()) / len(y),
        "mape": percentage,
        "wape": 100 * absolute / float(y.sum()),
        "r2": 1 - squares / sum((value - y.sum() / len(y)) ** 2 for value in y),
        "pseudo_accuracy": 100 - percentage,
        "pinball": pinball,
        "crps": 2 * pinball,
        "coverage_50": share("p25", "p75"),
        "coverage_80": share("p10", "p90"),
        "coverage_90": share("p05", "p95"),
        "width_80": float((both["p90_g_per_kwh"] - both["p10_g_per_kwh"]).sum()) / len(y),
        "skill": 1 - absolute / float((both["persisted"] - y).abs().sum()),
    }


@pytest.mark.parametrize("model", CHEAP)
@pytest.mark.parametrize(
    ("leads", "each"),
    [("1", [1]), ("8", [8]), ("1-6", range(1, 7)), ("7-8", [7, 8]), ("1-8", range(1, 9))],
)
def test_each_figure_equals_a_calculation_by_hand(
    found: Backtest, model: str, leads: str, each: Any
) -> None:
    rows = found.paired[model].filter(pl.col("lead_hours").is_in(list(each)))
    figures = {
        figure.metric: figure
        for figure in found.figures
        if (figure.model, figure.leads) == (model, leads)
    }
    expected = by_hand(rows, found.paired["persistence"])
    tested = {"dm_statistic", "dm_p_value"} if model != "persistence" else set()
    assert set(figures) == set(expected) | tested
    for metric, value in expected.items():
        assert figures[metric].value == pytest.approx(value, rel=1e-9, abs=1e-9), metric
    for metric in ("mae", "bias", "crps", "coverage_80", "skill"):
        low, high = figures[metric].low, figures[metric].high
        assert low is not None and high is not None
        assert low <= figures[metric].value <= high


def test_the_test_against_persistence_takes_one_loss_an_issue_time(found: Backtest) -> None:
    def losses(model: str) -> Any:
        rows = found.paired[model].filter(pl.col("lead_hours") == HORIZON).sort("issue_time_utc")
        return (rows["p50_g_per_kwh"] - rows["actual_g_per_kwh"]).abs().to_numpy()

    # Forecasts of 8 hours, every 6 hours: each overlaps with the next one.
    expected = diebold_mariano(losses("climatology"), losses("persistence"), lags=1)
    assert found.value("climatology", str(HORIZON), "dm_statistic") == pytest.approx(expected[0])
    assert found.value("climatology", str(HORIZON), "dm_p_value") == pytest.approx(expected[1])


@pytest.mark.parametrize(
    ("refit", "fits"), [("never", [START]), ("monthly", [START, NOVEMBER])], ids=["never", "month"]
)
def test_models_are_fitted_at_the_start_or_at_each_month_start(
    history: pl.DataFrame, refit: Any, fits: list[datetime]
) -> None:
    told: list[str] = []
    run_backtest(history, None, plan("persistence", refit=refit), told.append)
    assert [line.split(",")[0] for line in told] == [
        f"persistence: fitted to {time:%Y-%m-%d}" for time in fits
    ]


@pytest.mark.parametrize(("models", "days"), [(CHEAP, 60), (("log_ridge",), 90)])
def test_what_follows_a_fit_never_reaches_it(
    history: pl.DataFrame, external: pl.DataFrame, models: tuple[str, ...], days: int
) -> None:
    later = pl.col("hour_utc") >= NOVEMBER
    altered = history.with_columns(
        pl.when(later).then(pl.col(name) * 2).otherwise(name).alias(name)
        for name in (CO2_COLUMN, *FEATURE_COLUMNS)
    )
    planned = plan(*models, training_days=days)
    one, other = (run_backtest(past, external, planned) for past in (history, altered))
    # The first forecast of November is the new fit's, and that fit saw October only.
    known = pl.col("issue_time_utc") <= NOVEMBER
    for name in one.paired:
        before, after = (
            made.paired[name].select(*KEYS, *QUANTILE_COLUMNS).sort(KEYS) for made in (one, other)
        )
        assert before.filter(known).height > 300
        assert before.filter(known).equals(after.filter(known)), name
        # What Energinet says does not hang on what was measured; all others do.
        assert before.equals(after) == (name == "energinet"), name


def test_a_trained_recipe_runs_beside_the_baselines(
    history: pl.DataFrame, external: pl.DataFrame
) -> None:
    made = run_backtest(history, external, plan("log_ridge", training_days=90))
    assert list(made.paired) == ["persistence", "log_ridge"]
    assert made.paired["log_ridge"].select(KEYS).equals(made.paired["persistence"].select(KEYS))
    assert made.value("log_ridge", MISSION_LABEL, "mae") < 0.9 * made.value(
        "persistence", MISSION_LABEL, "mae"
    )
    ordered = made.paired["log_ridge"].select(QUANTILE_COLUMNS).to_numpy()
    assert (np.diff(ordered, axis=1) >= 0).all()


@pytest.mark.parametrize("name", ["persistence", "log_ridge", "energinet"])
def test_an_empty_history_is_an_error_in_words(history: pl.DataFrame, name: str) -> None:
    with pytest.raises(InputsMissing, match="there is no history"):
        run_backtest(history.clear(), None, plan(name))


def test_an_unknown_model_is_refused_with_those_there_are(history: pl.DataFrame) -> None:
    with pytest.raises(SettingsError, match="unknown model") as refused:
        run_backtest(history, None, plan("persistence", "oracle", "crystal_ball"))
    assert refused.value.found == "oracle, crystal_ball"
    assert all(name in str(refused.value.expected) for name in MODELS)


@pytest.mark.parametrize("end", [START, START - timedelta(days=1)])
def test_a_span_without_issue_times_is_refused(history: pl.DataFrame, end: datetime) -> None:
    with pytest.raises(SettingsError, match="without issue times") as refused:
        run_backtest(history, None, plan("persistence", end=end))
    assert refused.value.found == f"2024-10-21T00 to {end:%Y-%m-%dT%H}"


def test_a_paired_difference_is_the_difference_of_the_errors_of_both(found: Backtest) -> None:
    one, other = found.paired["persistence"], found.paired["energinet"]
    difference, low, high, n = paired_difference(one, other, range(1, 7))
    part = pl.col("lead_hours") <= 6
    assert n == other.filter(part).height
    both = by_hand(one.filter(part).join(other, on=KEYS, how="semi"), one)
    assert difference == pytest.approx(both["mae"] - found.value("energinet", MISSION_LABEL, "mae"))
    assert low < difference < high
    back = paired_difference(other, one, range(1, 7))
    assert back == pytest.approx((-difference, -high, -low, n))
    assert paired_difference(one, one) == (0.0, 0.0, 0.0, one.height)


def test_an_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    blocks = np.repeat(np.arange(60.0), 28)
    held = 0
    for _ in range(100):
        # Errors of a week go together: a bootstrap of single values would be far too sure.
        terms = 1.0 + np.repeat(rng.normal(size=60), 28) + rng.normal(size=len(blocks))
        low, high = interval((terms, np.ones(len(blocks))), blocks)
        held += low <= 1.0 <= high
    assert 80 <= held <= 98


LOSSES = st.lists(
    st.tuples(st.integers(0, 1000), st.integers(0, 1000)), min_size=3, max_size=60
).map(lambda pairs: np.array(pairs, dtype=np.float64).T / 10)


@given(LOSSES, st.integers(0, 8))
@settings(deadline=None)
def test_diebold_mariano_equals_the_long_sum_and_turns_with_its_sides(
    losses: Any, lags: int
) -> None:
    one, other = losses
    n, d = len(one), one - other
    statistic, p_value = diebold_mariano(one, other, lags=lags)
    if np.ptp(d) == 0:
        assert math.isnan(statistic) and math.isnan(p_value)
        return
    back, same = diebold_mariano(other, one, lags=lags)
    assert (back, same) == pytest.approx((-statistic, p_value))
    assert 0 <= p_value <= 1
    assert np.sign(statistic) in (np.sign(round(d.mean(), 9)), 0)
    used = min(max(lags, int(n ** (1 / 3))), n - 2)
    steps = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    kernel = np.maximum(0, 1 - steps / (used + 1))
    centred = d - d.mean()
    h = used + 1
    small_sample = max((n + 1 - 2 * h + h * (h - 1) / n) / n, 0)
    expected = d.mean() / math.sqrt(centred @ kernel @ centred / n**2) * math.sqrt(small_sample)
    assert statistic == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_diebold_mariano_of_losses_without_memory_is_the_textbooks() -> None:
    # Differences 4 3 1 3 4: mean 3, variance 6/5, and products of neighbours that are 0.
    other = np.array([1.0, 2.0, 3.0, 2.0, 1.0])
    statistic, p_value = diebold_mariano(other + [4.0, 3.0, 1.0, 3.0, 4.0], other, lags=0)
    # 3 / sqrt(1.2 / 5), times the correction sqrt((5 + 1 - 4 + 2 / 5) / 5): the root of 18.
    assert statistic == pytest.approx(math.sqrt(18))
    assert p_value == pytest.approx(0.013236, abs=1e-5)  # Student's t, 4 degrees of freedom


@pytest.mark.parametrize("gap", [0.0, 2.5])
def test_losses_that_never_differ_in_anything_but_level_cannot_be_tested(gap: float) -> None:
    loss = np.array([4.0, 8.0, 1.0, 7.0])
    assert all(math.isnan(value) for value in diebold_mariano(loss + gap, loss, lags=1))
