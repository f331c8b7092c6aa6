"""Scores join what was forecast to what followed, and sums of them are as defined."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from co2_assets.forecasting import metrics
from co2_assets.forecasting.baselines import fit_persistence
from co2_assets.forecasting.evaluate import METRICS, rolling_origin, score, summarise
from co2_assets.schema import CO2_COLUMN, FORECAST_EVALUATIONS, QUANTILE_COLUMNS
from co2_assets_tests.forecasting.small import HOUR, SPRING_END, SPRING_START


@pytest.fixture(scope="module")
def paired(history: pl.DataFrame) -> pl.DataFrame:
    model = fit_persistence(history, SPRING_START, SPRING_END, 6)
    return rolling_origin(model, history, [SPRING_END + 6 * HOUR * step for step in range(100)])


def one_value(actual: float) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "area": ["DK"],
            "valid_time_utc": [SPRING_END],
            "issue_time_utc": [SPRING_END],
            "model_version": ["v0001"],
            "lead_hours": [1],
            **{
                name: [float(value)]
                for name, value in zip(
                    QUANTILE_COLUMNS, (50, 60, 80, 100, 120, 140, 150), strict=True
                )
            },
            "is_served": [True],
            "is_hindcast": [False],
            "is_fallback": [False],
            "actual_g_per_kwh": [actual],
            "persistence_g_per_kwh": [90.0],
            "climatology_g_per_kwh": [None],
        }
    )


@pytest.mark.parametrize(
    ("actual", "error", "percentage", "hits"),
    [
        (100.0, 0.0, 0.0, (True, True, True)),
        (80.0, 20.0, 25.0, (True, True, True)),
        (130.0, -30.0, 300 / 13, (False, True, True)),
        (55.0, 45.0, 900 / 11, (False, False, True)),
        (160.0, -60.0, 37.5, (False, False, False)),
    ],
)
def test_a_score_is_forecast_less_actual(
    actual: float, error: float, percentage: float, hits: tuple[bool, bool, bool]
) -> None:
    row = score(one_value(actual)).row(0, named=True)
    assert row["error_g_per_kwh"] == error
    assert row["absolute_error_g_per_kwh"] == abs(error)
    assert row["percentage_error"] == pytest.approx(percentage)
    assert (row["hit_50"], row["hit_80"], row["hit_90"]) == hits
    assert row["pinball_g_per_kwh"] >= 0


def test_an_actual_of_nothing_has_no_percentage() -> None:
    assert score(one_value(0.0))["percentage_error"].item() is None


def test_scores_have_the_columns_of_their_table() -> None:
    expected = [name for name in FORECAST_EVALUATIONS.column_names if name != "commit_id"]
    assert score(one_value(90.0)).columns == expected
    assert score(one_value(90.0).clear()).columns == expected


def test_each_forecast_is_paired_with_the_hour_it_speaks_of(
    paired: pl.DataFrame, history: pl.DataFrame
) -> None:
    actuals = dict(zip(history["hour_utc"], history[CO2_COLUMN], strict=True))
    for row in paired.sample(50, seed=1).iter_rows(named=True):
        assert row["valid_time_utc"] == row["issue_time_utc"] + (row["lead_hours"] - 1) * HOUR
        assert row["actual_g_per_kwh"] == actuals[row["valid_time_utc"]]


def test_an_hour_that_is_no_actual_is_not_scored(history: pl.DataFrame) -> None:
    model = fit_persistence(history, SPRING_START, SPRING_END, 6)
    frozen = datetime.fromisoformat("2024-11-16T09:00+00:00")
    paired = rolling_origin(model, history, [frozen])
    # 08 and 09 UTC were taken for true when they came; from 10 on the feed stood still.
    assert paired["lead_hours"].to_list() == [1]


def test_figures_by_lead_and_pooled_equal_the_metrics(paired: pl.DataFrame) -> None:
    figures = {(row["leads"], row["metric"]): row["value"] for row in summarise(paired)}
    assert {leads for leads, _ in figures} == {"1", "2", "3", "4", "5", "6", "1-6"}
    assert {name for _, name in figures} == set(METRICS)
    for lead in ("1-6", "1", "6"):
        part = paired if lead == "1-6" else paired.filter(pl.col("lead_hours") == int(lead))
        actual = part["actual_g_per_kwh"].to_numpy()
        error = part["p50_g_per_kwh"].to_numpy() - actual
        quantiles = part.select(QUANTILE_COLUMNS).to_numpy()
        assert figures[lead, "n"] == part.height
        assert figures[lead, "mae"] == metrics.mae(error)
        assert figures[lead, "rmse"] == metrics.rmse(error)
        assert figures[lead, "bias"] == metrics.bias(error)
        assert figures[lead, "mape"] == metrics.mape(error, actual)
        assert figures[lead, "wape"] == metrics.wape(error, actual)
        assert figures[lead, "crps"] == metrics.crps(quantiles, actual)
        within = part.filter(
            pl.col("actual_g_per_kwh").is_between("p10_g_per_kwh", "p90_g_per_kwh")
        )
        assert figures[lead, "coverage_80"] == within.height / part.height
