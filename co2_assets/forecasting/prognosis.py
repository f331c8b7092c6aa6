"""Energinet's own CO2 prognosis as a forecaster: what there was before this platform.

As it was known at each issue time; a lead that was not published by then has no forecast.
Recalibrated means less its mean log error of the last 24 hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from co2_assets.errors import InputsMissing
from co2_assets.forecasting.covariates import Series
from co2_assets.forecasting.external import External, no_external
from co2_assets.forecasting.forecaster import Floats, forecast_frame, issue_rows
from co2_assets.forecasting.inputs import Known
from co2_assets.forecasting.windows import inside
from co2_assets.schema import EXTERNAL_GROUPS, QUANTILES

DAY = 24
FEWEST_ERRORS = 24
(COLUMN,) = EXTERNAL_GROUPS["co2_prognosis"]


@dataclass(frozen=True)
class PrognosisForecaster:
    """The prognosis with the quantiles of its log errors, shape (horizon, 7)."""

    name: str
    horizon_hours: int
    log_error_quantiles: Floats
    lookback_hours: int = DAY
    reads: tuple[str, ...] = (COLUMN,)

    def predict(
        self,
        history: pl.DataFrame,
        issue_times: Sequence[datetime],
        external: pl.DataFrame | None = None,
    ) -> pl.DataFrame:
        """Quantiles of the leads that were published by the issue time; see `Forecaster`.

        Raises:
            InputsMissing: nothing was published for any of them.
        """
        rows = issue_rows(history, issue_times)
        first = max(0, int(rows.min()) - 2 * DAY)
        known = _known(history.slice(first, int(rows.max()) - first), external, self.horizon_hours)
        median = _log_median(known, rows - first, recalibrated=self.name != "energinet")
        if not np.isfinite(median).any():
            raise InputsMissing(
                "Energinet has published no CO2 prognosis",
                where=f"issue time {issue_times[0]:%Y-%m-%dT%H:%M} UTC",
                found="no value of the next hours",
                expected="one by the issue time",
            )
        made = forecast_frame(
            issue_times,
            np.exp(np.nan_to_num(median)[:, :, None] + self.log_error_quantiles[None]),
        )
        return made.filter(pl.Series(np.isfinite(median).reshape(-1)))


def fit_prognosis(
    history: pl.DataFrame,
    external: pl.DataFrame | None,
    train_start: datetime,
    train_end: datetime,
    horizon_hours: int,
    *,
    recalibrated: bool,
) -> PrognosisForecaster:
    """Measure the prognosis' log errors in [train_start, train_end), per lead.

    Raises:
        InputsMissing: too few hours with a prognosis and an actual.
    """
    history = history.filter(pl.col("hour_utc") < train_end)
    if history.is_empty():
        raise _too_few(train_start, train_end, 0)
    known = _known(history, external, horizon_hours)
    start = (int(train_start.timestamp()) // 3600) - known.series.first_hour
    rows = np.arange(max(start, 1), history.height)
    errors = (
        known.targets(rows)
        + known.series.log_co2[rows - 1][:, None]
        - _log_median(known, rows, recalibrated=recalibrated)
    )
    count = int(np.isfinite(errors).sum(axis=0).min(initial=len(rows)))
    if count < FEWEST_ERRORS:
        raise _too_few(train_start, train_end, count)
    spread = np.nanquantile(errors, QUANTILES, axis=0).T
    # The median forecast is what Energinet said.
    return PrognosisForecaster(
        "energinet_recalibrated" if recalibrated else "energinet",
        horizon_hours,
        spread - spread[:, [QUANTILES.index(0.5)]],
    )


def _too_few(start: datetime, end: datetime, count: int) -> InputsMissing:
    return InputsMissing(
        "too little of Energinet's prognosis to know its errors",
        where=f"{start:%Y-%m-%dT%H} to {end:%Y-%m-%dT%H} UTC",
        found=f"{count} hours with an actual",
        expected=f"at least {FEWEST_ERRORS}",
    )


def _known(history: pl.DataFrame, external: pl.DataFrame | None, horizon: int) -> Known:
    return Known.of(
        history,
        no_external() if external is None else external,
        lookback_hours=DAY,
        horizon_hours=horizon,
    )


def _log_median(known: Known, rows: NDArray[np.int64], *, recalibrated: bool) -> Floats:
    """Log of the prognosis, shape (rows, horizon); NaN where it was not published by then."""
    external, series = known.external, known.series
    if external is None:
        raise ValueError("the prognosis is an external input")
    issue = rows[:, None]
    ahead = _published(external, issue + np.arange(series.horizon_hours)[None, :], issue)
    if not recalibrated:
        return ahead
    hours = issue - np.arange(1, DAY + 1)[None, :]
    return ahead - _mean_error(series, external, hours, issue)


def _mean_error(
    series: Series, external: External, hours: NDArray[np.int64], issue: NDArray[np.int64]
) -> Floats:
    errors = _published(external, hours, issue) - inside(series.log_co2, hours)
    there = np.isfinite(errors)
    total = np.where(there, errors, 0.0).sum(axis=1, keepdims=True)
    return np.asarray(total / np.maximum(there.sum(axis=1, keepdims=True), 1), dtype=np.float64)


def _published(external: External, valid: NDArray[np.int64], issue: NDArray[np.int64]) -> Floats:
    return np.asarray(np.log(external.known(COLUMN, valid, issue)), dtype=np.float64)
