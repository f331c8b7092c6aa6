"""Real ticks in processes of their own, which can be killed at a time or at a place."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from collections.abc import Callable
from datetime import datetime
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from co2_assets.forecasting import artifact
from co2_assets.orchestration import training
from co2_assets.orchestration.launch import run_tick
from co2_assets.replay.machine import fast_event_log
from co2_assets.settings import load_settings
from co2_assets.warehouse import publish, store
from co2_assets.warehouse.lock import SharedMark

KILLED = -signal.SIGKILL


def _die(*_arguments: object, **_options: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _before(owner: Any, name: str) -> Callable[[], None]:
    return lambda: setattr(owner, name, _die)


def _after(owner: Any, name: str) -> Callable[[], None]:
    def patch() -> None:
        original = getattr(owner, name)

        def act(*arguments: Any, **options: Any) -> None:
            original(*arguments, **options)
            _die()

        setattr(owner, name, act)

    return patch


def _before_commit(number: int) -> Callable[[], None]:
    """Die with all rows of a transaction written and its commit still to come."""

    def patch() -> None:
        original, calls = SharedMark.set, []

        def act(mark: SharedMark) -> None:
            calls.append(mark)
            if len(calls) == number:
                _die()
            original(mark)

        SharedMark.set = act  # type: ignore[method-assign]

    return patch


def _half_a_copy() -> None:
    def act(source: Path, target: Path) -> None:
        whole = Path(source).read_bytes()
        Path(target).write_bytes(whole[: len(whole) // 2])
        _die()

    shutil.copyfile = act  # type: ignore[assignment]


PLACES: dict[str, Callable[[], None]] = {
    "before commit 1": _before_commit(1),
    "before commit 3": _before_commit(3),
    "before commit 5": _before_commit(5),
    "between commit and publish": _before(store, "publish_copy"),
    "half a copy": _half_a_copy,
    "before the link swings": _before(publish, "_swing"),
    "after the link swung": _after(publish, "_swing"),
    "before old generations go": _before(publish, "_prune"),
    "before the artifact has its name": _before(artifact, "folder_hash"),
    "between artifact and registration": _before(training.registry, "register"),
}
"""Where a process can be told to die; the last two lie within a training."""

PLACES_OF_A_TRAINING = tuple(PLACES)[-2:]
PLACES_OF_A_TICK = tuple(PLACES)[:-2]


def _attempt(home: Path, options: dict[str, Any], window: datetime, place: str | None) -> None:
    if place is not None:
        # What an earlier kill left is published first: the place lies in this run's own part.
        store.Warehouse(home).publish()
        PLACES[place]()
    with fast_event_log():
        run_tick(load_settings(home=home, **options), window, lambda _line: None)


def _nothing() -> None:
    """What the first process does: the others need not wait for the imports."""


class Attempts:
    """Starts the ticks of one home, each in a new process that has imported everything.

    Args:
        home: of the ticks; its recorded server must be running.
        options: its settings.
    """

    def __init__(self, home: Path, options: dict[str, Any]) -> None:
        self._home = home
        self._options = options
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__, "dagster_duckdb", "matplotlib.pyplot"])
        process = self._context.Process(target=_nothing)
        process.start()
        process.join()

    def run(
        self, window: datetime, *, kill_after_s: float | None = None, place: str | None = None
    ) -> int:
        """One tick, killed after some seconds or at a place; returns its exit code."""
        process = self._context.Process(
            target=_attempt, args=(self._home, self._options, window, place)
        )
        process.start()
        process.join(kill_after_s)
        if process.is_alive():
            process.kill()
            process.join()
        code = process.exitcode
        process.close()
        assert code is not None
        return code


__all__ = ["KILLED", "PLACES_OF_A_TICK", "PLACES_OF_A_TRAINING", "Attempts"]
