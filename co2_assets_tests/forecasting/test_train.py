"""Training is the same for the same seed, stops by its own tail, and scales back once."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl
import pytest
import torch

from co2_assets.errors import InputsMissing
from co2_assets.forecasting.evaluate import rolling_origin
from co2_assets.forecasting.predict import SeedForecaster
from co2_assets.forecasting.train import SeedConfig, deterministic, fit_seed, refit_seed
from co2_assets.forecasting.windows import lookbacks, matrix, targets, training_rows
from co2_assets.schema import CO2_COLUMN, FEATURE_COLUMNS, QUANTILES
from co2_assets_tests.forecasting.small import HOUR, SEED, SPRING_END, SPRING_START, made_of

MEDIAN = QUANTILES.index(0.5)


def weights(forecaster: SeedForecaster) -> list[np.ndarray]:
    return [weight.numpy() for weight in forecaster.network.state_dict().values()]


def same(one: SeedForecaster, other: SeedForecaster) -> bool:
    return all(map(np.array_equal, weights(one), weights(other)))


def test_the_recipe_is_the_predecessors() -> None:
    config = SeedConfig()
    assert (config.lookback_hours, config.horizon_hours) == (24, 6)
    assert (config.layers, config.hidden) == (2, 128)
    assert (config.learning_rate, config.patience) == (1e-3, 5)
    assert len(FEATURE_COLUMNS) == 16


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    history: pl.DataFrame, trained_seed: SeedForecaster
) -> None:
    torch.manual_seed(123)  # what the caller did before must not matter
    assert same(fit_seed(history, SPRING_START, SPRING_END, SEED), trained_seed)
    other = fit_seed(history, SPRING_START, SPRING_END, replace(SEED, seed=8))
    assert not same(other, trained_seed)


def test_training_leaves_the_callers_random_state_as_it_was() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    before = torch.are_deterministic_algorithms_enabled()
    with pytest.raises(RuntimeError, match="within"), deterministic(1):
        assert torch.are_deterministic_algorithms_enabled()
        torch.rand(100)
        raise RuntimeError("within")
    assert torch.are_deterministic_algorithms_enabled() is before
    assert torch.equal(torch.rand(3), expected)


def test_scalers_know_the_windows_of_the_training_range_and_nothing_else(
    history: pl.DataFrame, trained_seed: SeedForecaster
) -> None:
    rows = training_rows(history, SPRING_START, SPRING_END, lookback_hours=24, horizon_hours=6)
    inputs = lookbacks(matrix(history, FEATURE_COLUMNS), rows, 24)
    outputs = targets(matrix(history, (CO2_COLUMN,))[:, 0], rows, 6)
    assert np.array_equal(trained_seed.scaler_x.low, inputs.min(axis=(0, 1)))
    assert np.array_equal(trained_seed.scaler_x.high, inputs.max(axis=(0, 1)))
    assert trained_seed.scaler_y.low.tolist() == [outputs.min()]
    assert trained_seed.scaler_y.high.tolist() == [outputs.max()]


def test_a_forecast_is_scaled_back_exactly_once(
    history: pl.DataFrame, trained_seed: SeedForecaster
) -> None:
    """The predecessor scaled the live score back twice."""
    day = history.filter(
        pl.col("hour_utc").is_between(SPRING_END - 24 * HOUR, SPRING_END, closed="left")
    )
    inputs = trained_seed.scaler_x.transform(day.select(FEATURE_COLUMNS).to_numpy())
    with torch.no_grad():
        scaled = trained_seed.network(torch.tensor(inputs[None], dtype=torch.float32))[0].numpy()
    low, high = trained_seed.scaler_y.low[0], trained_seed.scaler_y.high[0]
    by_hand = low + scaled * (high - low) + trained_seed.error_quantiles[:, MEDIAN]
    made = trained_seed.predict(history, [SPRING_END])["p50_g_per_kwh"].to_numpy()
    assert made == pytest.approx(by_hand, rel=1e-6)


def test_it_learns(history: pl.DataFrame, trained_seed: SeedForecaster) -> None:
    issues = [SPRING_END + 6 * HOUR * step for step in range(40)]
    paired = rolling_origin(trained_seed, history, issues)
    actual = paired["actual_g_per_kwh"].to_numpy()
    error = np.abs(paired["p50_g_per_kwh"].to_numpy() - actual).mean()
    spring = pl.col("hour_utc").is_between(SPRING_START, SPRING_END)
    mean = history.filter(spring)[CO2_COLUMN].mean()
    assert error < 0.8 * np.abs(np.asarray(mean) - actual).mean()


def test_the_weights_kept_are_those_of_the_best_epoch(history: pl.DataFrame) -> None:
    lines: list[str] = []
    # So large a step that it cannot get better for long.
    restless = replace(SEED, learning_rate=0.5, max_epochs=9, patience=2)
    fitted = fit_seed(history, SPRING_START, SPRING_END, restless, lines.append)
    errors = [float(line.split("validation MSE ")[1].split(",")[0]) for line in lines]
    assert fitted.epochs == int(np.argmin(errors)) + 1
    assert len(errors) == min(9, fitted.epochs + 2)
    assert lines[0].startswith("epoch 1 of 9, validation MSE")
    short = fit_seed(history, SPRING_START, SPRING_END, replace(restless, max_epochs=fitted.epochs))
    assert same(short, fitted)


def test_bands_are_the_errors_of_the_validation_tail(
    history: pl.DataFrame, trained_seed: SeedForecaster
) -> None:
    rows = training_rows(history, SPRING_START, SPRING_END, lookback_hours=24, horizon_hours=6)
    tail = [history["hour_utc"][int(row)] for row in rows[int(len(rows) * 0.9) :]]
    bare = replace(trained_seed, error_quantiles=np.zeros_like(trained_seed.error_quantiles))
    paired = rolling_origin(bare, history, tail).with_columns(
        error=pl.col("actual_g_per_kwh") - pl.col("p50_g_per_kwh")
    )
    for lead in range(1, 7):
        errors = paired.filter(pl.col("lead_hours") == lead)["error"].to_numpy()
        found = trained_seed.error_quantiles[lead - 1]
        assert found == pytest.approx(np.quantile(errors, QUANTILES), abs=1e-3)


def test_a_refit_trains_as_long_as_did_good_and_keeps_the_bands(
    history: pl.DataFrame, trained_seed: SeedForecaster
) -> None:
    lines: list[str] = []
    longer = SPRING_END + 14 * 24 * HOUR
    refitted = refit_seed(trained_seed, history, SPRING_START, longer, SEED, lines.append)
    assert refitted.epochs == trained_seed.epochs == len(lines)
    assert np.array_equal(refitted.error_quantiles, trained_seed.error_quantiles)
    assert not same(refitted, trained_seed)


@pytest.mark.parametrize("horizon", [1, 24])
def test_the_horizon_is_a_setting(horizon: int, history: pl.DataFrame) -> None:
    config = replace(SEED, horizon_hours=horizon, max_epochs=1)
    fitted = fit_seed(history, SPRING_START, SPRING_END, config)
    made = fitted.predict(history, [SPRING_END, SPRING_END + HOUR])
    assert made["lead_hours"].to_list() == list(range(1, horizon + 1)) * 2


def test_too_few_windows_are_refused(history: pl.DataFrame) -> None:
    end = SPRING_START + 200 * HOUR
    with pytest.raises(InputsMissing, match=r"too little history.*171 whole windows.*least 200"):
        fit_seed(history, SPRING_START, end, SEED)


def test_a_forecast_without_a_whole_lookback_is_refused(
    history: pl.DataFrame, trained_seed: SeedForecaster
) -> None:
    few = history.filter(pl.col("hour_utc") >= SPRING_END - 20 * HOUR)
    with pytest.raises(InputsMissing, match=r"too few hours.*found: 20 hours; expected: 24"):
        trained_seed.predict(few, [SPRING_END])


def test_a_forecast_after_a_frozen_stretch_is_refused_with_the_column(
    history: pl.DataFrame, trained_seed: SeedForecaster
) -> None:
    frozen = datetime.fromisoformat("2024-11-16T20:00+00:00")
    with pytest.raises(InputsMissing, match=r"2024-11-16T20:00 UTC, column .*imputed.*null"):
        trained_seed.predict(history, [frozen])


def test_a_constant_history_is_forecast_as_that_constant() -> None:
    flat = made_of([80.0] * 600)
    end = SPRING_START + 590 * HOUR
    made = fit_seed(flat, SPRING_START, end, replace(SEED, max_epochs=1)).predict(flat, [end])
    assert made["p50_g_per_kwh"].to_numpy() == pytest.approx(80.0, abs=1.0)
