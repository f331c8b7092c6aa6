"""The tree expert: our walk through the trees is scikit-learn's; nothing is lost on disk."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from safetensors.numpy import load, save
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits

from co2_assets.errors import ModelError
from co2_assets.forecasting.attention import AttentionForecaster
from co2_assets.forecasting.inputs import covariate_needs, read_training_set
from co2_assets.forecasting.trees import (
    AT_A_TIME,
    Forest,
    TreeConfig,
    Trees,
    _refuse_other,
    fit_forest,
)
from co2_assets.schema import EXTERNAL_COLUMNS, price_column
from co2_assets_tests.forecasting.small import HOUR, SPRING_END


def _data(seed: int, rows: int = 2000, missing: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 9))
    y = np.sin(x[:, 0]) + x[:, 1] * (x[:, 2] > 0) + 0.1 * random.normal(size=rows)
    x[random.random(x.shape) < missing] = np.nan
    return x, y


def _fitted(x: np.ndarray, y: np.ndarray, **parameters: object) -> HistGradientBoostingRegressor:
    settings = {"max_iter": 40, "max_features": 0.5, "random_state": 0, "early_stopping": False}
    with threadpool_limits(1, user_api="openmp"):  # others wait for each other on a busy machine
        return HistGradientBoostingRegressor(**settings | parameters).fit(x, y)


@pytest.mark.parametrize("loss", ["squared_error", "absolute_error"])
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_a_forest_forecasts_what_scikit_learn_forecasts(loss: str, missing: float) -> None:
    x, y = _data(1, missing=missing)
    model = _fitted(x, y, loss=loss)
    forest = Forest.of(model)
    new = _data(2, missing=0.3)[0]  # also NaN where training saw none
    np.testing.assert_allclose(forest.predict(x), model.predict(x), rtol=0, atol=1e-12)
    np.testing.assert_allclose(forest.predict(new), model.predict(new), rtol=0, atol=1e-12)


def test_values_at_a_threshold_go_the_same_way() -> None:
    x, y = _data(3, missing=0.0)
    x = np.round(x, 1)  # many ties: thresholds lie between few distinct values
    model = _fitted(x, y)
    forest = Forest.of(model)
    at_thresholds = np.tile(forest.threshold[:500, None], (1, x.shape[1]))
    np.testing.assert_allclose(
        forest.predict(at_thresholds), model.predict(at_thresholds), rtol=0, atol=1e-12
    )


def test_single_precision_is_read_as_scikit_learn_reads_it() -> None:
    x, y = _data(4)
    model, single = _fitted(x, y), x.astype(np.float32)
    np.testing.assert_allclose(
        Forest.of(model).predict(single), model.predict(single), rtol=0, atol=1e-12
    )


def test_trees_of_a_single_leaf_give_the_mean() -> None:
    x, _ = _data(5, rows=30)
    model = _fitted(x, np.full(30, 2.5), min_samples_leaf=20)
    forest = Forest.of(model)
    assert forest.depth == 0
    np.testing.assert_allclose(forest.predict(x), 2.5)


def test_rows_come_back_in_order_and_one_by_one_alike() -> None:
    x, y = _data(6, rows=AT_A_TIME + 7)
    forest = Forest.of(_fitted(x, y))
    together = forest.predict(x)
    np.testing.assert_array_equal(together[-3:], forest.predict(x[-3:]))
    np.testing.assert_array_equal(together[:1], forest.predict(x[:1]))
    assert forest.predict(x[:0]).shape == (0,)


def test_a_forest_survives_a_safetensors_file() -> None:
    x, y = _data(7)
    forest = Forest.of(_fitted(x, y))
    kept = Forest.from_arrays(load(save(forest.to_arrays())))
    np.testing.assert_array_equal(kept.predict(x), forest.predict(x))


def test_trees_that_scikit_learn_kept_otherwise_are_refused() -> None:
    x, y = _data(9)
    model = _fitted(x, y)
    forest = Forest.of(model)
    _refuse_other(forest.predict(x), model.predict(x))
    with pytest.raises(ModelError, match="not read as scikit-learn keeps them"):
        _refuse_other(forest.predict(x) + 1e-6, model.predict(x))


def test_no_forest_forecasts_no_change(
    history: pl.DataFrame, external: pl.DataFrame, trained_external: AttentionForecaster
) -> None:
    _, inputs = trained_external.reader.read(history, [SPRING_END], external)
    made = Trees((), 2).scaled_log_ratio(trained_external.reader, inputs)
    assert np.array_equal(made, np.zeros((1, 8)))


def test_one_window_is_forecast_as_among_many(
    history: pl.DataFrame, external: pl.DataFrame, trained_external: AttentionForecaster
) -> None:
    times = [SPRING_END + 7 * HOUR * step for step in range(30)]
    _, many = trained_external.reader.read(history, times, external)
    together = trained_external.trees.scaled_log_ratio(trained_external.reader, many)
    for index in (0, 13, 29):
        _, one = trained_external.reader.read(history, [times[index]], external)
        alone = trained_external.trees.scaled_log_ratio(trained_external.reader, one)
        np.testing.assert_allclose(alone[0], together[index], rtol=1e-4, atol=1e-6)
    assert len(np.unique(np.round(together, 9))) > 200


def test_a_column_that_never_was_is_never_asked_for(
    history: pl.DataFrame, external: pl.DataFrame
) -> None:
    without = external.with_columns(pl.lit(None, pl.Float64).alias(price_column("NO2")))
    training = read_training_set(
        history,
        SPRING_END - 60 * 24 * HOUR,
        SPRING_END,
        lookback_hours=24,
        horizon_hours=8,
        external=without,
    )
    forest = fit_forest(training, TreeConfig(rounds=5), 0)
    needs = covariate_needs(training.reader.covariates)
    of_the_price = np.flatnonzero(needs[:, EXTERNAL_COLUMNS.index(price_column("NO2"))])
    asked = forest.feature[forest.left != np.arange(len(forest.left))]
    assert len(of_the_price) > 0
    assert not np.isin(asked, of_the_price).any()


def test_categories_are_refused() -> None:
    x, y = _data(8, missing=0.0)
    x[:, 0] = np.random.default_rng(0).integers(0, 4, len(x))
    with pytest.raises(ValueError, match="categories"):
        Forest.of(_fitted(x, y + 3 * (x[:, 0] == 2), categorical_features=[0], max_features=1.0))
