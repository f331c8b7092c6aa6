"""How sure a mean over days is when neighbouring days are alike.

The equal-weighted cosine test: the variance of the mean comes from how strongly the days
follow slow cosine waves, since what lasts for days moves a mean more than what changes daily.
Lazarus, Lewis, Stock and Watson (2018), HAR inference: recommendations for practice.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit

from co2_assets.forecasting.forecaster import Floats


@dataclass(frozen=True)
class DailyMean:
    """A mean over days, with its standard error and the degrees of freedom of that."""

    value: float
    standard_error: float
    degrees: int

    def lower(self, confidence: float) -> float:
        """One-sided bound: the true mean lies above it with this confidence."""
        return self.value - float(stdtrit(self.degrees, confidence)) * self.standard_error

    def upper(self, confidence: float) -> float:
        """One-sided bound: the true mean lies below it with this confidence."""
        return self.value + float(stdtrit(self.degrees, confidence)) * self.standard_error


def mean_over_days(totals: Floats, counts: Floats) -> DailyMean:
    """Mean of all values, and its standard error under correlation of any kind between days.

    With T days the variance is the mean square of the first 0.4 T^(2/3) cosine transforms
    (type II), and the mean over its standard error follows Student's t with as many degrees
    of freedom: 1 for 7 days, 4 for 28. Faster waves do not stand for what lasts. Of a single
    day nothing is known: its standard error is infinite.

    Args:
        totals: sum of the values of each day, in order of time, shape (days,).
        counts: how many values that is, shape (days,).
    """
    days, mean = len(totals), float(totals.sum() / counts.sum())
    if days == 1:
        return DailyMean(mean, math.inf, 1)
    degrees = round(0.4 * days ** (2 / 3))
    departures = (totals - mean * counts) / counts.mean()
    waves = np.cos(np.pi * np.outer(np.arange(1, degrees + 1), np.arange(days) + 0.5) / days)
    transforms = math.sqrt(2 / days) * waves @ departures
    return DailyMean(mean, math.sqrt(float(np.mean(transforms**2)) / days), degrees)
