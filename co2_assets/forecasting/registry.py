"""The recipes that can be trained, by name, behind one interface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import polars as pl

from co2_assets.errors import SettingsError
from co2_assets.forecasting.attention import AttentionConfig
from co2_assets.forecasting.baselines import (
    fit_climatology,
    fit_persistence,
    fit_seasonal_naive,
)
from co2_assets.forecasting.covariates import ENCODER_COLUMNS
from co2_assets.forecasting.external import no_external
from co2_assets.forecasting.fit_attention import fit_attention
from co2_assets.forecasting.forecaster import Forecaster
from co2_assets.forecasting.inputs import covariate_names
from co2_assets.forecasting.lightgbm import PARAMETERS, ROUNDS, fit_lightgbm
from co2_assets.forecasting.log_ridge import ALPHA, HALF_LIFE_DAYS, fit_log_ridge
from co2_assets.forecasting.train import Progress, SeedConfig, fit_seed, refit_seed
from co2_assets.forecasting.trees import TreeConfig
from co2_assets.schema import FEATURE_COLUMNS


class Shape(NamedTuple):
    """What a setting decides about any recipe."""

    lookback_hours: int
    horizon_hours: int
    seed: int
    members: int = 2


class Fit(NamedTuple):
    """What a recipe is trained on.

    `history` and `external` as in the package; the range is [start, end), and nothing
    from its end on is looked at.
    """

    history: pl.DataFrame
    external: pl.DataFrame | None
    start: datetime
    end: datetime
    shape: Shape
    progress: Progress | None = None


@dataclass(frozen=True)
class Recipe:
    """How to train one kind of model.

    `fit` trains up to the gate's holdout; `refit` trains what won on the whole range, and
    may look at what was fitted for the gate. `own_inputs` says that a recipe reads nothing
    from elsewhere.
    """

    hyperparameters: Callable[[Shape], dict[str, Any]]
    features: Callable[[Shape], tuple[str, ...]]
    fit: Callable[[Fit], Forecaster]
    refit: Callable[[Any, Fit], Forecaster]
    own_inputs: bool


def _seed_config(shape: Shape) -> SeedConfig:
    return SeedConfig(
        lookback_hours=shape.lookback_hours, horizon_hours=shape.horizon_hours, seed=shape.seed
    )


def _attention_config(shape: Shape, *, external: bool) -> AttentionConfig:
    return AttentionConfig(
        lookback_hours=shape.lookback_hours,
        horizon_hours=shape.horizon_hours,
        seed=shape.seed,
        members=shape.members,
        trees=TreeConfig(members=shape.members),
        external=external,
    )


def _from_elsewhere(job: Fit) -> pl.DataFrame:
    return no_external() if job.external is None else job.external


def _attention(*, external: bool) -> Recipe:
    def fit(job: Fit) -> Forecaster:
        return fit_attention(
            job.history,
            job.start,
            job.end,
            _attention_config(job.shape, external=external),
            job.progress,
            job.external,
        )

    return Recipe(
        hyperparameters=lambda shape: _attention_config(shape, external=external).to_json(),
        features=lambda _shape: (
            *ENCODER_COLUMNS,
            *covariate_names(external=external),
        ),
        fit=fit,
        refit=lambda _gate_fit, job: fit(job),
        own_inputs=not external,
    )


def _log_ridge(*, external: bool) -> Recipe:
    def fit(job: Fit) -> Forecaster:
        return fit_log_ridge(
            job.history,
            job.start,
            job.end,
            lookback_hours=job.shape.lookback_hours,
            horizon_hours=job.shape.horizon_hours,
            external=_from_elsewhere(job) if external else None,
        )

    return Recipe(
        hyperparameters=lambda shape: {
            **shape._asdict(),
            "alpha": ALPHA,
            "half_life_days": HALF_LIFE_DAYS,
        },
        features=lambda _shape: covariate_names(external=external),
        fit=fit,
        refit=lambda _gate_fit, job: fit(job),
        own_inputs=not external,
    )


def _lightgbm(*, external: bool) -> Recipe:
    def fit(job: Fit) -> Forecaster:
        return fit_lightgbm(
            job.history,
            job.start,
            job.end,
            lookback_hours=job.shape.lookback_hours,
            horizon_hours=job.shape.horizon_hours,
            members=job.shape.members,
            seed=job.shape.seed,
            external=_from_elsewhere(job) if external else None,
            progress=job.progress,
        )

    return Recipe(
        hyperparameters=lambda shape: {**shape._asdict(), "rounds": ROUNDS, **PARAMETERS},
        features=lambda _shape: covariate_names(external=external),
        fit=fit,
        refit=lambda _gate_fit, job: fit(job),
        own_inputs=not external,
    )


RECIPES = {
    "attention_lstm": _attention(external=True),
    "attention_lstm_own": _attention(external=False),
    "lightgbm": _lightgbm(external=True),
    "lightgbm_own": _lightgbm(external=False),
    "log_ridge": _log_ridge(external=True),
    "log_ridge_own": _log_ridge(external=False),
    "seed": Recipe(
        hyperparameters=lambda shape: _seed_config(shape).to_json(),
        features=lambda _shape: FEATURE_COLUMNS,
        fit=lambda job: fit_seed(
            job.history, job.start, job.end, _seed_config(job.shape), job.progress
        ),
        refit=lambda gate_fit, job: refit_seed(
            gate_fit, job.history, job.start, job.end, _seed_config(job.shape), job.progress
        ),
        own_inputs=True,
    ),
}

BASELINES = {
    "persistence": fit_persistence,
    "seasonal_naive": fit_seasonal_naive,
    "climatology": fit_climatology,
}


def fit_named(name: str, job: Fit) -> Forecaster:
    """Fit a recipe or a baseline by its name.

    Raises:
        SettingsError: there is none of that name.
        InputsMissing: too little history.
    """
    if name in BASELINES:
        return BASELINES[name](job.history, job.start, job.end, job.shape.horizon_hours)
    return recipe(name).fit(job)


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
