"""`dagster dev` killed -9 in the middle of a run: at its next start nothing stays "started"."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest
import requests

from co2_assets.orchestration import living
from co2_assets.orchestration.catching_up import INTERVAL_S
from co2_assets.orchestration.home import prepare_home
from co2_assets.orchestration.launch import dagster_service
from co2_assets.orchestration.living import (
    LAUNCHED_TAG,
    LIVING_TAG,
    bury_dead_runs,
    mark_launched_run,
)
from co2_assets.orchestration.partitions import partition_key
from co2_assets.orchestration.training_runs import known_trainings
from co2_assets.processes import start, stop_group
from co2_assets.replay.machine import tick_time
from co2_assets.settings import HOME_FIELDS, WINDOW, Settings
from co2_assets_tests.end_to_end.wholeness import COMMITS_WHOLE, TICKS_WHOLE
from co2_assets_tests.homes import REPLAYED_UNTIL, Home, free_port
from co2_assets_tests.warehouse.filled import other_process

pytestmark = pytest.mark.timeout(900)

READY_WITHIN_S = 240.0
STARTED_WITHIN_S = 120.0
DONE_WITHIN_S = 240.0
BURIED_WITHIN_S = INTERVAL_S + 60.0
"""The sensor's interval, and a minute for two busy cores."""

ENDED = {"SUCCESS", "FAILURE", "CANCELED"}

LAUNCH = """
mutation Launch($params: ExecutionParams!) {
  launchPipelineExecution(executionParams: $params) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
    ... on InvalidSubsetError { message }
    ... on RunConfigValidationInvalid { errors { message } }
  }
}
"""


