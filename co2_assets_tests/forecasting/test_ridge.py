"""The ridge base equals scikit-learn's, lead by lead."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from co2_assets.forecasting.ridge import apply_ridge, fit_ridge, ridge_inputs

RANDOM = np.random.default_rng(3)


def test_each_lead_is_a_weighted_ridge_regression() -> None:
    inputs = RANDOM.normal(size=(200, 3, 5))
    target = RANDOM.normal(size=(200, 3)) + inputs[:, :, 0]
    weights = RANDOM.uniform(0.5, 2, 200)
    found = fit_ridge(inputs, target, weights, alpha=30.0)
    for lead in range(3):
        oracle = Ridge(alpha=30.0).fit(inputs[:, lead], target[:, lead], sample_weight=weights)
        assert found[lead, :-1] == pytest.approx(oracle.coef_)
        assert found[lead, -1] == pytest.approx(oracle.intercept_)
        predicted = apply_ridge(found, inputs)[:, lead]
        assert predicted == pytest.approx(oracle.predict(inputs[:, lead]))


def test_a_constant_column_gets_no_weight() -> None:
    inputs = RANDOM.normal(size=(100, 1, 2))
    inputs[:, :, 1] = 0.0
    found = fit_ridge(inputs, inputs[:, :, 0], np.ones(100), alpha=1.0)
    assert found[0, 1] == 0.0


def test_it_reads_the_values_of_all_rows_and_the_covariates_of_its_lead() -> None:
    encoder = np.arange(12.0).reshape(1, 3, 4)
    leads = np.array([[[100.0], [200.0]]])
    made = ridge_inputs(encoder, leads, value_columns=2)
    assert made.tolist() == [[[0, 1, 4, 5, 8, 9, 100], [0, 1, 4, 5, 8, 9, 200]]]
