"""Danish time through both clock changes of 2024, as recorded."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import pytest

from co2_assets.serving.dashboard.times import (
    DANISH,
    HOUR,
    UTC_ZONE,
    age,
    axis_title,
    clock_changes,
    ticks,
)
from co2_assets_tests.homes import utc

OCTOBER, MARCH = utc("2024-10-26T22:00"), utc("2024-03-30T23:00")
"""Danish midnight before each change."""


def hours_of(history: pl.DataFrame, start: datetime, count: int) -> list[datetime]:
    """Recorded hours from a Danish midnight on."""
    found = history.filter(pl.col("hour_utc") >= start).head(count)["hour_utc"].to_list()
    assert found[0] == start
    return found


def test_both_two_oclock_hours_of_october_are_told_apart(history: pl.DataFrame) -> None:
    hours = hours_of(history, OCTOBER, 25)
    said = [DANISH.hour(hour) for hour in hours]
    assert len(set(said)) == 25
    assert said[2] == "Sun 27 Oct 02:00 CEST"
    assert said[3] == "Sun 27 Oct 02:00 CET"
    assert {DANISH.day(hour) for hour in hours} == {"Sun 27 Oct 2024"}
    assert DANISH.span(hours[2], hours[3]) == "02:00 CEST–02:00 CET"
    assert DANISH.span(hours[4], hours[5]) == "03:00–04:00"


def test_march_has_no_two_oclock(history: pl.DataFrame) -> None:
    hours = hours_of(history, MARCH, 23)
    clocks = [DANISH.clock(hour) for hour in hours]
    assert clocks[:4] == ["00:00", "01:00", "03:00", "04:00"]
    assert clocks[-1] == "23:00"
    assert {DANISH.day(hour) for hour in hours} == {"Sun 31 Mar 2024"}


@pytest.mark.parametrize(("midnight", "length"), [(OCTOBER, 25), (MARCH, 23)])
def test_an_axis_of_a_changed_day_has_its_true_length(midnight: datetime, length: int) -> None:
    marked = ticks(midnight, midnight + length * HOUR, DANISH)
    assert [label.split("<br>")[0] for _time, label in marked] == [
        "00:00", "06:00", "12:00", "18:00", "00:00",
    ]  # fmt: skip
    assert marked[1][0] - marked[0][0] == timedelta(hours=6 + length - 24)
    assert marked[-1][0] - marked[0][0] == length * HOUR


def test_the_change_itself_is_marked_once() -> None:
    ((at, words),) = clock_changes(OCTOBER, OCTOBER + 25 * HOUR, DANISH)
    assert at == utc("2024-10-27T01:00")
    assert words == "02:00 comes twice: CEST, then CET"
    ((at, words),) = clock_changes(MARCH, MARCH + 23 * HOUR, DANISH)
    assert at == utc("2024-03-31T01:00")
    assert words == "02:00 is left out: CET, then CEST"
    assert clock_changes(OCTOBER, OCTOBER + 25 * HOUR, UTC_ZONE) == []


def test_the_axis_says_which_time_it_is_in() -> None:
    assert axis_title(DANISH, OCTOBER, OCTOBER + 25 * HOUR) == "Danish time (CEST, then CET)"
    assert axis_title(DANISH, utc("2025-01-31"), utc("2025-02-01")) == "Danish time (CET)"
    assert axis_title(UTC_ZONE, OCTOBER, OCTOBER + 25 * HOUR) == "UTC"


def test_a_long_axis_names_days_at_danish_midnight() -> None:
    marked = ticks(utc("2024-10-20T00:00"), utc("2024-11-03T00:00"), DANISH)
    assert len(marked) <= 8
    assert all(DANISH.local(time).hour == 0 for time, _label in marked)
    assert marked[0] == (utc("2024-10-20T22:00"), "21 Oct")


def test_an_iso_time_keeps_the_instant() -> None:
    first, second = utc("2024-10-27T00:00"), utc("2024-10-27T01:00")
    assert DANISH.iso(first) == "2024-10-27T02:00:00+02:00"
    assert DANISH.iso(second) == "2024-10-27T02:00:00+01:00"
    assert datetime.fromisoformat(DANISH.iso(second)) == second


def test_days_are_named_by_the_danish_calendar() -> None:
    now = utc("2025-01-31T23:30")  # 1 February in Denmark
    assert DANISH.day_word(utc("2025-01-31T23:00"), now) == "today"
    assert DANISH.day_word(utc("2025-01-31T22:00"), now) == "yesterday"
    assert DANISH.day_word(utc("2025-02-01T23:00"), now) == "tomorrow"
    assert DANISH.day_word(utc("2025-02-02T23:00"), now) == "Mon 3 Feb"
    assert UTC_ZONE.day_word(utc("2025-01-31T22:00"), now) == "today"


@pytest.mark.parametrize(
    ("minutes", "said"),
    [(None, "unknown"), (2, "2 min"), (119, "119 min"), (120, "2 h"), (4319, "71 h"),
     (4320, "3 days")],
)  # fmt: skip
def test_an_age_is_said_in_one_unit(minutes: int | None, said: str) -> None:
    assert age(minutes) == said
