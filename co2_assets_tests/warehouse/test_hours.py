from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from co2_assets.orchestration.refreshing import refresh_features, refresh_hours
from co2_assets.schema import (
    AGGREGATED_HOURS,
    ENGINEERED_FEATURES,
    POWER_SYSTEM,
    VALUE_COLUMNS,
    WATERMARKS,
)
from co2_assets.warehouse.hours import (
    advance_watermark,
    first_minute_hour,
    hours_to_aggregate,
    hours_to_engineer,
    last_complete_hour_end,
    read_features,
    read_hours,
    watermark,
)
from co2_assets.warehouse.query import Connection, rows
from co2_assets.warehouse.raw import add_coverage
from co2_assets.warehouse.store import Transaction
from co2_assets_tests.warehouse.filled import HOUR, T0, hours, put, stored

MINUTE = timedelta(minutes=1)
REACH = 5


def minutes(*of_hours: int, value: float = 100.0, count: int = 60) -> dict[str, object]:
    """Minutes of these hours, each hour with values of its own."""
    times = [T0 + hour * HOUR + m * MINUTE for hour in of_hours for m in range(count)]
    numbers = [value + hour + m / 60 for hour in of_hours for m in range(count)]
    return {"minute_utc": times, **{name: list(numbers) for name in VALUE_COLUMNS}}


def cover(con: Connection, end: int, start: int = 0) -> None:
    add_coverage(Transaction(con, 1), POWER_SYSTEM, T0 + start * HOUR, T0 + end * HOUR)


