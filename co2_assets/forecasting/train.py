"""The training loop of the `seed` recipe: MSE on the scaled level, early stopping.

The predecessor's plain recipe, put right: scalers see the training range alone, windows
straddle nothing, and the validation tail lies inside the training range.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from co2_assets.forecasting.forecaster import Floats
from co2_assets.forecasting.model import AttentionLSTM
from co2_assets.forecasting.predict import SeedForecaster, new_seed_network
from co2_assets.forecasting.scaling import MinMax
from co2_assets.forecasting.split import validation_tail
from co2_assets.forecasting.threads import one_thread
from co2_assets.forecasting.windows import lookbacks, matrix, refuse_few, targets, training_rows
from co2_assets.schema import CO2_COLUMN, FEATURE_COLUMNS, QUANTILES

Progress = Callable[[str], None]

SAY_EVERY_S = 5.0


@dataclass(frozen=True)
class SeedConfig:
    """Hyperparameters of the `seed` recipe."""

    lookback_hours: int = 24
    horizon_hours: int = 6
    hidden: int = 128
    layers: int = 2
    dropout: float = 0.2
    learning_rate: float = 1e-3
    batch: int = 512
    max_epochs: int = 24
    """On 18 months the validation MSE is 0.0104 after 8 epochs and 0.0088 after 23; an
    epoch of them takes 12 s of one core."""
    patience: int = 5
    validation_share: float = 0.1
    seed: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def fit_seed(
    history: pl.DataFrame,
    train_start: datetime,
    train_end: datetime,
    config: SeedConfig,
    progress: Progress | None = None,
) -> SeedForecaster:
    """Train on [train_start, train_end), stopped by its own tail.

    Quantiles are those of the tail's errors, per lead.

    Raises:
        InputsMissing: the range has too few whole windows.
    """
    data = _windows(history, train_start, train_end, config)
    fitting, tail = validation_tail(
        np.arange(len(data.rows)),
        config.validation_share,
        lookback_hours=config.lookback_hours,
        horizon_hours=config.horizon_hours,
    )
    network, epochs = _train(data, fitting, tail, config, config.max_epochs, progress)
    predicted = data.scaler_y.inverse(_run(network, data.inputs[tail]))
    errors = data.actual[tail] - predicted
    return SeedForecaster(
        config=config.to_json(),
        epochs=epochs,
        network=network,
        scaler_x=data.scaler_x,
        scaler_y=data.scaler_y,
        error_quantiles=np.quantile(errors, QUANTILES, axis=0).T,
    )


def refit_seed(
    gate_fit: SeedForecaster,
    history: pl.DataFrame,
    train_start: datetime,
    train_end: datetime,
    config: SeedConfig,
    progress: Progress | None = None,
) -> SeedForecaster:
    """Train the same configuration on a longer range, for as many epochs as did it good.

    There is no tail left to measure errors on, so the quantiles are the gate fit's.

    Raises:
        InputsMissing: the range has too few whole windows.
    """
    data = _windows(history, train_start, train_end, config)
    everything = np.arange(len(data.rows))
    network, epochs = _train(data, everything, everything[:0], config, gate_fit.epochs, progress)
    return SeedForecaster(
        config=config.to_json(),
        epochs=epochs,
        network=network,
        scaler_x=data.scaler_x,
        scaler_y=data.scaler_y,
        error_quantiles=gate_fit.error_quantiles,
    )


@dataclass(frozen=True)
class _Windows:
    rows: NDArray[np.int64]
    inputs: Tensor
    outputs: Tensor
    actual: Floats
    scaler_x: MinMax
    scaler_y: MinMax


def _windows(history: pl.DataFrame, start: datetime, end: datetime, config: SeedConfig) -> _Windows:
    rows = training_rows(
        history,
        start,
        end,
        lookback_hours=config.lookback_hours,
        horizon_hours=config.horizon_hours,
    )
    refuse_few(rows, start, end)
    values = matrix(history, FEATURE_COLUMNS)
    actual = targets(matrix(history, (CO2_COLUMN,))[:, 0], rows, config.horizon_hours)
    inputs = lookbacks(values, rows, config.lookback_hours)
    scaler_x = MinMax.fit(inputs.reshape(-1, inputs.shape[2]))
    scaler_y = MinMax.fit(actual.reshape(-1, 1))
    return _Windows(
        rows=rows,
        inputs=torch.from_numpy(scaler_x.transform(inputs).astype(np.float32)),
        outputs=torch.from_numpy(scaler_y.transform(actual).astype(np.float32)),
        actual=actual,
        scaler_x=scaler_x,
        scaler_y=scaler_y,
    )


def _train(
    data: _Windows,
    fitting: NDArray[np.int64],
    tail: NDArray[np.int64],
    config: SeedConfig,
    epochs: int,
    progress: Progress | None,
) -> tuple[AttentionLSTM, int]:
    """The network with the lowest error on the tail, and after how many epochs."""
    with deterministic(config.seed):
        network = new_seed_network(config.to_json(), inputs=data.inputs.shape[2])
        optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.5, patience=1)
        shuffle = torch.Generator().manual_seed(config.seed)
        best, best_error, best_epoch = _weights(network), float("inf"), epochs
        started = time.monotonic()
        for epoch in range(1, epochs + 1):
            _epoch(network, optimizer, data, fitting, config.batch, shuffle)
            if len(tail):
                error = _mse(network, data, tail)
                scheduler.step(error)
                if error < best_error:
                    best, best_error, best_epoch = _weights(network), error, epoch
            if progress:
                left = (time.monotonic() - started) / epoch * (epochs - epoch)
                note = f", validation MSE {error:.5f}" if len(tail) else ""
                progress(f"epoch {epoch} of {epochs}{note}, about {left:.0f} s left")
            if len(tail) and epoch - best_epoch >= config.patience:
                break
        if len(tail):
            network.load_state_dict(best)
        network.eval()
        return network, best_epoch


def _epoch(
    network: AttentionLSTM,
    optimizer: torch.optim.Optimizer,
    data: _Windows,
    fitting: NDArray[np.int64],
    batch: int,
    shuffle: torch.Generator,
) -> None:
    network.train()
    order = torch.from_numpy(fitting)[torch.randperm(len(fitting), generator=shuffle)]
    for chosen in torch.split(order, batch):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(network(data.inputs[chosen]), data.outputs[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()


def _mse(network: AttentionLSTM, data: _Windows, rows: NDArray[np.int64]) -> float:
    difference = _run(network, data.inputs[rows]) - data.outputs[rows].numpy()
    return float(np.mean(difference**2))


def _run(network: AttentionLSTM, inputs: Tensor) -> Floats:
    network.eval()
    with torch.no_grad():
        parts = [network(part).numpy() for part in torch.split(inputs, 2048)]
    return np.concatenate(parts).astype(np.float64)


def _weights(network: AttentionLSTM) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in network.state_dict().items()}


@contextmanager
def deterministic(seed: int) -> Iterator[None]:
    """The same weights for the same seed; the caller's random state stays as it was."""
    before = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]), one_thread():
        torch.manual_seed(seed)
        torch.use_deterministic_algorithms(mode=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
