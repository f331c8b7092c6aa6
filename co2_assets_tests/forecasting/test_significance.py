"""A mean over days is as sure as correlated days allow."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.fft import dct
from scipy.signal import lfilter

from co2_assets.forecasting.forecaster import Floats
from co2_assets.forecasting.significance import mean_over_days

TRIALS = 3000


def correlated_days(correlation: float, days: int) -> Floats:
    """Trials of days of mean 0, each like the one before it, shape (trials, days)."""
    noise = np.random.default_rng(0).standard_normal((TRIALS, days + 50))
    return np.asarray(lfilter([1.0], [1.0, -correlation], noise)[:, 50:])


def shown_positive(days: Floats, confidence: float = 0.9) -> float:
    """Share of the trials whose mean is shown to be above 0."""
    count = np.ones(days.shape[1])
    return float(np.mean([mean_over_days(one, count).lower(confidence) > 0 for one in days]))


@pytest.mark.parametrize("days", [7, 14, 28, 90])
@pytest.mark.parametrize("correlation", [0.0, 0.2, 0.4])
def test_a_mean_of_nothing_is_shown_to_be_something_in_one_trial_of_ten(
    days: int, correlation: float
) -> None:
    assert 0.08 < shown_positive(correlated_days(correlation, days)) < 0.125


def test_a_test_that_takes_days_for_independent_is_wrong_twice_as_often() -> None:
    days = correlated_days(0.4, 28)
    as_independent = days.mean(axis=1) / (days.std(axis=1, ddof=1) / np.sqrt(28)) > 1.31
    assert as_independent.mean() > 0.18


def test_a_mean_of_three_standard_errors_is_shown_nearly_always() -> None:
    error = 1 / (1 - 0.2) / np.sqrt(28)
    assert shown_positive(correlated_days(0.2, 28) + 3 * error) > 0.85


def test_the_variance_is_the_mean_square_of_the_first_cosine_transforms() -> None:
    days = np.random.default_rng(1).standard_normal(28)
    found = mean_over_days(days, np.ones(28))
    first = dct(days, type=2, norm="ortho")[1:5]
    assert found.degrees == 4
    assert found.value == pytest.approx(days.mean())
    assert found.standard_error == pytest.approx(np.sqrt(np.mean(first**2) / 28))


def test_a_day_with_more_values_counts_more() -> None:
    totals, counts = np.array([24.0, 12.0, 24.0, 2.0]), np.array([24.0, 12.0, 24.0, 1.0])
    assert mean_over_days(totals, counts).value == pytest.approx(62 / 61)
    same_mean_each_day = mean_over_days(counts * 2, counts)
    assert same_mean_each_day.standard_error == pytest.approx(0, abs=1e-12)


def test_both_bounds_lie_as_far_from_the_mean() -> None:
    found = mean_over_days(np.random.default_rng(2).standard_normal(28), np.ones(28))
    assert found.lower(0.9) < found.value < found.upper(0.9)
    assert found.upper(0.9) - found.value == pytest.approx(found.value - found.lower(0.9))
    assert found.lower(0.95) < found.lower(0.9)


def test_of_a_single_day_nothing_is_known() -> None:
    found = mean_over_days(np.array([5.0]), np.array([2.0]))
    assert found.value == 2.5
    assert (found.lower(0.9), found.upper(0.9)) == (-np.inf, np.inf)
