from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from co2_assets.forecasting.evaluate import score
from co2_assets.schema import (
    AGGREGATED_HOURS,
    CO2_PROGNOSIS,
    DAY_AHEAD_PRICES,
    FORECAST_EVALUATIONS,
    FORECASTS,
    WIND_SOLAR_FORECASTS,
)
from co2_assets.warehouse.forecasts import (
    all_scored,
    has_served,
    input_ages,
    issued_versions,
    live_accuracy,
    read_issue,
    read_to_score,
    replace_scores,
    store_forecasts,
    windows_to_score,
)
from co2_assets.warehouse.query import Connection, row, rows
from co2_assets.warehouse.store import Transaction
from co2_assets.warehouse.upsert import Counts
from co2_assets_tests.warehouse.filled import HOUR, T0, filled, hours, put, stored

WINDOW = 6 * HOUR
SERVED = "v0001"


def issue(
    issue_time: datetime, p50: float = 100.0, *, served: str = SERVED, **changed: object
) -> pl.DataFrame:
    """A served forecast of six leads, with persistence 10 and climatology 20 above it."""
    versions = {served: 0.0, "persistence": 10.0, "climatology": 20.0}
    frames = []
    for version, offset in versions.items():
        columns = {
            f"p{p:02d}_g_per_kwh": p50 + offset + (p - 50) / 5 for p in (5, 10, 25, 50, 75, 90, 95)
        }
        frames.append(
            filled(
                FORECASTS,
                area="DK",
                issue_time_utc=issue_time,
                model_version=version,
                lead_hours=[1, 2, 3, 4, 5, 6],
                valid_time_utc=hours(6, issue_time),
                is_served=version == served,
                **{**columns, **changed},
            )
        )
    return pl.concat(frames)


def actuals(
    con: Connection, count: int, value: float = 100.0, start: datetime = T0, commit: int = 1
) -> None:
    put(
        con,
        AGGREGATED_HOURS,
        commit=commit,
        hour_utc=hours(count, start),
        co2_cleaned_g_per_kwh=value,
        is_complete=True,
        quality="ok",
    )


def score_window(con: Connection, start: datetime, commit: int = 1) -> Counts:
    return replace_scores(
        Transaction(con, commit),
        start,
        start + WINDOW,
        score(read_to_score(con, start, start + WINDOW)),
    )


def test_an_issue_time_is_issued_once_whatever_comes_later(con: Connection) -> None:
    assert store_forecasts(Transaction(con, 1), issue(T0, 100.0)) == Counts(new=18)
    assert store_forecasts(Transaction(con, 2), issue(T0, 150.0)) == Counts(unchanged=18)
    other = issue(T0, 150.0, served="v0002")
    assert store_forecasts(Transaction(con, 3), other) == Counts(unchanged=18)
    assert set(stored(con, FORECASTS, "commit_id")) == {(1,)}
    assert issued_versions(con, T0) == {SERVED, "persistence", "climatology"}
    assert has_served(con, T0)
    assert not has_served(con, T0 + WINDOW)
    assert read_issue(con, T0).height == 18
    assert read_issue(con, T0 + WINDOW).is_empty()


def test_shadows_without_a_served_forecast_can_be_completed(con: Connection) -> None:
    shadows = issue(T0).filter(pl.col("model_version") != SERVED)
    assert store_forecasts(Transaction(con, 1), shadows) == Counts(new=12)
    assert store_forecasts(Transaction(con, 2), issue(T0, 150.0)) == Counts(new=6, unchanged=12)


def test_the_forecast_of_a_time_is_the_served_one_of_the_newest_issue(con: Connection) -> None:
    store_forecasts(Transaction(con, 1), issue(T0, 100.0))
    store_forecasts(Transaction(con, 1), issue(T0 + 3 * HOUR, 200.0))
    found = rows(
        con, "SELECT valid_time_utc, p50_g_per_kwh, model_version FROM main.forecasts ORDER BY 1"
    )
    assert found == [
        (time, 100.0 if index < 3 else 200.0, SERVED) for index, time in enumerate(hours(9))
    ]


def test_only_values_with_an_actual_are_scored_against_baselines_of_the_same_issue_and_lead(
    con: Connection,
) -> None:
    store_forecasts(Transaction(con, 1), issue(T0))
    actuals(con, 4, value=104.0)
    put(con, AGGREGATED_HOURS, hour_utc=[T0 + 4 * HOUR], co2_cleaned_g_per_kwh=1.0, quality="spike")
    paired = read_to_score(con, T0, T0 + WINDOW)
    assert sorted(set(paired["lead_hours"])) == [1, 2, 3, 4]
    assert set(paired["persistence_g_per_kwh"]) == {110.0}
    assert set(paired["climatology_g_per_kwh"]) == {120.0}
    assert set(paired["actual_g_per_kwh"]) == {104.0}
    assert score_window(con, T0) == Counts(new=12)
    served = rows(
        con,
        "SELECT DISTINCT error_g_per_kwh, absolute_error_g_per_kwh, hit_50, hit_80 "
        " FROM ml.forecast_evaluations WHERE is_served",
    )
    assert served == [(-4.0, 4.0, True, True)]


