"""What others forecast, as it was known at each issue time: covariates of each lead.

A value counts only if it was available by the issue time; of several vintages the newest
does. Where it was not yet published (tomorrow's wind, in the morning), another stands in, and
a flag says so: of wind and prognosis that of the last hour that is known, since weather lasts;
of sun that of 24 hours before; of prices that too, moved by what the last known price differs
from the day before it. A column that says nothing of the next hour is missing: the covariates
that need it are left out, and no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from co2_assets.forecasting.covariates import Series
from co2_assets.forecasting.forecaster import Floats
from co2_assets.forecasting.windows import DAY, inside, mean_before
from co2_assets.schema import (
    EXTERNAL_COLUMNS,
    EXTERNAL_GROUPS,
    MISSION_LEADS,
    available_column,
    price_column,
)

GROUPS = tuple(EXTERNAL_GROUPS)
WIND_SOLAR, PROGNOSIS, PRICES = (EXTERNAL_GROUPS[name] for name in GROUPS)
MEASURED_OF = ("offshore_wind_mw", "onshore_wind_mw", "solar_mw")
"""What each forecast of `WIND_SOLAR` was measured as, later."""

CARRIED = (*WIND_SOLAR[:2], *PROGNOSIS)
"""Columns whose last known hour stands in for those not yet published."""

MOVED = PRICES
"""Columns whose day before stands in, moved by the change of the last known hour in a day."""

FURTHEST = 30
"""Hours beyond the last known one that it may stand in for."""

ERROR_HOURS = (3, 24)
"""Hours over which errors of forecasts are averaged."""

WEEK = 7 * DAY

NEXT_HOURS = 3
"""Leads of which a column must speak, or a forecast is marked as made without it."""

GROUP_OF = np.array(
    [number for number, names in enumerate(EXTERNAL_GROUPS.values()) for _ in names]
)
"""The group of each external column."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class External:
    """External series beside a history, one entry per hour of it and of the hours that follow.

    Attributes:
        values: by column of `schema.EXTERNAL_COLUMNS`, shape (vintages, hours), oldest first;
            NaN is missing.
        known_from: the same shapes: the row of the first issue time that may use the value;
            infinite where there is none.
        carries: whether what is not yet published is carried on from the newest that is. In
            models of 0.1 the day before stands in always.
    """

    values: dict[str, Floats]
    known_from: dict[str, Floats]
    carries: bool = True

    @classmethod
    def of(
        cls, external: pl.DataFrame, first: datetime, hours: int, *, carries: bool = True
    ) -> External:
        """From the frame of `transform.external.hourly_external`.

        Args:
            external: any span; what it lacks is missing.
            first: hour of row 0.
            hours: how many.
            carries: see the class.
        """
        last = first + timedelta(hours=hours - 1)
        within = external.filter(pl.col("hour_utc").is_between(first, last)).with_columns(
            vintage=pl.int_range(pl.len()).over("hour_utc")
        )
        rows = within["hour_utc"].dt.epoch("s").to_numpy() // 3600 - int(first.timestamp()) // 3600
        values, known_from = {}, {}
        for name in EXTERNAL_COLUMNS:
            seconds = within[available_column(name)].dt.epoch("us").to_numpy() / 1_000_000
            value = within[name].cast(pl.Float64).to_numpy()
            there = np.isfinite(value) & np.isfinite(seconds)
            place = within["vintage"].to_numpy()[there], rows[there]
            shape = int(place[0].max(initial=0)) + 1, hours
            values[name], known_from[name] = np.full(shape, np.nan), np.full(shape, np.inf)
            values[name][place] = value[there]
            known_from[name][place] = np.ceil((seconds[there] - first.timestamp()) / 3600)
        return cls(values, known_from, carries)

    def known(self, column: str, valid: Rows, issue: Rows) -> Floats:
        """A column's values at hours, the newest known at issue times; NaN where none was.

        Args:
            column: of `schema.EXTERNAL_COLUMNS`.
            valid: rows of the hours wanted, any shape.
            issue: rows of the issue times, of a shape that broadcasts.
        """
        found = np.full(np.broadcast_shapes(valid.shape, issue.shape), np.nan)
        for values, known_from in zip(self.values[column], self.known_from[column], strict=True):
            is_known = inside(known_from, valid, np.inf) <= issue
            found = np.where(is_known, inside(values, valid), found)
        return found

    def at(self, column: str, valid: Rows, issue: Rows) -> Floats:
        """The same, or what stands in where none was known yet."""
        newest = self.known(column, valid, issue)
        day_before = self.known(column, valid - DAY, issue)
        plain = np.where(np.isfinite(newest), newest, day_before)
        if not self.carries or column not in (*CARRIED, *MOVED):
            return plain
        last = self._last_known[column][np.clip(issue, 0, len(self._last_known[column]) - 1)]
        stands_in = self.known(column, last, issue)
        if column in MOVED:
            stands_in = day_before + stands_in - self.known(column, last - DAY, issue)
        beyond = (last >= 0) & (valid > last) & (valid <= last + FURTHEST)
        return np.where(beyond & np.isfinite(stands_in), stands_in, plain)

    @cached_property
    def _last_known(self) -> dict[str, Rows]:
        """By column: the last hour of which anything is known, by issue row; -1 is none."""
        found = {}
        for column, known_from in self.known_from.items():
            first = known_from.min(axis=0, initial=np.inf)
            last = np.full(len(first) + 1, -1)
            known = np.flatnonzero(first <= len(first))
            np.maximum.at(last, np.maximum(first[known], 0).astype(np.int64), known)
            found[column] = np.maximum.accumulate(last)
        return found

    def published(self, valid: Rows, issue: Rows) -> NDArray[np.bool_]:
        """Whether anything of the wind of hours was known at issue times."""
        return self.is_known(WIND_SOLAR[0], valid, issue) | self.is_known(
            WIND_SOLAR[1], valid, issue
        )

    def is_known(self, column: str, valid: Rows, issue: Rows) -> NDArray[np.bool_]:
        """Whether a column's value of an hour was known at an issue time."""
        return np.isfinite(self.known(column, valid, issue))

    def present(self, issue: Rows, horizon: int) -> NDArray[np.bool_]:
        """Which columns can be used at which lead, shape (windows, horizon, columns).

        A column that says nothing of the next hour is missing. Of the mission's leads, only
        those count whose values are known themselves: in the evening, the first hour of
        tomorrow may not be published yet. Later leads do with the day before, and a flag.
        """
        valid = issue[:, None] + np.arange(horizon)[None, :]
        known = np.stack(
            [self.is_known(name, valid, issue[:, None]) for name in EXTERNAL_COLUMNS], axis=2
        )
        later = np.arange(horizon)[None, :, None] >= MISSION_LEADS
        return np.asarray(known[:, :1] & (known | later), dtype=bool)


