"""Loads over the recorded server: which requests are sent, and what a failing one leaves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from co2_assets.errors import SourceMalformed, SourceRefused
from co2_assets.orchestration import loading
from co2_assets.orchestration.loading import SPLIT_DAYS, Loader, LoadReport, plan_requests
from co2_assets.schema import (
    CO2_PROGNOSIS,
    DAY_AHEAD_PRICES,
    POWER_SYSTEM,
    WIND_SOLAR_FORECASTS,
    Table,
)
from co2_assets.settings import WINDOW
from co2_assets.warehouse import query, raw
from co2_assets_tests.homes import FIRST, Home, utc

HISTORY = FIRST - timedelta(days=16)
NOW = FIRST + WINDOW + timedelta(minutes=2)


@pytest.fixture
def small(tmp_path: Path) -> Home:
    """A new home of two weeks and two days."""
    return Home.new(tmp_path / "home", training_days=14)


@pytest.fixture
def halved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve days count as a long span, so that a first load of 16 days has two halves."""
    monkeypatch.setattr(loading, "SPLIT_DAYS", 12)
    monkeypatch.setattr(loading, "FIRST_LOAD_DAYS", 12)


def load(
    home: Home, table: Table, window: datetime, say: Callable[[str], None] = lambda _line: None
) -> LoadReport:
    now = window + WINDOW + timedelta(minutes=2)
    return Loader(home.store, home.settings, lambda: now, "test", say).load(
        table, (window, window + WINDOW)
    )


def asked(home: Home, table: Table) -> list[tuple[Any, ...]]:
    """Spans and outcomes of the requests sent, oldest request first."""
    with home.store.read("test") as con:
        return query.rows(
            con,
            "SELECT window_start_utc, window_end_utc, status FROM ops.etl_runs"
            " WHERE table_name = $table AND source <> 'archive' ORDER BY commit_id",
            table=table.qualified_name,
        )


def minutes(home: Home) -> int:
    with home.store.read("test") as con:
        return int(query.value(con, "SELECT count(*) FROM raw.power_system"))


@pytest.mark.parametrize(
    ("table", "dataset"),
    [
        (POWER_SYSTEM, "PowerSystemRightNow"),
        (WIND_SOLAR_FORECASTS, "Forecasts_Hour"),
        (CO2_PROGNOSIS, "CO2EmisProg"),
        (DAY_AHEAD_PRICES, "Elspotprices"),
    ],
)
def test_a_short_span_is_one_request(table: Table, dataset: str) -> None:
    span = (FIRST, FIRST + timedelta(days=SPLIT_DAYS - 100))
    if table is DAY_AHEAD_PRICES:
        span = (FIRST, FIRST + timedelta(days=30))
    assert [(d.name, s, e) for d, s, e in plan_requests(table, span)] == [(dataset, *span)]


def test_a_long_span_is_two_requests_without_a_seam_the_newest_first() -> None:
    start, end = utc("2022-12-21T00:00"), utc("2025-01-18T06:00")
    (_, second, last), (_, first, middle) = plan_requests(POWER_SYSTEM, (start, end))
    assert (first, middle, last) == (start, second, end)
    assert (second.minute, second.second) == (0, 0)


def test_prices_are_asked_of_both_datasets_where_they_change() -> None:
    change = utc("2025-09-30T22:00")
    span = (change - timedelta(days=2), change + timedelta(days=1))
    assert [(d.name, s, e) for d, s, e in plan_requests(DAY_AHEAD_PRICES, span)] == [
        ("DayAheadPrices", change, span[1]),
        ("Elspotprices", span[0], change),
    ]


def test_a_first_load_reaches_back_to_the_training_range_in_two_requests(
    small: Home, halved: None
) -> None:
    said: list[str] = []
    with small.served(until=NOW):
        report = load(small, POWER_SYSTEM, FIRST, said.append)
    (newest, middle) = asked(small, POWER_SYSTEM)
    assert newest[1:] == (FIRST + WINDOW, "ok")
    assert middle == (HISTORY, newest[0], "ok")
    assert report.rows_new == minutes(small) == (16 * 24 + 6) * 60
    assert len([line for line in said if "rows read" in line]) == 2


