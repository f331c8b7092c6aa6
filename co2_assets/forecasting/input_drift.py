"""Whether the newest inputs look like those that a version was trained on.

Population stability index (PSI; Siddiqi, Credit Risk Scorecards, 2006) of the newest two
weeks against the same season of the training range. Two weeks of weather always differ
from a season, so what counts as unusual is learned too: from how far each two weeks of the
training range lie from their own season. It informs; the retrain rule goes by errors alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from co2_assets.forecasting.forecaster import Floats

DAYS = 14
SEASON_DAYS = 45
"""Days before and after the same day of the year that count as its season."""

YEAR_DAYS = 365.25
BINS = 10
LOWEST_ALARM = 0.25
"""By custom, a PSI above it is a large shift: below it nothing is said at all."""

FEWEST_HOURS = 48


class Drift(NamedTuple):
    """How one input compares.

    Attributes:
        column: its name.
        psi: of the newest two weeks against their season in the training range.
        usual: the largest PSI that two weeks of the training range have.
        n_hours: known hours of the newest two weeks.
    """

    column: str
    psi: float
    usual: float
    n_hours: int

    @property
    def is_unusual(self) -> bool:
        """Whether it is worth a warning."""
        return self.psi > max(self.usual, LOWEST_ALARM)


def input_drift(
    history: pl.DataFrame,
    columns: Sequence[str],
    train_range: tuple[datetime, datetime],
    now: datetime,
) -> list[Drift]:
    """Compare the two weeks before `now` with a training range, column by column.

    Args:
        history: `hour_utc` in order, and the columns; null is unknown.
        columns: which to compare.
        train_range: first hour and exclusive end.
        now: exclusive end of what is compared; it does not have to lie after the range.

    Returns:
        One entry per column that is known on both sides.
    """
    hours = history["hour_utc"].dt.epoch("s").to_numpy() / 3600.0
    start, end = (time.timestamp() / 3600 for time in train_range)
    trained = (hours >= start) & (hours < end)
    recent = _within(hours, now.timestamp() / 3600)
    blocks = [_within(hours, stop) & trained for stop in _block_ends(start, end)]
    found = []
    for column in columns:
        values = history[column].cast(pl.Float64).to_numpy()
        known = np.isfinite(values)
        psi = _psi_of(values, hours, recent & known, trained & known & ~recent)
        if psi is None:
            continue
        usual = [
            other
            for block in blocks
            if (other := _psi_of(values, hours, block & known, trained & known & ~block))
            is not None
        ]
        found.append(Drift(column, psi, max(usual, default=0.0), int((recent & known).sum())))
    return found


def psi(reference: Floats, recent: Floats, bins: int = BINS) -> float:
    """Sum over bins of (p - q) ln(p / q), bins of equal share in the reference.

    Half a value is added to each bin, so that an empty one is not infinitely far.
    """
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, bins + 1)[1:-1]))
    p, q = _shares(reference, edges), _shares(recent, edges)
    return float(((p - q) * np.log(p / q)).sum())


def _shares(values: Floats, edges: Floats) -> Floats:
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return np.asarray((counts + 0.5) / (counts + 0.5).sum(), dtype=np.float64)


def _psi_of(
    values: Floats, hours: Floats, recent: NDArray[np.bool_], trained: NDArray[np.bool_]
) -> float | None:
    if recent.sum() < FEWEST_HOURS:
        return None
    season = trained & (_days_apart(hours, float(hours[recent].mean())) <= SEASON_DAYS)
    if season.sum() < FEWEST_HOURS:
        return None
    return psi(values[season], values[recent])


def _days_apart(hours: Floats, middle: float) -> Floats:
    """Distance in days of the year, whatever the year."""
    apart = np.abs(hours - middle) / 24 % YEAR_DAYS
    return np.asarray(np.minimum(apart, YEAR_DAYS - apart), dtype=np.float64)


def _within(hours: Floats, end: float) -> NDArray[np.bool_]:
    length = timedelta(days=DAYS) / timedelta(hours=1)
    return np.asarray((hours >= end - length) & (hours < end), dtype=bool)


def _block_ends(start: float, end: float) -> Iterator[float]:
    length = DAYS * 24.0
    stop = start + length
    while stop <= end:
        yield stop
        stop += length
