"""A short soak: real ticks under faults and kill -9, beside a home that is left in peace."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from bench import soak
from bench.soak import FIRST, Assault, Report, markdown, moved, plan_assaults
from co2_assets.replay.fault_catalogue import CATALOGUE
from co2_assets.replay.faults import FaultPlan
from co2_assets.settings import WINDOW

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_a_soak_is_planned_by_its_seed_and_comes_to_every_fault() -> None:
    plan = plan_assaults(FIRST, 240, seed=0)
    assert plan == plan_assaults(FIRST, 240, seed=0) != plan_assaults(FIRST, 240, seed=1)
    assert {one.example.name for one in plan if one.example} == {one.name for one in CATALOGUE}
    assert len({one.example.name for one in plan if one.example}) >= 30


@pytest.mark.parametrize("example", CATALOGUE, ids=lambda example: example.name)
def test_a_fault_is_moved_into_its_tick_and_acts_while_it_lasts(example: soak.FaultExample) -> None:
    window = FIRST + 40 * WINDOW
    for fault in FaultPlan.of({"faults": moved(Assault(window, example))}).faults:
        assert fault.active_from == window + WINDOW
        assert fault.active_to == window + (1 + example.ticks) * WINDOW
        start = getattr(fault, "data_from", window)
        assert window - timedelta(days=1) <= start < window + timedelta(days=2)


def test_what_is_found_is_counted_and_said() -> None:
    report = Report(seed=0)
    assert report.is_clean
    soak._count(report, "lost", FIRST, 3, "raw.power_system")
    assert not report.is_clean
    assert "| rows lost | 3 |" in markdown(report)
    assert "3 lost raw.power_system" in markdown(report)


def test_ten_ticks_under_faults_and_kills_end_as_ticks_left_in_peace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soak, "KILL_SHARE", 0.9)
    report = soak.soak(tmp_path, ticks=10, kills=5, seed=2, first=FIRST, told=lambda _report: None)
    assert (report.ticks, report.kills >= 1, report.fault_kinds >= 3) == (10, True, True)
    assert report.is_clean, report.findings
