"""Standardising by the training range alone, clipped; NaN becomes the average, 0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from co2_assets.forecasting.forecaster import Floats

CLIP = 6.0


@dataclass(frozen=True)
class Standard:
    """Mean and standard deviation of each column in the training range."""

    mean: Floats
    std: Floats

    @classmethod
    def fit(cls, values: NDArray[np.floating[Any]]) -> Standard:
        """Fit on the last axis; NaN is left out, a column that never varied stays as it is."""
        flat = values.reshape(-1, values.shape[-1])
        known = np.isfinite(flat)
        count = np.maximum(known.sum(axis=0), 1)
        mean = np.where(known, flat, 0.0).sum(axis=0) / count
        std = np.sqrt(np.where(known, (flat - mean) ** 2, 0.0).sum(axis=0) / count)
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
