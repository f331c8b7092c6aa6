"""The default recipe, `attention_lstm`: an attention-LSTM and an online regression, joined.

The target is log(y[t+h] / y[t]), y[t] the last known hour: what changes, not how high it
is. The network gives seven quantiles. The base, a regression that takes in every day that
passes, gives a median that follows the drift of the world without a training. The joint
median lies between both; the quantiles move with it. Inputs from elsewhere are read as
they were known at the issue time, and one model forecasts with all, some or none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from co2_assets.forecasting.base import Base, covariate_names, covariate_needs
from co2_assets.forecasting.covariates import ENCODER_COLUMNS
from co2_assets.forecasting.external import GROUPS
from co2_assets.forecasting.forecaster import Floats, forecast_frame
from co2_assets.forecasting.inputs import SLICE, Inputs, Reader, ReadsInputs
from co2_assets.forecasting.network import LeadAttention
from co2_assets.forecasting.threads import one_thread
from co2_assets.schema import QUANTILES

MEDIAN = QUANTILES.index(0.5)


@dataclass(frozen=True)
class AttentionConfig:
    """Hyperparameters of the recipe."""

    lookback_hours: int = 24
    horizon_hours: int = 24
    external: bool = True
    """Whether it reads inputs from elsewhere at all."""
    hidden: int = 64
    heads: int = 4
    dropout: float = 0.4
    group_dropout: float = 0.1
    """Share of the windows of a batch that train without a group; and without any."""
    later_leads: int = 8
    """Leads beyond the mission's that a batch trains, drawn at random."""
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warm_up: float = 0.25
    batch: int = 256
    epochs: int = 8
    members: int = 3
    half_life_days: float = 120.0
    """Of the base's memory."""
    alpha: float = 600.0
    """Penalty of the base."""
    base_weights: tuple[float, ...] = (0.85, 0.75, 0.65)
    """The base's share of the joint median at leads 1, 2 and all others."""
    own_base_weight: float = 0.3
    """Its share where nothing is known from elsewhere."""
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self) | {"base_weights": list(self.base_weights)}

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> AttentionConfig:
        """From `to_json`."""
        return cls(**kept | {"base_weights": tuple(kept["base_weights"])})

    def weights_of(self, present: NDArray[np.bool_]) -> Floats:
        """The base's share, shape (windows, horizon), by what is present at each lead."""
        last = self.base_weights[-1]
        by_lead = np.full(self.horizon_hours, last)
        first = self.base_weights[: self.horizon_hours]
        by_lead[: len(first)] = first
        return np.where(np.any(present, axis=2), by_lead[None, :], self.own_base_weight)


@dataclass(frozen=True)
class AttentionForecaster(ReadsInputs):
    """The recipe, trained.

    Attributes:
        config: hyperparameters.
        reader: of the inputs.
        base: the regression.
        target_scale: standard deviation of the log ratio in the training range.
        networks: the members.
    """

    config: AttentionConfig
    reader: Reader
    base: Base
    target_scale: float
    networks: tuple[LeadAttention, ...]

    @property
    def name(self) -> str:
        """Recipe."""
        return "attention_lstm" if self.config.external else "attention_lstm_own"

    def predict(
        self,
        history: pl.DataFrame,
        issue_times: Sequence[datetime],
        external: pl.DataFrame | None = None,
    ) -> pl.DataFrame:
        """Quantiles for every issue time and lead; see `Forecaster`."""
        known, inputs = self.reader.read(history, issue_times, external)
        log_ratio = self._network(inputs)
        base = self.base.log_ratio(self.reader, known, inputs)
        share = np.where(np.isfinite(base), self.config.weights_of(inputs.present), 0.0)
        shift = share * (np.where(np.isfinite(base), base, 0.0) - log_ratio[:, :, MEDIAN])
        now = known.series.log_co2[inputs.rows - 1]
        return forecast_frame(
            issue_times, np.exp(log_ratio + shift[..., None] + now[:, None, None])
        )

    def _network(self, inputs: Inputs) -> Floats:
        """Quantiles of the log ratio, the members' mean, shape (windows, horizon, 7)."""
        needs = torch.from_numpy(covariate_needs(self.horizon_hours, external=self.config.external))
        encoder = torch.from_numpy(inputs.encoder)
        leads = usable_leads(
            torch.from_numpy(inputs.leads), torch.from_numpy(inputs.present), needs
        )
        outputs = []
        with torch.inference_mode(), one_thread():
            for network in self.networks:
                parts = [
                    network(some, ahead).numpy()
                    for some, ahead in zip(
                        torch.split(encoder, SLICE), torch.split(leads, SLICE), strict=True
                    )
                ]
                outputs.append(np.sort(np.concatenate(parts).astype(np.float64), axis=2))
        return np.asarray(np.mean(outputs, axis=0) * self.target_scale, dtype=np.float64)


def usable_leads(leads: Tensor, present: Tensor, needs: Tensor) -> Tensor:
    """Lead inputs of the network: covariates of absent groups are 0, and flags say so.

    Args:
        leads: scaled covariates, shape (windows, horizon, covariates).
        present: shape (windows, horizon, groups).
        needs: shape (covariates, groups).
    """
    lacking = (~present).to(leads.dtype)
    kept = (lacking @ needs.to(leads.dtype).T == 0).to(leads.dtype)
    return torch.cat([leads * kept, present.to(leads.dtype)], dim=2)


def new_network(config: AttentionConfig) -> LeadAttention:
    """An untrained network of the recipe's shape."""
    covariates = covariate_names(config.horizon_hours, external=config.external)
    return LeadAttention(
        encoder_inputs=len(ENCODER_COLUMNS),
        lead_inputs=len(covariates) + len(GROUPS),
        hidden=config.hidden,
        heads=config.heads,
        dropout=config.dropout,
        quantiles=len(QUANTILES),
    )
