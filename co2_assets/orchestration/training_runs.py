"""What Dagster's run storage knows of trainings: under way, failed since the last success."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg
from dagster._core.execution.stats import StepEventStatus

from co2_assets.orchestration.deciding import TrainingRuns
from co2_assets.orchestration.partitions import window_end

RETRAIN_JOB = "retrain"
FIRST_TICK_JOB = "first_tick"
TRAINING_JOBS = (RETRAIN_JOB, FIRST_TICK_JOB)
TRAINED_MODEL = dg.AssetKey(["ml", "trained_model"])
WINDOW_END_TAG = "co2/decision_window_end"
"""Tag of a requested training: the time its back-off counts from, in data time."""

PARTITION_TAG = "dagster/partition"
LOOK_BACK = 50

IN_FLIGHT = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
"""A queued training counts: asking again would train twice."""


def known_trainings(instance: dg.DagsterInstance, *, except_run: str) -> TrainingRuns:
    """Trainings in flight, and how often the newest ones failed in a row.

    Args:
        instance: whose run storage to ask.
        except_run: the asking run, which may train itself (`first_tick`).
    """
    in_flight = [
        run.run_id
        for run in instance.get_runs(dg.RunsFilter(statuses=IN_FLIGHT))
        if run.run_id != except_run and _trains(run)
    ]
    trained = instance.get_latest_materialization_event(TRAINED_MODEL)
    failed = [
        run
        for run in instance.get_runs(
            dg.RunsFilter(
                statuses=[dg.DagsterRunStatus.FAILURE],
                updated_after=None
                if trained is None
                else datetime.fromtimestamp(trained.timestamp, UTC),
            ),
            limit=LOOK_BACK,
        )
        if _failed_to_train(instance, run)
    ]
    return TrainingRuns(
        in_flight_run_id=in_flight[0] if in_flight else None,
        failed_attempts=len(failed),
        last_failure_utc=max(filter(None, map(_data_time, failed)), default=None),
    )


def _failed_to_train(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """Whether what failed in a run is its training; a first tick has other steps too."""
    if run.job_name != FIRST_TICK_JOB or run.asset_selection is not None:
        return _trains(run)
    step = TRAINED_MODEL.to_python_identifier()
    stats = instance.get_run_step_stats(run.run_id, step_keys=[step])
    return any(one.status == StepEventStatus.FAILURE for one in stats)


def _data_time(run: dg.DagsterRun) -> datetime | None:
    """Up to when a training's data went; None for one without a window, such as by hand."""
    if WINDOW_END_TAG in run.tags:
        return datetime.fromisoformat(run.tags[WINDOW_END_TAG]).astimezone(UTC)
    if PARTITION_TAG in run.tags:
        return window_end(run.tags[PARTITION_TAG])
    return None


def _trains(run: dg.DagsterRun) -> bool:
    """Whether a run is a training, also one that a person started in the UI."""
    if run.asset_selection is not None:
        return TRAINED_MODEL in run.asset_selection
    return run.job_name in TRAINING_JOBS
