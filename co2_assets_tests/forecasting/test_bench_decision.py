"""The benchmark of decisions counts right, and judges what `recommend` really answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from bench import decision
from bench.advice import advise
from bench.day_ahead import captured, known_by_half_past, next_danish_day
from bench.decision import DEFAULT, PERFECT, POLICIES, SARIMAX, markdown, measure
from bench.decision_replay import Replay, by_issue_time, lowest_starts
from bench.sarimax import continue_sarimax, forecast_sarimax
from co2_assets.forecasting.advice_calibration import (
    DEFAULTS,
    JOBS,
    ON_HOLDOUT,
    fit,
    known_receipts,
)
from co2_assets.forecasting.greenest import HOUR, WindowRequest, recommend
from co2_assets.forecasting.receipts import recommend_jobs, settle
from co2_assets.replay.dataset import Dataset
from co2_assets.schema import QUANTILE_COLUMNS
from co2_assets_tests.forecasting.small import SPRING_END, SPRING_START

ISSUES = 24 * 40


@pytest.fixture(scope="module")
def paired(history: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Made-up forecasts of a real spring: the actual with an error, or flat."""
    random = np.random.default_rng(0)
    actuals = history.select(
        valid_time_utc="hour_utc", actual_g_per_kwh="co2_g_per_kwh"
    ).drop_nulls()
    rows = (
        pl.DataFrame({"issue_time_utc": [SPRING_START + HOUR * hour for hour in range(ISSUES)]})
        .join(pl.DataFrame({"lead_hours": range(1, 25)}), how="cross")
        .with_columns(
            pl.col("issue_time_utc").dt.cast_time_unit("us"),
            valid_time_utc=pl.col("issue_time_utc").dt.cast_time_unit("us")
            + pl.duration(hours=pl.col("lead_hours") - 1),
        )
        .join(actuals, on="valid_time_utc")
        .sort("issue_time_utc", "lead_hours")
    )
    found = {}
    for error, name in enumerate(decision.MODELS, start=1):
        noise = np.exp(0.03 * error * random.normal(size=rows.height))
        flat = pl.Series(np.full(rows.height, 99.0))
        middle = flat if name == "persistence" else rows["actual_g_per_kwh"] * noise
        found[name] = rows.with_columns(
            (middle * (1 + (index - 3) / 20)).alias(column)
            for index, column in enumerate(QUANTILE_COLUMNS)
        )
    # Energinet's prognosis is not known at every issue time.
    found["energinet"] = found["energinet"].filter(pl.col("issue_time_utc") > SPRING_START + HOUR)
    return found


def replayed(paired: dict[str, pl.DataFrame]) -> Replay:
    """With a point forecast, as the seasonal ARIMA has."""
    found = by_issue_time(paired)
    return found.with_points(SARIMAX, found.quantiles["climatology"][:, :, 3])


def test_shares_lie_between_running_at_once_and_a_perfect_choice(
    paired: dict[str, pl.DataFrame],
) -> None:
    found = measure(replayed(paired), DEFAULTS)
    share = {
        (row["policy"], row["duration_hours"], row["within_hours"]): row for row in found.shares
    }
    assert set(share) == {(policy, *job) for policy in (*POLICIES, PERFECT) for job in JOBS}
    for job in JOBS:
        assert share[(PERFECT, *job)]["captured_share"] == 1
        assert share[("persistence (runs at once)", *job)]["captured_share"] == 0
        default, worse = share[(DEFAULT, *job)], share[("climatology", *job)]
        assert 0.5 < worse["captured_share"] < default["captured_share"] < 1
        assert default["low"] <= default["captured_share"] <= default["high"]
        assert 0 < default["saving_percent"] < default["perfect_saving_percent"]
    told = [row for row in found.odds if row["chance"] == "calibrated"]
    assert sum(row["n"] for row in told) > ISSUES
    assert min(row["from"] for row in told) >= 0.5
    assert [(row["duration_hours"], row["within_hours"]) for row in found.savings] == list(JOBS)
    page = markdown(found)
    assert f"| {DEFAULT} |" in page
    assert "| yesterday's shape |" in page


