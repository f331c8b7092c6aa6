"""The recipes that can be trained, by name, behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import polars as pl

from co2_assets.errors import SettingsError
from co2_assets.forecasting.attention import AttentionConfig, fit_attention
from co2_assets.forecasting.covariates import ENCODER_COLUMNS
from co2_assets.forecasting.forecaster import Forecaster
from co2_assets.forecasting.train import Progress, SeedConfig, fit_seed, refit_seed
from co2_assets.schema import FEATURE_COLUMNS


class Shape(NamedTuple):
    """What a setting decides about any recipe."""

    lookback_hours: int
    horizon_hours: int
    seed: int


@dataclass(frozen=True)
class Recipe:
    """How to train one kind of model.

    `fit` trains up to the gate's holdout; `refit` trains what won on the whole range.
    """

    hyperparameters: Callable[[Shape], dict[str, Any]]
    features: tuple[str, ...]
    fit: Callable[[pl.DataFrame, datetime, datetime, Shape, Progress | None], Forecaster]
    refit: Callable[[Any, pl.DataFrame, datetime, datetime, Shape, Progress | None], Forecaster]


def _seed_config(shape: Shape) -> SeedConfig:
    return SeedConfig(
        lookback_hours=shape.lookback_hours, horizon_hours=shape.horizon_hours, seed=shape.seed
    )


def _attention_config(shape: Shape) -> AttentionConfig:
    return AttentionConfig(
        lookback_hours=shape.lookback_hours, horizon_hours=shape.horizon_hours, seed=shape.seed
    )


RECIPES = {
    "attention_lstm": Recipe(
        hyperparameters=lambda shape: _attention_config(shape).to_json(),
        features=ENCODER_COLUMNS,
        fit=lambda history, start, end, shape, progress: fit_attention(
            history, start, end, _attention_config(shape), progress
        ),
        refit=lambda _gate_fit, history, start, end, shape, progress: fit_attention(
            history, start, end, _attention_config(shape), progress
        ),
    ),
    "seed": Recipe(
        hyperparameters=lambda shape: _seed_config(shape).to_json(),
        features=FEATURE_COLUMNS,
        fit=lambda history, start, end, shape, progress: fit_seed(
            history, start, end, _seed_config(shape), progress
        ),
        refit=lambda gate_fit, history, start, end, shape, progress: refit_seed(
            gate_fit, history, start, end, _seed_config(shape), progress
        ),
    ),
}


def recipe(name: str) -> Recipe:
    """The recipe of a name.

    Raises:
        SettingsError: there is none; lists those there are.
    """
    try:
        return RECIPES[name]
    except KeyError:
        raise SettingsError(
            "unknown recipe",
            where="setting recipe (CO2_RECIPE)",
            found=name,
            expected="one of " + ", ".join(sorted(RECIPES)),
        ) from None
