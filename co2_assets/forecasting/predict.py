"""The trained `seed` forecaster: weights, scalers and error quantiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import torch

from co2_assets.forecasting.forecaster import Floats, forecast_frame, issue_rows
from co2_assets.forecasting.model import AttentionLSTM
from co2_assets.forecasting.scaling import MinMax
from co2_assets.forecasting.windows import lookbacks, matrix, refuse_incomplete, refuse_short
from co2_assets.schema import FEATURE_COLUMNS


def new_seed_network(config: dict[str, Any], *, inputs: int) -> AttentionLSTM:
    """An untrained network of the recipe's shape."""
    return AttentionLSTM(
        inputs=inputs,
        hidden=config["hidden"],
        layers=config["layers"],
        horizon=config["horizon_hours"],
        dropout=config["dropout"],
    )


@dataclass(frozen=True)
class SeedForecaster:
    """The predecessor's plain recipe, trained.

    `error_quantiles` (horizon, 7) are those of actual less predicted, g/kWh, on the tail
    of the training range; the median forecast takes in the middle one.
    """

    config: dict[str, Any]
    epochs: int
    network: AttentionLSTM
    scaler_x: MinMax
    scaler_y: MinMax
    error_quantiles: Floats

    name = "seed"
    reads = ()

    @property
    def horizon_hours(self) -> int:
        """Leads 1 to this."""
        return int(self.config["horizon_hours"])

    @property
    def lookback_hours(self) -> int:
        """Hours before an issue time that it reads."""
        return int(self.config["lookback_hours"])

    def predict(
        self,
        history: pl.DataFrame,
        issue_times: Sequence[datetime],
        external: pl.DataFrame | None = None,  # noqa: ARG002, this recipe has no use for it
    ) -> pl.DataFrame:
        """Quantiles for every issue time and lead; see `Forecaster`."""
        rows = issue_rows(history, issue_times)
        refuse_short(rows, issue_times, self.lookback_hours)
        # Only the rows that the windows read, so that a tick converts a day and not two years.
        first = int(rows.min()) - self.lookback_hours
        values = matrix(history.slice(first, int(rows.max()) - first), FEATURE_COLUMNS)
        inputs = lookbacks(values, rows - first, self.lookback_hours)
        refuse_incomplete(inputs, list(issue_times), FEATURE_COLUMNS)
        scaled = torch.from_numpy(self.scaler_x.transform(inputs).astype(np.float32))
        with torch.no_grad():
            level = self.network(scaled).numpy().astype(np.float64)
        point = self.scaler_y.inverse(level)
        return forecast_frame(issue_times, point[:, :, None] + self.error_quantiles[None])
