"""Forecasts of many issue times as arrays, and the hours that they choose."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import polars as pl

from co2_assets.forecasting.backtest import REFERENCE
from co2_assets.forecasting.forecaster import Floats
from co2_assets.forecasting.greenest import Hours, window_means
from co2_assets.schema import QUANTILE_COLUMNS

WEEK_HOURS = 168


class Replay(NamedTuple):
    """Forecasts and what followed, by issue time and lead.

    Attributes:
        quantiles: of each model, shape (issue times, leads, 7), NaN where it has none.
        actual: shape (issue times, leads).
        hours: the issue times, hours since 1970.
    """

    quantiles: dict[str, Floats]
    actual: Floats
    hours: Hours

    @property
    def times(self) -> list[datetime]:
        """The issue times."""
        return [datetime.fromtimestamp(hour * 3600, UTC) for hour in self.hours.tolist()]

    @property
    def weeks(self) -> Floats:
        """The block of each issue time, for a bootstrap."""
        return (self.hours // WEEK_HOURS).astype(np.float64)

    def with_points(self, name: str, points: Floats) -> Replay:
        """With one more model, which has no quantiles but its points."""
        quantiles = np.repeat(points[:, :, None], len(QUANTILE_COLUMNS), axis=2)
        return self._replace(quantiles={**self.quantiles, name: quantiles})


def by_issue_time(paired: dict[str, pl.DataFrame]) -> Replay:
    """Arrays of a backtest's forecasts; only issue times with an actual at every lead count."""
    reference = paired[REFERENCE].sort("issue_time_utc", "lead_hours")
    leads = int(reference["lead_hours"].max() or 0)  # type: ignore[arg-type]
    times = (
        reference.group_by("issue_time_utc", maintain_order=True)
        .len()
        .filter(pl.col("len") == leads)
        .with_row_index("row")
    )

    def array(rows: pl.DataFrame, columns: tuple[str, ...]) -> Floats:
        placed = rows.join(times, on="issue_time_utc")
        values = np.full((times.height, leads, len(columns)), np.nan)
        index = placed["row"].to_numpy(), placed["lead_hours"].to_numpy() - 1
        values[index] = placed.select(columns).to_numpy()
        return values

    return Replay(
        {name: array(rows, QUANTILE_COLUMNS) for name, rows in paired.items()},
        array(reference, ("actual_g_per_kwh",))[:, :, 0],
        times["issue_time_utc"].dt.epoch("s").to_numpy() // 3600,
    )


def lowest_starts(deciding: Floats, duration: int) -> Hours:
    """Start of the lowest window of each issue time, the earliest among equals.

    Where no window has all its hours, the job runs at once.
    """
    means = window_means(deciding, duration)
    return np.asarray(np.argmin(np.where(np.isnan(means), np.inf, means), axis=1))


def at_starts(values: Floats, starts: Hours) -> Floats:
    """The value of each row at its own start."""
    return np.asarray(values[np.arange(len(starts)), starts])
