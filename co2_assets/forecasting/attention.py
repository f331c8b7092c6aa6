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
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from co2_assets.forecasting.base import Base
from co2_assets.forecasting.covariates import ENCODER_COLUMNS
from co2_assets.forecasting.external import GROUPS
from co2_assets.forecasting.forecaster import Floats, forecast_frame
from co2_assets.forecasting.inputs import SLICE, Inputs, Reader, ReadsInputs, covariate_needs
from co2_assets.forecasting.network import LeadAttention
from co2_assets.forecasting.threads import one_thread
from co2_assets.schema import EXTERNAL_COLUMNS, EXTERNAL_GROUPS, QUANTILES

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
    presence: Literal["column", "group"] = "column"
    """What can be absent by itself: a column, or, in versions of 0.1, a group of them."""
    group_dropout: float = 0.1
    """Share of the windows of a batch that train without a group; and without any."""
    column_dropout: float = 0.03
    """Share of the windows of a batch that train without a column."""
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
        """From `to_json`, of this version or of 0.1."""
        before: dict[str, Any] = {"presence": "group", "column_dropout": 0.0}
        return cls(**before | kept | {"base_weights": tuple(kept["base_weights"])})

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
        needs = torch.from_numpy(covariate_needs(self.reader.covariates))
        present = torch.from_numpy(inputs.present)
        if self.config.presence == "group":
            present, needs = by_group(present), ~by_group(~needs)
        encoder = torch.from_numpy(inputs.encoder)
        leads = usable_leads(torch.from_numpy(inputs.leads), present, needs)
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
    """Lead inputs of the network: covariates of absent columns are 0, and flags say so.

    Args:
        leads: scaled covariates, shape (windows, horizon, covariates).
        present: shape (windows, horizon, external columns).
        needs: shape (covariates, external columns).
    """
    lacking = (~present).to(leads.dtype)
    kept = (lacking @ needs.to(leads.dtype).T == 0).to(leads.dtype)
    return torch.cat([leads * kept, present.to(leads.dtype)], dim=2)


def by_group(columns: Tensor) -> Tensor:
    """Whether all columns of each group are true, shape (..., groups) from (..., columns)."""
    return torch.stack(
        [
            columns[..., [EXTERNAL_COLUMNS.index(name) for name in group]].all(dim=-1)
            for group in EXTERNAL_GROUPS.values()
        ],
        dim=-1,
    )


def new_network(config: AttentionConfig, covariates: int) -> LeadAttention:
    """An untrained network of the recipe's shape, for so many covariates of a lead."""
    flags = EXTERNAL_COLUMNS if config.presence == "column" else GROUPS
    return LeadAttention(
        encoder_inputs=len(ENCODER_COLUMNS),
        lead_inputs=covariates + len(flags),
        hidden=config.hidden,
        heads=config.heads,
        dropout=config.dropout,
        quantiles=len(QUANTILES),
    )
