"""Which runs still have their process: a lock that the kernel frees when it dies.

Dagster's daemon sees to the runs that it launched. A run of `co2 tick` or of a replay has
no launcher: killed, it would stay "started" for ever, and a training in it "in flight".
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from co2_assets.orchestration.training_runs import IN_FLIGHT
from co2_assets.warehouse.lock import SharedMark

LIVING_TAG = "co2/living"
"""Tag of a run in a process of ours: the name of the lock that the process holds."""


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


def bury_dead_runs(instance: dg.DagsterInstance, state_dir: Path) -> list[str]:
    """Report as failed the runs whose process was killed; returns their ids."""
    buried = []
    for run in instance.get_runs(dg.RunsFilter(statuses=IN_FLIGHT)):
        name = run.tags.get(LIVING_TAG)
        if name is None:
            continue
        file = _lock_file(state_dir, name)
        if file.exists() and SharedMark(file).others():
            continue
        instance.report_run_failed(run, "its process was killed: no step of it runs any more")
        file.unlink(missing_ok=True)
        buried.append(run.run_id)
    return buried


def _lock_file(state_dir: Path, name: str) -> Path:
    return state_dir / "living" / f"{name}.lock"
