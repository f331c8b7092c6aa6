"""Input drift on the recorded years: quiet in ordinary weeks, loud when a sensor lies."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from co2_assets.forecasting.input_drift import Drift, input_drift, psi
from co2_assets.schema import CO2_COLUMN, POWER_COLUMNS, imputed
from co2_assets_tests.homes import utc

COLUMNS = tuple(imputed(name) for name in (CO2_COLUMN, *POWER_COLUMNS))
TRAINED = utc("2023-01-01T00:00"), utc("2024-11-01T00:00")
NOW = utc("2024-12-15T00:00")
WIND = imputed("onshore_wind_mw")

samples = hnp.arrays(
    np.float64, st.integers(20, 200), elements=st.floats(-1e3, 1e3, width=32), unique=True
)


def test_psi_is_the_sum_of_share_differences_times_their_log_ratio() -> None:
    reference, recent = np.array([0.0, 1.0, 2.0, 3.0]), np.array([2.5, 3.0, 3.5, 0.5])
    # Two bins, split at the median 1.5; half a value is added to each.
    p, q = np.array([2.5, 2.5]) / 5, np.array([1.5, 3.5]) / 5
    expected = math.fsum((p - q) * np.log(p / q))
    assert psi(reference, recent, bins=2) == pytest.approx(expected)


@given(samples)
def test_a_sample_is_not_far_from_itself(values: np.ndarray) -> None:
    assert psi(values, values) == pytest.approx(0.0, abs=1e-12)


@given(samples, samples)
def test_psi_is_never_negative(reference: np.ndarray, recent: np.ndarray) -> None:
    assert psi(reference, recent) >= 0


@pytest.fixture(scope="module")
def found(history: pl.DataFrame) -> dict[str, Drift]:
    return by_column(history)


def by_column(history: pl.DataFrame, now: datetime = NOW) -> dict[str, Drift]:
    return {drift.column: drift for drift in input_drift(history, COLUMNS, TRAINED, now)}


def test_every_input_is_compared_on_two_weeks(found: dict[str, Drift]) -> None:
    assert tuple(found) == COLUMNS
    assert {drift.n_hours for drift in found.values()} == {14 * 24}


def test_two_weeks_differ_from_their_season_and_that_is_usual(found: dict[str, Drift]) -> None:
    assert all(drift.psi > 0 and drift.usual > 0.25 for drift in found.values())


def test_ordinary_weeks_are_seldom_called_unusual(history: pl.DataFrame) -> None:
    """The newest three months of the recordings, week by week, seven inputs each."""
    weeks = [utc("2024-11-15T00:00") + timedelta(weeks=week) for week in range(11)]
    verdicts = [drift.is_unusual for week in weeks for drift in by_column(history, week).values()]
    assert len(verdicts) == 77
    assert sum(verdicts) <= 8


def test_wind_stuck_at_zero_is_unusual(history: pl.DataFrame) -> None:
    stuck = pl.col("hour_utc") >= NOW - timedelta(days=14)
    spoiled = history.with_columns(pl.when(~stuck).then(WIND).otherwise(0.0).alias(WIND))
    drift = by_column(spoiled)[WIND]
    assert drift.is_unusual
    assert drift.psi > 2 * drift.usual


def test_a_unit_error_is_unusual(history: pl.DataFrame) -> None:
    wrong = pl.col("hour_utc") >= NOW - timedelta(days=14)
    column = imputed("solar_mw")
    spoiled = history.with_columns(
        pl.when(wrong).then(pl.col(WIND) * 1000).otherwise(WIND).alias(WIND)
    )
    assert by_column(spoiled)[WIND].is_unusual
    assert by_column(spoiled)[column] == by_column(history)[column]


def test_what_follows_is_not_looked_at(history: pl.DataFrame, found: dict[str, Drift]) -> None:
    later = pl.col("hour_utc") >= NOW
    spoiled = history.with_columns(
        pl.when(~later).then(pl.col(name)).otherwise(1e6).alias(name) for name in COLUMNS
    )
    assert by_column(spoiled) == found


def test_a_column_without_values_says_nothing(history: pl.DataFrame) -> None:
    unknown = history.with_columns(pl.lit(None, pl.Float64).alias(WIND))
    assert WIND not in by_column(unknown)


def test_a_training_of_another_season_has_nothing_to_compare_with(history: pl.DataFrame) -> None:
    """Two weeks of December against a training of April and May alone."""
    spring = utc("2024-04-01T00:00"), utc("2024-06-01T00:00")
    assert input_drift(history, COLUMNS, spring, NOW) == []
