"""Days of 25 and 23 Danish hours, a leap day, New Year: no hour is lost, doubled or invented."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

import pytest

from co2_assets.schema import IMPUTED_COLUMNS, VALUE_COLUMNS
from co2_assets.settings import WINDOW
from co2_assets_tests.homes import Home, utc, windows

AUTUMN_2023, AUTUMN_2024, SPRING_2024 = date(2023, 10, 29), date(2024, 10, 27), date(2024, 3, 31)
LEAP_DAY, NEW_YEAR = date(2024, 2, 29), date(2025, 1, 1)
NEVER_RECORDED = {AUTUMN_2023: utc("2023-10-29T01:00"), AUTUMN_2024: utc("2024-10-27T01:00")}
LOADED = ("raw/power_system", "core/aggregated_hours", "core/engineered_features")

OnDay = Callable[[date], Home]


@pytest.fixture(scope="module")
def on_day(tmp_path_factory: pytest.TempPathFactory) -> OnDay:
    """A home in which each window of the days around a change was run in turn."""
    made: dict[date, Home] = {}

    def home_of(day: date) -> Home:
        if day not in made:
            midnight = utc(day.isoformat())
            first, last = midnight - WINDOW, midnight + timedelta(days=1)
            folder = tmp_path_factory.mktemp(day.isoformat()) / "home"
            home = Home.new(folder, first=first, last=last, training_days=14)
            with home.served():
                for window in windows(first, last):
                    home.tick(window, assets=LOADED)
            made[day] = home
        return made[day]

    return home_of


def hours_of(home: Home, day: date) -> list[datetime]:
    """The stored UTC hours whose Danish date is this day."""
    return [
        time
        for (time,) in home.rows(
            "SELECT hour_utc FROM co2.core.aggregated_hours"
            " WHERE CAST(hour_utc AT TIME ZONE 'Europe/Copenhagen' AS DATE) = $day"
            " ORDER BY hour_utc",
            day=day,
        )
    ]


@pytest.mark.parametrize(
    ("day", "danish_hours"),
    [
        (AUTUMN_2023, 25),
        (AUTUMN_2024, 25),
        (SPRING_2024, 23),
        (LEAP_DAY, 24),
        (NEW_YEAR, 24),
    ],
)
def test_a_danish_day_has_its_hours_as_contiguous_utc_rows(
    on_day: OnDay, day: date, danish_hours: int
) -> None:
    hours = hours_of(on_day(day), day)
    assert len(hours) == danish_hours
    assert hours == [hours[0] + timedelta(hours=index) for index in range(danish_hours)]


@pytest.mark.parametrize("day", [AUTUMN_2023, AUTUMN_2024])
def test_the_hour_that_was_never_recorded_is_a_row_without_a_minute(
    on_day: OnDay, day: date
) -> None:
    columns = ", ".join((*VALUE_COLUMNS, *IMPUTED_COLUMNS))
    minutes, complete, is_imputed, quality, *values = on_day(day).row(
        f"SELECT minutes_seen, is_complete, is_imputed, quality, {columns}"
        " FROM co2.core.aggregated_hours WHERE hour_utc = $hour",
        hour=NEVER_RECORDED[day],
    )
    assert (minutes, complete, is_imputed, quality) == (0, False, True, "imputed")
    assert values[: len(VALUE_COLUMNS)] == [None] * len(VALUE_COLUMNS)
    before = on_day(day).row(
        f"SELECT {', '.join(VALUE_COLUMNS)} FROM co2.core.aggregated_hours WHERE hour_utc = $hour",
        hour=NEVER_RECORDED[day] - timedelta(hours=1),
    )
    assert tuple(values[len(VALUE_COLUMNS) :]) == before
    (actual,) = on_day(day).row(
        "SELECT co2_g_per_kwh FROM co2.actuals WHERE hour_utc = $hour", hour=NEVER_RECORDED[day]
    )
    assert actual is None


@pytest.mark.parametrize("day", [AUTUMN_2023, AUTUMN_2024, SPRING_2024, LEAP_DAY, NEW_YEAR])
def test_no_hour_is_invented_and_none_is_merged(on_day: OnDay, day: date) -> None:
    home = on_day(day)
    minutes = dict(
        home.rows(
            "SELECT date_trunc('hour', minute_utc), count(*) FROM co2.raw.power_system GROUP BY 1"
        )
    )
    stored = dict(home.rows("SELECT hour_utc, minutes_seen FROM co2.core.aggregated_hours"))
    holes = {NEVER_RECORDED[day]} if day in NEVER_RECORDED else set()
    assert {hour for hour, seen in stored.items() if seen == 0} == holes
    assert minutes == {hour: 60 for hour, seen in stored.items() if hour not in holes}
    assert {stored[hour] for hour in minutes} == {60}


@pytest.mark.parametrize("day", [AUTUMN_2023, AUTUMN_2024])
def test_both_danish_hours_of_the_same_name_are_two_rows(on_day: OnDay, day: date) -> None:
    repeated = on_day(day).rows(
        "SELECT hour_utc FROM co2.core.aggregated_hours"
        " WHERE strftime(hour_utc AT TIME ZONE 'Europe/Copenhagen', '%Y-%m-%d %H') = $name"
        " ORDER BY hour_utc",
        name=f"{day} 02",
    )
    hole = NEVER_RECORDED[day]
    assert [time for (time,) in repeated] == [hole - timedelta(hours=1), hole]


def test_the_danish_hour_that_does_not_exist_in_spring_has_no_row(on_day: OnDay) -> None:
    assert (
        on_day(SPRING_2024).value(
            "SELECT count(*) FROM co2.core.aggregated_hours"
            " WHERE strftime(hour_utc AT TIME ZONE 'Europe/Copenhagen', '%Y-%m-%d %H')"
            " = '2024-03-31 02'"
        )
        == 0
    )
