"""A tick killed with SIGKILL fifty times, then run again: as if nothing had happened."""

from __future__ import annotations

import random
from collections import Counter
from datetime import datetime
from pathlib import Path

import pytest

from co2_assets.replay.machine import Replayed, set_clock, tick_time
from co2_assets_tests.end_to_end.attempts import (
    KILLED,
    PLACES_OF_A_TICK,
    PLACES_OF_A_TRAINING,
    Attempts,
)
from co2_assets_tests.end_to_end.wholeness import COMMITS_WHOLE
from co2_assets_tests.equality import tables_differ
from co2_assets_tests.homes import FIRST, REPLAYED_UNTIL, SMALL, Home, windows

KILLS = 50
SEED = 20250118


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_tick_killed_fifty_times_then_run_again_loses_and_doubles_no_row(
    first_replay: tuple[Home, Replayed], tmp_path: Path
) -> None:
    """The killed home runs the windows that `first_replay` ran undisturbed."""
    undisturbed, report = first_replay
    home = Home.new(tmp_path / "home")
    attempts = Attempts(home.settings.home, {**SMALL, "recorded_port": home.settings.recorded_port})
    ticks = windows(FIRST, REPLAYED_UNTIL)
    killer = _Killer(home, attempts, random.Random(SEED))
    with home.served():
        for index, window in enumerate(ticks):
            set_clock(home.settings, tick_time(home.settings, window))
            quota = KILLS * (index + 1) // len(ticks) - KILLS * index // len(ticks)
            if index == 0:
                killer.places = [*PLACES_OF_A_TRAINING, "between commit and publish"]
                killer.longest_s = report.seconds["first_tick"]
            elif index == 1:
                killer.places = list(PLACES_OF_A_TICK)
                killer.longest_s = report.seconds["tick"] / (report.ticks - 1)
            killer.kill(window, quota)
            assert attempts.run(window) == 0
    assert sum(killer.killed.values()) == KILLS
    assert set(killer.killed) == {"at a time", *PLACES_OF_A_TICK, *PLACES_OF_A_TRAINING}
    assert tables_differ(undisturbed.settings.home, home.settings.home) == []
    assert home.row(COMMITS_WHOLE) == (0, False, 0)
    drafts = [path for path in home.settings.home.rglob("*") if path.suffix == ".tmp"]
    assert drafts == []
    assert len(list((home.settings.home / "gen").iterdir())) == 3


class _Killer:
    """Kills runs of a window: by turns at the next of some places, and at a random time."""

    def __init__(self, home: Home, attempts: Attempts, chance: random.Random) -> None:
        self._home = home
        self._attempts = attempts
        self._chance = chance
        self.killed: Counter[str] = Counter()
        self.places: list[str] = []
        self.longest_s = 0.0

    def kill(self, window: datetime, times: int) -> None:
        """Kill runs of a window until so many have died."""
        died = 0
        while died < times:
            place = self.places[0] if self.places and died % 2 == 0 else None
            after_s = None if place else self._chance.uniform(0, self.longest_s)
            code = self._attempts.run(window, kill_after_s=after_s, place=place)
            assert code in (0, KILLED), f"a run after {self.killed} failed"
            if code == KILLED:
                died += 1
                self.killed[place or "at a time"] += 1
                if place:
                    self.places.pop(0)
            elif place:
                # This window has nothing left to do there; a later one has.
                self.places.append(self.places.pop(0))
                died_of_time = self._attempts.run(window, kill_after_s=self.longest_s / 3)
                died += died_of_time == KILLED
                self.killed["at a time"] += died_of_time == KILLED
            else:
                # It ended before its time had come: aim earlier.
                self.longest_s *= 0.8
            self._what_is_public_is_whole()

    def _what_is_public_is_whole(self) -> None:
        if (self._home.settings.home / "co2.duckdb").exists():
            assert self._home.row(COMMITS_WHOLE) == (0, False, 0)
