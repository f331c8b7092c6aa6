"""Training of the default recipe: the base, then trees and members side by side.

Eight one-cycle epochs over the whole range, no early stopping; the members differ by
their seed alone. Each trains on one thread with random numbers of its own, and so do the
trees, so what is learned is the same on any number of cores.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from co2_assets.forecasting.attention import (
    AttentionConfig,
    AttentionForecaster,
    lead_flags,
    new_network,
    usable_leads,
)
from co2_assets.forecasting.base import fit_base
from co2_assets.forecasting.external import GROUP_OF, GROUPS, no_external
from co2_assets.forecasting.inputs import covariate_needs, read_training_set
from co2_assets.forecasting.memory import return_freed_memory, return_large_blocks
from co2_assets.forecasting.network import LeadAttention
from co2_assets.forecasting.train import Progress, deterministic
from co2_assets.forecasting.trees import Forest, Trees, fit_forest, target_scale
from co2_assets.schema import MISSION_LEADS, QUANTILES

CORES = 2
"""Forests and members that train at a time: more would take more memory."""


def fit_attention(
    history: pl.DataFrame,
    train_start: datetime,
    train_end: datetime,
    config: AttentionConfig,
    progress: Progress | None = None,
    external: pl.DataFrame | None = None,
) -> AttentionForecaster:
    """Train on [train_start, train_end).

    Args:
        history: see the package; hours before `train_start` may serve as analogues.
        train_start: first hour of the windows.
        train_end: exclusive end: nothing from it on is looked at.
        config: hyperparameters.
        progress: told epochs and time left.
        external: inputs from elsewhere, see `transform.external`; not read by a recipe
            without them.

    Raises:
        InputsMissing: the range has too few whole windows.
    """
    return_large_blocks()
    training = read_training_set(
        history,
        train_start,
        train_end,
        lookback_hours=config.lookback_hours,
        horizon_hours=config.horizon_hours,
        external=(no_external() if external is None else external) if config.external else None,
    )
    base = fit_base(training, alpha=config.alpha, half_life_days=config.half_life_days)
    scale, inputs = target_scale(training), training.inputs
    data = _Data(
        encoder=torch.from_numpy(inputs.encoder),
        leads=torch.from_numpy(inputs.leads),
        present=torch.from_numpy(inputs.present),
        needs=torch.from_numpy(covariate_needs(training.reader.covariates)),
        flags=lead_flags(config.horizon_hours),
        target=torch.from_numpy((training.target / scale).astype(np.float32)),
    )
    return_freed_memory()
    networks, forests = _side_by_side(
        lambda seed: fit_forest(training, config.trees, seed), data, config, progress
    )
    trees = Trees(forests, config.trees.lags)
    return AttentionForecaster(config, training.reader, base, trees, scale, networks)


@dataclass(frozen=True)
class _Data:
    encoder: Tensor
    leads: Tensor
    present: Tensor
    needs: Tensor
    flags: Tensor
    target: Tensor


def _side_by_side(
    grow: Callable[[int], Forest], data: _Data, config: AttentionConfig, progress: Progress | None
) -> tuple[tuple[LeadAttention, ...], tuple[Forest, ...]]:
    """Forests, then members, two at a time."""
    seeds = [config.seed * 1000 + member for member in range(config.members)]
    networks = []
    for seed in seeds:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            networks.append(new_network(config, len(data.needs)))
    told = _Told(config.epochs * config.members, progress)
    # The switch to deterministic algorithms is the process's; threads only read it.
    with deterministic(config.seed), ThreadPoolExecutor(CORES) as pool:
        grown = [
            pool.submit(grow, config.seed * 1000 + member) for member in range(config.trees.members)
        ]
        trained = [
            pool.submit(_train, network, data, config, seed, told)
            for network, seed in zip(networks, seeds, strict=True)
        ]
        return tuple(one.result() for one in trained), tuple(one.result() for one in grown)


class _Told:
    """Says how far all members are together, and how long it will take."""

    def __init__(self, epochs: int, progress: Progress | None) -> None:
        self._epochs, self._progress = epochs, progress
        self._done, self._started = 0, time.monotonic()
        self._lock = threading.Lock()

    def epoch(self) -> None:
        with self._lock:
            self._done += 1
            if self._progress and self._done % max(1, self._epochs // 6) == 0:
                pace = (time.monotonic() - self._started) / self._done
                left = pace * (self._epochs - self._done)
                self._progress(
                    f"epoch {self._done} of {self._epochs} (of all members),"
                    f" about {left:.0f} s left"
                )


def _train(
    network: LeadAttention, data: _Data, config: AttentionConfig, seed: int, told: _Told
) -> LeadAttention:
    torch.set_num_threads(1)  # of this thread: sums come out the same on any machine
    random = torch.Generator().manual_seed(seed)
    network.use_generator(random)
    optimizer = _optimizer(network, config)
    count = len(data.target)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        config.learning_rate,
        total_steps=config.epochs * math.ceil(count / config.batch),
        pct_start=config.warm_up,
    )
    network.train()
    for _ in range(config.epochs):
        for chosen in torch.split(torch.randperm(count, generator=random), config.batch):
            optimizer.zero_grad()
            ahead = _some_leads(config, random)
            present = _drop(data.present[chosen][:, ahead], config, random)
            leads = usable_leads(
                data.leads[chosen][:, ahead], present, data.needs, data.flags[ahead]
            )
            loss = _pinball(
                network(data.encoder[chosen], leads),
                data.target[chosen][:, ahead],
            )
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        return_freed_memory()
        told.epoch()
    network.eval()
    return network


def _some_leads(config: AttentionConfig, random: torch.Generator) -> Tensor:
    """Indices of the leads that a batch trains: the mission's, and some of the later ones.

    Later leads are much alike; a few of them at a time teach as much for half the price,
    and the mission's leads keep their weight.
    """
    near = min(MISSION_LEADS, config.horizon_hours)
    later = near + torch.randperm(config.horizon_hours - near, generator=random)
    return torch.cat([torch.arange(near), later[: config.later_leads]])


def _drop(present: Tensor, config: AttentionConfig, random: torch.Generator) -> Tensor:
    """Take inputs away at random: a column or a group here and there, now and then all."""
    windows, _, columns = present.shape

    def dropped(parts: int, share: float) -> Tensor:
        return torch.rand((windows, 1, parts), generator=random) < share

    groups = dropped(len(GROUPS), config.group_dropout)[..., GROUP_OF]
    every = dropped(1, config.group_dropout)
    single = dropped(columns, config.column_dropout)
    return present & ~groups & ~every & ~single


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


def _pinball(predicted: Tensor, target: Tensor) -> Tensor:
    levels = torch.tensor(QUANTILES, dtype=predicted.dtype)
    difference = target.unsqueeze(-1) - predicted
    loss = torch.maximum(levels * difference, (levels - 1) * difference)
    return loss.mean()
