"""Forecasts that cost nothing, which every model has to beat.

All of them say log CO2 = point + error, with the errors' quantiles per lead taken from
the training range, so that they have bands like any other forecaster.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from co2_assets.errors import InputsMissing
from co2_assets.forecasting.forecaster import (
    LOWEST_G_PER_KWH,
    Floats,
    forecast_frame,
    issue_rows,
)
from co2_assets.forecasting.windows import DAY, MONTH_DAYS, inside, same_hour_mean
from co2_assets.schema import CO2_COLUMN, QUANTILES, imputed

LAST_KNOWN_WITHIN = 24
"""Hours: an older value says nothing that climatology does not."""

FEWEST_ERRORS = 24


@dataclass(frozen=True)
class Baseline:
    """A point rule with the quantiles of its log errors.

    Attributes:
        name: of the rule.
        horizon_hours: leads 1 to this.
        log_error_quantiles: shape (horizon, 7).
        damping: shape (horizon,): how much of today's departure from climatology is left
            at each lead; None for rules that know no climatology.
    """

    name: str
    horizon_hours: int
    log_error_quantiles: Floats
    damping: Floats | None = None
    lookback_hours: int = field(default=(MONTH_DAYS + 1) * DAY)
    reads: tuple[str, ...] = ()

    def predict(
        self,
        history: pl.DataFrame,
        issue_times: Sequence[datetime],
        external: pl.DataFrame | None = None,  # noqa: ARG002, baselines have no use for it
    ) -> pl.DataFrame:
        """Quantiles for every issue time and lead; see `Forecaster`."""
        rows = issue_rows(history, issue_times)
        known = _Known.of(history)
        points = np.stack(
            [
                _POINTS[self.name](known, rows, lead, self.damping)
                for lead in range(1, self.horizon_hours + 1)
            ],
            axis=1,
        )
        missing = np.isnan(points)
        if missing.any():
            issue, lead = np.argwhere(missing)[0]
            raise InputsMissing(
                f"{self.name} has nothing to go by",
                where=f"issue time {issue_times[issue]:%Y-%m-%dT%H:%M} UTC, lead {lead + 1}",
                found=f"no CO2 value within {LAST_KNOWN_WITHIN} hours",
                expected="one",
                next_step="the feed has been silent: see co2.data_quality",
            )
        return forecast_frame(
            issue_times, np.exp(points[:, :, None] + self.log_error_quantiles[None])
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "horizon_hours": self.horizon_hours,
            "log_error_quantiles": self.log_error_quantiles.tolist(),
            "damping": None if self.damping is None else self.damping.tolist(),
        }


def fit_persistence(
    history: pl.DataFrame, train_start: datetime, train_end: datetime, horizon_hours: int
) -> Baseline:
    """The last known hour goes on; the median forecast is that hour itself."""
    return _fit("persistence", history, train_start, train_end, horizon_hours, centred=True)


def fit_seasonal_naive(
    history: pl.DataFrame, train_start: datetime, train_end: datetime, horizon_hours: int
) -> Baseline:
    """The same hour of the newest day that is known."""
    return _fit("seasonal_naive", history, train_start, train_end, horizon_hours, centred=True)


def fit_climatology(
    history: pl.DataFrame, train_start: datetime, train_end: datetime, horizon_hours: int
) -> Baseline:
    """Damped climatology: the mean of the last 28 days at that hour, and a share of today.

    The share is of how far the last known hour departed from its own mean; per lead, by
    least squares.
    """
    known = _Known.of(history)
    rows = _rows_between(history, train_start, train_end)
    damping = np.array([_damping(known, rows, lead) for lead in range(1, horizon_hours + 1)])
    return _fit(
        "climatology",
        history,
        train_start,
        train_end,
        horizon_hours,
        centred=False,
        damping=damping,
    )


def _fit(
    name: str,
    history: pl.DataFrame,
    start: datetime,
    end: datetime,
    horizon_hours: int,
    *,
    centred: bool,
    damping: Floats | None = None,
) -> Baseline:
    known = _Known.of(history)
    log_actual = _log(history[CO2_COLUMN])
    rows = _rows_between(history, start, end)
    quantiles = []
    for lead in range(1, horizon_hours + 1):
        judged = _judged(rows, lead)
        errors = log_actual[judged + lead - 1] - _POINTS[name](known, judged, lead, damping)
        errors = errors[np.isfinite(errors)]
        if len(errors) < FEWEST_ERRORS:
            raise InputsMissing(
                f"too little history to fit {name}",
                where=f"{start:%Y-%m-%dT%H} to {end:%Y-%m-%dT%H} UTC, lead {lead}",
                found=f"{len(errors)} hours with an actual",
                expected=f"at least {FEWEST_ERRORS}",
            )
        found = np.quantile(errors, QUANTILES)
        quantiles.append(found - found[QUANTILES.index(0.5)] if centred else found)
    return Baseline(name, horizon_hours, np.array(quantiles), damping)


def _log(series: pl.Series) -> Floats:
    values = series.cast(pl.Float64).to_numpy().astype(np.float64)
    return np.asarray(np.log(np.maximum(values, LOWEST_G_PER_KWH)), dtype=np.float64)


class _Known(NamedTuple):
    """Log of what is known of CO2, hour by hour; NaN where nothing is."""

    log_co2: Floats
    mean: Floats
    """Of the same hour of the day over 28 days, the newest of them the hour's own."""

    @classmethod
    def of(cls, history: pl.DataFrame) -> _Known:
        log_co2 = _log(history[imputed(CO2_COLUMN)])
        return cls(log_co2, same_hour_mean(log_co2))

    def climate(self, rows: NDArray[np.int64], first_day: int = 1) -> Floats:
        """Mean at the same hour of 28 days, the newest of them `first_day` days before."""
        return inside(self.mean, rows - first_day * DAY)


