"""The `log_ridge` recipe: the online regression alone, with the quantiles of its errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from co2_assets.forecasting.base import Base, fit_base
from co2_assets.forecasting.evaluate import rolling_origin
from co2_assets.forecasting.forecaster import Floats, forecast_frame
from co2_assets.forecasting.inputs import Reader, ReadsInputs, read_training_set
from co2_assets.forecasting.windows import refuse_few, training_rows
from co2_assets.schema import QUANTILES

TAIL_SHARE = 0.15
"""Newest share of the training range, whose errors make the quantiles."""

ALPHA = 600.0
HALF_LIFE_DAYS = 180.0


@dataclass(frozen=True)
class LogRidgeForecaster(ReadsInputs):
    """The recipe, trained.

    Attributes:
        reader: of the inputs.
        base: the regression.
        error_quantiles: of its log errors, shape (horizon, 7).
    """

    reader: Reader
    base: Base
    error_quantiles: Floats

    @property
    def name(self) -> str:
        """Recipe."""
        return "log_ridge" if self.reader.external else "log_ridge_own"

    def predict(
        self,
        history: pl.DataFrame,
        issue_times: Sequence[datetime],
        external: pl.DataFrame | None = None,
    ) -> pl.DataFrame:
        """Quantiles for every issue time and lead; see `Forecaster`."""
        known, inputs = self.reader.read(history, issue_times, external)
        median = self.base.log_ratio(self.reader, known, inputs)
        now = known.series.log_co2[inputs.rows - 1][:, None]
        # Of what it does not know yet it says what persistence says.
        median = np.where(np.isfinite(median), median, 0.0) + now
        return forecast_frame(issue_times, np.exp(median[:, :, None] + self.error_quantiles[None]))


def fit_log_ridge(
    history: pl.DataFrame,
    train_start: datetime,
    train_end: datetime,
    *,
    lookback_hours: int,
    horizon_hours: int,
    external: pl.DataFrame | None,
) -> LogRidgeForecaster:
    """Train on [train_start, train_end).

    The quantiles are those of forecasts of the newest part of the range by a regression
    that was taught with the rest.

    Args:
        history: see the package.
        train_start: first hour.
        train_end: exclusive end: nothing from it on is looked at.
        lookback_hours: hours that must be there.
        horizon_hours: leads 1 to this.
        external: inputs from elsewhere, or None to do without.

    Raises:
        InputsMissing: the range has too few whole windows.
    """

    def taught(end: datetime) -> tuple[Reader, Base]:
        training = read_training_set(
            history,
            train_start,
            end,
            lookback_hours=lookback_hours,
            horizon_hours=horizon_hours,
            external=external,
        )
        return training.reader, fit_base(training, alpha=ALPHA, half_life_days=HALF_LIFE_DAYS)

    tail = train_end - (train_end - train_start) * TAIL_SHARE
    tail = tail.replace(minute=0, second=0, microsecond=0)
    reader, base = taught(tail)
    bare = LogRidgeForecaster(reader, base, np.zeros((horizon_hours, len(QUANTILES))))
    quantiles = _error_quantiles(bare, history, tail, train_end, external)
    reader, base = taught(train_end)
    return LogRidgeForecaster(reader, base, quantiles)


def _error_quantiles(
    bare: LogRidgeForecaster,
    history: pl.DataFrame,
    start: datetime,
    end: datetime,
    external: pl.DataFrame | None,
) -> Floats:
    known = history.filter(pl.col("hour_utc") < end)
    rows = training_rows(
        known, start, end, lookback_hours=bare.lookback_hours, horizon_hours=bare.horizon_hours
    )
    refuse_few(rows, start, end)
    times = [known["hour_utc"][0] + timedelta(hours=int(row)) for row in rows]
    errors = (
        rolling_origin(bare, known, times, external)
        .with_columns(error=pl.col("actual_g_per_kwh").log() - pl.col("p50_g_per_kwh").log())
        .group_by("lead_hours")
        .agg(pl.col("error"))
        .sort("lead_hours")
    )
    return np.array([np.quantile(one.to_numpy(), QUANTILES) for one in errors["error"]])
