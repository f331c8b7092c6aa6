"""Every recipe of the registry can be fitted, refitted and asked for by name."""

from __future__ import annotations

import pytest

from co2_assets.errors import SettingsError
from co2_assets.forecasting.registry import RECIPES, Shape, recipe
from co2_assets.settings import Settings


def test_an_unknown_recipe_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        SettingsError, match=r"CO2_RECIPE.*found: sead; expected: one of attention_lstm, .*, seed"
    ):
        recipe("sead")


def test_the_default_setting_is_a_recipe() -> None:
    assert Settings.model_fields["recipe"].default in RECIPES


@pytest.mark.parametrize("name", RECIPES)
def test_hyperparameters_on_record_are_those_of_the_settings(name: str) -> None:
    kept = recipe(name).hyperparameters(Shape(lookback_hours=48, horizon_hours=24, seed=9))
    assert (kept["lookback_hours"], kept["horizon_hours"], kept["seed"]) == (48, 24, 9)
    assert recipe(name).features(Shape(lookback_hours=48, horizon_hours=24, seed=9))
