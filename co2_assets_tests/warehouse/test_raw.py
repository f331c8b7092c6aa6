from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from co2_assets.errors import WarehouseInvalid
from co2_assets.schema import (
    CO2_PROGNOSIS,
    COVERAGE,
    DAY_AHEAD_PRICES,
    ETL_RUNS,
    POWER_SYSTEM,
    VALUE_COLUMNS,
    WIND_SOLAR_FORECASTS,
    Table,
)
from co2_assets.source.publication import with_availability
from co2_assets.warehouse.query import Connection
from co2_assets.warehouse.raw import (
    EtlRun,
    add_coverage,
    archive_is_loaded,
    covered_until,
    read_minutes,
    record_etl_run,
    store_replacing,
    store_vintages,
    uncovered,
)
from co2_assets.warehouse.store import Transaction
from co2_assets.warehouse.upsert import Counts
from co2_assets_tests.warehouse.filled import HOUR, T0, filled, hours, put, stored

shared = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


spans = st.tuples(st.integers(0, 30), st.integers(1, 8)).map(lambda s: (s[0], s[0] + s[1]))


@shared
@given(covered=st.lists(spans, max_size=7), asked=spans)
def test_coverage_is_the_set_of_hours_asked_and_answered(
    con: Connection, covered: list[tuple[int, int]], asked: tuple[int, int]
) -> None:
    con.execute("DELETE FROM ops.coverage")
    tx = Transaction(con, 1)
    known: set[int] = set()
    for start, end in covered:
        add_coverage(tx, POWER_SYSTEM, T0 + start * HOUR, T0 + end * HOUR)
        known |= set(range(start, end))
    missing: set[int] = set()
    for start, end in uncovered(con, POWER_SYSTEM, T0 + asked[0] * HOUR, T0 + asked[1] * HOUR):
        assert start < end
        missing |= set(range((start - T0) // HOUR, (end - T0) // HOUR))
    assert missing == set(range(*asked)) - known
    # Spans that touch are one: as few rows as there are runs of hours.
    runs = sum(1 for hour in known if hour - 1 not in known)
    assert len(stored(con, COVERAGE)) == runs
    assert covered_until(con, POWER_SYSTEM) == (T0 + (max(known) + 1) * HOUR if known else None)


def test_coverage_of_one_dataset_says_nothing_of_another(con: Connection) -> None:
    add_coverage(Transaction(con, 1), POWER_SYSTEM, T0, T0 + 5 * HOUR)
    assert uncovered(con, DAY_AHEAD_PRICES, T0, T0 + HOUR) == [(T0, T0 + HOUR)]
    assert covered_until(con, DAY_AHEAD_PRICES) is None


def test_covering_what_is_covered_writes_nothing(con: Connection) -> None:
    tx = Transaction(con, 1)
    add_coverage(tx, POWER_SYSTEM, T0, T0 + 5 * HOUR)
    again = Transaction(con, 2)
    add_coverage(again, POWER_SYSTEM, T0 + HOUR, T0 + 3 * HOUR)
    assert again.rows_written == 0
    assert stored(con, COVERAGE, "commit_id") == [(1,)]


arrivals = st.lists(
    st.tuples(st.one_of(st.none(), st.sampled_from([10.0, 20.0])), st.integers(0, 6)), max_size=8
)


@shared
@given(arrivals=arrivals)
def test_a_vintage_is_stored_exactly_when_its_value_is_news(
    con: Connection, arrivals: list[tuple[float | None, int]]
) -> None:
    con.execute("DELETE FROM raw.co2_prognosis")
    expected: list[tuple[int, float | None]] = []
    newest_fetch = -1
    for value, fetched in arrivals:
        frame = filled(
            CO2_PROGNOSIS, time_utc=[T0], co2_g_per_kwh=[value], fetched_at_utc=T0 + fetched * HOUR
        ).drop("vintage")
        counts = store_vintages(Transaction(con, 1), CO2_PROGNOSIS, frame)
        is_first = not expected
        is_news = is_first or (value != expected[-1][1] and fetched >= newest_fetch)
        if is_news:
            expected.append((len(expected) + 1, value))
            newest_fetch = max(newest_fetch, fetched)
        assert counts == Counts(
            new=int(is_first), revised=int(is_news and not is_first), unchanged=int(not is_news)
        )
    assert stored(con, CO2_PROGNOSIS, "vintage", "co2_g_per_kwh") == expected


def test_a_prognosis_that_turned_null_is_one_vintage_however_often_it_is_seen(
    con: Connection,
) -> None:
    for value in (80.0, None, None, 80.0):
        store_vintages(
            Transaction(con, 1),
            CO2_PROGNOSIS,
            filled(CO2_PROGNOSIS, time_utc=[T0], co2_g_per_kwh=[value]).drop("vintage"),
        )
    assert stored(con, CO2_PROGNOSIS, "co2_g_per_kwh") == [(80.0,), (None,), (80.0,)]


def test_vintages_of_areas_and_times_are_counted_apart(con: Connection) -> None:
    first = filled(CO2_PROGNOSIS, time_utc=[T0, T0, T0 + HOUR], area=["DK1", "DK2", "DK1"]).drop(
        "vintage"
    )
    assert store_vintages(Transaction(con, 1), CO2_PROGNOSIS, first) == Counts(new=3)
    changed = filled(
        CO2_PROGNOSIS, time_utc=[T0, T0, T0 + 2 * HOUR], area=["DK1", "DK2", "DK1"],
        co2_g_per_kwh=[7.0, None, 7.0],
    ).drop("vintage")  # fmt: skip
    assert store_vintages(Transaction(con, 2), CO2_PROGNOSIS, changed) == Counts(
        new=1, revised=1, unchanged=1
    )


@pytest.mark.parametrize(
    ("table", "column"),
    [
        (WIND_SOLAR_FORECASTS, "forecast_mw"),
        (DAY_AHEAD_PRICES, "price_eur_per_mwh"),
        (CO2_PROGNOSIS, "co2_g_per_kwh"),
    ],
)
@pytest.mark.parametrize("is_late", [False, True])
def test_a_changed_value_is_known_from_when_it_was_seen_and_never_from_when_the_older_one_was(
    con: Connection, table: Table, column: str, is_late: bool
) -> None:
    """Revised after its time, a value is history; a prognosis is then no forecast at all."""
    before, seen = T0 - 20 * HOUR, T0 + (3 if is_late else -3) * HOUR

    def load(value: float, fetched: datetime) -> Counts:
        rows = filled(table, **{table.key[0]: [T0], column: [value]}, fetched_at_utc=fetched)
        return store_vintages(
            Transaction(con, 1), table, with_availability(table, rows.drop("vintage"), fetched)
        )

    assert load(100.0, before) == Counts(new=1)
    assert load(100.0, seen) == Counts(unchanged=1)
    assert load(80.0, seen) == Counts(revised=1)
    never = is_late and table is CO2_PROGNOSIS
    assert stored(con, table, "vintage", column, "available_utc") == [
        (1, 100.0, before),
        (2, 80.0, None if never else seen),
    ]


def test_an_answer_fetched_earlier_never_takes_back_a_later_one(con: Connection) -> None:
    def load(value: float, fetched_hour: int) -> Counts:
        return store_replacing(
            Transaction(con, fetched_hour),
            POWER_SYSTEM,
            filled(
                POWER_SYSTEM,
                minute_utc=[T0],
                co2_g_per_kwh=value,
                fetched_at_utc=T0 + fetched_hour * HOUR,
            ),
        )

    assert load(100.0, 2) == Counts(new=1)
    assert load(90.0, 1) == Counts(unchanged=1)
    assert load(80.0, 3) == Counts(revised=1)
    assert load(80.0, 4) == Counts(unchanged=1)
    assert stored(con, POWER_SYSTEM, "co2_g_per_kwh", "fetched_at_utc") == [(80.0, T0 + 3 * HOUR)]


def test_a_revised_null_replaces_a_value_and_stays_null(con: Connection) -> None:
    for value in (100.0, None):
        store_replacing(
            Transaction(con, 1),
            POWER_SYSTEM,
            filled(POWER_SYSTEM, minute_utc=[T0], solar_mw=[value]),
        )
    assert stored(con, POWER_SYSTEM, "solar_mw") == [(None,)]


def etl_run(**changed: object) -> EtlRun:
    values: dict[str, object] = {
        "etl_run_id": "1",
        "dataset": "PowerSystemRightNow",
        "table_name": "raw.power_system",
        "status": "ok",
        "source": "live",
        "window_start_utc": T0,
        "window_end_utc": T0 + HOUR,
        "started_at_utc": T0,
        "duration_seconds": 1.5,
    }
    return EtlRun(**{**values, **changed})  # type: ignore[arg-type]


def test_a_failed_load_is_on_record_with_field_row_and_value(con: Connection) -> None:
    record_etl_run(
        Transaction(con, 7),
        etl_run(
            status="source_failed",
            error="bad",
            error_field="CO2Emission",
            error_row=3,
            error_found="'n/a'",
            error_expected="a number",
        ),
    )
    assert stored(
        con, ETL_RUNS, "status", "error_field", "error_row", "error_found", "commit_id"
    ) == [("source_failed", "CO2Emission", 3, "'n/a'", 7)]


def test_two_loads_cannot_share_an_id(con: Connection) -> None:
    record_etl_run(Transaction(con, 1), etl_run())
    record_etl_run(Transaction(con, 2), etl_run(dataset="another"))
    assert stored(con, ETL_RUNS, "dataset") == [("another",)]


def test_the_archive_counts_as_loaded_only_by_its_own_record(con: Connection) -> None:
    record_etl_run(Transaction(con, 1), etl_run())
    assert not archive_is_loaded(con)
    record_etl_run(Transaction(con, 2), etl_run(etl_run_id="2", source="archive"))
    assert archive_is_loaded(con)


def test_minutes_are_read_in_order_with_an_exclusive_end(con: Connection) -> None:
    minutes = [T0 + timedelta(minutes=m) for m in (5, 0, 60, 59, -1)]
    put(con, POWER_SYSTEM, minute_utc=minutes, co2_g_per_kwh=[5.0, 0.0, 60.0, 59.0, -1.0])
    found = read_minutes(con, T0, T0 + HOUR)
    assert found.columns == ["minute_utc", *VALUE_COLUMNS]
    assert found["co2_g_per_kwh"].to_list() == [0.0, 5.0, 59.0]


def test_the_first_vintage_of_an_hour_is_refused_when_it_comes_twice_in_one_reply(
    con: Connection,
) -> None:
    twice = filled(CO2_PROGNOSIS, time_utc=[T0, T0]).drop("vintage")
    with pytest.raises(WarehouseInvalid, match="key is repeated"):
        store_vintages(Transaction(con, 1), CO2_PROGNOSIS, twice)


def test_an_empty_reply_stores_nothing_and_is_covered_all_the_same(con: Connection) -> None:
    tx = Transaction(con, 1)
    empty = filled(POWER_SYSTEM, minute_utc=hours(1)).clear()
    assert store_replacing(tx, POWER_SYSTEM, empty) == Counts()
    assert (
        store_vintages(tx, CO2_PROGNOSIS, filled(CO2_PROGNOSIS).drop("vintage").clear()) == Counts()
    )
    add_coverage(tx, POWER_SYSTEM, T0, T0 + HOUR)
    assert uncovered(con, POWER_SYSTEM, T0, T0 + HOUR) == []
