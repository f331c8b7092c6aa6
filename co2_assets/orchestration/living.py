"""Which runs still have their process: a lock that the kernel frees when it dies.

Dagster's own launcher keeps no process id and checks no health: a run whose machine stood
still or whose daemon was killed with it stays "started", and holds the queue's one place,
until its longest time is over. A run of `co2 tick` or of a replay has no launcher at all.
So each run holds a lock, and whoever looks next reports those whose lock is free.
"""

from __future__ import annotations

import atexit
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from co2_assets.orchestration.training_runs import IN_FLIGHT
from co2_assets.warehouse.lock import SharedMark

LIVING_TAG = "co2/living"
"""Tag of a run in a process of ours: the name of the lock that the process holds."""

LAUNCHED_TAG = ".dagster/grpc_info"
"""Tag that Dagster's launcher gives a run; its lock is named after the run."""

UNMARKED_S = 300.0
"""A launched run takes its lock in the second in which it starts; one without is dead."""

WITHOUT_PROCESS = (
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
)
"""No lock is taken yet; tried again in the UI, such a run has the tags of a dead one.

One that never starts is ended by Dagster (`start_timeout_seconds`).
"""

_MARKS: list[SharedMark] = []
"""Held for as long as this process lives: resources go before the run's last event."""


@contextmanager
def living(state_dir: Path) -> Iterator[dict[str, str]]:
    """Tags for the runs of this block, by which others see whether this process lives."""
    name = uuid.uuid4().hex
    file = _lock_file(state_dir, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    mark = SharedMark(file)
    mark.set()
    try:
        yield {LIVING_TAG: name}
    finally:
        file.unlink(missing_ok=True)
        mark.clear()


def mark_launched_run(run: dg.DagsterRun, state_dir: Path) -> None:
    """Show others that a run which Dagster launched lives in this process, until it ends."""
    if LAUNCHED_TAG not in run.tags:
        return
    file = _lock_file(state_dir, run.run_id)
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_suffix(f".{uuid.uuid4().hex}")
    mark = SharedMark(draft)
    mark.set()
    draft.rename(file)  # only now: a file under this name is held, or its process is dead
    _MARKS.append(mark)
    atexit.register(file.unlink, missing_ok=True)


def bury_dead_runs(instance: dg.DagsterInstance, state_dir: Path) -> list[str]:
    """Report as failed the runs whose process was killed; returns their ids."""
    buried = []
    for record in instance.get_run_records(dg.RunsFilter(statuses=IN_FLIGHT)):
        if not _is_dead(record, state_dir):
            continue
        # It may have ended by itself meanwhile: its last event comes before its lock is free.
        run = instance.get_run_by_id(record.dagster_run.run_id)
        if run is None or run.is_finished:
            continue
        instance.report_run_failed(run, "its process was killed: no step of it runs any more")
        _lock_file(state_dir, _lock_name(run) or run.run_id).unlink(missing_ok=True)
        buried.append(run.run_id)
    return buried


def _is_dead(record: dg.RunRecord, state_dir: Path) -> bool:
    run = record.dagster_run
    name = _lock_name(run)
    if name is None or run.status in WITHOUT_PROCESS:
        return False
    file = _lock_file(state_dir, name)
    if file.exists():
        return not SharedMark(file).others()
    if LAUNCHED_TAG not in run.tags:
        return True
    # On its way from its start to its lock, or killed on that way.
    since = record.start_time or record.create_timestamp.timestamp()
    return time.time() - since > UNMARKED_S


def _lock_name(run: dg.DagsterRun) -> str | None:
    return run.run_id if LAUNCHED_TAG in run.tags else run.tags.get(LIVING_TAG)


def _lock_file(state_dir: Path, name: str) -> Path:
    return state_dir / "living" / f"{name}.lock"
