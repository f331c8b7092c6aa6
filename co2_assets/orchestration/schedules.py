"""The schedule comes from the partitions: every six hours, the window that has just ended.

https://docs.dagster.io/guides/automate/schedules
"""

from datetime import datetime

import dagster as dg

from co2_assets.orchestration.jobs import AssetJob
from co2_assets.orchestration.partitions import partition_key
from co2_assets.settings import WINDOW, Settings, window_floor

CRON = "0 */6 * * *"


def tick_schedule(settings: Settings, tick: AssetJob) -> dg.ScheduleDefinition:
    """Runs `tick` for each window when it ends; RUNNING by default."""

    @dg.schedule(
        name="every_six_hours",
        cron_schedule=CRON,
        execution_timezone="UTC",
        job=tick,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="runs tick for the window that has just ended",
    )
    def every_six_hours(
        context: dg.ScheduleEvaluationContext,
    ) -> dg.RunRequest | dg.SkipReason:
        if settings.last_window is not None:
            return dg.SkipReason(f"recorded data end at {settings.last_window:%Y-%m-%d %H:%M} UTC")
        return _request(context.scheduled_execution_time, settings.first_window)

    return every_six_hours


def _request(time: datetime, first_window: datetime | None) -> dg.RunRequest | dg.SkipReason:
    start = window_floor(time) - WINDOW
    if first_window is not None and start < first_window:
        return dg.SkipReason(f"the first window begins at {first_window:%Y-%m-%d %H:%M} UTC")
    key = partition_key(start)
    return dg.RunRequest(run_key=key, partition_key=key)
