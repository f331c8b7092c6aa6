"""The calendar is Danish, through both changes of the clock."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest

from co2_assets.forecasting.calendar import CALENDAR_COLUMNS, calendar


def value(time: str, column: str) -> float:
    hours = pl.Series([datetime.fromisoformat(time).replace(tzinfo=UTC)])
    return float(calendar(hours)[0, CALENDAR_COLUMNS.index(column)])


@pytest.mark.parametrize(
    ("utc", "danish_hour"),
    [
        ("2024-01-15T05:00", 6),
        ("2024-07-15T04:00", 6),
        ("2024-03-31T00:00", 1),
        ("2024-03-31T01:00", 3),
        ("2024-10-27T00:00", 2),
        ("2024-10-27T01:00", 2),
        ("2024-10-27T02:00", 3),
    ],
)
def test_the_hour_is_what_a_danish_clock_shows(utc: str, danish_hour: int) -> None:
    angle = 2 * math.pi * danish_hour / 24
    assert value(utc, "hour_sin") == pytest.approx(math.sin(angle), abs=1e-12)
    assert value(utc, "hour_cos") == pytest.approx(math.cos(angle), abs=1e-12)
    assert value(utc, "hour_cos_2") == pytest.approx(math.cos(2 * angle), abs=1e-12)


def test_the_day_begins_at_danish_midnight() -> None:
    assert value("2024-06-14T21:00", "is_weekend") == 0  # Friday, 23:00 in Denmark
    assert value("2024-06-14T22:00", "is_weekend") == 1
    assert value("2024-06-16T21:00", "is_weekend") == 1
    assert value("2024-06-16T22:00", "is_weekend") == 0


@pytest.mark.parametrize("day", ["2023-12-25", "2024-01-01", "2024-03-28", "2026-05-14"])
def test_danish_holidays_are_known(day: str) -> None:
    assert value(f"{day}T12:00", "is_holiday") == 1


@pytest.mark.parametrize("day", ["2023-04-20", "2024-04-26"])
def test_great_prayer_day_went_in_2024(day: str) -> None:
    assert value(f"{day}T12:00", "is_holiday") == 0


def test_the_sun_is_high_in_june_low_in_december_and_down_at_night() -> None:
    # 90 - 56 + 23.4 and 90 - 56 - 23.4 degrees at solar noon.
    assert value("2024-06-21T11:00", "sun_elevation_sin") == pytest.approx(0.843, abs=0.01)
    assert value("2024-12-21T11:00", "sun_elevation_sin") == pytest.approx(0.184, abs=0.01)
    assert value("2024-12-21T23:00", "sun_elevation_sin") == 0


def test_every_hour_of_four_years_has_a_finite_calendar() -> None:
    hours = pl.datetime_range(
        datetime(2023, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC), "1h", eager=True
    )
    made = calendar(hours)
    assert made.shape == (len(hours), len(CALENDAR_COLUMNS))
    assert np.isfinite(made).all()
    assert np.abs(made).max() <= 1
