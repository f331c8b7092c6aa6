"""The default recipe, `attention_lstm`: a ridge base that a small network corrects.

The target is log(y[t+h] / y[t]), y[t] the last known hour: what changes, not how high it
is. The base is a closed-form ridge regression; the network adds seven quantiles to it.
Eight one-cycle epochs over the whole range, no early stopping; the members differ by
their seed alone and are averaged in log space.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from co2_assets.errors import InputsMissing
from co2_assets.forecasting.covariates import (
    ENCODER_COLUMNS,
    Series,
    encoder_rows,
    lead_columns,
    lead_covariates,
    reach_hours,
)
from co2_assets.forecasting.forecaster import Floats, forecast_frame, issue_rows
from co2_assets.forecasting.network import LeadAttention
from co2_assets.forecasting.ridge import apply_ridge, fit_ridge, ridge_inputs
from co2_assets.forecasting.standard import Standard
from co2_assets.forecasting.train import FEWEST_WINDOWS, Progress, deterministic
from co2_assets.forecasting.windows import (
    matrix,
    refuse_incomplete,
    refuse_short,
    targets,
    training_rows,
)
from co2_assets.schema import CO2_COLUMN, QUANTILES

VALUE_COLUMNS = 7
"""Encoder columns that the ridge reads: six powers and log CO2."""


@dataclass(frozen=True)
class AttentionConfig:
    """Hyperparameters of the recipe."""

    lookback_hours: int = 24
    horizon_hours: int = 6
    hidden: int = 64
    heads: int = 4
    dropout: float = 0.4
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    warm_up: float = 0.25
    batch: int = 256
    epochs: int = 8
    ridge_alpha: float = 30.0
    members: int = 1
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class AttentionForecaster:
    """The recipe, trained: scalers, ridge coefficients and the members' networks."""

    config: AttentionConfig
    encoder_scale: Standard
    lead_scale: Standard
    target_scale: float
    ridge: Floats
    networks: tuple[LeadAttention, ...]

    name = "attention_lstm"

    @property
    def horizon_hours(self) -> int:
        """Leads 1 to this."""
        return self.config.horizon_hours

    @property
    def lookback_hours(self) -> int:
        """Hours before an issue time that must be there."""
        return self.config.lookback_hours

    def predict(
        self,
        history: pl.DataFrame,
        issue_times: Sequence[datetime],
        external: pl.DataFrame | None = None,  # noqa: ARG002, this recipe has no use for it
    ) -> pl.DataFrame:
        """Quantiles for every issue time and lead; see `Forecaster`."""
        rows = issue_rows(history, issue_times)
        refuse_short(rows, issue_times, self.lookback_hours)
        # Only what the windows read: a tick converts a month, not two years; and nothing
        # from the newest issue time on.
        first = max(0, int(rows.min()) - reach_hours(self.horizon_hours) - self.lookback_hours)
        series = Series.of(history.slice(first, int(rows.max()) - first), self.horizon_hours)
        encoder = encoder_rows(series, rows - first, self.lookback_hours)
        refuse_incomplete(encoder, list(issue_times), ENCODER_COLUMNS)
        inputs = _inputs(series, rows - first, encoder, self)
        log_ratio = np.mean([_run(network, inputs) for network in self.networks], axis=0)
        total = (inputs.base.numpy()[..., None] + log_ratio) * self.target_scale
        now = series.log_co2[rows - first - 1]
        return forecast_frame(issue_times, np.exp(total + now[:, None, None]))


@dataclass(frozen=True)
class _Inputs:
    encoder: Tensor
    leads: Tensor
    base: Tensor


