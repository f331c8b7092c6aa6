"""A killed process leaves its run "started": it must not count as a training for ever."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from co2_assets.orchestration.living import LIVING_TAG, bury_dead_runs, living
from co2_assets.orchestration.training_runs import known_trainings
from co2_assets_tests.warehouse.filled import other_process

LIVE_ON = """
import sys, time
from pathlib import Path
from co2_assets.orchestration.living import LIVING_TAG, living
with living(Path(sys.argv[1])) as tags:
    Path(sys.argv[1], "tag").write_text(tags[LIVING_TAG])
    print("ready", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def started(instance: dg.DagsterInstance, tags: dict[str, str]) -> str:
    run = dg.DagsterRun(
        job_name="first_tick",
        run_id=str(uuid.uuid4()),
        status=dg.DagsterRunStatus.STARTED,
        tags=tags,
    )
    instance.run_storage.add_run(run)
    return run.run_id


def in_flight(instance: dg.DagsterInstance) -> str | None:
    return known_trainings(instance, except_run="other").in_flight_run_id


def test_a_run_of_a_living_process_is_in_flight(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    with living(tmp_path) as tags:
        run_id = started(instance, tags)
        assert bury_dead_runs(instance, tmp_path) == []
        assert in_flight(instance) == run_id


def test_a_run_of_a_killed_process_is_reported_as_failed(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    with other_process(LIVE_ON, tmp_path):
        run_id = started(instance, {LIVING_TAG: (tmp_path / "tag").read_text()})
        assert bury_dead_runs(instance, tmp_path) == []
    assert in_flight(instance) == run_id
    assert bury_dead_runs(instance, tmp_path) == [run_id]
    assert in_flight(instance) is None
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert bury_dead_runs(instance, tmp_path) == []


def test_a_run_that_somebody_else_launched_is_left_to_its_launcher(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run_id = started(instance, {})
    assert bury_dead_runs(instance, tmp_path) == []
    assert in_flight(instance) == run_id


def test_nothing_is_left_of_a_process_that_ended_well(tmp_path: Path) -> None:
    with living(tmp_path):
        assert len(list((tmp_path / "living").iterdir())) == 1
    assert list((tmp_path / "living").iterdir()) == []
