"""The base and its first stage: what they read, and how they learn from the days that pass."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from co2_assets.forecasting.attention import AttentionForecaster
from co2_assets.forecasting.base import FAR, NEAR, Terms, base_design
from co2_assets.forecasting.external import DK1, NO2
from co2_assets.forecasting.inputs import covariate_names, covariate_needs
from co2_assets.schema import CO2_COLUMN, EXTERNAL_COLUMNS, EXTERNAL_GROUPS, imputed
from co2_assets_tests.forecasting.small import HOUR, SPRING_END

ISSUE = SPRING_END + timedelta(days=40, hours=9)
MIDNIGHT = SPRING_END + timedelta(days=40)


def base_of(
    model: AttentionForecaster, history: pl.DataFrame, external: pl.DataFrame | None, times: list
) -> np.ndarray:
    known, inputs = model.reader.read(history, times, external)
    return model.base.log_ratio(model.reader, known, inputs)


def test_each_covariate_says_which_external_columns_it_needs() -> None:
    names = covariate_names(external=True)
    needs = {
        name: [column for column, needed in zip(EXTERNAL_COLUMNS, row, strict=True) if needed]
        for name, row in zip(names, covariate_needs(names), strict=True)
    }
    wind_solar, prognosis, _ = map(list, EXTERNAL_GROUPS.values())
    assert needs["lead_hour_sin"] == []
    assert needs["solar_forecast_mw_change"] == ["solar_forecast_mw"]
    assert needs["residual_load_mw"] == wind_solar
    assert needs["prognosis_gap"] == prognosis
    assert needs["price_dk1_less_no2"] == [DK1, NO2]
    assert needs["level_both_gap"] == wind_solar + prognosis
    assert needs["level_both_error_24h"] == wind_solar + prognosis
    assert needs["onshore_wind_forecast_mw_error_3h"] == ["onshore_wind_forecast_mw"]
    assert needs["prognosis_to_next"] == prognosis


@pytest.mark.parametrize("terms", [NEAR, FAR])
def test_without_a_column_nothing_of_it_nor_a_product_is_used(terms: Terms) -> None:
    design = base_design(covariate_names(external=True), terms)
    everything = design.usable((True,) * len(EXTERNAL_COLUMNS))
    assert everything.all()
    assert len(everything) == design.columns
    for index in range(len(EXTERNAL_COLUMNS)):
        present = [True] * len(EXTERNAL_COLUMNS)
        present[index] = False
        usable = design.usable(tuple(present))
        assert not design.needs[usable][:, index].any()
        assert usable.sum() < design.columns
    nothing = design.usable((False,) * len(EXTERNAL_COLUMNS))
    assert nothing.sum() == base_design(covariate_names(external=False), terms).columns


def test_one_issue_time_is_forecast_alike_alone_and_among_many(
    history: pl.DataFrame, external: pl.DataFrame, trained_external: AttentionForecaster
) -> None:
    times = [ISSUE + 7 * HOUR * step for step in range(12)]
    many = base_of(trained_external, history, external, times)
    for index in (0, 5, 11):
        alone = base_of(trained_external, history, external, [times[index]])
        np.testing.assert_allclose(alone[0], many[index], rtol=1e-5, atol=1e-7)
    assert np.isfinite(many).all()


@pytest.mark.parametrize("hours_before_midnight", [0, 12])
def test_it_learns_from_the_days_that_passed_and_not_from_today(
    hours_before_midnight: int,
    history: pl.DataFrame,
    external: pl.DataFrame,
    trained_external: AttentionForecaster,
) -> None:
    """Another actual yesterday teaches something else; one of this morning teaches nothing yet."""
    altered = history.with_columns(
        pl.when(pl.col("hour_utc") == MIDNIGHT - hours_before_midnight * HOUR)
        .then(pl.col(CO2_COLUMN) * 3)
        .otherwise(CO2_COLUMN)
        .alias(CO2_COLUMN)
    )
    assert altered[imputed(CO2_COLUMN)].equals(history[imputed(CO2_COLUMN)])  # inputs stay
    found = [base_of(trained_external, data, external, [ISSUE]) for data in (history, altered)]
    assert np.array_equal(*found) == (hours_before_midnight == 0)


def test_each_group_that_is_lost_changes_the_forecast_and_none_breaks_it(
    history: pl.DataFrame, external: pl.DataFrame, trained_external: AttentionForecaster
) -> None:
    later = pl.col("hour_utc") >= ISSUE
    seen = []
    for prefix in ("", "offshore", "co2_prognosis", "price_dk1"):
        lacking = external.with_columns(
            pl.when(~later).then(name).alias(name)
            for name in external.columns
            if prefix and name.startswith(prefix) and not name.endswith("available_utc")
        )
        made = trained_external.predict(history, [ISSUE], lacking)
        assert made.height == trained_external.horizon_hours
        assert made["p50_g_per_kwh"].is_finite().all()
        seen.append(tuple(made["p50_g_per_kwh"]))
    assert len(set(seen)) == 4
