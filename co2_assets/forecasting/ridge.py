"""A closed-form ridge regression per lead: the base that the network corrects.

Hoerl and Kennard (1970), with weights.
"""

from __future__ import annotations

import numpy as np

from co2_assets.forecasting.forecaster import Floats


def fit_ridge(inputs: Floats, target: Floats, weights: Floats, alpha: float) -> Floats:
    """Coefficients, shape (leads, columns + 1): the last is the intercept.

    Args:
        inputs: shape (windows, leads, columns), scaled.
        target: shape (windows, leads).
        weights: shape (windows,).
        alpha: penalty; the intercept has none.
    """
    found = []
    for lead in range(target.shape[1]):
        x = np.column_stack([inputs[:, lead], np.ones(len(inputs))])
        weighted = x * weights[:, None]
        penalty = alpha * np.eye(x.shape[1])
        penalty[-1, -1] = 0.0
        # pinv would hide a singular matrix; the penalty makes this one regular but for
        # columns that are constant, such as the one-hot lead, which it sets to 0.
        found.append(np.linalg.solve(weighted.T @ x + penalty, weighted.T @ target[:, lead]))
    return np.array(found)


def apply_ridge(coefficients: Floats, inputs: Floats) -> Floats:
    """Predictions, shape (windows, leads)."""
    return np.asarray(
        np.einsum("wlc,lc->wl", inputs, coefficients[:, :-1]) + coefficients[:, -1],
        dtype=np.float64,
    )


def ridge_inputs(encoder: Floats, leads: Floats, value_columns: int) -> Floats:
    """What the ridge reads of each lead: all values of the lookback, and its covariates.

    Args:
        encoder: shape (windows, lookback, columns), scaled.
        leads: shape (windows, leads, columns), scaled.
        value_columns: the first so many encoder columns are values, the rest calendar.
    """
    flat = encoder[:, :, :value_columns].reshape(len(encoder), 1, -1)
    return np.concatenate([np.repeat(flat, leads.shape[1], axis=1), leads], axis=2)
