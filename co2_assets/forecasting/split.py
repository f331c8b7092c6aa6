"""Splitting time: a training range, and a tail of it to stop the training by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def validation_tail(
    rows: NDArray[np.int64], share: float, *, lookback_hours: int, horizon_hours: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Training and validation windows: the tail in time, and nothing that overlaps it.

    Windows that would reach into the validation's hours from before are left out of
    both, so that no hour is trained on and validated with.
    """
    if len(rows) < 2:
        return rows, rows[:0]
    cut = rows[int(len(rows) * (1 - share))]
    return rows[rows + horizon_hours <= cut - lookback_hours], rows[rows >= cut]
