"""Hourly means: whole UTC hours, every hour once, null where nothing was reported."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from importlib import resources
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from co2_assets.schema import CO2_COLUMN, POWER_COLUMNS, VALUE_COLUMNS
from co2_assets.transform.hourly import hourly_means
from co2_assets_tests.transform.conftest import PUBLISHED

START = datetime(2024, 5, 1, 6, tzinfo=UTC)


def minutes_of(start: datetime, values: list[float | None], **columns: object) -> pl.DataFrame:
    """One row per value, a minute apart; all seven columns carry it, or what is given."""
    return pl.DataFrame(
        {"minute_utc": [start + timedelta(minutes=m) for m in range(len(values))]}
        | {name: columns.get(name, values) for name in VALUE_COLUMNS},
        schema={"minute_utc": pl.Datetime("us", "UTC")} | dict.fromkeys(VALUE_COLUMNS, pl.Float64),
    )


def test_an_hour_is_the_mean_of_its_sixty_minutes() -> None:
    minutes = minutes_of(START, [float(m) for m in range(120)])
    hours = hourly_means(minutes, START, START + timedelta(hours=2))
    assert hours["hour_utc"].to_list() == [START, START + timedelta(hours=1)]
    for name in VALUE_COLUMNS:
        assert hours[name].to_list() == [29.5, 89.5]
    assert hours["minutes_seen"].to_list() == [60, 60]


def test_an_hour_without_minutes_is_there_and_null() -> None:
    late = minutes_of(START + timedelta(hours=2), [5.0])
    hours = hourly_means(late, START, START + timedelta(hours=4))
    assert hours[CO2_COLUMN].to_list() == [None, None, 5.0, None]
    assert hours["minutes_seen"].to_list() == [0, 0, 1, 0]


def test_no_minutes_at_all_still_give_every_hour() -> None:
    hours = hourly_means(minutes_of(START, []), START, START + timedelta(hours=3))
    assert hours.height == 3
    assert hours["minutes_seen"].to_list() == [0, 0, 0]
    assert hours.schema["minutes_seen"] == pl.Int32
    assert hours.select(pl.all_horizontal(pl.col(VALUE_COLUMNS).is_null()).all()).item()


def test_a_null_is_left_out_of_the_mean_and_is_not_zero() -> None:
    minutes = minutes_of(START, [10.0, 20.0, 90.0], **{CO2_COLUMN: [10.0, 20.0, None]})
    hour = hourly_means(minutes, START, START + timedelta(hours=1)).row(0, named=True)
    assert hour[CO2_COLUMN] == 15.0
    assert hour["solar_mw"] == 40.0


@pytest.mark.parametrize("name", VALUE_COLUMNS)
def test_a_minute_counts_as_seen_only_with_all_seven_values(name: str) -> None:
    minutes = minutes_of(START, [1.0, 1.0, 1.0], **{name: [1.0, None, 1.0]})
    hour = hourly_means(minutes, START, START + timedelta(hours=1)).row(0, named=True)
    assert hour["minutes_seen"] == 2


def test_minutes_outside_the_span_are_left_out() -> None:
    minutes = minutes_of(START - timedelta(minutes=30), [9.0] * 30 + [1.0] * 60 + [9.0] * 30)
    hours = hourly_means(minutes, START, START + timedelta(hours=1))
    assert hours[CO2_COLUMN].to_list() == [1.0]


def test_the_order_of_the_minutes_does_not_matter() -> None:
    minutes = minutes_of(START, [0.1 * m * m for m in range(180)])
    shuffled = minutes.sample(fraction=1.0, shuffle=True, seed=3)
    span = START, START + timedelta(hours=3)
    assert hourly_means(shuffled, *span).equals(hourly_means(minutes, *span))


@pytest.mark.parametrize(
    ("day", "hours_that_day"),
    [(datetime(2024, 3, 31), 23), (datetime(2024, 10, 27), 25)],  # noqa: DTZ001
    ids=["clocks go forward", "clocks go back"],
)
def test_a_danish_day_of_23_or_25_hours_is_that_many_rows(
    day: datetime, hours_that_day: int
) -> None:
    danish = ZoneInfo("Europe/Copenhagen")
    start = day.replace(tzinfo=danish).astimezone(UTC)
    end = (day + timedelta(days=1)).replace(tzinfo=danish).astimezone(UTC)
    minutes = minutes_of(start, [float(m // 60) for m in range(60 * hours_that_day)])
    hours = hourly_means(minutes, start, end)
    assert hours[CO2_COLUMN].to_list() == [float(h) for h in range(hours_that_day)]
    assert hours["minutes_seen"].to_list() == [60] * hours_that_day


def test_real_minute_records_become_hours_of_one_minute() -> None:
    recorded = resources.files("co2_assets") / "replay" / "recorded"
    text = (recorded / "power_system_right_now_records.json").read_text()
    records = json.loads(text)["records"]
    assert len(records) == 5
    for record in records:
        minute = datetime.fromisoformat(record["Minutes1UTC"]).replace(tzinfo=UTC)
        values = {
            ours: [record[theirs]] for theirs, ours in PUBLISHED.items() if ours != "hour_utc"
        }
        hour = minute.replace(minute=0)
        (row,) = hourly_means(
            minutes_of(minute, [None], **values), hour, hour + timedelta(hours=1)
        ).rows(named=True)
        assert row["minutes_seen"] == 1
        assert {name: [row[name]] for name in (CO2_COLUMN, *POWER_COLUMNS)} == values


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (START + timedelta(minutes=1), START + timedelta(hours=2)),
        (START, START + timedelta(hours=2, seconds=1)),
        (START.replace(tzinfo=None), START),
        (START.astimezone(ZoneInfo("Europe/Copenhagen")), START + timedelta(hours=1)),
    ],
    ids=["minute", "second", "naive", "Danish time"],
)
def test_a_span_that_is_not_whole_utc_hours_is_refused(start: datetime, end: datetime) -> None:
    with pytest.raises(ValueError, match="must be a whole hour in UTC"):
        hourly_means(minutes_of(START, [1.0]), start, end)
