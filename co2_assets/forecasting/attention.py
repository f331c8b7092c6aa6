"""The default recipe, `attention_lstm`: an attention-LSTM, an online regression and trees.

The target is log(y[t+h] / y[t]), y[t] the last known hour: what changes, not how high it
is. The network gives seven quantiles. The base, a regression that takes in every day that
passes, gives a median that follows the drift of the world without a training; boosted trees
give one that bends where it must. The joint median is a weighted mean of the three, and the
quantiles move with it. Inputs from elsewhere are read as they were known at the issue time,
and one model forecasts with all, some or none of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor

from co2_assets.forecasting.base import VALUE_COLUMNS, Base
from co2_assets.forecasting.covariates import ENCODER_COLUMNS
from co2_assets.forecasting.external import GROUPS, PRICES
from co2_assets.forecasting.forecaster import Floats, forecast_frame
from co2_assets.forecasting.inputs import SLICE, Inputs, Reader, ReadsInputs, covariate_needs
from co2_assets.forecasting.network import LeadAttention
from co2_assets.forecasting.threads import one_thread
from co2_assets.forecasting.trees import TreeConfig, Trees
from co2_assets.schema import EXTERNAL_COLUMNS, EXTERNAL_GROUPS, MISSION_LEADS, QUANTILES

MEDIAN = QUANTILES.index(0.5)

Shares = tuple[tuple[float, float], ...]
"""Of the base and of the trees, in each of `LEAD_GROUPS`; the rest is the network's."""

LEAD_GROUPS = (0, 1, 2, MISSION_LEADS)
"""Index of the first lead of each: leads 1, 2, 3 to 6, and all later ones."""

BESIDES_PRICES = [name not in PRICES for name in EXTERNAL_COLUMNS]


@dataclass(frozen=True)
class AttentionConfig:
    """Hyperparameters of the recipe."""

    lookback_hours: int = 24
    horizon_hours: int = 24
    external: bool = True
    """Whether it reads inputs from elsewhere at all."""
    hidden: int = 32
    wide: int = 256
    """Size of the head's two layers; 0 is the one narrow layer of versions of 0.1."""
    newest: int = 6
    """Rows of measured values that a wide head reads."""
    heads: int = 4
    dropout: float = 0.4
    head_dropout: float = 0.3
    told: Literal["columns", "groups"] = "columns"
    """What the network is told beside its inputs: which columns are present, and which lead
    it is; in versions of 0.1 which groups are."""
    group_dropout: float = 0.05
    """Share of the windows of a batch that train without a group; and without any."""
    column_dropout: float = 0.03
    """Share of the windows of a batch that train without a column."""
    later_leads: int = 4
    """Leads beyond the mission's that a batch trains, drawn at random."""
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warm_up: float = 0.25
    batch: int = 256
    epochs: int = 8
    members: int = 2
    half_life_days: float = 180.0
    """Of the base's memory."""
    alpha: float = 600.0
    """Penalty of the base."""
    trees: TreeConfig = field(default_factory=TreeConfig)
    shares: Shares = ((0.6, 0.1), (0.5, 0.2), (0.45, 0.3), (0.45, 0.4))
    """With all that is read from elsewhere; prices may be missing."""
    shares_some: Shares = ((0.35, 0.3), (0.2, 0.4), (0.1, 0.55), (0.25, 0.55))
    """Without some of the wind, the sun or the prognosis."""
    shares_none: Shares = ((0.6, 0.1), (0.5, 0.1), (0.45, 0.15), (0.45, 0.55))
    """Where nothing is known from elsewhere."""
    shares_own: Shares = ((0.25, 0.1), (0.1, 0.25), (0.15, 0.3), (0.15, 0.35))
    """Of a recipe that reads nothing from elsewhere."""
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> AttentionConfig:
        """From `to_json`."""
        shares = {
            name: tuple((base, trees) for base, trees in value)
            for name, value in kept.items()
            if name.startswith("shares")
        }
        return cls(**kept | shares | {"trees": TreeConfig(**kept["trees"])})

    def shares_of(self, present: NDArray[np.bool_]) -> tuple[Floats, Floats]:
        """Shares of base and trees by what is present, each of shape (windows, horizon)."""
        group = np.searchsorted(LEAD_GROUPS, np.arange(self.horizon_hours), side="right") - 1
        tables = np.array([self.shares, self.shares_some, self.shares_none, self.shares_own])
        if self.external:
            whole = present[..., BESIDES_PRICES].all(axis=2)
            kinds = np.where(whole, 0, np.where(present.any(axis=2), 1, 2))
        else:
            kinds = np.full(present.shape[:2], 3)
        chosen = tables[kinds, group[None, :]]
        return chosen[..., 0], chosen[..., 1]


