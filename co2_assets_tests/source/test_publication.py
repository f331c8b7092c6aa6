"""From when on a value was known: what models obey, on the days when clocks change too."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2_assets.schema import CO2_PROGNOSIS, DAY_AHEAD_PRICES, WIND_SOLAR_FORECASTS, Table
from co2_assets.source.datasets import DAY_AHEAD_PRICES_15MIN, ELSPOTPRICES
from co2_assets.source.prices import SWITCH, price_spans
from co2_assets.source.publication import with_availability
from co2_assets_tests.replay.serving import utc

DENMARK = ZoneInfo("Europe/Copenhagen")
LONG_AFTER = utc("2026-11-01T00:00")


def available(table: Table, valid: datetime, seen_at: datetime) -> datetime | None:
    rows = pl.DataFrame({table.key[0]: [valid]}, schema={table.key[0]: pl.Datetime("us", "UTC")})
    found = with_availability(table, rows, seen_at).row(0, named=True)["available_utc"]
    return None if found is None else found.astimezone(ZoneInfo("UTC"))


@pytest.mark.parametrize(
    ("table", "valid", "expected"),
    [
        (WIND_SOLAR_FORECASTS, "2025-01-20T00:00", "2025-01-19T18:00"),
        (WIND_SOLAR_FORECASTS, "2025-01-20T22:00", "2025-01-19T18:00"),
        (WIND_SOLAR_FORECASTS, "2025-01-20T23:00", "2025-01-20T18:00"),
        (WIND_SOLAR_FORECASTS, "2025-07-01T12:00", "2025-06-30T17:00"),
        (DAY_AHEAD_PRICES, "2025-01-20T00:00", "2025-01-19T13:00"),
        (DAY_AHEAD_PRICES, "2025-07-01T12:00", "2025-06-30T12:00"),
        # The day before is one of 23 or 25 hours.
        (DAY_AHEAD_PRICES, "2024-04-01T12:00", "2024-03-31T12:00"),
        (DAY_AHEAD_PRICES, "2024-10-28T12:00", "2024-10-27T13:00"),
        (WIND_SOLAR_FORECASTS, "2024-10-28T12:00", "2024-10-27T18:00"),
        # So is the day itself.
        (DAY_AHEAD_PRICES, "2024-03-31T12:00", "2024-03-30T13:00"),
        (DAY_AHEAD_PRICES, "2024-10-27T12:00", "2024-10-26T12:00"),
    ],
)
def test_history_may_be_used_from_its_rule_plus_an_hour(
    table: Table, valid: str, expected: str
) -> None:
    assert available(table, utc(valid), LONG_AFTER) == utc(expected)


@pytest.mark.parametrize(
    ("table", "seen", "expected"),
    [
        (WIND_SOLAR_FORECASTS, "2025-01-19T16:59", "2025-01-19T16:59"),
        (WIND_SOLAR_FORECASTS, "2025-01-20T05:58", "2025-01-19T18:00"),
        (DAY_AHEAD_PRICES, "2025-01-19T12:05", "2025-01-19T12:05"),
        (DAY_AHEAD_PRICES, "2025-01-20T05:58", "2025-01-19T13:00"),
        (CO2_PROGNOSIS, "2025-01-20T05:58", "2025-01-20T05:58"),
    ],
)
def test_a_value_seen_before_its_time_was_known_from_then_and_at_the_latest_by_its_rule(
    table: Table, seen: str, expected: str
) -> None:
    assert available(table, utc("2025-01-20T06:00"), utc(seen)) == utc(expected)


def test_value_seen_at_its_time_was_not_seen_before() -> None:
    now = utc("2025-01-20T06:00")
    assert available(CO2_PROGNOSIS, now, now) is None


def test_prognosis_that_was_not_seen_in_time_is_never_used() -> None:
    assert available(CO2_PROGNOSIS, utc("2025-01-20T06:00"), LONG_AFTER) is None


@given(
    st.sampled_from([(WIND_SOLAR_FORECASTS, time(19)), (DAY_AHEAD_PRICES, time(14))]),
    st.datetimes(datetime(2018, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001, made UTC below
)
def test_rule_is_a_danish_clock_time_on_the_day_before(
    rule: tuple[Table, time], valid: datetime
) -> None:
    """Against the standard library's own zones."""
    table, clock = rule
    at = valid.replace(minute=0, second=0, microsecond=0, tzinfo=ZoneInfo("UTC"))
    day: date = at.astimezone(DENMARK).date() - timedelta(days=1)
    expected = datetime.combine(day, clock, tzinfo=DENMARK)
    found = available(table, at, utc("2031-01-01T00:00"))
    assert found == expected
    assert found is not None
    assert found < at


def test_prices_come_from_two_datasets_switched_by_date() -> None:
    start, end = utc("2025-09-30T12:00"), utc("2025-10-01T12:00")
    assert price_spans(start, end) == [
        (ELSPOTPRICES, start, SWITCH),
        (DAY_AHEAD_PRICES_15MIN, SWITCH, end),
    ]
    assert price_spans(start, SWITCH) == [(ELSPOTPRICES, start, SWITCH)]
    assert price_spans(SWITCH, end) == [(DAY_AHEAD_PRICES_15MIN, SWITCH, end)]
    assert SWITCH.astimezone(DENMARK).isoformat() == "2025-10-01T00:00:00+02:00"
