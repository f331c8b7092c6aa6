"""The `lightgbm` recipe: boosted trees, one per lead, quantile and member.

The challenger that tabular practice would send. It reads the same inputs as the network;
what is missing is NaN, which trees take as it is. Needs the extra `bench`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl

from co2_assets.errors import SettingsError
from co2_assets.forecasting.base import newest_values
from co2_assets.forecasting.forecaster import Floats, forecast_frame
from co2_assets.forecasting.inputs import (
    Inputs,
    Reader,
    ReadsInputs,
    covariate_needs,
    read_training_set,
)
from co2_assets.forecasting.train import Progress
from co2_assets.schema import QUANTILES

ROUNDS = 150
LAGS = 2
"""Hours of measured values that it reads."""

PARAMETERS: dict[str, Any] = {
    "objective": "quantile",
    "learning_rate": 0.06,
    "num_leaves": 31,
    "max_bin": 127,
    "min_data_in_leaf": 50,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}

Boosters = tuple[tuple[tuple[str, ...], ...], ...]
"""LightGBM's own text of each model: by member, lead and quantile."""


@dataclass(frozen=True)
class LightGbmForecaster(ReadsInputs):
    """The recipe, trained."""

    reader: Reader
    boosters: Boosters
    lags: int = LAGS

    @property
    def name(self) -> str:
        """Recipe."""
        return "lightgbm" if self.reader.external else "lightgbm_own"

    @cached_property
    def _loaded(self) -> list[list[list[Any]]]:
        lightgbm = _library()
        return [
            [[lightgbm.Booster(model_str=text) for text in levels] for levels in leads]
            for leads in self.boosters
        ]

    def predict(
        self,
        history: pl.DataFrame,
        issue_times: Sequence[datetime],
        external: pl.DataFrame | None = None,
    ) -> pl.DataFrame:
        """Quantiles for every issue time and lead; see `Forecaster`."""
        known, inputs = self.reader.read(history, issue_times, external)
        found = np.zeros((len(inputs.rows), self.horizon_hours, len(QUANTILES)))
        for lead in range(self.horizon_hours):
            x = _flat(self.reader, inputs, lead, self.lags)
            for member in self._loaded:
                found[:, lead] += np.stack([one.predict(x) for one in member[lead]], axis=1)
        log_ratio = found / len(self.boosters)
        now = known.series.log_co2[inputs.rows - 1]
        return forecast_frame(issue_times, np.exp(log_ratio + now[:, None, None]))


def fit_lightgbm(
    history: pl.DataFrame,
    train_start: datetime,
    train_end: datetime,
    *,
    lookback_hours: int,
    horizon_hours: int,
    members: int,
    seed: int,
    external: pl.DataFrame | None,
    progress: Progress | None = None,
) -> LightGbmForecaster:
    """Train on [train_start, train_end).

    Args:
        history: see the package.
        train_start: first hour of the windows.
        train_end: exclusive end: nothing from it on is looked at.
        lookback_hours: hours that must be there.
        horizon_hours: leads 1 to this.
        members: models of different seeds, whose forecasts are averaged.
        seed: of the first.
        external: inputs from elsewhere, or None to do without.
        progress: told each lead.

    Raises:
        InputsMissing: the range has too few whole windows.
        SettingsError: LightGBM is not installed.
    """
    lightgbm = _library()
    training = read_training_set(
        history,
        train_start,
        train_end,
        lookback_hours=lookback_hours,
        horizon_hours=horizon_hours,
        external=external,
    )
    weights = np.sqrt(training.now / training.now.mean())
    trained: list[list[list[str]]] = [[] for _ in range(members)]
    for lead in range(horizon_hours):
        x = _flat(training.reader, training.inputs, lead, LAGS)
        data = lightgbm.Dataset(
            x,
            training.target[:, lead],
            weight=weights,
            params=PARAMETERS,
            free_raw_data=False,
        ).construct()
        for member in range(members):
            trained[member].append(
                [
                    lightgbm.train(
                        PARAMETERS | {"alpha": level, "seed": 1000 * seed + member},
                        data,
                        num_boost_round=ROUNDS,
                    ).model_to_string()
                    for level in QUANTILES
                ]
            )
        if progress:
            progress(f"lead {lead + 1} of {horizon_hours}")
    return LightGbmForecaster(
        training.reader, tuple(tuple(tuple(levels) for levels in leads) for leads in trained)
    )


def _flat(reader: Reader, inputs: Inputs, lead: int, lags: int) -> Floats:
    """One row per window: covariates of the lead, NaN where a column is absent, and lags."""
    needs = covariate_needs(reader.covariates)
    absent = np.any(~inputs.present[:, lead, None, :] & needs[None], axis=2)
    covariates = np.where(absent, np.nan, inputs.leads[:, lead])
    return np.concatenate([covariates, newest_values(inputs.encoder, lags)], axis=1)


def _library() -> Any:
    try:
        import lightgbm
    except ImportError as error:
        raise SettingsError(
            "LightGBM is not installed",
            where="recipe lightgbm",
            next_step="pip install 'co2_assets[bench]'",
        ) from error
    return lightgbm
