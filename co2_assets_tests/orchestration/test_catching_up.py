"""Missed ticks: which window is asked for next, and how a stopped machine heals."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2_assets.orchestration.build import build_definitions
from co2_assets.orchestration.catching_up import (
    BACK_OFF,
    GRACE,
    Attempts,
    newest_missed,
)
from co2_assets.orchestration.jobs import TICK
from co2_assets.orchestration.partitions import partition_key
from co2_assets.orchestration.sensors import DECISIONS
from co2_assets.replay.machine import set_clock
from co2_assets.settings import WINDOW
from co2_assets_tests.homes import REPLAYED_UNTIL, Home, utc, windows

FIRST, LAST = utc("2025-03-29T00:00"), utc("2025-04-01T00:00")
"""Over the spring change of Danish clocks: windows are UTC and do not notice."""

ALL = [partition_key(window) for window in windows(FIRST, LAST)]


def missed(
    done: set[str], now: datetime = LAST + GRACE, attempts: dict[str, Attempts] | None = None
) -> str | None:
    window = newest_missed(first=FIRST, last=LAST, now=now, done=done, attempts=attempts or {})
    return None if window is None else partition_key(window)


@given(st.sets(st.sampled_from(ALL)))
def test_asked_one_by_one_the_windows_come_newest_first_and_each_once(done: set[str]) -> None:
    asked = []
    while (key := missed(done | set(asked))) is not None:
        asked.append(key)
    assert asked == sorted(set(ALL) - done, reverse=True)


def test_the_schedule_has_its_time_first() -> None:
    done = set(ALL[:-1])
    assert missed(done, LAST + GRACE - timedelta(seconds=1)) is None
    assert missed(done, LAST + GRACE) == ALL[-1]


def test_a_clock_set_back_by_an_hour_asks_for_nothing_twice() -> None:
    assert missed(set(ALL), LAST + GRACE - timedelta(hours=1)) is None


@pytest.mark.parametrize("failed", range(1, len(BACK_OFF) + 1))
def test_a_failed_window_is_asked_for_again_after_a_back_off_and_others_meanwhile(
    failed: int,
) -> None:
    now = LAST + timedelta(days=1)
    wait = BACK_OFF[failed - 1]
    too_early = {ALL[-1]: Attempts(failed, now - wait + timedelta(seconds=1))}
    assert missed(set(), now, too_early) == ALL[-2]
    assert missed(set(), now, {ALL[-1]: Attempts(failed, now - wait)}) == ALL[-1]


def test_a_window_that_failed_again_and_again_is_left_to_a_person() -> None:
    given_up = {ALL[-1]: Attempts(len(BACK_OFF) + 1, FIRST)}
    assert missed(set(ALL[:-1]), LAST + timedelta(days=9), given_up) is None


# The sensor and the real job


def evaluate(home: Home, instance: dg.DagsterInstance) -> dg.SensorExecutionData:
    definitions = build_definitions(home.settings)
    with dg.build_sensor_context(
        instance=instance, definitions=definitions, sensor_name="catch_up"
    ) as context:
        return definitions.resolve_sensor_def("catch_up").evaluate_tick(context)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def report_done(instance: dg.DagsterInstance, done: list[datetime]) -> None:
    """As the ticks of these windows did."""
    for window in done:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(DECISIONS, partition=partition_key(window))
        )


@pytest.mark.slow
def test_a_machine_that_missed_ten_ticks_heals_newest_first_and_its_hindcasts_are_marked(
    replayed: Home, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    home = replayed.copy(tmp_path / "home")
    first = home.settings.first_window
    assert first is not None
    report_done(instance, windows(first, REPLAYED_UNTIL))
    back = REPLAYED_UNTIL + 10 * WINDOW + timedelta(minutes=30)
    scored_before = home.value("SELECT sum(n) FROM scoreboard WHERE predictor = 'champion'")
    asked: list[str] = []
    with home.served():
        set_clock(home.settings, back)
        while requests := evaluate(home, instance).run_requests:
            (request,) = requests
            asked.append(request.partition_key or "")
            result = home.job(
                TICK, datetime.fromisoformat(f"{asked[-1]}:00+00:00"), instance=instance
            )
            assert result.success

    missing = windows(REPLAYED_UNTIL, REPLAYED_UNTIL + 10 * WINDOW)
    assert asked == [partition_key(window) for window in reversed(missing)]
    hours = home.value(
        "SELECT count(*) FROM actuals WHERE hour_utc >= $start AND minutes_seen = 60",
        start=REPLAYED_UNTIL,
    )
    assert hours == 60
    issued = home.rows(
        "SELECT issue_time_utc, bool_and(is_hindcast), count(*) FROM forecast_history"
        " WHERE is_served AND issue_time_utc > $start GROUP BY 1 ORDER BY 1",
        start=REPLAYED_UNTIL,
    )
    # Of the newest window the forecast still is one: it was issued within the hour.
    assert [(time, is_hindcast) for time, is_hindcast, _ in issued] == [
        (window + WINDOW, window is not missing[-1]) for window in missing
    ]
    # What was issued before the machine stopped has been scored; no hindcast counts.
    live = home.value(
        "SELECT count(*) FROM ml.forecast_evaluations WHERE is_served AND NOT is_hindcast"
    )
    assert home.value("SELECT sum(n) FROM scoreboard WHERE predictor = 'champion'") == live
    assert live > scored_before
    assert home.value("SELECT count(*) FROM ml.forecast_evaluations WHERE is_hindcast") > 0


def test_while_a_run_is_under_way_it_waits(replayed: Home, instance: dg.DagsterInstance) -> None:
    instance.run_storage.add_run(dg.DagsterRun(job_name=TICK, status=dg.DagsterRunStatus.STARTED))
    outcome = evaluate(replayed, instance)
    assert not outcome.run_requests
    assert "is under way" in (outcome.skip_message or "")


def test_a_failed_run_counts_and_its_next_request_has_another_key(
    replayed: Home, instance: dg.DagsterInstance
) -> None:
    first = replayed.settings.first_window
    assert first is not None
    newest = REPLAYED_UNTIL - 2 * WINDOW  # the schedule still has its time for the last one
    report_done(instance, windows(first, newest))
    (before,) = evaluate(replayed, instance).run_requests or []
    assert before.run_key == f"{partition_key(newest)}:1"
    run = dg.DagsterRun(
        job_name=TICK,
        status=dg.DagsterRunStatus.STARTED,
        tags={"dagster/partition": partition_key(newest)},
    )
    instance.run_storage.add_run(run)
    instance.report_run_failed(run)
    # It failed by the wall clock of the machine, long after the virtual now: not due yet.
    assert evaluate(replayed, instance).run_requests in ([], None)
