"""The form of every forecast: leads from the issue time on, ordered, positive."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from co2_assets.errors import InputsMissing
from co2_assets.forecasting.forecaster import forecast_frame, issue_rows
from co2_assets.schema import QUANTILE_COLUMNS
from co2_assets_tests.forecasting.small import HOUR, SPRING_START, made_of

ISSUES = [SPRING_START, SPRING_START + 6 * HOUR]


def test_lead_1_is_the_hour_that_begins_at_the_issue_time() -> None:
    frame = forecast_frame(ISSUES, np.ones((2, 6, 7)))
    assert frame["lead_hours"].to_list() == [1, 2, 3, 4, 5, 6] * 2
    assert frame.schema["lead_hours"] == pl.Int32
    assert frame["valid_time_utc"].to_list() == [SPRING_START + HOUR * row for row in range(12)]
    assert frame.schema["valid_time_utc"] == pl.Datetime("us", "UTC")


@given(arrays(np.float64, (2, 3, 7), elements=st.floats(-1e6, 1e6)))
def test_quantiles_never_cross_and_are_positive(quantiles: np.ndarray) -> None:
    made = forecast_frame(ISSUES, quantiles).select(QUANTILE_COLUMNS).to_numpy()
    assert (np.diff(made, axis=1) >= 0).all()
    assert (made > 0).all()


def test_an_issue_time_may_be_the_hour_after_the_newest() -> None:
    history = made_of([50.0] * 10)
    assert issue_rows(history, [SPRING_START + 10 * HOUR]).tolist() == [10]


@pytest.mark.parametrize("hours", [0, 11, -5])
def test_an_issue_time_without_the_hour_before_it_is_refused(hours: int) -> None:
    time = SPRING_START + hours * HOUR
    with pytest.raises(InputsMissing, match=f"issue time {time:%Y-%m-%dT%H:%M} UTC.*hours from"):
        issue_rows(made_of([50.0] * 10), [time])


def test_an_empty_history_is_refused() -> None:
    with pytest.raises(InputsMissing, match="there is no history"):
        issue_rows(made_of([]), [SPRING_START])


def test_an_issue_time_between_two_hours_is_refused() -> None:
    with pytest.raises(ValueError, match="2024-03-01T03:30"):
        issue_rows(made_of([50.0] * 10), [SPRING_START + timedelta(hours=3, minutes=30)])
