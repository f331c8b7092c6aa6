"""A folder of recordings: ours, and somebody else's in the same form."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import requests

from co2_assets.errors import RecordingError
from co2_assets.replay.recordings import POWER_SYSTEM_COLUMNS, Recordings
from co2_assets.source.datasets import CO2_EMIS_PROG, POWER_SYSTEM_RIGHT_NOW
from co2_assets.source.parse import parse
from co2_assets_tests.replay.serving import client, server, shipped, utc

FIRST = datetime(2026, 5, 1)  # noqa: DTZ001, naive times of a recording are UTC


def hours(count: int = 6, first: datetime = FIRST, **columns: Any) -> pl.DataFrame:
    """Measured hours as a user would record them: after ours, in the documented form."""
    values = {name: [100.0 + hour for hour in range(count)] for name in POWER_SYSTEM_COLUMNS}
    times = [first + timedelta(hours=hour) for hour in range(count)]
    return pl.DataFrame({"HourUTC": times, **values, **columns})


def refused(folder: Path) -> str:
    with pytest.raises(RecordingError) as caught:
        Recordings.load(folder)
    return str(caught.value)


def test_shipped_recordings_span_two_years() -> None:
    assert shipped().span == (utc("2022-12-31T23:00"), utc("2025-02-01T00:00"))
    assert shipped().power_system.height == 18_287


def test_shipped_hours_are_contiguous_but_for_two_lost_with_summer_time() -> None:
    first, end = shipped().span
    expected = pl.datetime_range(first, end, "1h", closed="left", time_zone="UTC", eager=True)
    lost = set(expected) - set(shipped().power_system["HourUTC"])
    assert lost == {utc("2023-10-29T01:00"), utc("2024-10-27T01:00")}


def test_prices_are_known_at_one_danish_time_on_the_day_before() -> None:
    """On the days whose clocks change, too."""
    rows = shipped().elspotprices
    known = dict(rows.select("HourUTC", "published_utc").iter_rows())
    assert known[utc("2025-01-20T12:00")] == utc("2025-01-19T12:00")
    assert known[utc("2024-07-01T12:00")] == utc("2024-06-30T11:00")
    assert known[utc("2024-10-28T12:00")] == utc("2024-10-27T12:00")
    assert known[utc("2024-04-01T12:00")] == utc("2024-03-31T11:00")


def test_hourly_prices_after_the_switch_become_equal_quarter_hours() -> None:
    rows = shipped().day_ahead_prices.filter(pl.col("PriceArea") == "DK1")
    hour = rows.filter(pl.col("TimeUTC").dt.truncate("1h") == utc("2026-03-01T12:00"))
    assert [time.minute for time in hour["TimeUTC"]] == [0, 15, 30, 45]
    assert hour["DayAheadPriceEUR"].n_unique() == 1
    assert rows["TimeUTC"].min() == utc("2025-09-30T22:00")
    assert shipped().elspotprices["HourUTC"].max() == utc("2025-09-30T21:00")


def test_hourly_prognosis_becomes_twelve_equal_values_where_no_five_minutes_are() -> None:
    rows = shipped().co2_emis_prog.filter(pl.col("PriceArea") == "DK2")
    assert not rows["Minutes5UTC"].is_duplicated().any()
    later = rows.filter(pl.col("Minutes5UTC").dt.truncate("1h") == utc("2026-03-01T12:00"))
    earlier = rows.filter(pl.col("Minutes5UTC").dt.truncate("1h") == utc("2024-03-01T12:00"))
    assert (later.height, later["CO2Emission"].n_unique()) == (12, 1)
    assert (earlier.height, earlier["CO2Emission"].n_unique() > 1) == (12, True)


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_later_recordings_of_others_are_served_alike(tmp_path: Path, form: str) -> None:
    if form == "parquet":
        hours().write_parquet(tmp_path / "power_system_hourly_2026.parquet")
    else:
        hours().write_csv(
            tmp_path / "power_system_hourly_2026.csv", datetime_format="%Y-%m-%dT%H:%M:%S"
        )
    mine = Recordings.load(tmp_path)
    assert mine.span == (utc("2026-05-01T00:00"), utc("2026-05-01T06:00"))
    with (
        server(recordings=mine, now="2026-05-01T06:02") as running,
        client(running.url) as asking,
    ):
        got = parse(
            asking.fetch(POWER_SYSTEM_RIGHT_NOW, utc("2026-05-01T00:00"), utc("2026-05-01T12:00"))
        )
        other = parse(asking.fetch(CO2_EMIS_PROG, utc("2026-05-01T00:00"), utc("2026-05-01T12:00")))
    assert got.frame.height == 6 * 60
    assert got.frame["co2_g_per_kwh"].to_list() == [
        100.0 + hour for hour in range(6) for _ in range(60)
    ]
    assert other.frame.is_empty()


def test_times_with_a_zone_are_converted(tmp_path: Path) -> None:
    danish = hours().with_columns(
        pl.col("HourUTC").dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Copenhagen")
    )
    danish.write_parquet(tmp_path / "power_system_hourly.parquet")
    assert Recordings.load(tmp_path).span[0] == utc("2026-05-01T00:00")


def test_files_of_one_kind_are_joined_in_order_of_time(tmp_path: Path) -> None:
    hours(first=FIRST + timedelta(hours=6)).write_parquet(
        tmp_path / "power_system_hourly_a.parquet"
    )
    hours().write_parquet(tmp_path / "power_system_hourly_b.parquet")
    mine = Recordings.load(tmp_path)
    assert mine.span == (utc("2026-05-01T00:00"), utc("2026-05-01T12:00"))
    assert mine.power_system["HourUTC"].is_sorted()


def test_prices_of_any_areas_are_served(tmp_path: Path) -> None:
    hours().write_parquet(tmp_path / "power_system_hourly.parquet")
    pl.DataFrame({"TimeUTC": [FIRST], "DK1": [12.5], "NL": [None]}).write_parquet(
        tmp_path / "day_ahead_prices_hourly_eur.parquet"
    )
    with server(recordings=Recordings.load(tmp_path), now="2026-05-01T00:02") as running:
        reply = requests.get(f"{running.url}/dataset/DayAheadPrices", timeout=5).json()
    prices = {row["PriceArea"]: row["DayAheadPriceEUR"] for row in reply["records"]}
    assert (reply["total"], prices) == (8, {"DK1": 12.5, "NL": None})


def test_folder_that_is_not_there_names_the_setting(tmp_path: Path) -> None:
    assert "CO2_RECORDED_DIR" in refused(tmp_path / "nowhere")


def test_folder_without_measured_hours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    message = refused(tmp_path)
    assert "power_system_hourly*" in message
    assert "notes.txt" in message
    assert "docs/recordings.md" in message


def test_missing_column_is_named_with_its_file(tmp_path: Path) -> None:
    hours().drop("SolarPower").write_parquet(tmp_path / "power_system_hourly_x.parquet")
    assert "file power_system_hourly_x.parquet, column SolarPower" in refused(tmp_path)


def test_text_among_numbers_is_named_with_its_row(tmp_path: Path) -> None:
    rows = hours(SolarPower=["1", "2", "3", "n/a", "5", "6"])
    rows.write_csv(tmp_path / "power_system_hourly_x.csv", datetime_format="%Y-%m-%dT%H:%M:%S")
    message = refused(tmp_path)
    assert "file power_system_hourly_x.csv, column SolarPower, row 3" in message
    assert "found: n/a" in message


def test_column_of_a_wrong_type_is_named(tmp_path: Path) -> None:
    hours(SolarPower=[True] * 6).write_parquet(tmp_path / "power_system_hourly_x.parquet")
    assert "column SolarPower; found: Boolean" in refused(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_number_that_is_not_finite_is_named_with_its_row(tmp_path: Path, value: float) -> None:
    rows = hours(CO2Emission=[1.0, 2.0, value, 4.0, 5.0, 6.0])
    rows.write_parquet(tmp_path / "power_system_hourly_x.parquet")
    assert "column CO2Emission, row 2" in refused(tmp_path)


def test_null_number_is_a_recording_of_null(tmp_path: Path) -> None:
    rows = hours(SolarPower=[None] * 6)
    rows.write_parquet(tmp_path / "power_system_hourly_x.parquet")
    assert Recordings.load(tmp_path).power_system["SolarPower"].null_count() == 6


def test_time_that_cannot_be_read_is_named_with_its_row(tmp_path: Path) -> None:
    rows = hours(2, HourUTC=["2026-05-01T00:00:00", "1 May 2026"])
    rows.write_csv(tmp_path / "power_system_hourly_x.csv")
    message = refused(tmp_path)
    assert "column HourUTC, row 1; found: 1 May 2026" in message


def test_time_that_is_missing_is_named_with_its_row(tmp_path: Path) -> None:
    rows = hours(2, HourUTC=[FIRST, None])
    rows.write_parquet(tmp_path / "power_system_hourly_x.parquet")
    assert "column HourUTC, row 1" in refused(tmp_path)


def test_time_between_hours_is_named_with_its_row(tmp_path: Path) -> None:
    rows = hours(2, HourUTC=[FIRST, FIRST + timedelta(minutes=61)])
    rows.write_parquet(tmp_path / "power_system_hourly_x.parquet")
    assert "column HourUTC, row 1; found: 2026-05-01 01:01" in refused(tmp_path)


def test_hour_that_comes_twice_is_named_with_both_places(tmp_path: Path) -> None:
    hours().write_parquet(tmp_path / "power_system_hourly_a.parquet")
    hours(first=FIRST + timedelta(hours=4)).write_parquet(
        tmp_path / "power_system_hourly_b.parquet"
    )
    message = refused(tmp_path)
    assert "file power_system_hourly_b.parquet, column HourUTC, row 0" in message
    assert "power_system_hourly_a.parquet has it in row 4" in message


def test_file_that_is_no_parquet_is_named(tmp_path: Path) -> None:
    (tmp_path / "power_system_hourly_x.parquet").write_text("HourUTC,CO2Emission")
    assert "power_system_hourly_x.parquet" in refused(tmp_path)


def test_optional_files_are_judged_alike(tmp_path: Path) -> None:
    hours().write_parquet(tmp_path / "power_system_hourly.parquet")
    pl.DataFrame({"HourUTC": [FIRST], "PriceArea": ["DK1"], "CO2Emission": [1.0]}).write_parquet(
        tmp_path / "co2_emis_prog_hourly.parquet"
    )
    assert "co2_emis_prog_hourly.parquet, column first_seen_utc" in refused(tmp_path)
