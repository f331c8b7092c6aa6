"""The comparison that other tests lean on sees what it must see, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from co2_assets.schema import AGGREGATED_HOURS, COVERAGE, POWER_SYSTEM
from co2_assets.warehouse.store import Warehouse
from co2_assets_tests.equality import tables_differ
from co2_assets_tests.warehouse.filled import filled, hours


def home(folder: Path, value: float = 1.0, fetched: int = 0, rows: int = 5) -> Path:
    warehouse = Warehouse(folder)
    with warehouse.write("fill", "run") as tx:
        minutes = {"fetched_at_utc": hours(9)[fetched], "etl_run_id": f"run {fetched}"}
        tx.upsert(POWER_SYSTEM, filled(POWER_SYSTEM, minute_utc=hours(rows), **minutes))
        tx.upsert(COVERAGE, filled(COVERAGE, dataset=[f"d{fetched}"]))
    with warehouse.write("fill more", "run") as tx:
        tx.upsert(
            AGGREGATED_HOURS, filled(AGGREGATED_HOURS, hour_utc=hours(3), co2_g_per_kwh=value)
        )
    warehouse.publish()
    return folder


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return home(tmp_path / "one")


def test_audit_columns_and_the_log_make_no_difference(one: Path, tmp_path: Path) -> None:
    assert tables_differ(one, home(tmp_path / "other", fetched=3)) == []


def test_a_last_digit_is_a_difference(one: Path, tmp_path: Path) -> None:
    ours, theirs = tables_differ(one, home(tmp_path / "other", value=1.0 + 2**-52))
    assert ours.startswith("core.aggregated_hours: 3 rows only in a")
    assert theirs.startswith("core.aggregated_hours: 3 rows only in b")


def test_a_row_more_is_a_difference(one: Path, tmp_path: Path) -> None:
    (line,) = tables_differ(one, home(tmp_path / "other", rows=6))
    assert line.startswith("raw.power_system: 1 rows only in b")
    assert "minute_utc" in line