def no_external() -> pl.DataFrame:
    """An external frame without rows: nothing is known from elsewhere."""
    time = pl.Datetime("us", "UTC")
    schema: dict[str, pl.DataType] = {"hour_utc": time}
    for column in EXTERNAL_COLUMNS:
        schema |= {column: pl.Float64(), available_column(column): time}
    return pl.DataFrame(schema=schema)


def without(external: pl.DataFrame, columns: Sequence[str], start: datetime) -> pl.DataFrame:
    """An external frame as if columns had not been published for hours from `start` on."""
    before = pl.col("hour_utc") < start
    return external.with_columns(pl.when(before).then(name).alias(name) for name in columns)


def missing_columns(
    external: pl.DataFrame, issue_time: datetime, horizon_hours: int
) -> tuple[str, ...]:
    """The columns that are missing at an issue time: one of the next hours is unknown.

    Tomorrow's first hours are no such: they lie beyond `NEXT_HOURS` at any issue time of the
    schedule.
    """
    ahead = External.of(external, issue_time, horizon_hours)
    present = ahead.present(np.zeros(1, dtype=np.int64), horizon_hours)[0, :NEXT_HOURS]
    return tuple(name for index, name in enumerate(EXTERNAL_COLUMNS) if not present[:, index].all())


DK1, NO2, DE = (price_column(area) for area in ("DK1", "NO2", "DE"))


def group_columns() -> tuple[dict[str, tuple[str, ...]], ...]:
    """Each group's covariates of a lead, in order, with the columns that each needs."""
    return (
        {
            **{
                f"{name}{what}": (name,)
                for name in WIND_SOLAR
                for what in ("", "_change", "_gap_to_measured", "_error_last_hour")
            },
            "wind_solar_sum_change": WIND_SOLAR,
            "residual_load_mw": WIND_SOLAR,
            "residual_load_change": WIND_SOLAR,
            "wind_solar_is_known": WIND_SOLAR[:1],
            "wind_solar_sum_to_next": WIND_SOLAR,
            "wind_solar_sum_from_previous": WIND_SOLAR,
            **{
                f"{name}_error_{hours}h": (name,)
                for name in WIND_SOLAR[:2]
                for hours in ERROR_HOURS
            },
        },
        {
            name: PROGNOSIS
            for name in (
                "prognosis_change", "prognosis_gap", "prognosis_error_last_hour",
                "prognosis_error_24h", "prognosis_is_known", "prognosis_to_next",
                "prognosis_from_previous",
            )
        },
        {
            **{f"{name}{what}": (name,) for name in PRICES for what in ("", "_change")},
            "price_dk1_less_no2": (DK1, NO2),
            "price_dk1_less_de": (DK1, DE),
            "prices_is_known": (DK1,),
        },
    )  # fmt: skip


