"""Inputs of the attention-LSTM: encoder rows, and what is known of each lead at issue time.

Everything is taken from rows before the issue time, or from the calendar. Row i stands
for the issue time at which hour i begins; its last known hour is row i-1.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from co2_assets.forecasting.calendar import CALENDAR_COLUMNS, calendar
from co2_assets.forecasting.forecaster import LOWEST_G_PER_KWH, Floats
from co2_assets.forecasting.windows import DAY, MONTH_DAYS, inside, mean_before, same_hour_mean
from co2_assets.schema import CO2_COLUMN, POWER_COLUMNS, imputed

CO2_ANALOGUES = (24, 48, 168)
"""Hours back at which the lead hour had an analogue."""

MEAN_CHANGES = ("solar_mw", "net_import_mw", "central_plants_mw")
DAY_CHANGES = ("solar_mw", "net_import_mw", "onshore_wind_mw", "central_plants_mw")

DAY_GAPS = (
    "central_plants_mw",
    "local_plants_mw",
    "net_import_mw",
    "solar_mw",
    "import_and_wind_solar",
    "load",
)
"""Quantities whose value at the lead hour a day ago is compared with the last hour's."""

DAY_MEANS = ("central_plants_mw", "net_import_mw", "wind", "log_co2")
"""Quantities whose mean of the last day is compared with the last hour's."""

SLOPES = ("wind", "net_import_mw", "central_plants_mw")
SLOPE_HOURS = (1, 3)

ENCODER_COLUMNS = (*POWER_COLUMNS, "log_co2", "log_co2_less_last", *CALENDAR_COLUMNS)


