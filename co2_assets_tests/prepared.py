"""Fixtures of homes: made once a session, copied by whoever writes in one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from co2_assets.replay.machine import Replayed, replay
from co2_assets_tests.homes import FIRST, REPLAYED_UNTIL, Home


@pytest.fixture(scope="session")
def first_replay(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Replayed]:
    """A home in which two days were replayed, and the replay's own account. Read-only."""
    home = Home.new(tmp_path_factory.mktemp("replayed") / "home")
    kept = os.environ.get("DAGSTER_HOME")
    try:
        report = replay(home.settings, start=FIRST, end=REPLAYED_UNTIL, say=lambda _line: None)
    finally:
        os.environ.pop("DAGSTER_HOME", None)
        if kept is not None:
            os.environ["DAGSTER_HOME"] = kept
    return home, report


@pytest.fixture(scope="session")
def replayed(first_replay: tuple[Home, Replayed]) -> Home:
    """A home in which two days were replayed. Read-only: copy it to write in it."""
    return first_replay[0]


@pytest.fixture
def fresh_copy(replayed: Home, tmp_path: Path) -> Home:
    """A copy of the replayed home that a test may write in."""
    return replayed.copy(tmp_path / "home")


@pytest.fixture
def copies(replayed: Home, tmp_path: Path) -> Callable[[str], Home]:
    """Makes as many named copies of the replayed home as a test needs."""

    def copy(name: str) -> Home:
        return replayed.copy(tmp_path / name)

    return copy