def aggregated(con: Connection, commit: int) -> None:
    """As if every hour to aggregate had been: rows for all, and the watermark advanced."""
    span = hours_to_aggregate(con, REACH)
    if span is not None:
        times = hours((span[1] - span[0]) // HOUR, span[0])
        put(con, AGGREGATED_HOURS, commit=commit, hour_utc=times)
    advance_watermark(Transaction(con, commit), AGGREGATED_HOURS, POWER_SYSTEM)


def span_of(start: int, end: int) -> tuple[datetime, datetime]:
    return T0 + start * HOUR, T0 + end * HOUR


def test_without_a_minute_there_is_nothing_to_aggregate(con: Connection) -> None:
    assert hours_to_aggregate(con, REACH) is None
    cover(con, 10)
    assert hours_to_aggregate(con, REACH) is None
    assert first_minute_hour(con) is None
    assert last_complete_hour_end(con) is None


def test_a_first_load_is_aggregated_from_its_first_minute_to_what_was_answered(
    con: Connection,
) -> None:
    put(con, POWER_SYSTEM, commit=5, **minutes(2, 3))
    cover(con, 8)
    assert hours_to_aggregate(con, REACH) == span_of(2, 8)
    assert first_minute_hour(con) == T0 + 2 * HOUR


def test_what_was_taken_in_is_not_done_again(con: Connection) -> None:
    put(con, POWER_SYSTEM, commit=5, **minutes(0, 1))
    cover(con, 2)
    aggregated(con, commit=6)
    assert hours_to_aggregate(con, REACH) is None
    assert watermark(con, AGGREGATED_HOURS, POWER_SYSTEM) == 5


def test_a_late_minute_reaches_as_many_later_hours_as_it_can_change(con: Connection) -> None:
    put(con, POWER_SYSTEM, commit=5, **minutes(*range(20)))
    cover(con, 20)
    aggregated(con, commit=6)
    put(con, POWER_SYSTEM, commit=7, **minutes(4, value=7.0, count=1))
    assert hours_to_aggregate(con, REACH) == span_of(4, 5 + REACH)
    put(con, POWER_SYSTEM, commit=8, **minutes(18, value=7.0, count=1))
    assert hours_to_aggregate(con, REACH) == span_of(4, 20)


def test_an_hour_the_source_left_empty_gets_its_row_all_the_same(con: Connection) -> None:
    put(con, POWER_SYSTEM, commit=5, **minutes(0))
    cover(con, 1)
    aggregated(con, commit=6)
    cover(con, 4, start=1)
    assert hours_to_aggregate(con, REACH) == span_of(1, 4)


def test_history_that_arrives_before_the_first_hour_is_aggregated_too(con: Connection) -> None:
    put(con, POWER_SYSTEM, commit=5, **minutes(6))
    cover(con, 7, start=6)
    aggregated(con, commit=6)
    put(con, POWER_SYSTEM, commit=7, **minutes(0, 1))
    cover(con, 6)
    assert hours_to_aggregate(con, REACH) == span_of(0, 2 + REACH)


def test_features_follow_the_hours_that_changed_and_no_others(con: Connection) -> None:
    assert hours_to_engineer(con, 3) is None
    put(con, AGGREGATED_HOURS, commit=5, hour_utc=hours(10))
    assert hours_to_engineer(con, 3) == span_of(0, 10)
    advance_watermark(Transaction(con, 6), ENGINEERED_FEATURES, AGGREGATED_HOURS)
    assert hours_to_engineer(con, 3) is None
    put(con, AGGREGATED_HOURS, commit=7, hour_utc=[T0 + 2 * HOUR], co2_g_per_kwh=7.0)
    assert hours_to_engineer(con, 3) == span_of(2, 6)
    put(con, AGGREGATED_HOURS, commit=8, hour_utc=[T0 + 9 * HOUR], co2_g_per_kwh=7.0)
    assert hours_to_engineer(con, 3) == span_of(2, 10)


def test_a_watermark_moves_only_when_there_is_news(con: Connection) -> None:
    put(con, POWER_SYSTEM, commit=5, **minutes(0))
    first = Transaction(con, 6)
    advance_watermark(first, AGGREGATED_HOURS, POWER_SYSTEM)
    assert first.rows_written == 1
    again = Transaction(con, 7)
    advance_watermark(again, AGGREGATED_HOURS, POWER_SYSTEM)
    assert again.rows_written == 0
    assert stored(con, WATERMARKS) == [("core.aggregated_hours", "raw.power_system", 5)]
    assert watermark(con, ENGINEERED_FEATURES, AGGREGATED_HOURS) == -1


batches = st.lists(
    st.tuples(
        st.lists(st.integers(0, 30), min_size=1, max_size=4, unique=True),
        st.sampled_from([3, 50, 60]),
        st.sampled_from([100.0, 250.0, 900.0]),
    ),
    min_size=1,
    max_size=4,
)


@settings(
    max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=batches)
def test_recomputing_what_changed_equals_recomputing_everything(
    con: Connection, batches: list[tuple[list[int], int, float]]
) -> None:
    for table in (POWER_SYSTEM, AGGREGATED_HOURS, ENGINEERED_FEATURES, WATERMARKS):
        con.execute(f"DELETE FROM {table.qualified_name}")
    con.execute("DELETE FROM ops.coverage")
    commit = 10
    for of_hours, count, value in [([0], 60, 100.0), *batches]:
        put(con, POWER_SYSTEM, commit=commit, **minutes(*of_hours, count=count, value=value))
        cover(con, max(of_hours) + 1)
        refresh_hours(Transaction(con, commit + 1))
        refresh_features(Transaction(con, commit + 2))
        commit += 3
    step_by_step = _derived(con)
    for table in (AGGREGATED_HOURS, ENGINEERED_FEATURES, WATERMARKS):
        con.execute(f"DELETE FROM {table.qualified_name}")
    refresh_hours(Transaction(con, commit))
    refresh_features(Transaction(con, commit + 1))
    assert step_by_step == _derived(con)


def _derived(con: Connection) -> list[list[tuple[object, ...]]]:
    return [
        stored(con, table, *table.compared_columns)
        for table in (AGGREGATED_HOURS, ENGINEERED_FEATURES)
    ]


def test_hours_and_features_are_read_in_order_with_an_exclusive_end(con: Connection) -> None:
    put(con, AGGREGATED_HOURS, hour_utc=hours(5), is_complete=True, quality="ok")
    put(con, ENGINEERED_FEATURES, hour_utc=hours(5), is_usable=True)
    start, end = span_of(1, 4)
    assert read_hours(con, start, end)["hour_utc"].to_list() == hours(3, start)
    assert read_features(con, start, end)["hour_utc"].to_list() == hours(3, start)


@pytest.mark.parametrize(
    ("quality", "is_complete", "actual"),
    [
        ("ok", True, 55.0),
        ("ok", False, None),
        ("spike", True, None),
        ("frozen", True, None),
        ("imputed", False, None),
        ("missing", False, None),
    ],
)
def test_only_a_complete_and_ok_hour_is_an_actual(
    con: Connection, quality: str, is_complete: bool, actual: float | None
) -> None:
    put(
        con,
        AGGREGATED_HOURS,
        hour_utc=hours(1),
        co2_g_per_kwh=54.0,
        co2_cleaned_g_per_kwh=55.0,
        co2_imputed_g_per_kwh=56.0,
        quality=quality,
        is_complete=is_complete,
    )
    put(con, ENGINEERED_FEATURES, hour_utc=hours(1))
    ((found, filled_in),) = rows(
        con, "SELECT co2_g_per_kwh, co2_imputed_g_per_kwh FROM main.actuals"
    )
    assert (found, filled_in) == (actual, 56.0)
    assert read_features(con, T0, T0 + HOUR)["co2_g_per_kwh"].to_list() == [actual]
    assert last_complete_hour_end(con) == (None if actual is None else T0 + HOUR)