@dataclass(frozen=True)
class AttentionForecaster(ReadsInputs):
    """The recipe, trained.

    Attributes:
        config: hyperparameters.
        reader: of the inputs.
        base: the regression.
        trees: the boosted trees.
        target_scale: standard deviation of each lead's log ratio in the training range.
        networks: the members.
    """

    config: AttentionConfig
    reader: Reader
    base: Base
    trees: Trees
    target_scale: Floats
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
        trees = self.trees.scaled_log_ratio(self.reader, inputs) * self.target_scale
        median = log_ratio[:, :, MEDIAN]
        of_base, of_trees = self.config.shares_of(inputs.present)
        # A base that knows too little yet leaves its share to the network.
        shift = of_trees * (trees - median)
        shift += np.where(np.isfinite(base), of_base * (base - median), 0.0)
        now = known.series.log_co2[inputs.rows - 1]
        return forecast_frame(
            issue_times, np.exp(log_ratio + shift[..., None] + now[:, None, None])
        )

    def _network(self, inputs: Inputs) -> Floats:
        """Quantiles of the log ratio, the members' mean, shape (windows, horizon, 7)."""
        needs = torch.from_numpy(covariate_needs(self.reader.covariates))
        present = torch.from_numpy(inputs.present)
        which: Tensor | None = lead_flags(self.horizon_hours)
        if self.config.told == "groups":
            present, needs, which = by_group(present), ~by_group(~needs), None
        encoder = torch.from_numpy(inputs.encoder)
        leads = usable_leads(torch.from_numpy(inputs.leads), present, needs, which)
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
        return np.asarray(np.mean(outputs, axis=0) * self.target_scale[:, None], dtype=np.float64)


def usable_leads(leads: Tensor, present: Tensor, needs: Tensor, which: Tensor | None) -> Tensor:
    """Lead inputs of the network: covariates of absent columns are 0, and flags say so.

    Args:
        leads: scaled covariates, shape (windows, leads, covariates).
        present: shape (windows, leads, external columns).
        needs: shape (covariates, external columns).
        which: of `lead_flags`, those of the leads, shape (leads, horizon); None is untold.
    """
    lacking = (~present).to(leads.dtype)
    kept = (lacking @ needs.to(leads.dtype).T == 0).to(leads.dtype)
    told = [] if which is None else [which.expand(len(leads), -1, -1)]
    return torch.cat([leads * kept, *told, present.to(leads.dtype)], dim=2)


def lead_flags(horizon_hours: int) -> Tensor:
    """One row per lead that says which it is, of the scale of the other inputs."""
    return torch.eye(horizon_hours) * math.sqrt(horizon_hours)


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
    told = len(EXTERNAL_COLUMNS) + config.horizon_hours if config.told == "columns" else len(GROUPS)
    return LeadAttention(
        encoder_inputs=len(ENCODER_COLUMNS),
        value_inputs=VALUE_COLUMNS,
        newest=config.newest,
        lead_inputs=covariates + told,
        hidden=config.hidden,
        wide=config.wide,
        heads=config.heads,
        dropout=config.dropout,
        head_dropout=config.head_dropout,
        quantiles=len(QUANTILES),
    )
