"""The default recipe: its covariates by hand, its base, its seeds, what it needs."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from co2_assets.errors import InputsMissing
from co2_assets.forecasting.attention import AttentionForecaster
from co2_assets.forecasting.baselines import fit_persistence
from co2_assets.forecasting.covariates import (
    ENCODER_COLUMNS,
    Series,
    encoder_rows,
    lead_columns,
    lead_covariates,
)
from co2_assets.forecasting.evaluate import rolling_origin
from co2_assets.forecasting.fit_attention import fit_attention
from co2_assets.schema import CO2_COLUMN, POWER_COLUMNS, imputed
from co2_assets_tests.forecasting.small import ATTENTION, HOUR, SPRING_END, SPRING_START

ISSUE = datetime.fromisoformat("2024-08-13T06:00+00:00")


@pytest.fixture(scope="module")
def known(history: pl.DataFrame) -> dict[str, dict[datetime, float]]:
    """Imputed values by column and hour."""
    names = [CO2_COLUMN, *POWER_COLUMNS]
    return {
        name: dict(zip(history["hour_utc"], history[imputed(name)], strict=True)) for name in names
    }


def covariate(history: pl.DataFrame, name: str, lead: int, horizon: int) -> float:
    row = (ISSUE - history["hour_utc"][0]) // HOUR
    made = lead_covariates(Series.of(history.head(row), horizon), np.array([row]))
    return float(made[0, lead - 1, lead_columns().index(name)])


@pytest.mark.parametrize(("lead", "horizon"), [(1, 6), (4, 6), (6, 6), (30, 30)])
def test_covariates_equal_what_their_names_say(
    lead: int, horizon: int, history: pl.DataFrame, known: dict[str, dict[datetime, float]]
) -> None:
    valid, last = ISSUE + (lead - 1) * HOUR, ISSUE - HOUR
    older = timedelta(days=-(-lead // 24) - 1)  # beyond a day, the newest analogue is older

    def log(time: datetime) -> float:
        return math.log(known[CO2_COLUMN][time])

    for hours in (24, 48, 168):
        back = hours * HOUR + older
        change = covariate(history, f"co2_change_{hours}h_before", lead, horizon)
        assert change == pytest.approx(log(valid - back) - log(last - back))
        gap = covariate(history, f"co2_gap_{hours}h_before", lead, horizon)
        assert gap == pytest.approx(log(valid - back) - log(last))
    for name in ("solar_mw", "net_import_mw", "central_plants_mw"):
        series, days = known[name], [timedelta(days=day) + older for day in range(1, 29)]
        mean = sum(series[valid - back] - series[last - back] for back in days) / 28
        found = covariate(history, f"{name}_mean_change_28d", lead, horizon)
        assert found == pytest.approx(mean)
    wind, day = known["onshore_wind_mw"], timedelta(days=1) + older
    found = covariate(history, "onshore_wind_mw_change_24h_before", lead, horizon)
    assert found == pytest.approx(wind[valid - day] - wind[last - day])
    found = covariate(history, "load_gap_24h_before", lead, horizon)
    load = [sum(known[name][time] for name in POWER_COLUMNS) for time in (valid - day, last)]
    assert found == pytest.approx(load[0] - load[1])


def test_the_last_day_is_told_by_its_mean_and_its_slopes(
    history: pl.DataFrame, known: dict[str, dict[datetime, float]]
) -> None:
    def wind(hours: int) -> float:
        time = ISSUE - hours * HOUR
        return known["onshore_wind_mw"][time] + known["offshore_wind_mw"][time]

    day = [wind(hours) for hours in range(1, 25)]
    found = covariate(history, "wind_gap_of_day_mean", 3, 6)
    assert found == pytest.approx(sum(day) / 24 - day[0])
    for hours in (1, 3):
        found = covariate(history, f"wind_slope_{hours}h", 3, 6)
        assert found == pytest.approx(wind(1) - wind(1 + hours))


def test_encoder_rows_are_the_hours_before_the_issue_time(history: pl.DataFrame) -> None:
    row = (ISSUE - history["hour_utc"][0]) // HOUR
    made = encoder_rows(Series.of(history.head(row), 6), np.array([row]), 24)[0]
    day = history.slice(row - 24, 24)
    log_co2 = np.log(day[imputed(CO2_COLUMN)].to_numpy())
    assert made.shape == (24, 17)
    assert np.array_equal(made[:, 2], day[imputed("solar_mw")].to_numpy())
    assert made[:, ENCODER_COLUMNS.index("log_co2")] == pytest.approx(log_co2)
    assert made[:, ENCODER_COLUMNS.index("log_co2_less_last")] == pytest.approx(
        log_co2 - log_co2[-1]
    )


def test_it_beats_persistence_after_ten_weeks(
    history: pl.DataFrame, trained_attention: AttentionForecaster
) -> None:
    issues = [SPRING_END + 6 * HOUR * step for step in range(80)]
    naive = fit_persistence(history, SPRING_START, SPRING_END, 6)
    errors = [
        rolling_origin(model, history, issues)
        .select((pl.col("p50_g_per_kwh") - pl.col("actual_g_per_kwh")).abs().mean())
        .item()
        for model in (trained_attention, naive)
    ]
    assert errors[0] < errors[1]


def test_the_same_seed_gives_the_same_forecast_and_another_seed_another(
    history: pl.DataFrame, trained_attention: AttentionForecaster
) -> None:
    made = trained_attention.predict(history, [ISSUE])
    again = fit_attention(history, SPRING_START, SPRING_END, ATTENTION)
    assert again.predict(history, [ISSUE]).equals(made)
    other = fit_attention(history, SPRING_START, SPRING_END, replace(ATTENTION, seed=8, members=1))
    assert not other.predict(history, [ISSUE]).equals(made)


def test_members_are_averaged_in_log_space(
    history: pl.DataFrame, trained_attention: AttentionForecaster
) -> None:
    alone = [
        replace(trained_attention, networks=(network,)).predict(history, [ISSUE])["p50_g_per_kwh"]
        for network in trained_attention.networks
    ]
    # The shares of base and trees are the same in each.
    geometric = np.exp(np.mean([np.log(part.to_numpy()) for part in alone], axis=0))
    made = trained_attention.predict(history, [ISSUE])["p50_g_per_kwh"].to_numpy()
    assert made == pytest.approx(geometric, rel=1e-5)


def test_a_forecast_needs_a_day_and_reads_back_to_a_month_before_the_end_of_training(
    history: pl.DataFrame, trained_attention: AttentionForecaster
) -> None:
    day = history.filter(pl.col("hour_utc") >= ISSUE - 24 * HOUR)
    assert trained_attention.predict(day, [ISSUE]).height == 6
    month = history.filter(pl.col("hour_utc") >= SPRING_END - 32 * 24 * HOUR)
    whole = trained_attention.predict(history, [ISSUE])
    assert trained_attention.predict(month, [ISSUE]).equals(whole)


def test_less_than_a_day_is_refused(
    history: pl.DataFrame, trained_attention: AttentionForecaster
) -> None:
    few = history.filter(pl.col("hour_utc") >= ISSUE - 23 * HOUR)
    with pytest.raises(InputsMissing, match="found: 23 hours; expected: 24"):
        trained_attention.predict(few, [ISSUE])


def test_too_few_windows_are_refused(history: pl.DataFrame) -> None:
    with pytest.raises(InputsMissing, match=r"too little history.*at least 200"):
        fit_attention(history, SPRING_START, SPRING_START + 200 * HOUR, ATTENTION)
