"""Figures of merit, each a small function of arrays; units are those of the values.

MAE, RMSE and bias in g/kWh; MAPE, WAPE and pseudo-accuracy in per cent. Hyndman and
Koehler (2006) for the definitions; Gneiting and Raftery (2007) for pinball loss and CRPS;
Carlstein (1986) for the bootstrap of blocks that do not overlap.
"""

from __future__ import annotations

import numpy as np

from co2_assets.forecasting.forecaster import Floats
from co2_assets.schema import QUANTILE_WEIGHTS, QUANTILES


def mae(error: Floats) -> float:
    """Mean absolute error."""
    return float(np.mean(np.abs(error)))


def rmse(error: Floats) -> float:
    """Root mean squared error."""
    return float(np.sqrt(np.mean(error**2)))


def bias(error: Floats) -> float:
    """Mean of forecast less actual: positive is too high."""
    return float(np.mean(error))


def mape(error: Floats, actual: Floats) -> float:
    """Mean of |error| over actual, per cent."""
    return float(100 * np.mean(np.abs(error) / actual))


def wape(error: Floats, actual: Floats) -> float:
    """Sum of |error| over sum of actuals, per cent."""
    return float(100 * np.sum(np.abs(error)) / np.sum(actual))


def pseudo_accuracy(error: Floats, actual: Floats) -> float:
    """100 - MAPE: what the mission's retrain rule speaks of."""
    return 100 - mape(error, actual)


def r2(error: Floats, actual: Floats) -> float:
    """Share of the actuals' variance that is explained; negative is worse than their mean."""
    spread = float(np.sum((actual - actual.mean()) ** 2))
    return float("nan") if spread == 0 else float(1 - np.sum(error**2) / spread)


def pinball(quantiles: Floats, actual: Floats) -> Floats:
    """Pinball loss, per value: the sum over the quantiles by `schema.QUANTILE_WEIGHTS`.

    Args:
        quantiles: shape (n, 7).
        actual: shape (n,).
    """
    levels = np.array(QUANTILES)
    difference = actual[:, None] - quantiles
    loss = np.maximum(levels * difference, (levels - 1) * difference)
    return np.asarray(loss @ np.array(QUANTILE_WEIGHTS), dtype=np.float64)


def crps(quantiles: Floats, actual: Floats) -> float:
    """Quantile score: twice the weighted pinball loss, nearly the CRPS.

    Twice the integral of the pinball loss over all levels is the CRPS (Gneiting and Raftery,
    2007); here it is the midpoint sum over seven levels, each with the share of (0, 1) that
    it stands for. A standard normal that is forecast perfectly scores 0.555 (CRPS 0.564).
    """
    return float(2 * pinball(quantiles, actual).mean())


def coverage(low: Floats, high: Floats, actual: Floats) -> float:
    """Share of actuals within a band."""
    return float(np.mean((actual >= low) & (actual <= high)))


def resampled_ratios(
    top: Floats, bottom: Floats, blocks: Floats, *, resamples: int, seed: int
) -> Floats:
    """Ratios of sums over whole blocks drawn with replacement; blocks do not overlap.

    Carlstein (1986); Kuensch (1989) has the bootstrap whose blocks overlap.

    Args:
        top: numerators, shape (n,).
        bottom: denominators, shape (n,).
        blocks: the block of each value, shape (n,).
        resamples: how many.
        seed: of the resampling.
    """
    _, index = np.unique(blocks, return_inverse=True)
    tops, bottoms = (np.bincount(index, weights=part) for part in (top, bottom))
    drawn = np.random.default_rng(seed).integers(0, len(tops), (resamples, len(tops)))
    return np.asarray(tops[drawn].sum(axis=1) / bottoms[drawn].sum(axis=1), dtype=np.float64)


def skill(model_mae: float, reference_mae: float) -> float:
    """1 - MAE / MAE of the reference: 0 is no better, 1 is perfect."""
    return float("nan") if reference_mae == 0 else 1 - model_mae / reference_mae
