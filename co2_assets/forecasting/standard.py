"""Standardising by the training range alone, clipped; NaN becomes the average, 0."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from co2_assets.forecasting.forecaster import Floats

CLIP = 6.0
AT_A_TIME = 32_768


@dataclass(frozen=True)
class Standard:
    """Mean and standard deviation of each column in the training range."""

    mean: Floats
    std: Floats

    @classmethod
    def fit(cls, values: NDArray[np.floating[Any]]) -> Standard:
        """Fit on the last axis; NaN is left out, a column that never varied stays as it is."""
        flat = values.reshape(-1, values.shape[-1])
        count, total, squares = np.zeros((3, flat.shape[-1]))
        for part in _parts(flat):
            known = np.isfinite(part)
            count += known.sum(axis=0)
            total += np.where(known, part, 0.0).sum(axis=0)
        mean = total / np.maximum(count, 1)
        for part in _parts(flat):
            squares += np.where(np.isfinite(part), (part - mean) ** 2, 0.0).sum(axis=0)
        std = np.sqrt(squares / np.maximum(count, 1))
        return cls(mean, np.where(std > 1e-9, std, 1.0))

    def transform(self, values: NDArray[np.floating[Any]]) -> Floats:
        """Scale the last axis."""
        scaled = np.clip((values - self.mean) / self.std, -CLIP, CLIP)
        return np.where(np.isfinite(scaled), scaled, 0.0)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"mean": self.mean.tolist(), "std": self.std.tolist()}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Standard:
        """From `to_json`."""
        return cls(np.array(kept["mean"]), np.array(kept["std"]))


def _parts(flat: NDArray[np.floating[Any]]) -> Iterator[Floats]:
    """Rows in double precision, some at a time: all of two years would take a gigabyte."""
    for start in range(0, len(flat), AT_A_TIME):
        yield flat[start : start + AT_A_TIME].astype(np.float64)
