"""The schedule asks for the window that has just ended, and says why when it does not."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import dagster as dg
import pytest

from co2_assets.orchestration.build import build_definitions
from co2_assets.settings import Settings, load_settings
from co2_assets_tests.homes import Home, utc


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
