"""What run storage says of trainings: real run records of an ephemeral instance."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)

from co2_assets.orchestration.training_runs import (
    IN_FLIGHT,
    RETRAIN_JOB,
    TRAINED_MODEL,
    WINDOW_END_TAG,
    known_trainings,
)
from co2_assets_tests.homes import utc

# Dagster wants to know of a queued run where its code is.
ORIGIN = RemoteJobOrigin(
    RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("co2_assets"), "__repository__"),
    RETRAIN_JOB,
)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def add(
    instance: dg.DagsterInstance,
    status: dg.DagsterRunStatus,
    *,
    job: str = RETRAIN_JOB,
    end: str | None = None,
    assets: frozenset[dg.AssetKey] | None = None,
) -> str:
    tags = {} if end is None else {WINDOW_END_TAG: utc(end).isoformat()}
    run = dg.DagsterRun(
        job_name=job,
        run_id=str(uuid.uuid4()),
        status=status,
        tags=tags,
        asset_selection=assets,
        remote_job_origin=ORIGIN,
    )
    instance.run_storage.add_run(run)
    return run.run_id


@pytest.mark.parametrize("status", IN_FLIGHT)
def test_a_training_that_waits_or_runs_is_in_flight(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus
) -> None:
    run_id = add(instance, status)
    assert known_trainings(instance, except_run="other").in_flight_run_id == run_id


def test_the_asking_run_does_not_stand_in_its_own_way(instance: dg.DagsterInstance) -> None:
    run_id = add(instance, dg.DagsterRunStatus.STARTED, job="first_tick")
    assert known_trainings(instance, except_run=run_id).in_flight_run_id is None
    assert known_trainings(instance, except_run="other").in_flight_run_id == run_id


def test_a_tick_is_no_training(instance: dg.DagsterInstance) -> None:
    add(instance, dg.DagsterRunStatus.STARTED, job="tick")
    assert known_trainings(instance, except_run="other").in_flight_run_id is None


def test_a_model_materialized_by_hand_is_a_training(instance: dg.DagsterInstance) -> None:
    run_id = add(
        instance,
        dg.DagsterRunStatus.STARTED,
        job="__ASSET_JOB",
        assets=frozenset({dg.AssetKey(["ml", "trained_model"])}),
    )
    assert known_trainings(instance, except_run="other").in_flight_run_id == run_id


def test_failures_in_a_row_are_counted_from_the_window_that_asked(
    instance: dg.DagsterInstance,
) -> None:
    add(instance, dg.DagsterRunStatus.FAILURE, end="2025-01-20T06:00")
    add(instance, dg.DagsterRunStatus.FAILURE, end="2025-01-20T12:00")
    found = known_trainings(instance, except_run="other")
    assert (found.failed_attempts, found.last_failure_utc) == (2, utc("2025-01-20T12:00"))


def test_whatever_trained_the_asset_ends_the_row_of_failures(instance: dg.DagsterInstance) -> None:
    """Materialized in the UI, too: that is what the back-off tells a person to do."""
    add(instance, dg.DagsterRunStatus.FAILURE, end="2025-01-20T06:00")
    time.sleep(1.1)  # run storage keeps whole seconds of what is added to it
    instance.report_runless_asset_event(dg.AssetMaterialization(TRAINED_MODEL))
    found = known_trainings(instance, except_run="other")
    assert (found.failed_attempts, found.last_failure_utc) == (0, None)
    time.sleep(1.1)
    add(instance, dg.DagsterRunStatus.FAILURE, end="2025-01-20T12:00")
    found = known_trainings(instance, except_run="other")
    assert (found.failed_attempts, found.last_failure_utc) == (1, utc("2025-01-20T12:00"))


def test_a_failure_by_hand_counts_and_one_without_a_window_does_not_hold_up_the_next(
    instance: dg.DagsterInstance,
) -> None:
    add(instance, dg.DagsterRunStatus.FAILURE, job="__ASSET_JOB", assets=frozenset({TRAINED_MODEL}))
    found = known_trainings(instance, except_run="other")
    assert (found.failed_attempts, found.last_failure_utc) == (1, None)


def test_a_first_tick_that_failed_elsewhere_is_no_failed_training(
    instance: dg.DagsterInstance,
) -> None:
    add(instance, dg.DagsterRunStatus.FAILURE, job="first_tick")
    assert known_trainings(instance, except_run="other").failed_attempts == 0


def test_without_any_run_nothing_is_known(instance: dg.DagsterInstance) -> None:
    found = known_trainings(instance, except_run="other")
    assert (found.in_flight_run_id, found.failed_attempts, found.last_failure_utc) == (
        None,
        0,
        None,
    )
