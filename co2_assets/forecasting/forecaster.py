"""What every forecaster is: a name, a horizon, and quantiles for issue times."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from co2_assets.errors import InputsMissing
from co2_assets.schema import QUANTILE_COLUMNS

Floats = NDArray[np.float64]

LOWEST_G_PER_KWH = 0.1
"""Forecasts are positive: the lowest hour on record has 8.57 g/kWh."""


class Forecaster(Protocol):
    """Makes forecasts from a history; says when it cannot."""

    @property
    def name(self) -> str:
        """Recipe, such as `seed` or `persistence`."""

    @property
    def horizon_hours(self) -> int:
        """Leads 1 to this."""

    @property
    def lookback_hours(self) -> int:
        """Hours before an issue time that it reads."""

    @property
    def reads(self) -> tuple[str, ...]:
        """External columns (`schema.EXTERNAL_COLUMNS`) that it reads."""

    def predict(
        self,
        history: pl.DataFrame,
        issue_times: Sequence[datetime],
        external: pl.DataFrame | None = None,
    ) -> pl.DataFrame:
        """Quantiles for every issue time and lead; reads only hours before the issue time.

        Args:
            history: see the package.
            issue_times: UTC, on the hour.
            external: inputs from elsewhere, see `transform.external.hourly_external`;
                what was not available by an issue time is not used, and what is missing
                is done without.

        Returns:
            A forecast frame; see `forecast_frame`.

        Raises:
            InputsMissing: an issue time lacks what the forecaster needs; names it.
        """


def forecast_frame(issue_times: Sequence[datetime], quantiles: Floats) -> pl.DataFrame:
    """A forecast frame: one row per issue time and lead.

    Args:
        issue_times: n of them.
        quantiles: shape (n, horizon, 7), g/kWh; sorted here, so that they never cross.

    Returns:
        `issue_time_utc`, `lead_hours` (1 is the hour that begins at the issue time),
        `valid_time_utc` and the columns p05 to p95 in g/kWh.
    """
    count, horizon, _ = quantiles.shape
    ordered = np.maximum(np.sort(quantiles, axis=2), LOWEST_G_PER_KWH).reshape(
        -1, quantiles.shape[2]
    )
    issued = np.repeat([int(time.timestamp()) * 1_000_000 for time in issue_times], horizon)
    leads = np.tile(np.arange(1, horizon + 1), count)
    valid = issued + (leads - 1) * 3_600_000_000
    moment = pl.Datetime("us", "UTC")
    return pl.DataFrame(
        {
            "issue_time_utc": pl.Series(issued.astype(np.int64)).cast(moment),
            "lead_hours": pl.Series(leads.astype(np.int32)),
            "valid_time_utc": pl.Series(valid.astype(np.int64)).cast(moment),
            **{name: ordered[:, index] for index, name in enumerate(QUANTILE_COLUMNS)},
        }
    )


def first_hour(history: pl.DataFrame) -> datetime:
    """The hour with which a history begins.

    Raises:
        InputsMissing: it has no hours.
    """
    if history.is_empty():
        raise InputsMissing(
            "there is no history",
            where="core.engineered_features",
            found="no rows",
            expected="hours to train on and to forecast from",
            next_step="load raw/power_system first",
        )
    first: datetime = history["hour_utc"][0]
    return first


def issue_rows(history: pl.DataFrame, issue_times: Sequence[datetime]) -> NDArray[np.int64]:
    """Row index that each issue time has, or would have, in a contiguous history.

    Raises:
        InputsMissing: an issue time lies outside the history or right at its start.
        ValueError: an issue time is not on the hour: no row begins there.
    """
    first = first_hour(history)
    between = [time for time in issue_times if (time - first) % timedelta(hours=1)]
    if between:
        raise ValueError(f"an issue time must be on the hour, found {between[0].isoformat()}")
    rows = np.array([(time - first) // timedelta(hours=1) for time in issue_times], dtype=np.int64)
    outside = (rows < 1) | (rows > history.height)
    if outside.any():
        time = issue_times[int(outside.argmax())]
        raise InputsMissing(
            "an issue time has no hour before it in the history",
            where=f"issue time {time:%Y-%m-%dT%H:%M} UTC",
            found=f"hours from {first:%Y-%m-%dT%H} to {history['hour_utc'][-1]:%Y-%m-%dT%H}",
            expected="the hour that ends at the issue time",
        )
    return rows
