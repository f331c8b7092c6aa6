"""A rival in the manner of LiteCast: a seasonal ARIMA of the last seven days.

LiteCast (Joseph, Savadi and Souza, 2025, arXiv 2511.06187) fits a SARIMAX to a week of hours and
what is known of the weather. Here that is SARIMA(1,0,1)(0,1,1) of the logarithm with a period of a
day, and Energinet's day-ahead wind and solar as regressors; an hour for which none is published at
the issue time has that of the day before. It is fitted anew at every issue time, by conditional
least squares (Box and Jenkins, 1970): some 20 ms.

No library: statsforecast 2.1.1 brings fugue, whose pytest plugin enters every test run, and
statsmodels 0.15 takes seconds a fit. On 60 issue times before the test statsforecast's maximum
likelihood of the same model captured 72 and 62 % (2 h within 6 and 24 h), this 74 and 62 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy.optimize import least_squares
from scipy.signal import lfilter

from co2_assets.forecasting.forecaster import LOWEST_G_PER_KWH, Floats
from co2_assets.replay.dataset import Dataset
from co2_assets.schema import CO2_COLUMN, FORECAST_TYPES, available_column, wind_solar_column

WEEK, DAY = 168, 24
FIRST_GUESS = (0.8, 0.1, -0.5)
"""Of the AR, the MA and the seasonal MA coefficient."""


class _Hours(NamedTuple):
    """The recorded hours: log CO2, regressors in GW, and from which hour on these may be used."""

    first: int
    log_co2: Floats
    regressors: Floats
    available: Floats

    @classmethod
    def of(cls, dataset: Dataset) -> _Hours:
        columns = [wind_solar_column(kind) for kind in FORECAST_TYPES]
        rows = dataset.history.select("hour_utc", CO2_COLUMN).join(
            dataset.external.select("hour_utc", *columns, *map(available_column, columns)),
            on="hour_utc",
            how="left",
        )
        *wind, solar = columns
        known = pl.max_horizontal(map(available_column, columns)).dt.epoch("s") / 3600
        rows = rows.sort("hour_utc").select(
            pl.col("hour_utc").dt.epoch("s") // 3600,
            pl.col(CO2_COLUMN).forward_fill().clip(LOWEST_G_PER_KWH).log(),
            wind=pl.sum_horizontal(wind).forward_fill() / 1000,
            solar=pl.col(solar).forward_fill() / 1000,
            available=known.fill_null(np.inf),
        )
        return cls(
            int(rows["hour_utc"][0]),
            rows[CO2_COLUMN].to_numpy(),
            rows.select("wind", "solar").to_numpy(),
            rows["available"].to_numpy(),
        )


def forecast_sarimax(
    dataset: Dataset, issue_times: Sequence[datetime], horizon_hours: int
) -> Floats:
    """Point forecasts, g/kWh, shape (issue times, horizon); NaN where a week is not whole."""
    hours = _Hours.of(dataset)
    found = np.full((len(issue_times), horizon_hours), np.nan)
    for index, issue_time in enumerate(issue_times):
        now = int(issue_time.timestamp()) // 3600
        row = now - hours.first
        if not WEEK <= row <= len(hours.log_co2) - horizon_hours:
            continue
        past = hours.log_co2[row - WEEK : row]
        regressors = hours.regressors[row - WEEK : row + horizon_hours].copy()
        unknown = np.flatnonzero(hours.available[row : row + horizon_hours] > now)
        for lead in unknown + WEEK:
            regressors[lead] = regressors[lead - DAY]
        if np.isfinite(past).all():
            found[index] = np.exp(continue_sarimax(past, regressors))
    return found


def continue_sarimax(past: Floats, regressors: Floats) -> Floats:
    """The hours after `past` by a SARIMA(1,0,1)(0,1,1) that is fitted to it.

    Args:
        past: shape (n,).
        regressors: shape (n + horizon, k).
    """
    n, horizon = len(past), len(regressors) - len(past)
    change, drivers = past[DAY:] - past[:-DAY], regressors[DAY:] - regressors[:-DAY]
    known = len(change)

    def parts(parameters: Floats) -> tuple[Floats, Floats, Floats]:
        ar, ma, seasonal = np.tanh(parameters[:3])  # stationary and invertible
        polynomial = np.convolve([1.0, ma], [1.0, *np.zeros(DAY - 1), seasonal])
        return np.array([1.0, -ar]), polynomial, change - drivers[:known] @ parameters[3:]

    def shocks(parameters: Floats) -> Floats:
        ar, ma, rest = parts(parameters)
        return np.asarray(lfilter(ar, ma, rest))

    slopes = np.linalg.lstsq(drivers[:known], change, rcond=None)[0]
    fitted = least_squares(shocks, [*np.arctanh(FIRST_GUESS), *slopes], max_nfev=100).x
    ar, ma, rest = parts(fitted)
    errors = np.concatenate([shocks(fitted), np.zeros(horizon)])
    rest = np.concatenate([rest, np.zeros(horizon)])
    after = np.concatenate([past, np.zeros(horizon)])
    for step in range(known, known + horizon):
        rest[step] = -ar[1] * rest[step - 1] + ma[1:] @ errors[step - 1 : step - len(ma) : -1]
        after[step + DAY] = after[step] + rest[step] + drivers[step] @ fitted[3:]
    return after[n:]
