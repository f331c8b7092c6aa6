"""Encoder inputs of an hour: its values, lags and rolling statistics; all causal."""

from __future__ import annotations

from functools import reduce
from operator import add

import polars as pl

from co2_assets.schema import (
    CO2_COLUMN,
    CO2_LAGS,
    FEATURE_COLUMNS,
    IMPUTED_COLUMNS,
    LAG_COLUMNS,
    ROLLING_HOURS,
    imputed,
)
from co2_assets.transform.quality import refuse_gaps

FEATURE_CONTEXT_HOURS = max(*CO2_LAGS, *(hours - 1 for hours in ROLLING_HOURS))
"""Hours before an hour that its inputs depend on."""


def engineer(hours: pl.DataFrame) -> pl.DataFrame:
    """The encoder inputs of each hour.

    Args:
        hours: assessed, contiguous, in order.

    Returns:
        `hour_utc`, the inputs in the order of `schema.FEATURE_COLUMNS` (rolling statistics
        take in the hour itself; the standard deviation is the sample's, ddof 1), and
        `is_usable`: no input is null.

    Raises:
        ValueError: the hours are not contiguous.
    """
    refuse_gaps(hours)
    co2 = pl.col(imputed(CO2_COLUMN))
    rolling = [
        expression.alias(f"co2_rolling_{statistic}_{window}h_g_per_kwh")
        for window in ROLLING_HOURS
        for statistic, expression in zip(("mean", "std"), _rolling(co2, window), strict=True)
    ]
    return hours.select(
        "hour_utc",
        *IMPUTED_COLUMNS,
        *(co2.shift(lag).alias(name) for lag, name in zip(CO2_LAGS, LAG_COLUMNS, strict=True)),
        *rolling,
    ).with_columns(is_usable=pl.all_horizontal(pl.col(FEATURE_COLUMNS).is_not_null()))


def _rolling(value: pl.Expr, window: int) -> tuple[pl.Expr, pl.Expr]:
    """Mean and sample standard deviation of the last `window` rows, null if one is null.

    From the rows of the window alone, added one after the other: a rolling aggregate
    carries its sums along and `sum_horizontal` adds in any order, so that the last digits
    of hours computed again would differ from the stored ones.
    """
    rows = [value.shift(back) for back in range(window)]
    mean = reduce(add, rows) / window
    squares = reduce(add, [(row - mean).pow(2) for row in rows])
    return mean, (squares / (window - 1)).sqrt()
