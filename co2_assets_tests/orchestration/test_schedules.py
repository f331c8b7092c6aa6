"""The schedule asks for the window that has just ended, and says why when it does not."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster._utils.schedules import schedule_execution_time_iterator

from co2_assets.orchestration.build import build_definitions
from co2_assets.orchestration.catching_up import GRACE, newest_missed
from co2_assets.orchestration.partitions import partition_key, six_hour_windows
from co2_assets.settings import WINDOW, Settings, load_settings
from co2_assets_tests.homes import Home, utc, windows


def schedule_of(settings: Settings) -> dg.ScheduleDefinition:
    return build_definitions(settings).resolve_schedule_def("every_six_hours")


def evaluate(settings: Settings, time: datetime) -> dg.ScheduleExecutionData:
    definitions = build_definitions(settings)
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_schedule_context(
            instance=instance,
            scheduled_execution_time=time,
            repository_def=definitions.get_repository_def(),
        ) as context,
    ):
        return definitions.resolve_schedule_def("every_six_hours").evaluate_tick(context)


@pytest.fixture
def live(tmp_path: Path) -> Settings:
    return load_settings(home=tmp_path / "live", first_window=utc("2025-01-18T00:00"))


@pytest.mark.parametrize(
    ("time", "window"),
    [
        ("2025-01-20T00:00", "2025-01-19T18:00"),
        ("2025-01-20T06:00", "2025-01-20T00:00"),
        ("2025-01-20T18:00", "2025-01-20T12:00"),
        # Danish summer time began in between: windows know of UTC alone.
        ("2025-03-30T06:00", "2025-03-30T00:00"),
    ],
)
def test_a_tick_is_for_the_window_that_has_just_ended(
    live: Settings, time: str, window: str
) -> None:
    outcome = evaluate(live, utc(time))
    (request,) = outcome.run_requests or []
    assert (request.partition_key, request.run_key) == (window, window)


def test_before_the_first_window_has_ended_it_skips_and_says_so(live: Settings) -> None:
    outcome = evaluate(live, utc("2025-01-18T00:00"))
    assert not outcome.run_requests
    assert outcome.skip_message == "the first window begins at 2025-01-18 00:00 UTC"


def test_in_a_recorded_home_it_skips_and_says_where_the_data_end(tmp_path: Path) -> None:
    home = Home.new(tmp_path / "home")
    outcome = evaluate(home.settings, utc("2026-11-24T18:00"))
    assert not outcome.run_requests
    assert outcome.skip_message == "recorded data end at 2025-01-31 18:00 UTC"


def test_it_is_running_by_default_every_six_hours_utc(live: Settings) -> None:
    schedule = schedule_of(live)
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("0 */6 * * *", "UTC")
    assert schedule.job_name == "tick"


def test_the_partitions_are_the_windows_of_the_home(tmp_path: Path) -> None:
    definitions = build_definitions(Home.new(tmp_path / "home").settings)
    partitions = definitions.resolve_job_def("tick").partitions_def
    assert partitions is not None
    keys = partitions.get_partition_keys()
    assert (len(keys), keys[0], keys[-1]) == (55, "2025-01-18T00:00", "2025-01-31T12:00")


# Days on which a clock or a calendar could lose or double a window

DAYS = {
    "Danish summer time begins": date(2025, 3, 30),
    "Danish summer time ends": date(2025, 10, 26),
    "it ended the year before": date(2024, 10, 27),
    "the leap day": date(2024, 2, 29),
    "the year's last day": date(2024, 12, 31),
    "New Year": date(2025, 1, 1),
}


@pytest.fixture(params=["UTC", "Europe/Copenhagen"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The machine's own time zone, which must not matter."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


@pytest.fixture(params=DAYS.values(), ids=DAYS)
def day(request: pytest.FixtureRequest) -> tuple[datetime, datetime]:
    """From a window before a day to a window after it."""
    midnight = utc(request.param.isoformat())
    return midnight - WINDOW, midnight + timedelta(days=1) + WINDOW


def ticks_of(schedule: dg.ScheduleDefinition, start: datetime, end: datetime) -> list[datetime]:
    """When Dagster's daemon evaluates a schedule in (start, end]."""
    found = []
    for tick in schedule_execution_time_iterator(
        start.timestamp() + 1,
        str(schedule.cron_schedule),
        schedule.execution_timezone,
    ):
        if tick > end:
            break
        found.append(tick)
    return found


def test_the_schedule_asks_for_each_window_of_the_day_once(
    tmp_path: Path, zone: str, day: tuple[datetime, datetime]
) -> None:
    start, end = day
    settings = load_settings(home=tmp_path / "live", first_window=start)
    asked = []
    for tick in ticks_of(schedule_of(settings), start, end):
        (request,) = evaluate(settings, tick).run_requests or []
        assert request.run_key == request.partition_key
        asked.append(request.partition_key)
    assert asked == [partition_key(window) for window in windows(start, end)]
    assert len(asked) == 6


def test_a_clock_set_back_by_an_hour_asks_for_a_window_under_the_same_key(
    tmp_path: Path, day: tuple[datetime, datetime]
) -> None:
    start, end = day
    settings = load_settings(home=tmp_path / "live", first_window=start)
    (before, after) = (evaluate(settings, end).run_requests for _ in range(2))
    # Dagster launches a run key once, however often its tick comes.
    assert before is not None
    assert after is not None
    assert [request.run_key for request in before] == [request.run_key for request in after]
    assert before[0].run_key == partition_key(end - WINDOW)


def test_the_partitions_of_the_day_are_its_windows_each_six_hours(
    tmp_path: Path, zone: str, day: tuple[datetime, datetime]
) -> None:
    start, end = day
    settings = load_settings(home=tmp_path / "home", first_window=start, last_window=end)
    partitions = six_hour_windows(settings)
    keys = partitions.get_partition_keys()
    assert keys == [partition_key(window) for window in windows(start, end)]
    spans = [partitions.time_window_for_partition_key(key) for key in keys]
    assert [(span.start, span.end) for span in spans] == [
        (window, window + WINDOW) for window in windows(start, end)
    ]


@pytest.mark.parametrize("seed", range(5))
def test_catching_up_over_a_clock_that_jumps_asks_for_each_window_once(
    zone: str, day: tuple[datetime, datetime], seed: int
) -> None:
    """The daemon is off at times; its clock is set back by an hour, and on again, by lot."""
    start, end = day
    chance = random.Random(seed)
    asked: list[str] = []
    now = start
    while now < end + GRACE + timedelta(hours=2):
        shown = now - timedelta(hours=chance.choice((0, 0, 0, 1)))
        window = newest_missed(first=start, last=end, now=shown, done=set(asked), attempts={})
        if window is not None:
            assert window + WINDOW + GRACE <= shown
            asked.append(partition_key(window))
        now += timedelta(minutes=chance.choice((2, 2, 2, 40, 400)))
    while window := newest_missed(first=start, last=end, now=now, done=set(asked), attempts={}):
        asked.append(partition_key(window))
    assert sorted(asked) == [partition_key(window) for window in windows(start, end)]
