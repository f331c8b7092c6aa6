"""Each figure equals its textbook definition, spelled out by hand."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from co2_assets.forecasting import metrics
from co2_assets.schema import QUANTILE_WEIGHTS, QUANTILES

ACTUAL = np.array([50.0, 100.0, 200.0, 40.0])
FORECAST = np.array([60.0, 90.0, 220.0, 40.0])
ERROR = FORECAST - ACTUAL

levels = arrays(np.float64, (5, 7), elements=st.floats(1, 500)).map(lambda a: np.sort(a, axis=1))
actuals = arrays(np.float64, 5, elements=st.floats(1, 500))


@pytest.mark.parametrize(
    ("found", "by_hand"),
    [
        (metrics.mae(ERROR), (10 + 10 + 20 + 0) / 4),
        (metrics.rmse(ERROR), ((100 + 100 + 400) / 4) ** 0.5),
        (metrics.bias(ERROR), (10 - 10 + 20) / 4),
        (metrics.mape(ERROR, ACTUAL), 100 * (10 / 50 + 10 / 100 + 20 / 200) / 4),
        (metrics.wape(ERROR, ACTUAL), 100 * 40 / 390),
        (metrics.pseudo_accuracy(ERROR, ACTUAL), 100 - 10),
        (metrics.coverage(ACTUAL - [1, 1, -1, 0], ACTUAL + 1, ACTUAL), 0.75),
        (metrics.skill(15.0, 20.0), 0.25),
        (metrics.skill(25.0, 20.0), -0.25),
    ],
)
def test_a_figure_is_what_its_name_says(found: float, by_hand: float) -> None:
    assert found == pytest.approx(by_hand)


def test_r2_of_the_mean_is_0_and_of_the_truth_1() -> None:
    assert metrics.r2(ACTUAL.mean() - ACTUAL, ACTUAL) == pytest.approx(0)
    assert metrics.r2(np.zeros(4), ACTUAL) == 1
    assert metrics.r2(ACTUAL.mean() - ACTUAL + 50, ACTUAL) < 0


def test_what_cannot_be_divided_is_not_a_number() -> None:
    assert np.isnan(metrics.r2(np.ones(3), np.full(3, 7.0)))
    assert np.isnan(metrics.skill(1.0, 0.0))


@given(levels, actuals)
def test_pinball_equals_its_definition_quantile_by_quantile(
    quantiles: np.ndarray, actual: np.ndarray
) -> None:
    by_hand = [
        sum(
            weight * (tau * (y - q) if y >= q else (1 - tau) * (q - y))
            for tau, weight, q in zip(QUANTILES, QUANTILE_WEIGHTS, row, strict=True)
        )
        for row, y in zip(quantiles, actual, strict=True)
    ]
    assert metrics.pinball(quantiles, actual) == pytest.approx(by_hand)


@given(actuals, actuals)
def test_crps_of_a_forecast_without_spread_is_its_mae(
    forecast: np.ndarray, actual: np.ndarray
) -> None:
    sure = np.repeat(forecast[:, None], len(QUANTILES), axis=1)
    assert metrics.crps(sure, actual) == pytest.approx(metrics.mae(forecast - actual))


def test_each_level_weighs_as_much_as_the_gap_that_it_stands_for() -> None:
    ends = [0, *((low + high) / 2 for low, high in pairwise(QUANTILES)), 1]
    assert pytest.approx(np.diff(ends)) == QUANTILE_WEIGHTS


def test_quantile_score_of_a_perfect_standard_normal_is_nearly_its_crps() -> None:
    normal = NormalDist()
    actual = np.array([normal.inv_cdf((rank + 0.5) / 10_000) for rank in range(10_000)])
    quantiles = np.tile([normal.inv_cdf(level) for level in QUANTILES], (len(actual), 1))
    assert metrics.crps(quantiles, actual) == pytest.approx(1 / math.sqrt(math.pi), abs=0.01)


def test_crps_is_lowest_for_the_true_quantiles() -> None:
    random = np.random.default_rng(0)
    actual = random.normal(100, 20, 20_000)
    true = np.quantile(actual, QUANTILES)
    scores = {
        name: metrics.crps(np.tile(100 + (true - 100) * width + shift, (20_000, 1)), actual)
        for name, width, shift in [
            ("true", 1.0, 0), ("narrow", 0.5, 0), ("wide", 2.0, 0), ("shifted", 1.0, 10)
        ]
    }  # fmt: skip
    assert min(scores, key=lambda name: scores[name]) == "true"