def test_what_is_judged_is_what_recommend_answers(paired: dict[str, pl.DataFrame]) -> None:
    """The starts, the chances and the savings, by receipts of the ticks until then."""
    model = POLICIES[DEFAULT][0]
    found = advise(replayed(paired), model, DEFAULTS)
    times = paired[model]["issue_time_utc"].unique().sort().to_list()
    forecasts = {
        time: paired[model]
        .filter(issue_time_utc=time)
        .with_columns(
            area=pl.lit("DK"),
            model_version=pl.lit("v"),
            is_hindcast=pl.lit(False),
            is_fallback=pl.lit(False),
        )
        for time in times[:170]
    }
    hours = {
        hour: (actual, "ok")
        for hour, actual in paired[model].select("valid_time_utc", "actual_g_per_kwh").iter_rows()
    }
    receipts = pl.DataFrame(
        [
            {**receipt, **settle(receipt, hours)._asdict()}
            for time in times[:170:6]
            for receipt in recommend_jobs(forecasts[time], time, DEFAULTS)
        ]
    )
    for index in (0, 7, 60, 167):
        now: datetime = times[index]
        tick = times[index // 6 * 6]
        told = fit(known_receipts(receipts, tick), DEFAULTS, ON_HOLDOUT, "receipts")
        for job, advice in found.items():
            asked = WindowRequest(job[0], deadline=now + timedelta(hours=job[1]))
            answer = recommend(forecasts[now], asked, now, told)
            assert answer.start_utc == now + HOUR * int(advice.recommended[index])
            assert answer.preferred_start_utc == now + HOUR * int(advice.preferred[index])
            assert answer.chance_beats_now == pytest.approx(advice.chance[index])
            assert answer.expected_saving_g_per_kwh == pytest.approx(advice.saving[index])
            assert answer.raw_chance_beats_now == pytest.approx(advice.raw_chance[index])


def test_hours_after_an_issue_time_change_nothing_of_its_advice(
    paired: dict[str, pl.DataFrame],
) -> None:
    model = POLICIES[DEFAULT][0]
    whole = replayed(paired)
    cut = 20 * 24
    actual = whole.actual.copy()
    actual[cut:] = actual[cut:, ::-1]
    # What overlaps the cut is settled after it.
    otherwise = advise(whole._replace(actual=actual), model, DEFAULTS)
    for job, advice in advise(whole, model, DEFAULTS).items():
        assert np.array_equal(advice.chance[:cut], otherwise[job].chance[:cut])
        assert np.array_equal(advice.saving[:cut], otherwise[job].saving[:cut])


def test_only_issue_times_with_all_their_hours_count(paired: dict[str, pl.DataFrame]) -> None:
    gap = SPRING_START + 100 * HOUR
    holed = {name: rows.filter(pl.col("valid_time_utc") != gap) for name, rows in paired.items()}
    whole, torn = by_issue_time(paired), by_issue_time(holed)
    assert len(whole.actual) == ISSUES < (SPRING_END - SPRING_START) / HOUR
    assert len(torn.actual) == ISSUES - 24
    assert not np.isnan(torn.actual).any()


def test_without_any_known_window_the_job_runs_at_once() -> None:
    deciding = np.array([[np.nan, 1.0, np.nan, 2.0], [3.0, np.nan, 1.0, 1.0]])
    assert lowest_starts(deciding, 2).tolist() == [0, 2]


def test_a_perfect_order_has_the_rank_correlation_of_one(paired: dict[str, pl.DataFrame]) -> None:
    whole = replayed(paired)
    whole = whole.with_points("perfect", whole.actual).with_points("reversed", -whole.actual)
    found = {row["model"]: row["spearman"] for row in decision.rank_correlations(whole)}
    assert found["perfect"] == pytest.approx(1)
    assert found["reversed"] == pytest.approx(-1)
    assert found["climatology"] < found["attention_lstm"] < 1
    assert "persistence" not in found


def test_the_next_danish_day_is_25_hours_long_when_summer_time_ends() -> None:
    for issue, expected in {
        datetime(2024, 7, 1, 17, tzinfo=UTC): (5, 29),
        datetime(2024, 12, 1, 17, tzinfo=UTC): (6, 30),
        datetime(2024, 10, 26, 17, tzinfo=UTC): (5, 30),
        datetime(2025, 3, 29, 17, tzinfo=UTC): (6, 29),
    }.items():
        assert next_danish_day(issue) == expected


def test_the_day_ahead_is_captured_whole_by_who_knows_it() -> None:
    random = np.random.default_rng(1)
    actual = random.uniform(50, 150, (60, 30))
    hours = np.array([int(datetime(2024, 7, 1, 17, tzinfo=UTC).timestamp()) // 3600])
    days = Replay({}, actual, hours + 24 * np.arange(60))
    days = days.with_points("knows", actual).with_points("blind", random.uniform(0, 1, (60, 30)))
    lacking = actual.copy()
    lacking[:10, 20] = np.nan
    policies = {"knows": ("knows", None), "blind": ("blind", 0.5), "late": ("late", 0.5)}
    found = {row["policy"]: row for row in captured(days.with_points("late", lacking), policies)}
    assert {row["days"] for row in found.values()} == {50}
    assert found["knows"]["captured_share"] == found["late"]["captured_share"] == 1
    assert abs(found["blind"]["captured_share"]) < 0.5


def test_what_is_known_by_half_past_counts_at_the_hour(external: pl.DataFrame) -> None:
    column = "co2_prognosis_g_per_kwh_available_utc"
    moved = known_by_half_past(external)[column]
    assert (external[column] - moved).drop_nulls().unique().to_list() == [timedelta(minutes=30)]


def test_the_seasonal_arima_goes_on_with_what_repeats_daily_and_with_its_regressors() -> None:
    random = np.random.default_rng(2)
    hours = np.arange(168 + 24)
    wind = random.normal(size=len(hours))
    series = 4 + np.sin(2 * np.pi * hours / 24) - 0.5 * wind
    found = continue_sarimax(
        series[:168] + 0.01 * random.normal(size=168), np.stack([wind, 0 * wind], axis=1)
    )
    assert found == pytest.approx(series[168:], abs=0.1)


def test_the_seasonal_arima_looks_at_nothing_that_was_not_known(
    history: pl.DataFrame, external: pl.DataFrame
) -> None:
    issue = datetime(2024, 3, 20, 6, tzinfo=UTC)
    whole = Dataset(history, external)
    later = pl.col("hour_utc") >= issue
    unknown = pl.col("solar_forecast_mw_available_utc") > issue
    otherwise = Dataset(
        history.with_columns(
            co2_g_per_kwh=pl.when(later).then(pl.lit(7.0)).otherwise("co2_g_per_kwh")
        ),
        external.with_columns(
            pl.when(later & unknown).then(pl.lit(1e4)).otherwise(name).alias(name)
            for name in ("solar_forecast_mw", "onshore_wind_forecast_mw")
        ),
    )
    (found,) = forecast_sarimax(whole, [issue], 24)
    assert np.isfinite(found).all()
    assert np.array_equal(forecast_sarimax(otherwise, [issue], 24)[0], found)
    assert np.isnan(forecast_sarimax(whole, [history["hour_utc"][0] + HOUR], 24)).all()
