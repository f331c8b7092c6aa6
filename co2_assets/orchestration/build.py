"""One function puts the definitions of a home together; tests override what they need."""

from typing import Any

import dagster as dg

from co2_assets.orchestration.alarms import freshness_alarm, run_failure_alarm
from co2_assets.orchestration.assets.core import core_assets
from co2_assets.orchestration.assets.ml import ml_assets
from co2_assets.orchestration.assets.raw import raw_assets
from co2_assets.orchestration.catching_up import catch_up_sensor
from co2_assets.orchestration.checks import build_checks
from co2_assets.orchestration.home import ensure_home
from co2_assets.orchestration.jobs import RETRAIN, TICK, build_jobs
from co2_assets.orchestration.links import with_links
from co2_assets.orchestration.partitions import six_hour_windows
from co2_assets.orchestration.resources import build_resources
from co2_assets.orchestration.schedules import tick_schedule
from co2_assets.orchestration.sensors import retrain_sensor
from co2_assets.settings import Settings


def build_definitions(
    settings: Settings, *, resource_overrides: dict[str, Any] | None = None
) -> dg.Definitions:
    """Fresh definitions for a home.

    Args:
        settings: of the home; it is made if it is new.
        resource_overrides: resources by name, in place of the usual ones.
    """
    settings = ensure_home(settings)
    partitions = six_hour_windows(settings)
    jobs = build_jobs()
    return dg.Definitions(
        assets=with_links(
            [
                *raw_assets(settings, partitions),
                *core_assets(partitions),
                *ml_assets(settings, partitions),
            ],
            settings,
        ),
        asset_checks=build_checks(settings),
        jobs=list(jobs.values()),
        schedules=[tick_schedule(settings, jobs[TICK])],
        sensors=[
            retrain_sensor(jobs[RETRAIN]),
            catch_up_sensor(settings, jobs[TICK]),
            run_failure_alarm(settings),
            freshness_alarm(settings),
        ],
        resources=build_resources(settings) | (resource_overrides or {}),
        executor=dg.in_process_executor,
    )
