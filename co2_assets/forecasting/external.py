"""What others forecast, as it was known at each issue time: covariates of each lead.

A value counts only if it was available by the issue time. Where it was not yet published
(tomorrow's wind, in the morning), the value of 24 hours before stands in, and a flag says
so. A group (one dataset) that says nothing of the next hour is missing, and left out whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from co2_assets.forecasting.covariates import Series
from co2_assets.forecasting.forecaster import Floats
from co2_assets.forecasting.windows import DAY, inside
from co2_assets.schema import (
    EXTERNAL_COLUMNS,
    EXTERNAL_GROUPS,
    MISSION_LEADS,
    available_column,
)

GROUPS = tuple(EXTERNAL_GROUPS)
WIND_SOLAR, PROGNOSIS, PRICES = (EXTERNAL_GROUPS[name] for name in GROUPS)
MEASURED_OF = ("offshore_wind_mw", "onshore_wind_mw", "solar_mw")
"""What each forecast of `WIND_SOLAR` was measured as, later."""

WEEK = 7 * DAY

NEXT_HOURS = 3
"""Leads of which a group must speak, or a forecast is marked as made without it."""

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class External:
    """External series beside a history, one entry per hour of it and of the hours that follow.

    Attributes:
        values: shape (hours, columns of `schema.EXTERNAL_COLUMNS`); NaN is missing.
        known_from: the same shape: the row of the first issue time that may use the value;
            infinite where there is none.
    """

    values: Floats
    known_from: Floats

    @classmethod
    def of(cls, external: pl.DataFrame, first: datetime, hours: int) -> External:
        """From the frame of `transform.external.hourly_external`.

        Args:
            external: any span; what it lacks is missing.
            first: hour of row 0.
            hours: how many.
        """
        last = first + timedelta(hours=hours - 1)
        within = external.filter(pl.col("hour_utc").is_between(first, last))
        rows = within["hour_utc"].dt.epoch("s").to_numpy() // 3600 - int(first.timestamp()) // 3600
        available = pl.col([available_column(name) for name in EXTERNAL_COLUMNS])
        seconds = within.select(available.dt.epoch("us") / 1_000_000).to_numpy()
        values, known = np.full((2, hours, len(EXTERNAL_COLUMNS)), np.nan)
        values[rows] = within.select(EXTERNAL_COLUMNS).to_numpy()
        known[rows] = np.ceil((seconds.astype(np.float64) - first.timestamp()) / 3600)
        return cls(values, np.where(np.isfinite(values) & np.isfinite(known), known, np.inf))

    def at(self, column: str, valid: Rows, issue: Rows) -> Floats:
        """A column's values at hours, as known at issue times; a day before where not yet."""
        return as_known(
            self.values[:, EXTERNAL_COLUMNS.index(column)],
            self.known_from[:, EXTERNAL_COLUMNS.index(column)],
            valid,
            issue,
        )

    def present(self, issue: Rows, horizon: int) -> NDArray[np.bool_]:
        """Which groups can be used at which lead, shape (windows, horizon, groups).

        A group that says nothing of the next hour is missing. Of the mission's leads, only
        those count whose values are known themselves: in the evening, the first hour of
        tomorrow may not be published yet. Later leads do with the day before, and a flag.
        """
        valid = issue[:, None] + np.arange(horizon)[None, :]
        known = np.stack(
            [
                np.all(
                    [
                        inside(self.known_from[:, EXTERNAL_COLUMNS.index(name)], valid, np.inf)
                        <= issue[:, None]
                        for name in columns
                    ],
                    axis=0,
                )
                for columns in EXTERNAL_GROUPS.values()
            ],
            axis=2,
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


def missing_groups(
    external: pl.DataFrame, issue_time: datetime, horizon_hours: int
) -> tuple[str, ...]:
    """The groups that are missing at an issue time, by name: one of the next hours is unknown.

    Tomorrow's first hours are no such: they lie beyond `NEXT_HOURS` at any issue time of the
    schedule.
    """
    ahead = External.of(external, issue_time, horizon_hours)
    present = ahead.present(np.zeros(1, dtype=np.int64), horizon_hours)[0, :NEXT_HOURS]
    return tuple(name for index, name in enumerate(GROUPS) if not present[:, index].all())


def as_known(values: Floats, known_from: Floats, valid: Rows, issue: Rows) -> Floats:
    """Values at hours as known at issue times: those of the day before where not yet known.

    Args:
        values: one per hour.
        known_from: row of the first issue time that may use each.
        valid: rows of the hours wanted, any shape.
        issue: rows of the issue times, of a shape that broadcasts.
    """
    newest = np.where(inside(known_from, valid, np.inf) <= issue, inside(values, valid), np.nan)
    before = valid - DAY
    older = np.where(inside(known_from, before, np.inf) <= issue, inside(values, before), np.nan)
    return np.where(np.isfinite(newest), newest, older)


def group_columns() -> tuple[tuple[str, ...], ...]:
    """Names of each group's covariates of a lead, in order."""
    return (
        (
            *(
                f"{name}{what}"
                for name in WIND_SOLAR
                for what in ("", "_change", "_gap_to_measured", "_error_last_hour")
            ),
            "wind_solar_sum_change",
            "residual_load_mw",
            "residual_load_change",
            "wind_solar_is_known",
        ),
        ("prognosis_change", "prognosis_gap", "prognosis_error_last_hour",
         "prognosis_error_24h", "prognosis_is_known"),
        (
            *(f"{name}{what}" for name in PRICES for what in ("", "_change")),
            "price_dk1_less_no2",
            "price_dk1_less_de",
            "prices_is_known",
        ),
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
    ]
    return np.stack(parts, axis=2)


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
        ],
        axis=2,
    )


def _prices(external: External, valid: Rows, last: Rows, issue: Rows) -> Floats:
    ahead = {name: external.at(name, valid, issue) for name in PRICES}
    parts = []
    for name, value in ahead.items():
        parts += [value, value - external.at(name, last, issue)]
    dk1 = ahead["price_dk1_eur_per_mwh"]
    parts += [
        dk1 - ahead["price_no2_eur_per_mwh"],
        dk1 - ahead["price_de_eur_per_mwh"],
        _is_known(external, "price_dk1_eur_per_mwh", valid, issue),
    ]
    return np.stack(parts, axis=2)


def _is_known(external: External, column: str, valid: Rows, issue: Rows) -> Floats:
    known_from = external.known_from[:, EXTERNAL_COLUMNS.index(column)]
    return (inside(known_from, valid, np.inf) <= issue).astype(np.float64)


def _spread(values: Floats, like: Rows) -> Floats:
    return np.broadcast_to(values, like.shape)
