"""What Dagster's run storage knows of trainings: under way, failed since the last success."""

from __future__ import annotations

from datetime import UTC, datetime

import dagster as dg

from co2_assets.orchestration.deciding import TrainingRuns

RETRAIN_JOB = "retrain"
TRAINING_JOBS = (RETRAIN_JOB, "first_tick")
TRAINED_MODEL = dg.AssetKey(["ml", "trained_model"])
WINDOW_END_TAG = "co2/decision_window_end"
"""Tag of a requested training: the time its back-off counts from, in data time."""

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
    failures: list[datetime] = []
    for run in instance.get_runs(dg.RunsFilter(job_name=RETRAIN_JOB), limit=LOOK_BACK):
        if run.status == dg.DagsterRunStatus.SUCCESS:
            break
        if run.status == dg.DagsterRunStatus.FAILURE and WINDOW_END_TAG in run.tags:
            failures.append(datetime.fromisoformat(run.tags[WINDOW_END_TAG]).astimezone(UTC))
    return TrainingRuns(
        in_flight_run_id=in_flight[0] if in_flight else None,
        failed_attempts=len(failures),
        last_failure_utc=max(failures, default=None),
    )


def _trains(run: dg.DagsterRun) -> bool:
    """Whether a run is a training, also one that a person started in the UI."""
    return run.job_name in TRAINING_JOBS or TRAINED_MODEL in (run.asset_selection or ())
