"""Windows whose tick never ran, because the machine stood still or the run failed.

The schedule asks for a window once, when it ends. This sensor asks for the others, the
newest first: its forecast is the one that people wait for, and its tick loads whatever is
missing before it. Forecasts of windows that are long past are hindcasts and marked so.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import dagster as dg

from co2_assets.orchestration.jobs import TICK, AssetJob
from co2_assets.orchestration.living import bury_dead_runs
from co2_assets.orchestration.partitions import partition_key
from co2_assets.orchestration.sensors import DECISIONS
from co2_assets.orchestration.training_runs import IN_FLIGHT, PARTITION_TAG
from co2_assets.settings import WINDOW, Settings, window_floor
from co2_assets.source.clock import platform_now
from co2_assets.warehouse.store import Warehouse

GRACE = timedelta(minutes=20)
"""For the schedule's own run."""

BACK_OFF = (timedelta(minutes=10), timedelta(hours=1), timedelta(hours=6))
"""After each failed run of a window; then it is left to a person."""

INTERVAL_S = 30
LOOK_BACK = 200
"""Failed runs that are looked at."""


class Attempts(NamedTuple):
    """Runs of one window that did not complete it."""

    count: int
    newest_end: datetime


def newest_missed(
    *,
    first: datetime,
    last: datetime,
    now: datetime,
    done: set[str],
    attempts: Mapping[str, Attempts],
) -> datetime | None:
    """Start of the newest window to ask for, or None.

    Args:
        first: start of the oldest window that is looked at.
        last: windows end by this at the latest.
        now: the platform's time.
        done: keys of the windows whose tick is complete.
        attempts: by key, runs that were not enough.
    """
    start = window_floor(min(now - GRACE, last)) - WINDOW
    while start >= first:
        key = partition_key(start)
        if key not in done and _is_due(attempts.get(key), now):
            return start
        start -= WINDOW
    return None


def _is_due(made: Attempts | None, now: datetime) -> bool:
    if made is None:
        return True
    if made.count > len(BACK_OFF):
        return False
    return now >= made.newest_end + BACK_OFF[made.count - 1]


def catch_up_sensor(settings: Settings, tick: AssetJob) -> dg.SensorDefinition:
    """Requests `tick` for windows that were missed, one at a time; RUNNING by default."""

    @dg.sensor(
        name="catch_up",
        job=tick,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="requests ticks that never ran, or failed: the newest window first",
    )
    def catch_up(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        instance = context.instance
        if bury_dead_runs(instance, settings.state_dir):
            # What it committed and did not publish any more.
            Warehouse(settings.home, lock_timeout_s=settings.lock_timeout_s).publish()
        under_way = instance.get_runs(dg.RunsFilter(statuses=IN_FLIGHT), limit=1)
        if under_way:
            return dg.SkipReason(f"run {under_way[0].run_id} is under way")
        now = platform_now(settings)
        reach = now - timedelta(days=settings.catch_up_days)
        window = newest_missed(
            first=max(settings.first_window or reach, reach),
            last=settings.last_window or now,
            now=now,
            done=instance.get_materialized_partitions(DECISIONS),
            attempts=(made := _attempts(instance)),
        )
        if window is None:
            return dg.SkipReason("no window is missing")
        key = partition_key(window)
        count = made[key].count if key in made else 0
        # The number is in the key: Dagster remembers a key for ever.
        return dg.RunRequest(run_key=f"{key}:{count + 1}", partition_key=key)

    return catch_up


def _attempts(instance: dg.DagsterInstance) -> dict[str, Attempts]:
    """Ended runs of each window's tick, by partition key."""
    ended = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
    found: dict[str, Attempts] = {}
    for record in instance.get_run_records(
        dg.RunsFilter(job_name=TICK, statuses=ended), limit=LOOK_BACK
    ):
        key = record.dagster_run.tags.get(PARTITION_TAG)
        if key is None:
            continue
        end = datetime.fromtimestamp(record.end_time or record.update_timestamp.timestamp(), UTC)
        known = found.get(key, Attempts(0, end))
        found[key] = Attempts(known.count + 1, max(known.newest_end, end))
    return found
