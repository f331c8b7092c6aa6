"""The benchmark of decisions counts right, and judges what `recommend` really answers."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from bench import decision
from bench.decision import DEFAULT, PERFECT, POLICIES, by_issue_time, chosen, markdown, measure
from co2_assets.forecasting.greenest import DECIDES, HOUR, WindowRequest, recommend
from co2_assets.forecasting.receipts import JOBS
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


def test_shares_lie_between_running_at_once_and_a_perfect_choice(
    paired: dict[str, pl.DataFrame],
) -> None:
    found = measure(by_issue_time(paired))
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
    assert sum(row["n"] for row in found.odds) > ISSUES
    assert 0 <= found.brier < 1
    page = markdown(found)
    assert f"| {DEFAULT} |" in page
    assert "| yesterday's shape |" in page


def test_what_is_judged_is_what_recommend_answers(paired: dict[str, pl.DataFrame]) -> None:
    name, quantile = POLICIES[DEFAULT]
    replayed = by_issue_time(paired)
    times = paired[name]["issue_time_utc"].unique().sort().to_list()
    assert QUANTILE_COLUMNS[quantile] == f"p{round(100 * DECIDES)}_g_per_kwh"
    for duration, within in JOBS:
        starts = chosen(replayed.quantiles[name][:, :within, quantile], duration)
        for index in (0, 7, 300, 700):
            now: datetime = times[index]
            asked = WindowRequest(duration, deadline=now + timedelta(hours=within))
            forecast = paired[name].filter(issue_time_utc=now)
            assert recommend(forecast, asked, now).start_utc == now + HOUR * int(starts[index])


def test_only_issue_times_with_all_their_hours_count(paired: dict[str, pl.DataFrame]) -> None:
    gap = SPRING_START + 100 * HOUR
    holed = {name: rows.filter(pl.col("valid_time_utc") != gap) for name, rows in paired.items()}
    whole, torn = by_issue_time(paired), by_issue_time(holed)
    assert len(whole.actual) == ISSUES < (SPRING_END - SPRING_START) / HOUR
    assert len(torn.actual) == ISSUES - 24
    assert not np.isnan(torn.actual).any()


def test_without_any_known_window_the_job_runs_at_once() -> None:
    deciding = np.array([[np.nan, 1.0, np.nan, 2.0], [3.0, np.nan, 1.0, 1.0]])
    assert chosen(deciding, 2).tolist() == [0, 2]