def fit_attention(
    history: pl.DataFrame,
    train_start: datetime,
    train_end: datetime,
    config: AttentionConfig,
    progress: Progress | None = None,
) -> AttentionForecaster:
    """Train on [train_start, train_end).

    Args:
        history: see the package; hours before `train_start` may serve as analogues.
        train_start: first hour of the windows.
        train_end: exclusive end: nothing from it on is looked at.
        config: hyperparameters.
        progress: told epochs and time left.

    Raises:
        InputsMissing: the range has too few whole windows.
    """
    history = history.filter(pl.col("hour_utc") < train_end)
    rows = training_rows(
        history,
        train_start,
        train_end,
        lookback_hours=config.lookback_hours,
        horizon_hours=config.horizon_hours,
    )
    if len(rows) < FEWEST_WINDOWS:
        raise InputsMissing(
            "too little history to train on",
            where=f"{train_start:%Y-%m-%dT%H} to {train_end:%Y-%m-%dT%H} UTC",
            found=f"{len(rows)} whole windows",
            expected=f"at least {FEWEST_WINDOWS}",
            next_step="load more history (CO2_TRAINING_DAYS), or see co2.data_quality for gaps",
        )
    series = Series.of(history, config.horizon_hours)
    encoder = encoder_rows(series, rows, config.lookback_hours)
    leads = lead_covariates(series, rows)
    actual = targets(matrix(history, (CO2_COLUMN,))[:, 0], rows, config.horizon_hours)
    now = series.log_co2[rows - 1]
    target = np.log(actual) - now[:, None]
    target_scale = float(target.std())
    target = target / target_scale
    # Errors are felt in grams: a log ratio weighs as much as the level it multiplies.
    weights = np.sqrt(np.exp(now) / np.exp(now).mean())
    encoder_scale, lead_scale = Standard.fit(encoder), Standard.fit(leads)
    ridge = fit_ridge(
        ridge_inputs(encoder_scale.transform(encoder), lead_scale.transform(leads), VALUE_COLUMNS),
        target,
        weights,
        config.ridge_alpha,
    )
    untrained = AttentionForecaster(config, encoder_scale, lead_scale, target_scale, ridge, ())
    inputs = _inputs(series, rows, encoder, untrained)
    data = _Data(
        inputs,
        torch.from_numpy(target.astype(np.float32)),
        torch.from_numpy(weights.astype(np.float32)),
    )
    networks = tuple(_train(data, config, member, progress) for member in range(config.members))
    return AttentionForecaster(config, encoder_scale, lead_scale, target_scale, ridge, networks)


def _inputs(
    series: Series, rows: NDArray[np.int64], encoder: Floats, model: AttentionForecaster
) -> _Inputs:
    scaled = model.encoder_scale.transform(encoder)
    leads = model.lead_scale.transform(lead_covariates(series, rows))
    base = apply_ridge(model.ridge, ridge_inputs(scaled, leads, VALUE_COLUMNS))
    together = np.concatenate([leads, base[..., None]], axis=2)
    return _Inputs(
        torch.from_numpy(scaled.astype(np.float32)),
        torch.from_numpy(together.astype(np.float32)),
        torch.from_numpy(base.astype(np.float32)),
    )


@dataclass(frozen=True)
class _Data:
    inputs: _Inputs
    target: Tensor
    weights: Tensor


SAY_EVERY_EPOCHS = 2


def _train(
    data: _Data, config: AttentionConfig, member: int, progress: Progress | None
) -> LeadAttention:
    with deterministic(config.seed * 1000 + member):
        network = new_network(config)
        optimizer = _optimizer(network, config)
        count = len(data.target)
        steps = config.epochs * math.ceil(count / config.batch)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.learning_rate, total_steps=steps, pct_start=config.warm_up
        )
        started = time.monotonic()
        for epoch in range(1, config.epochs + 1):
            network.train()
            for chosen in torch.split(torch.randperm(count), config.batch):
                optimizer.zero_grad()
                correction = network(data.inputs.encoder[chosen], data.inputs.leads[chosen])
                predicted = data.inputs.base[chosen].unsqueeze(-1) + correction
                loss = _pinball(predicted, data.target[chosen], data.weights[chosen])
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
            if progress and epoch % SAY_EVERY_EPOCHS == 0:
                pace = (time.monotonic() - started) / epoch
                left = pace * (config.epochs * (config.members - member) - epoch)
                progress(
                    f"member {member + 1} of {config.members}, epoch {epoch} of"
                    f" {config.epochs}, about {left:.0f} s left"
                )
        network.eval()
        return network


def new_network(config: AttentionConfig) -> LeadAttention:
    """An untrained network of the recipe's shape."""
    return LeadAttention(
        encoder_inputs=len(ENCODER_COLUMNS),
        lead_inputs=len(lead_columns(config.horizon_hours)) + 1,
        hidden=config.hidden,
        heads=config.heads,
        dropout=config.dropout,
        quantiles=len(QUANTILES),
    )


def _optimizer(network: LeadAttention, config: AttentionConfig) -> torch.optim.Optimizer:
    """AdamW that decays matrices only: shifts and scales are not what overfits."""
    parameters = list(network.parameters())
    return torch.optim.AdamW(
        [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
    )


def _pinball(predicted: Tensor, target: Tensor, weights: Tensor) -> Tensor:
    levels = torch.tensor(QUANTILES, dtype=predicted.dtype)
    difference = target.unsqueeze(-1) - predicted
    loss = torch.maximum(levels * difference, (levels - 1) * difference)
    return (loss.mean(dim=(1, 2)) * weights).mean()


def _run(network: LeadAttention, inputs: _Inputs) -> Floats:
    with torch.no_grad():
        parts = [
            network(rows, leads).numpy()
            for rows, leads in zip(
                torch.split(inputs.encoder, 2048), torch.split(inputs.leads, 2048), strict=True
            )
        ]
    return np.concatenate(parts).astype(np.float64)