@dataclass
class Platform:
    """`dagster dev` on a home, which can be killed and started again."""

    settings: Settings
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = start(dagster_service(self.settings, self.port))
        within(READY_WITHIN_S, self.is_ready, self.log)

    def kill(self) -> None:
        """SIGKILL to the whole group: daemon, webserver, code server and the run's process."""
        assert self.process is not None
        group = [one for one in psutil.process_iter() if _group_of(one.pid) == self.process.pid]
        assert len(group) > 3, group
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        psutil.wait_procs(group, timeout=10)

    def log(self) -> str:
        return (self.settings.home / "logs" / "dagster.log").read_text()[-5000:]

    def ask(self, query: str, **variables: Any) -> dict[str, Any]:
        reply = requests.post(
            f"http://127.0.0.1:{self.port}/graphql",
            json={"query": query, "variables": variables},
            timeout=60,
        )
        reply.raise_for_status()
        answer: dict[str, Any] = reply.json()
        assert "errors" not in answer, answer
        return answer["data"]

    def is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            entries = self.ask(
                "{ workspaceOrError { ... on Workspace { locationEntries {"
                " locationOrLoadError { __typename } } } } }"
            )["workspaceOrError"]["locationEntries"]
        except requests.RequestException:
            return False
        return [(entry["locationOrLoadError"] or {}).get("__typename") for entry in entries] == [
            "RepositoryLocation"
        ]

    def launch(self, job: str, tags: dict[str, str]) -> str:
        launched = self.ask(
            LAUNCH,
            params={
                "selector": {
                    "repositoryLocationName": "co2_assets",
                    "repositoryName": "__repository__",
                    "pipelineName": job,
                },
                "mode": "default",
                "executionMetadata": {
                    "tags": [{"key": name, "value": value} for name, value in tags.items()]
                },
            },
        )["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched
        return str(launched["run"]["runId"])

    def status(self, run_id: str) -> str:
        run = self.ask(
            "query Run($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }", id=run_id
        )
        return str(run["runOrError"]["status"])

    def steps_begun(self, run_id: str) -> int:
        run = self.ask(
            "query Run($id: ID!) { runOrError(runId: $id) { ... on Run {"
            " stepStats { startTime } } } }",
            id=run_id,
        )
        return sum(step["startTime"] is not None for step in run["runOrError"]["stepStats"])


def _group_of(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def within(seconds: float, holds: Callable[[], bool], said: Callable[[], str]) -> float:
    """Wait until something holds; returns how long that took."""
    started = time.monotonic()
    while not holds():
        assert time.monotonic() - started < seconds, said()
        time.sleep(0.3)
    return time.monotonic() - started


@pytest.fixture
def platform(fresh_copy: Home, monkeypatch: pytest.MonkeyPatch) -> Iterator[Platform]:
    """Dagster on a copy of the replayed home, its clock two minutes after the next window."""
    settings = prepare_home(fresh_copy.settings)
    for name in settings.model_fields_set - {*HOME_FIELDS, "home"}:
        monkeypatch.setenv(f"CO2_{name.upper()}", str(getattr(settings, name)))
    with fresh_copy.served(until=tick_time(fresh_copy.settings, REPLAYED_UNTIL)):
        found = Platform(settings)
        try:
            found.start()
            yield found
        finally:
            if found.process is not None:
                stop_group(found.process)


def kill_in_the_middle(platform: Platform, job: str, tags: dict[str, str]) -> str:
    """Launch a run, kill all of Dagster when a step of it works, start again; the run's id."""
    run_id = platform.launch(job, tags)
    within(STARTED_WITHIN_S, lambda: platform.steps_begun(run_id) > 0, platform.log)
    platform.kill()
    # Before the start: after it, the sensor may be quicker than this question.
    with dg.DagsterInstance.from_config(str(platform.settings.dagster_home)) as instance:
        run = instance.get_run_by_id(run_id)
    assert run is not None and run.status is dg.DagsterRunStatus.STARTED
    platform.start()
    return run_id


def is_reported(platform: Platform, run_id: str) -> None:
    within(BURIED_WITHIN_S, lambda: platform.status(run_id) != "STARTED", platform.log)
    assert platform.status(run_id) == "FAILURE"


@pytest.mark.slow
def test_a_tick_killed_with_its_daemon_is_reported_and_the_next_one_completes(
    platform: Platform, fresh_copy: Home
) -> None:
    tags = {"dagster/partition": partition_key(REPLAYED_UNTIL)}
    killed = kill_in_the_middle(platform, "tick", tags)
    # The dead run holds the one place of the queue: the next one gets it without a hand.
    following = platform.launch("tick", tags)
    is_reported(platform, killed)
    within(DONE_WITHIN_S, lambda: platform.status(following) in ENDED, platform.log)
    assert platform.status(following) == "SUCCESS"
    commits_missing, rows_without_commit, _ = fresh_copy.row(COMMITS_WHOLE)
    assert (commits_missing, rows_without_commit) == (0, False)
    assert fresh_copy.row(TICKS_WHOLE) == (0, 0, False)
    issued = fresh_copy.value(
        "SELECT count(*) FROM ml.forecasts WHERE issue_time_utc = $end AND is_served",
        end=REPLAYED_UNTIL + WINDOW,
    )
    assert issued == 24


@pytest.mark.slow
def test_a_training_killed_with_its_daemon_is_reported_and_no_longer_in_flight(
    platform: Platform, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = kill_in_the_middle(platform, "retrain", {})
    is_reported(platform, killed)
    monkeypatch.setenv("DAGSTER_HOME", str(platform.settings.dagster_home))
    with dg.DagsterInstance.get() as instance:
        assert known_trainings(instance, except_run="other").in_flight_run_id is None


# Which runs are dead


LIVE_ON = """
import sys, time
from pathlib import Path
import dagster as dg
from co2_assets.orchestration.living import LAUNCHED_TAG, mark_launched_run
mark_launched_run(dg.DagsterRun("tick", sys.argv[2], tags={LAUNCHED_TAG: "{}"}), Path(sys.argv[1]))
print("ready", flush=True)
time.sleep(600)
"""
STARTED = dg.DagsterRunStatus.STARTED


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def run_of(
    instance: dg.DagsterInstance, tags: dict[str, str], status: dg.DagsterRunStatus = STARTED
) -> str:
    run = dg.DagsterRun("tick", str(uuid.uuid4()), status=status, tags=tags)
    instance.run_storage.add_run(run)
    return run.run_id


def test_a_launched_run_is_alive_while_its_process_is(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    run_id = run_of(instance, {LAUNCHED_TAG: "{}"})
    with other_process(LIVE_ON, tmp_path, run_id):
        assert bury_dead_runs(instance, tmp_path) == []
    assert bury_dead_runs(instance, tmp_path) == [run_id]
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.FAILURE
    assert list((tmp_path / "living").iterdir()) == []


def test_a_run_that_dagster_did_not_launch_takes_no_lock(tmp_path: Path) -> None:
    mark_launched_run(dg.DagsterRun("tick"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_killed_on_the_way_to_its_lock_is_reported_after_a_while(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = run_of(instance, {LAUNCHED_TAG: "{}"})
    assert bury_dead_runs(instance, tmp_path) == []
    monkeypatch.setattr(living, "UNMARKED_S", -60.0)
    assert bury_dead_runs(instance, tmp_path) == [run_id]


@pytest.mark.parametrize(
    "status",
    [
        dg.DagsterRunStatus.NOT_STARTED,
        dg.DagsterRunStatus.STARTING,
    ],
)
def test_a_run_tried_again_is_not_taken_for_the_dead_one_whose_tags_it_has(
    instance: dg.DagsterInstance, tmp_path: Path, status: dg.DagsterRunStatus
) -> None:
    run_of(instance, {LIVING_TAG: "of a dead process"}, status)
    assert bury_dead_runs(instance, tmp_path) == []


def test_a_run_that_ended_while_it_was_looked_at_stays_as_it_ended(
    instance: dg.DagsterInstance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = run_of(instance, {LIVING_TAG: "just freed"})
    record = instance.get_run_record_by_id(run_id)
    assert record is not None
    instance.report_run_canceled(record.dagster_run)
    monkeypatch.setattr(instance, "get_run_records", lambda *_filters: [record])
    assert bury_dead_runs(instance, tmp_path) == []
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.CANCELED