def group_covariates(series: Series, external: External, rows: Rows) -> list[Floats]:
    """Covariates of each lead by group, shape (windows, horizon, columns); NaN is missing.

    Args:
        series: the history, of which only hours before the issue times are read.
        external: beside it, row for row.
        rows: of the issue times.
    """
    issue = rows[:, None]
    valid = issue + np.arange(series.horizon_hours)[None, :]
    last = issue - 1
    return [
        _wind_and_solar(series, external, valid, last, issue),
        _prognosis(series, external, valid, last, issue),
        _prices(external, valid, last, issue),
    ]


def _wind_and_solar(
    series: Series, external: External, valid: Rows, last: Rows, issue: Rows
) -> Floats:
    parts = []
    at_valid, at_last = [], []
    for name, measured in zip(WIND_SOLAR, MEASURED_OF, strict=True):
        ahead, now = external.at(name, valid, issue), external.at(name, last, issue)
        known = inside(series.column(measured), last)
        parts += [ahead, ahead - now, ahead - known, _spread(now - known, valid)]
        at_valid.append(ahead)
        at_last.append(now)
    ahead, now = np.sum(at_valid, axis=0), np.sum(at_last, axis=0)
    residual = inside(series.load, valid - WEEK) - ahead
    parts += [
        ahead - now,
        residual,
        residual - (inside(series.load, last - WEEK) - now),
        _is_known(external, WIND_SOLAR[0], valid, issue),
        _wind_solar_sum(external, valid + 1, issue) - ahead,
        ahead - _wind_solar_sum(external, valid - 1, issue),
    ]
    hours = np.arange(len(series.log_co2))[:, None]
    for name, measured in zip(WIND_SOLAR[:2], MEASURED_OF[:2], strict=True):
        errors = external.at(name, hours, hours + 1)[:, 0] - series.column(measured)
        parts += [_spread(inside(mean_before(errors, n), issue), valid) for n in ERROR_HOURS]
    return np.stack(parts, axis=2)


def _wind_solar_sum(external: External, valid: Rows, issue: Rows) -> Floats:
    parts = [external.at(name, valid, issue) for name in WIND_SOLAR]
    return np.asarray(np.sum(parts, axis=0), dtype=np.float64)


def _prognosis(series: Series, external: External, valid: Rows, last: Rows, issue: Rows) -> Floats:
    (name,) = PROGNOSIS
    ahead = np.log(external.at(name, valid, issue))
    now = np.log(external.at(name, last, issue))
    hours = issue - np.arange(1, DAY + 1)[None, :]
    errors = np.log(external.at(name, hours, issue)) - inside(series.log_co2, hours)
    known = np.isfinite(errors)
    mean_error = np.where(known, errors, 0.0).sum(axis=1, keepdims=True) / np.maximum(
        known.sum(axis=1, keepdims=True), 1
    )
    measured = inside(series.log_co2, last)
    return np.stack(
        [
            ahead - now,
            ahead - measured,
            _spread(now - measured, valid),
            _spread(mean_error, valid),
            _is_known(external, name, valid, issue),
            np.log(external.at(name, valid + 1, issue)) - ahead,
            ahead - np.log(external.at(name, valid - 1, issue)),
        ],
        axis=2,
    )


def _prices(external: External, valid: Rows, last: Rows, issue: Rows) -> Floats:
    ahead = {name: external.at(name, valid, issue) for name in PRICES}
    parts = []
    for name, value in ahead.items():
        parts += [value, value - external.at(name, last, issue)]
    parts += [
        ahead[DK1] - ahead[NO2],
        ahead[DK1] - ahead[DE],
        _is_known(external, DK1, valid, issue),
    ]
    return np.stack(parts, axis=2)


def _is_known(external: External, column: str, valid: Rows, issue: Rows) -> Floats:
    return external.is_known(column, valid, issue).astype(np.float64)


def _spread(values: Floats, like: Rows) -> Floats:
    return np.broadcast_to(values, like.shape)