def reach_hours(horizon_hours: int) -> int:
    """Hours before an issue time that a covariate may read.

    A month of days, and as many more as the newest analogue of the last lead is older.
    """
    return DAY * (MONTH_DAYS + -(-horizon_hours // DAY)) + 1


def lead_columns() -> tuple[str, ...]:
    """Names of a lead's covariates, in order."""
    return (
        *(f"lead_{name}" for name in CALENDAR_COLUMNS),
        "issue_hour_sin",
        "issue_hour_cos",
        *(f"co2_change_{back}h_before" for back in CO2_ANALOGUES),
        *(f"co2_gap_{back}h_before" for back in CO2_ANALOGUES),
        "co2_mean_change_28d",
        *(f"{name}_mean_change_28d" for name in MEAN_CHANGES),
        *(f"{name}_change_24h_before" for name in DAY_CHANGES),
        *(f"{name}_gap_24h_before" for name in DAY_GAPS),
        *(f"{name}_gap_of_day_mean" for name in DAY_MEANS),
        *(f"{name}_slope_{hours}h" for name in SLOPES for hours in SLOPE_HOURS),
    )


@dataclass(frozen=True)
class Series:
    """A history as arrays, one entry per hour; null is NaN."""

    power: Floats
    """Shape (hours, 6), MW."""
    log_co2: Floats
    """Log of what is known, g/kWh."""
    calendar: Floats
    """Shape (hours + horizon, 9): also of the hours that follow."""
    horizon_hours: int
    first_hour: int
    """Hour of row 0, in hours since 1970."""

    @classmethod
    def of(cls, history: pl.DataFrame, horizon_hours: int) -> Series:
        """From a history frame; only the imputed values are read."""
        co2 = history[imputed(CO2_COLUMN)].cast(pl.Float64).to_numpy()
        first = history["hour_utc"][0]
        hours = pl.datetime_range(
            first,
            first + timedelta(hours=history.height + horizon_hours - 1),
            "1h",
            eager=True,
        )
        return cls(
            power=history.select(pl.col([imputed(name) for name in POWER_COLUMNS]))
            .cast(pl.Float64)
            .to_numpy(),
            log_co2=np.log(np.maximum(co2, LOWEST_G_PER_KWH)),
            calendar=calendar(hours),
            horizon_hours=horizon_hours,
            first_hour=int(first.timestamp()) // 3600,
        )

    def column(self, name: str) -> Floats:
        """One power column, MW."""
        return self.power[:, POWER_COLUMNS.index(name)]

    @cached_property
    def load(self) -> Floats:
        """Production and net import, MW: what Denmark uses."""
        return np.asarray(self.power.sum(axis=1), dtype=np.float64)

    @cached_property
    def wind(self) -> Floats:
        """Offshore and onshore, MW."""
        return self.column("offshore_wind_mw") + self.column("onshore_wind_mw")

    def quantity(self, name: str) -> Floats:
        """One of what `DAY_GAPS`, `DAY_MEANS` and `SLOPES` name."""
        if name == "import_and_wind_solar":
            return self.column("net_import_mw") + self.wind + self.column("solar_mw")
        if name in ("load", "wind", "log_co2"):
            return np.asarray(getattr(self, name), dtype=np.float64)
        return self.column(name)

    def day_of(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The day (since 1970, UTC) of each issue row."""
        return (self.first_hour + rows) // DAY


def encoder_rows(series: Series, rows: NDArray[np.int64], lookback_hours: int) -> Floats:
    """Encoder inputs, shape (windows, lookback, 17), not yet scaled."""
    index = rows[:, None] + np.arange(-lookback_hours, 0)[None, :]
    log_co2 = series.log_co2[index]
    return np.concatenate(
        [
            series.power[index],
            log_co2[..., None],
            (log_co2 - log_co2[:, -1:])[..., None],
            series.calendar[index],
        ],
        axis=2,
    )


def lead_covariates(series: Series, rows: NDArray[np.int64]) -> Floats:
    """Covariates of each lead, shape (windows, horizon, columns), not yet scaled.

    An analogue that is unknown is NaN, which scaling turns into the average.
    """
    horizon = series.horizon_hours
    leads = np.arange(1, horizon + 1)
    # The newest analogue of a lead beyond a day is as many days older.
    days = -(-leads // DAY) - 1
    valid = rows[:, None] + leads[None, :] - 1
    last = rows[:, None] - 1
    now = inside(series.log_co2, last)
    parts = [series.calendar[valid], _issue_hour(series, rows, horizon)]
    analogues = [back + DAY * days[None, :] for back in CO2_ANALOGUES]
    then = [inside(series.log_co2, valid - back) for back in analogues]
    parts += [
        (value - inside(series.log_co2, last - back))[..., None]
        for value, back in zip(then, analogues, strict=True)
    ]
    parts += [(value - now)[..., None] for value in then]
    parts.append(_mean_change(series.log_co2, valid, last, days)[..., None])
    parts += [
        _mean_change(series.column(name), valid, last, days)[..., None] for name in MEAN_CHANGES
    ]
    day = DAY * (1 + days[None, :])
    parts += [
        (inside(series.column(name), valid - day) - inside(series.column(name), last - day))[
            ..., None
        ]
        for name in DAY_CHANGES
    ]
    for name in DAY_GAPS:
        values = series.quantity(name)
        parts.append((inside(values, valid - day) - inside(values, last))[..., None])
    parts += [
        np.broadcast_to(value, valid.shape)[..., None] for value in _of_the_last_day(series, rows)
    ]
    return np.concatenate(parts, axis=2)


def _of_the_last_day(series: Series, rows: NDArray[np.int64]) -> list[Floats]:
    """What the last day says of each issue time, each of shape (windows, 1)."""
    found = []
    last = rows[:, None] - 1
    for name in DAY_MEANS:
        values = series.quantity(name)
        found.append(inside(mean_before(values, DAY), rows[:, None]) - inside(values, last))
    for name in SLOPES:
        values = series.quantity(name)
        found += [inside(values, last) - inside(values, last - hours) for hours in SLOPE_HOURS]
    return found


def _issue_hour(series: Series, rows: NDArray[np.int64], horizon: int) -> Floats:
    return np.repeat(series.calendar[rows][:, None, :2], horizon, axis=1)


def _mean_change(
    values: Floats,
    valid: NDArray[np.int64],
    last: NDArray[np.int64],
    days: NDArray[np.int64],
) -> Floats:
    """What the quantity did from this hour of the day to that one, by the means of 28 days."""
    mean = same_hour_mean(values)
    newest = DAY * (1 + days[None, :])
    return inside(mean, valid - newest) - inside(mean, last - newest)
