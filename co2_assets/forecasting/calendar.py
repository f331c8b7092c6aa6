"""Danish-time calendar of an hour: nine values, known for any hour ever."""

from __future__ import annotations

import math
from functools import lru_cache

import holidays
import numpy as np
import polars as pl

from co2_assets.forecasting.forecaster import Floats

DANISH = "Europe/Copenhagen"
LATITUDE, LONGITUDE = 56.0, 10.0
"""The middle of Denmark."""

CALENDAR_COLUMNS = (
    "hour_sin", "hour_cos", "hour_sin_2", "hour_cos_2",
    "weekday_sin", "weekday_cos", "is_weekend", "is_holiday", "sun_elevation_sin",
)  # fmt: skip


def calendar(hours: pl.Series) -> Floats:
    """The calendar of hours, shape (hours, 9), in the order of `CALENDAR_COLUMNS`.

    Hour of the day and weekday are Danish; the sun's elevation is that of the middle of
    the hour, by the declination of Cooper (1969) and the mean solar time.

    Args:
        hours: UTC, hour-beginning.
    """
    danish = hours.dt.convert_time_zone(DANISH)
    hour = danish.dt.hour().to_numpy() * (2 * np.pi / 24)
    day_of_week = danish.dt.weekday().to_numpy()
    weekday = (day_of_week - 1) * (2 * np.pi / 7)
    dates = danish.dt.date()
    free = _danish_holidays(tuple(sorted(set(dates.dt.year().to_list()))))
    return np.column_stack(
        [
            np.sin(hour),
            np.cos(hour),
            np.sin(2 * hour),
            np.cos(2 * hour),
            np.sin(weekday),
            np.cos(weekday),
            day_of_week >= 6,
            dates.is_in(free.implode()).to_numpy(),
            _sun(hours),
        ]
    ).astype(np.float64)


@lru_cache(maxsize=8)
def _danish_holidays(years: tuple[int, ...]) -> pl.Series:
    return pl.Series(sorted(holidays.country_holidays("DK", years=years)), dtype=pl.Date)


def _sun(hours: pl.Series) -> Floats:
    """Sine of the sun's elevation over Denmark, 0 below the horizon."""
    day = hours.dt.ordinal_day().to_numpy()
    solar_hour = hours.dt.hour().to_numpy() + 0.5 + LONGITUDE / 15
    declination = math.radians(23.45) * np.sin(2 * np.pi * (284 + day) / 365)
    latitude = math.radians(LATITUDE)
    elevation = math.sin(latitude) * np.sin(declination) + math.cos(latitude) * np.cos(
        declination
    ) * np.cos(np.pi * (solar_hour - 12) / 12)
    return np.maximum(np.asarray(elevation, dtype=np.float64), 0.0)