def _rows_between(history: pl.DataFrame, start: datetime, end: datetime) -> NDArray[np.int64]:
    """Rows in [start, end), the first row of the history left out: nothing lies before it."""
    first = history["hour_utc"][0] if history.height else start
    low = max(1, (start - first) // timedelta(hours=1))
    high = min(history.height, (end - first) // timedelta(hours=1))
    return np.arange(low, max(low, high))


def _judged(rows: NDArray[np.int64], lead: int) -> NDArray[np.int64]:
    """Rows whose hour at a lead still lies in the range: what follows it is not looked at."""
    return rows[: max(0, len(rows) - lead + 1)]


def _last_known(log_co2: Floats, rows: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
    """The newest value before each row, and its age in hours (1 is the hour before)."""
    value = np.full(len(rows), np.nan)
    age = np.zeros(len(rows), dtype=np.int64)
    for back in range(1, LAST_KNOWN_WITHIN + 1):
        candidate = inside(log_co2, rows - back)
        fresh = np.isnan(value) & ~np.isnan(candidate)
        value[fresh], age[fresh] = candidate[fresh], back
        if not np.isnan(value).any():
            break
    return value, age


def _persistence(
    known: _Known, rows: NDArray[np.int64], _lead: int, _damping: Floats | None
) -> Floats:
    return _last_known(known.log_co2, rows)[0]


def _seasonal_naive(
    known: _Known, rows: NDArray[np.int64], lead: int, _damping: Floats | None
) -> Floats:
    days = -(-lead // DAY)
    newest = inside(known.log_co2, rows + lead - 1 - days * DAY)
    before = inside(known.log_co2, rows + lead - 1 - (days + 1) * DAY)
    return np.where(np.isnan(newest), before, newest)


def _climatology(
    known: _Known, rows: NDArray[np.int64], lead: int, damping: Floats | None
) -> Floats:
    days = -(-lead // DAY)
    climate = known.climate(rows + lead - 1, days)
    if damping is None:
        return climate
    last, age = _last_known(known.log_co2, rows)
    departure = last - known.climate(rows - age)
    # A last hour that is older than one hour has faded by as many leads more.
    share = damping[np.minimum(lead + age - 1, len(damping)) - 1]
    return climate + np.where(np.isnan(departure), 0.0, share * departure)


def _damping(known: _Known, rows: NDArray[np.int64], lead: int) -> float:
    """Least-squares share of the departure that is left at a lead, within [0, 1]."""
    rows = _judged(rows, lead)
    departure = inside(known.log_co2, rows - 1) - known.climate(rows - 1)
    later = inside(known.log_co2, rows + lead - 1) - known.climate(rows + lead - 1, -(-lead // DAY))
    both = np.isfinite(departure) & np.isfinite(later)
    spread = float((departure[both] ** 2).sum())
    if spread == 0.0:
        return 0.0
    return float(np.clip((departure[both] * later[both]).sum() / spread, 0.0, 1.0))


_Point = Callable[[_Known, NDArray[np.int64], int, Floats | None], Floats]

_POINTS: dict[str, _Point] = {
    "persistence": _persistence,
    "seasonal_naive": _seasonal_naive,
    "climatology": _climatology,
}
