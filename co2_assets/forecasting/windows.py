"""Windows of a history: lookback rows in, target hours out, never across a gap or a split.

Training and forecasting cut their windows here, so that they cannot differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from co2_assets.errors import InputsMissing
from co2_assets.forecasting.forecaster import Floats

DAY = 24
MONTH_DAYS = 28


def matrix(history: pl.DataFrame, columns: tuple[str, ...]) -> Floats:
    """The columns as floats, shape (hours, columns); null is NaN."""
    return history.select(pl.col(columns).cast(pl.Float64)).to_numpy().astype(np.float64)


def inside(values: Floats, index: NDArray[np.int64], otherwise: float = np.nan) -> Floats:
    """Values at an index of any shape; `otherwise` beyond both ends."""
    inside = (index >= 0) & (index < len(values))
    return np.where(inside, values[np.clip(index, 0, len(values) - 1)], otherwise)


def same_hour_mean(values: Floats) -> Floats:
    """Mean of each hour and of the same hour of the 27 days before it; NaN is left out."""
    total, count = np.zeros(len(values)), np.zeros(len(values))
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0)
    for back in range(0, min(MONTH_DAYS * DAY, len(values)), DAY):
        total[back:] += filled[: len(values) - back]
        count[back:] += known[: len(values) - back]
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def mean_before(values: Floats, hours: int) -> Floats:
    """Mean of the hours before each row, shape (rows + 1,); NaN is left out, NaN where none."""
    known = np.isfinite(values)
    total = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    count = np.concatenate([[0], np.cumsum(known)])
    row = np.arange(len(values) + 1)
    first = np.maximum(row - hours, 0)
    there = count[row] - count[first]
    return np.where(there > 0, (total[row] - total[first]) / np.maximum(there, 1), np.nan)


def whole_before(flags: NDArray[np.bool_], hours: int) -> NDArray[np.bool_]:
    """For each issue row, whether all of the hours before it are flagged, shape (rows + 1,)."""
    whole = np.zeros(len(flags) + 1, dtype=bool)
    if len(flags) >= hours:
        whole[hours:] = sliding_window_view(flags, hours).all(axis=1)
    return whole


def training_rows(
    history: pl.DataFrame,
    start: datetime,
    end: datetime,
    *,
    lookback_hours: int,
    horizon_hours: int,
) -> NDArray[np.int64]:
    """Rows of the issue times whose whole window may be trained on.

    Row i stands for the issue time at which hour i begins: its window reads rows
    i-lookback to i-1 and is judged on rows i to i+horizon-1. All of them lie in
    [start, end); the former are usable and trainable, the latter trainable.
    """
    within = (pl.col("hour_utc") >= start) & (pl.col("hour_utc") < end)
    flags = history.select(
        (within & pl.col("is_usable") & pl.col("is_trainable")).alias("input"),
        (within & pl.col("is_trainable")).alias("target"),
    )
    inputs, targets = flags["input"].to_numpy(), flags["target"].to_numpy()
    if len(inputs) < lookback_hours + horizon_hours:
        return np.empty(0, dtype=np.int64)
    all_inputs = whole_before(inputs, lookback_hours)
    all_targets = np.atleast_1d(sliding_window_view(targets, horizon_hours).all(axis=1))
    rows = np.arange(lookback_hours, len(inputs) - horizon_hours + 1)
    return rows[all_inputs[rows] & all_targets[rows]]


def lookbacks(values: Floats, rows: NDArray[np.int64], lookback_hours: int) -> Floats:
    """Inputs of the windows, shape (windows, lookback, columns): rows i-lookback to i-1."""
    windows = sliding_window_view(values, lookback_hours, axis=0).transpose(0, 2, 1)
    return windows[rows - lookback_hours]


def targets(series: Floats, rows: NDArray[np.int64], horizon_hours: int) -> Floats:
    """What followed, shape (windows, horizon): rows i to i+horizon-1."""
    return sliding_window_view(series, horizon_hours)[rows]


FEWEST_WINDOWS = 200
"""Below this a network learns nothing that a baseline does not know."""


def refuse_few(rows: NDArray[np.int64], start: datetime, end: datetime) -> None:
    """Refuse to train on next to nothing.

    Raises:
        InputsMissing: the range has fewer than `FEWEST_WINDOWS` whole windows.
    """
    if len(rows) < FEWEST_WINDOWS:
        raise InputsMissing(
            "too little history to train on",
            where=f"{start:%Y-%m-%dT%H} to {end:%Y-%m-%dT%H} UTC",
            found=f"{len(rows)} whole windows",
            expected=f"at least {FEWEST_WINDOWS}",
            next_step="load more history (CO2_TRAINING_DAYS), or see co2.data_quality for gaps",
        )


def refuse_short(
    rows: NDArray[np.int64], issue_times: Sequence[datetime], lookback_hours: int
) -> None:
    """Refuse issue times that the history does not reach back far enough for.

    Raises:
        InputsMissing: names the earliest issue time and how many hours lie before it.
    """
    if (rows < lookback_hours).any():
        raise InputsMissing(
            "too few hours before an issue time",
            where=f"issue time {issue_times[int(rows.argmin())]:%Y-%m-%dT%H:%M} UTC",
            found=f"{rows.min()} hours",
            expected=f"{lookback_hours}",
        )


def refuse_incomplete(
    inputs: Floats, issue_times: list[datetime], columns: tuple[str, ...]
) -> None:
    """Refuse windows with a null: names the issue time, the hours before it and the column.

    Raises:
        InputsMissing: an input is NaN.
    """
    missing = np.argwhere(~np.isfinite(inputs))
    if len(missing):
        window, row, column = missing[0]
        raise InputsMissing(
            "an input of the forecast is missing",
            where=f"issue time {issue_times[window]:%Y-%m-%dT%H:%M} UTC, column {columns[column]}",
            found=f"null {inputs.shape[1] - row} hours before it",
            expected=f"{inputs.shape[1]} hours of {len(columns)} inputs",
            next_step="the forecast falls back; the next tick fetches what is late",
        )
