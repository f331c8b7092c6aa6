"""Receipts of real ticks: written once, settled when the hours are there, settled again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from co2_assets.forecasting.advice_calibration import DEFAULTS, JOBS, Calibration
from co2_assets.orchestration.settling import settle_receipts
from co2_assets.schema import WINDOW_RECEIPTS
from co2_assets.settings import WINDOW
from co2_assets_tests.homes import FIRST, REPLAYED_UNTIL, Home, metadata, windows

ISSUES = [window + WINDOW for window in windows(FIRST, REPLAYED_UNTIL)]
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
ASSET = "ml/window_receipts"


def receipts(home: Home) -> list[tuple[Any, ...]]:
    return home.rows("FROM co2.window_receipts ORDER BY ALL")


def settle_by_hand(home: Home, change: str | None = None) -> tuple[int, int, int]:
    with home.store.write("test", "test") as tx:
        if change:
            tx.execute(change)
        counts = settle_receipts(tx)
    home.store.publish()
    return counts


def test_every_issue_time_has_a_receipt_of_every_job(replayed: Home) -> None:
    found = replayed.rows(
        "SELECT issue_time_utc, duration_hours, within_hours FROM co2.window_receipts"
    )
    assert sorted(found) == sorted((issue, *job) for issue in ISSUES for job in JOBS)


def test_what_is_settled_is_what_sql_over_the_views_says(replayed: Home) -> None:
    settled = replayed.rows(
        """
        SELECT receipts.*, (
            SELECT avg(co2_g_per_kwh) FROM co2.actuals WHERE hour_utc >= issue_time_utc
                AND hour_utc < issue_time_utc + to_hours(duration_hours)
        ) - (
            SELECT avg(co2_g_per_kwh) FROM co2.actuals WHERE hour_utc >= recommended_start_utc
                AND hour_utc < recommended_start_utc + to_hours(duration_hours)
        ) AS realised, (
            SELECT avg(p50_g_per_kwh) FROM co2.forecast_history
            WHERE is_served AND forecast_history.issue_time_utc = receipts.issue_time_utc
                AND valid_time_utc < receipts.issue_time_utc + to_hours(duration_hours)
        ) AS now, (
            SELECT avg(p50_g_per_kwh) FROM co2.forecast_history
            WHERE is_served AND forecast_history.issue_time_utc = receipts.issue_time_utc
                AND valid_time_utc >= preferred_start_utc
                AND valid_time_utc < preferred_start_utc + to_hours(duration_hours)
        ) AS preferred
        FROM co2.window_receipts AS receipts ORDER BY ALL
        """
    )
    names = [column.name for column in WINDOW_RECEIPTS.columns if not column.audit]
    assert settled
    for *row, realised, now, preferred in settled:
        stored = dict(zip(names, row, strict=True))
        end = stored["issue_time_utc"] + stored["within_hours"] * HOUR
        assert stored["is_settled"] == (end <= REPLAYED_UNTIL)
        assert stored["raw_saving_g_per_kwh"] == pytest.approx(now - preferred)
        assert stored["expected_g_per_kwh"] == pytest.approx(
            now - stored["expected_saving_g_per_kwh"]
        )
        if stored["is_settled"]:
            assert stored["realised_saving_g_per_kwh"] == pytest.approx(realised)
            assert stored["regret_g_per_kwh"] >= 0
            assert stored["unsettled_reason"] is None
        else:
            assert stored["regret_g_per_kwh"] is None
            assert stored["unsettled_reason"] == f"waits for the hours until {end:%Y-%m-%dT%H} UTC"


def test_a_tick_settles_what_its_hours_complete_and_keeps_what_was_recommended(
    fresh_copy: Home,
) -> None:
    before = receipts(fresh_copy)
    promised = (
        "SELECT issue_time_utc, duration_hours, within_hours, recommended_start_utc,"
        " expected_saving_g_per_kwh FROM co2.window_receipts"
        f" WHERE issue_time_utc <= '{REPLAYED_UNTIL}' ORDER BY ALL"
    )
    kept = fresh_copy.rows(promised)
    said = metadata(fresh_copy.clean_tick(REPLAYED_UNTIL), ASSET)
    assert said["rows new"] == len(JOBS)
    # Within 6 h of the last issue time, within 24 h of the one of 18 hours ago.
    assert said["rows revised"] == len(JOBS)
    assert fresh_copy.rows(promised) == kept
    assert len(receipts(fresh_copy)) == len(before) + len(JOBS)
    assert "|2 h within 24|" in said["captured of the best saving so far"]
    assert said["newest receipts of 2-hour jobs"].count("|01-20 06|") >= 2


CALIBRATIONS = "FROM co2.advice_calibration ORDER BY ALL"


def test_each_issue_time_keeps_the_calibration_of_its_advice(replayed: Home) -> None:
    found = replayed.rows(
        """
        SELECT receipts.*, chance_shift, saving_factor, calibrated_on, calibration_n, (
            SELECT count(*) FROM co2.window_receipts AS earlier
            WHERE earlier.duration_hours = receipts.duration_hours
                AND earlier.within_hours = receipts.within_hours
                AND earlier.is_settled AND NOT earlier.is_hindcast AND NOT earlier.is_fallback
                AND earlier.issue_time_utc + to_hours(earlier.within_hours)
                    <= receipts.issue_time_utc
        ) AS known
        FROM co2.window_receipts AS receipts
        JOIN co2.advice_calibration AS calibration
            USING (area, issue_time_utc, duration_hours, within_hours)
        ORDER BY ALL
        """
    )
    names = [
        *(column.name for column in WINDOW_RECEIPTS.columns if not column.audit),
        "chance_shift", "saving_factor", "calibrated_on", "calibration_n", "known",
    ]  # fmt: skip
    assert len(found) == len(ISSUES) * len(JOBS)
    for row in found:
        stored = dict(zip(names, row, strict=True))
        calibration = Calibration(
            stored["chance_shift"],
            stored["saving_factor"],
            stored["calibrated_on"],
            stored["calibration_n"],
        )
        if stored["is_fallback"]:
            assert stored["calibrated_on"] == "default"
        elif stored["known"]:
            assert stored["calibrated_on"] == "receipts"
            assert stored["calibration_n"] == stored["known"]
        if stored["recommended_start_utc"] == stored["preferred_start_utc"]:
            assert stored["expected_saving_g_per_kwh"] == pytest.approx(
                calibration.saving(stored["raw_saving_g_per_kwh"])
            )
            assert stored["chance_beats_now"] == pytest.approx(
                calibration.chance(stored["raw_chance_beats_now"])
                if stored["raw_chance_beats_now"]
                else 0
            )
        else:
            assert stored["recommended_start_utc"] == stored["issue_time_utc"]
    assert {dict(zip(names, row, strict=True))["calibrated_on"] for row in found} >= {"receipts"}


def test_hours_that_come_later_change_no_calibration(fresh_copy: Home) -> None:
    before = fresh_copy.rows(CALIBRATIONS)
    fresh_copy.clean_tick(REPLAYED_UNTIL)
    after = fresh_copy.rows(CALIBRATIONS)
    assert len(after) == len(before) + len(JOBS)
    assert after[: len(before)] == before
    revised = "UPDATE core.aggregated_hours SET commit_id = 10000, co2_cleaned_g_per_kwh = 1"
    assert settle_by_hand(fresh_copy, revised).revised > 0
    assert fresh_copy.rows(CALIBRATIONS) == after


def test_a_fallback_is_advised_by_the_defaults_and_is_no_evidence(fresh_copy: Home) -> None:
    first = ISSUES[-1]
    with fresh_copy.store.write("test", "test") as tx:
        tx.execute(
            "UPDATE ml.forecasts SET is_fallback = true, fallback_reason = 'test'"
            f" WHERE is_served AND issue_time_utc < '{first}'"
        )
        for table in ("ml.window_receipts", "ml.advice_calibration"):
            tx.execute(f"DELETE FROM {table}")
        tx.execute("DELETE FROM ops.watermarks WHERE consumer = 'ml.window_receipts'")
    settle_by_hand(fresh_copy)
    found = fresh_copy.rows(
        f"SELECT issue_time_utc < '{first}', duration_hours, within_hours, chance_shift,"
        " saving_factor, calibrated_on, calibration_n FROM co2.advice_calibration"
    )
    assert len(found) == len(ISSUES) * len(JOBS)
    for is_fallback, duration, within, *said in found:
        if is_fallback:
            assert Calibration(*said) == DEFAULTS[duration, within]
        else:
            assert said[2] in ("holdout", "default")


def test_settling_again_writes_nothing(fresh_copy: Home) -> None:
    commits = fresh_copy.value("SELECT max(commit_id) FROM co2.ops.commits")
    assert settle_by_hand(fresh_copy) == (0, 0, 0)
    assert fresh_copy.value("SELECT max(commit_id) FROM co2.ops.commits") == commits


def test_a_revised_hour_settles_again_and_a_bad_one_unsettles(fresh_copy: Home) -> None:
    hour = ISSUES[0] + HOUR
    commit = "(SELECT max(commit_id) + 1 FROM ops.commits)"
    revise = (
        f"UPDATE core.aggregated_hours SET commit_id = {commit}, {{}} WHERE hour_utc = '{hour}'"
    )
    count = "SELECT count(*) FROM co2.window_receipts WHERE is_settled"
    before, settled = receipts(fresh_copy), fresh_copy.value(count)

    counts = settle_by_hand(fresh_copy, revise.format("co2_cleaned_g_per_kwh = 1"))
    assert counts.new == 0 < counts.revised
    ((start, best),) = fresh_copy.rows(
        "SELECT best_start_utc, best_saving_g_per_kwh FROM co2.window_receipts"
        " WHERE issue_time_utc = $issue AND duration_hours = 1 AND within_hours = 6",
        issue=ISSUES[0],
    )
    assert start == hour
    assert best > 0

    settle_by_hand(fresh_copy, revise.format("quality = 'spike'"))
    reasons = fresh_copy.rows(
        "SELECT DISTINCT unsettled_reason FROM co2.window_receipts WHERE issue_time_utc = $issue",
        issue=ISSUES[0],
    )
    assert reasons == [(f"{hour:%Y-%m-%dT%H} UTC is spike",)]
    assert fresh_copy.value(count) < settled
    assert len(receipts(fresh_copy)) == len(before)


def test_a_home_from_before_receipts_gets_those_of_all_its_forecasts(
    copies: Callable[[str], Home],
) -> None:
    home = copies("old")
    expected, calibrations = receipts(home), home.rows(CALIBRATIONS)
    with home.store.write("test", "test") as tx:
        tx.execute("DELETE FROM ml.window_receipts")
        tx.execute("DELETE FROM ml.advice_calibration")
        tx.execute("DELETE FROM ops.watermarks WHERE consumer = 'ml.window_receipts'")
    assert settle_by_hand(home) == (len(ISSUES) * len(JOBS), 0, 0)
    assert receipts(home) == expected
    assert home.rows(CALIBRATIONS) == calibrations