def test_the_scores_of_a_window_become_exactly_those_given_and_no_others_move(
    con: Connection,
) -> None:
    for start in (T0, T0 + WINDOW):
        store_forecasts(Transaction(con, 1), issue(start))
    actuals(con, 12)
    assert score_window(con, T0) == Counts(new=18)
    assert score_window(con, T0 + WINDOW) == Counts(new=18)
    before = stored(con, FORECAST_EVALUATIONS)
    assert score_window(con, T0, commit=2) == Counts(unchanged=18)
    assert stored(con, FORECAST_EVALUATIONS) == before
    # An hour that was an actual turns out to be a spike: its scores go.
    put(
        con, AGGREGATED_HOURS, commit=3, hour_utc=[T0 + HOUR], is_complete=True, quality="spike",
        co2_cleaned_g_per_kwh=None,
    )  # fmt: skip
    tx = Transaction(con, 4)
    scores = score(read_to_score(con, T0, T0 + WINDOW))
    assert replace_scores(tx, T0, T0 + WINDOW, scores) == Counts(unchanged=15)
    assert tx.rows_written == 3
    left = {time for (time,) in stored(con, FORECAST_EVALUATIONS, "valid_time_utc")}
    assert left == set(hours(12)) - {T0 + HOUR}
    # And a revised actual revises them.
    actuals(con, 1, value=90.0, commit=5)
    assert score_window(con, T0, commit=6) == Counts(revised=3, unchanged=12)


def test_a_window_without_scores_loses_those_it_had(con: Connection) -> None:
    store_forecasts(Transaction(con, 1), issue(T0))
    actuals(con, 6)
    score_window(con, T0)
    con.execute("UPDATE core.aggregated_hours SET quality = 'frozen'")
    score_window(con, T0)
    assert stored(con, FORECAST_EVALUATIONS) == []


def test_late_actuals_and_hindcasts_call_their_windows_back(con: Connection) -> None:
    asked = (T0 + 4 * WINDOW, T0 + 5 * WINDOW)
    assert windows_to_score(con, asked) == [asked[0]]
    store_forecasts(Transaction(con, 2), issue(T0 + 5 * HOUR))
    assert windows_to_score(con, asked) == [T0, T0 + WINDOW, asked[0]]
    all_scored(Transaction(con, 3))
    assert windows_to_score(con, asked) == [asked[0]]
    actuals(con, 7, commit=4)
    assert windows_to_score(con, asked) == [T0, T0 + WINDOW, asked[0]]
    all_scored(Transaction(con, 5))
    # An hour that nobody forecast is no news.
    actuals(con, 1, start=T0 + 3 * WINDOW, commit=6)
    assert windows_to_score(con, asked) == [asked[0]]


def test_accuracy_counts_live_served_values_only(con: Connection) -> None:
    store_forecasts(Transaction(con, 1), issue(T0, 100.0))
    store_forecasts(Transaction(con, 1), issue(T0 + WINDOW, 300.0, is_hindcast=True))
    actuals(con, 12, value=96.0)
    for start in (T0, T0 + WINDOW):
        score_window(con, start)
    found = live_accuracy(con, T0, T0 + 2 * WINDOW)
    assert found["lead_hours"].to_list() == [1, 2, 3, 4, 5, 6]
    assert set(found["n"]) == {1}
    assert found["mae"].to_list() == [4.0] * 6
    assert found["persistence_mae"].to_list() == [14.0] * 6
    assert found["climatology_mae"].to_list() == [24.0] * 6
    assert found["skill"].to_list() == pytest.approx([1 - 4 / 14] * 6)
    assert live_accuracy(con, T0 + WINDOW, T0 + 2 * WINDOW).is_empty()
    assert set(rows(con, "SELECT DISTINCT model_version, n FROM main.accuracy")) == {
        (version, 1) for version in (SERVED, "persistence", "climatology")
    }


def test_the_scoreboard_says_champion_whoever_it_was(con: Connection) -> None:
    store_forecasts(Transaction(con, 1), issue(T0, 100.0))
    later = issue(T0 + WINDOW, 110.0, served="v0002")
    store_forecasts(Transaction(con, 1), later)
    actuals(con, 12, value=100.0)
    for start in (T0, T0 + WINDOW):
        score_window(con, start)
    champion = row(
        con,
        "SELECT sum(n), avg(mae), min(month_utc) FROM main.scoreboard WHERE predictor = 'champion'",
    )
    assert champion == (12, 5.0, datetime(2025, 1, 1, tzinfo=T0.tzinfo))


def test_the_age_of_an_input_counts_from_when_it_could_be_used(con: Connection) -> None:
    assert set(input_ages(con, T0, T0)) == {None}
    actuals(con, 2, start=T0 - 4 * HOUR)
    for table, key in (
        (WIND_SOLAR_FORECASTS, "hour_utc"),
        (CO2_PROGNOSIS, "time_utc"),
        (DAY_AHEAD_PRICES, "time_utc"),
    ):
        put(
            con,
            table,
            **{key: hours(3)},
            available_utc=[T0 - 7 * HOUR, T0 + HOUR, None],
        )
    assert tuple(input_ages(con, T0, T0)) == (2.0, 7.0, 7.0, 7.0)
    # Measured hours end at the issue time, what others publish at the cut-off.
    assert tuple(input_ages(con, T0, T0 + HOUR)) == (2.0, 0.0, 0.0, 0.0)


def test_a_forecast_beside_its_actual_names_its_error_and_persistence(con: Connection) -> None:
    store_forecasts(Transaction(con, 1), issue(T0, 100.0))
    actuals(con, 1, value=96.0)
    found = rows(
        con,
        "SELECT lead_hours, actual_g_per_kwh, error_g_per_kwh, persistence_g_per_kwh"
        " FROM main.forecast_vs_actual WHERE is_served ORDER BY 1 LIMIT 2",
    )
    assert found == [(1, 96.0, 4.0, 110.0), (2, None, None, 110.0)]
