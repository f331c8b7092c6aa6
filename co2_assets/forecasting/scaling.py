"""Scaling to [0, 1] by the training range alone; kept as JSON, never pickled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from co2_assets.forecasting.forecaster import Floats


@dataclass(frozen=True)
class MinMax:
    """Lowest and highest value of each column in the training range."""

    low: Floats
    high: Floats

    @classmethod
    def fit(cls, values: Floats) -> MinMax:
        """Fit on rows of the training range, shape (rows, columns)."""
        # Here, since it costs 90 MB and every forecast would pay for it.
        from sklearn.preprocessing import MinMaxScaler

        scaler = MinMaxScaler().fit(values)
        return cls(scaler.data_min_, scaler.data_max_)

    def transform(self, values: Floats) -> Floats:
        """Scale the last axis; a column that never varied becomes 0."""
        span = np.where(self.high > self.low, self.high - self.low, 1.0)
        return (values - self.low) / span

    def inverse(self, values: Floats) -> Floats:
        """Undo `transform`, once."""
        span = np.where(self.high > self.low, self.high - self.low, 1.0)
        return values * span + self.low

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"low": self.low.tolist(), "high": self.high.tolist()}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> MinMax:
        """From `to_json`."""
        return cls(np.array(kept["low"]), np.array(kept["high"]))
