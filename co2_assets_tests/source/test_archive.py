"""The shipped archive of first-published prognoses."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from co2_assets.errors import RecordingError
from co2_assets.source.archive import read_archive
from co2_assets_tests.replay.serving import utc

START, NOW = utc("2024-12-01T00:00"), utc("2025-03-01T06:02")


def test_each_time_and_area_comes_once_and_nothing_was_seen_later() -> None:
    rows = read_archive(None, start=START, seen_by=NOW)
    assert not rows.select("time_utc", "area").is_duplicated().any()
    assert rows["time_utc"].min() == START
    assert rows["available_utc"].drop_nulls().is_between(START.replace(year=2022), NOW).all()
    assert set(rows["area"]) == {"DK1", "DK2"}


def test_five_minutes_where_they_were_recorded_and_hours_after_them() -> None:
    rows = read_archive(None, start=START, seen_by=NOW)
    steps = dict(rows.group_by("step_minutes").agg(pl.col("time_utc").max()).rows())
    assert steps[5] == utc("2025-02-01T22:55")
    assert steps[60] > utc("2025-02-28T00:00")


def test_value_seen_only_after_its_time_is_never_usable() -> None:
    rows = read_archive(None, start=utc("2022-11-01T00:00"), seen_by=utc("2026-09-01T00:00"))
    usable = rows.filter(pl.col("available_utc").is_not_null())
    assert (usable["available_utc"] < usable["time_utc"]).all()
    assert rows.height > usable.height > 0


def test_folder_without_prognoses_has_none(tmp_path: Path) -> None:
    assert read_archive(tmp_path, start=START, seen_by=NOW).is_empty()


def test_file_that_lacks_a_column_is_named(tmp_path: Path) -> None:
    pl.DataFrame({"HourUTC": [1]}).write_parquet(tmp_path / "co2_emis_prog_hourly_mine.parquet")
    with pytest.raises(RecordingError, match="hourly_mine.*first_seen_utc"):
        read_archive(tmp_path, start=START, seen_by=NOW)


def test_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "co2_emis_prog_hourly_mine.parquet").write_text("no")
    with pytest.raises(RecordingError, match="hourly_mine"):
        read_archive(tmp_path, start=START, seen_by=NOW)
