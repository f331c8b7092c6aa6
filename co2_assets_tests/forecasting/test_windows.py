"""Windows hold what they should, and never straddle a gap or the edge of a range."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from co2_assets.errors import InputsMissing
from co2_assets.forecasting.windows import (
    lookbacks,
    matrix,
    refuse_incomplete,
    targets,
    training_rows,
)
from co2_assets.schema import CO2_COLUMN, FEATURE_COLUMNS
from co2_assets_tests.forecasting.small import HOUR, SPRING_START

flags = st.lists(st.tuples(st.booleans() | st.just(True), st.booleans() | st.just(True)))


@settings(deadline=None)
@given(flags, st.integers(-3, 40), st.integers(0, 60), st.integers(1, 6), st.integers(1, 4))
def test_windows_are_exactly_those_that_are_whole(
    hours: list[tuple[bool, bool]], low: int, length: int, lookback: int, horizon: int
) -> None:
    history = pl.DataFrame(
        {
            "hour_utc": [SPRING_START + HOUR * row for row in range(len(hours))],
            "is_usable": [usable for usable, _ in hours],
            "is_trainable": [trainable for _, trainable in hours],
        },
        schema={
            "hour_utc": pl.Datetime("us", "UTC"),
            "is_usable": pl.Boolean,
            "is_trainable": pl.Boolean,
        },
    )
    high = low + length
    expected = [
        row
        for row in range(lookback, len(hours) - horizon + 1)
        if row - lookback >= low
        and row + horizon <= high
        and all(all(hours[r]) for r in range(row - lookback, row))
        and all(hours[r][1] for r in range(row, row + horizon))
    ]
    found = training_rows(
        history,
        SPRING_START + HOUR * low,
        SPRING_START + HOUR * high,
        lookback_hours=lookback,
        horizon_hours=horizon,
    )
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("fault", "first", "hours"),
    [
        ("missing hour", datetime(2023, 10, 29, 1, tzinfo=UTC), 1),
        ("frozen feed", datetime(2024, 11, 16, 8, tzinfo=UTC), 12),
        ("spike", datetime(2024, 10, 22, 14, tzinfo=UTC), 1),
    ],
)
def test_no_training_window_touches_a_recorded_fault(
    history: pl.DataFrame, fault: str, first: datetime, hours: int
) -> None:
    end = first + (hours - 1) * HOUR
    rows = training_rows(
        history, history["hour_utc"][0], end + 200 * HOUR, lookback_hours=24, horizon_hours=6
    )
    issued = history["hour_utc"].to_numpy()[rows]
    touching = (issued - 24 * np.timedelta64(1, "h") <= np.datetime64(end.replace(tzinfo=None))) & (
        issued + 5 * np.timedelta64(1, "h") >= np.datetime64(first.replace(tzinfo=None))
    )
    assert not touching.any(), fault
    assert len(rows) > 5000


def test_a_window_reads_the_hours_before_its_issue_time_and_is_judged_from_it_on() -> None:
    values = np.arange(20.0)[:, None] * [1.0, 100.0]
    rows = np.array([5, 14])
    assert lookbacks(values, rows, 3)[0].tolist() == [[2, 200], [3, 300], [4, 400]]
    assert targets(values[:, 0], rows, 6).tolist() == [
        [5, 6, 7, 8, 9, 10],
        [14, 15, 16, 17, 18, 19],
    ]


def test_real_windows_hold_the_values_of_their_hours(history: pl.DataFrame) -> None:
    start, end = datetime(2024, 3, 1, tzinfo=UTC), datetime(2024, 3, 20, tzinfo=UTC)
    rows = training_rows(history, start, end, lookback_hours=24, horizon_hours=6)
    inputs = lookbacks(matrix(history, FEATURE_COLUMNS), rows, 24)
    outputs = targets(matrix(history, (CO2_COLUMN,))[:, 0], rows, 6)
    issued = history["hour_utc"][int(rows[100])]
    by_time = history.filter(pl.col("hour_utc").is_between(issued - 24 * HOUR, issued - HOUR))
    assert inputs[100].tolist() == [list(row) for row in by_time.select(FEATURE_COLUMNS).rows()]
    after = history.filter(pl.col("hour_utc").is_between(issued, issued + 5 * HOUR))
    assert outputs[100].tolist() == after[CO2_COLUMN].to_list()


def test_a_missing_input_is_named_with_its_hour_and_column() -> None:
    inputs = np.ones((2, 4, 2))
    inputs[1, 1, 0] = np.nan
    with pytest.raises(
        InputsMissing,
        match=r"2024-03-01T01:00 UTC, column solar.*null 3 hours before it.*4 hours of 2 inputs",
    ):
        refuse_incomplete(inputs, [SPRING_START, SPRING_START + HOUR], ("solar", "wind"))