def test_a_failed_second_half_keeps_the_first_and_the_next_load_asks_for_the_rest(
    small: Home, halved: None
) -> None:
    second_half = {
        "kind": "contradicting_rows",
        "column": "CO2Emission",
        "data_from": HISTORY + timedelta(hours=10),
        "data_to": HISTORY + timedelta(hours=11),
        "times": 2,
    }
    with small.served(second_half, until=NOW):
        report = load(small, POWER_SYSTEM, FIRST)
        assert isinstance(report.error, SourceMalformed)
        assert report.status == "source_failed"
        kept = minutes(small)
        assert 0 < kept == report.rows_new < (16 * 24 + 6) * 60
        with small.store.read("test") as con:
            lacking = raw.uncovered(con, POWER_SYSTEM, HISTORY, FIRST + WINDOW)
        assert [start for start, _ in lacking] == [HISTORY]

        again = load(small, POWER_SYSTEM, FIRST)
    assert again.error is None
    assert minutes(small) == (16 * 24 + 6) * 60
    assert again.rows_revised == 0


def test_a_tick_asks_again_for_the_overlap_and_nothing_more(small: Home) -> None:
    after = FIRST + WINDOW
    with small.served(until=NOW + WINDOW):
        load(small, POWER_SYSTEM, FIRST)
        report = load(small, POWER_SYSTEM, after)
    assert asked(small, POWER_SYSTEM)[1:] == [(after - timedelta(hours=12), after + WINDOW, "ok")]
    assert (report.rows_new, report.rows_unchanged) == (6 * 60, 12 * 60)


def test_a_week_that_was_slept_through_heals_in_one_request(small: Home) -> None:
    after = FIRST + timedelta(days=7)
    with small.served(until=after + WINDOW + timedelta(minutes=2)):
        load(small, POWER_SYSTEM, FIRST)
        report = load(small, POWER_SYSTEM, after)
    # With the overlap before it: what came last may have been revised meanwhile.
    begin = FIRST + WINDOW - timedelta(hours=small.settings.overlap_hours)
    assert asked(small, POWER_SYSTEM)[1:] == [(begin, after + WINDOW, "ok")]
    assert report.rows_new == 7 * 24 * 60


def test_forecasts_are_asked_for_two_days_beyond_the_window(small: Home) -> None:
    with small.served(until=NOW):
        for table in (WIND_SOLAR_FORECASTS, DAY_AHEAD_PRICES, CO2_PROGNOSIS):
            load(small, table, FIRST)
            assert asked(small, table)[-1][1] == FIRST + WINDOW + timedelta(hours=48)


def test_what_is_ahead_of_the_window_is_never_counted_as_covered(small: Home) -> None:
    with small.served(until=NOW):
        load(small, DAY_AHEAD_PRICES, FIRST)
    with small.store.read("test") as con:
        assert raw.covered_until(con, DAY_AHEAD_PRICES) == FIRST + WINDOW


def test_the_prognosis_is_not_asked_for_its_overwritten_history(small: Home) -> None:
    with small.served(until=NOW):
        load(small, CO2_PROGNOSIS, FIRST)
    assert asked(small, CO2_PROGNOSIS)[0][0] == FIRST - timedelta(hours=12)


def test_the_archive_of_the_prognosis_is_taken_in_once(small: Home) -> None:
    with small.served(until=NOW + WINDOW):
        load(small, CO2_PROGNOSIS, FIRST)
        load(small, CO2_PROGNOSIS, FIRST + WINDOW)
    with small.store.read("test") as con:
        archives = query.rows(
            con, "SELECT rows_new, window_start_utc FROM ops.etl_runs WHERE source = 'archive'"
        )
        late = query.value(
            con, "SELECT count(*) FROM raw.co2_prognosis WHERE first_seen_utc >= time_utc"
        )
    ((new, start),) = archives
    assert (new > 0, start) == (True, HISTORY)
    assert late == 0


def test_a_retry_after_beyond_the_patience_of_a_tick_is_a_failed_source(small: Home) -> None:
    with small.served({"kind": "status_429", "retry_after_s": 61}, until=NOW):
        report = load(small.under(retry_after_tick_s=60.0), POWER_SYSTEM, FIRST)
    assert isinstance(report.error, SourceRefused)
    assert report.error.retry_after_s == 61
    assert asked(small, POWER_SYSTEM)[0][2] == "source_failed"
    assert minutes(small) == 0


def test_a_first_load_waits_as_asked_and_says_so(small: Home, halved: None) -> None:
    said: list[str] = []
    patient = small.under(
        retry_after_tick_s=0.0, retry_after_first_load_s=5.0, request_retries=1, training_days=14
    )
    with patient.served({"kind": "status_429", "retry_after_s": 1, "times": 1}, until=NOW):
        report = load(patient, POWER_SYSTEM, FIRST, said.append)
    assert report.error is None
    assert any("asks us to wait 1 s" in line for line in said)
