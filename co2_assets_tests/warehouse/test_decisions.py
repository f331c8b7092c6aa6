from __future__ import annotations

import pytest

from co2_assets.schema import AGGREGATED_HOURS, FORECAST_EVALUATIONS, RETRAIN_DECISIONS
from co2_assets.warehouse.decisions import (
    LiveEvidence,
    live_evidence,
    read_decision,
    store_decision,
)
from co2_assets.warehouse.query import Connection, row
from co2_assets.warehouse.store import Transaction
from co2_assets.warehouse.upsert import Counts
from co2_assets_tests.warehouse.filled import HOUR, T0, filled, hours, put

DAY = 24 * HOUR
END = T0 + 7 * DAY


def scores(con: Connection, count: int, **changed: object) -> None:
    """Live served scores, one an hour up to END, each 20 % wrong, half of persistence's error."""
    values: dict[str, object] = {
        "valid_time_utc": hours(count, END - count * HOUR),
        "issue_time_utc": [
            END - (count // 6 + 1) * 6 * HOUR + 6 * (i // 6) * HOUR for i in range(count)
        ],
        "lead_hours": [i % 6 + 1 for i in range(count)],
        "model_version": "v0001",
        "actual_g_per_kwh": 100.0,
        "p50_g_per_kwh": 120.0,
        "error_g_per_kwh": 20.0,
        "absolute_error_g_per_kwh": 20.0,
        "percentage_error": 20.0,
        "persistence_g_per_kwh": 140.0,
        "is_served": True,
    }
    put(con, FORECAST_EVALUATIONS, **{**values, **changed})


def good_hours(con: Connection, count: int, quality: str = "ok") -> None:
    put(
        con,
        AGGREGATED_HOURS,
        hour_utc=hours(count, END - count * HOUR),
        co2_cleaned_g_per_kwh=1.0,
        is_complete=True,
        quality=quality,
    )


def evidence(con: Connection) -> LiveEvidence:
    return live_evidence(con, END, accuracy_days=7, skill_days=14)


def test_an_empty_warehouse_is_no_evidence_and_its_feed_counts_as_faulty(con: Connection) -> None:
    assert evidence(con) == LiveEvidence(None, 0, 0, None, 1.0, True)


def test_pseudo_accuracy_and_skill_are_pooled_over_live_served_values(con: Connection) -> None:
    scores(con, 60)
    good_hours(con, 200)
    assert evidence(con) == LiveEvidence(80.0, 10, 60, 0.5, 0.0, False)


@pytest.mark.parametrize(
    "flag",
    [
        {"is_hindcast": True},
        {"is_fallback": True},
        {"is_served": False},
        {"lead_hours": 7},
    ],
    ids=["hindcast", "fallback", "shadow", "beyond six leads"],
)
def test_what_is_no_live_served_forecast_of_the_champion_never_counts(
    con: Connection, flag: dict[str, object]
) -> None:
    scores(con, 12)
    before = evidence(con)
    scores(con, 12, model_version="other", percentage_error=99.0, **flag)
    assert evidence(con) == before


def test_values_at_and_after_the_windows_end_are_not_seen(con: Connection) -> None:
    scores(con, 12)
    good_hours(con, 100)
    before = evidence(con)
    scores(con, 6, valid_time_utc=hours(6, END), percentage_error=99.0)
    put(con, AGGREGATED_HOURS, hour_utc=hours(5, END), quality="frozen")
    assert evidence(con) == before


def test_accuracy_looks_back_seven_days_and_skill_fourteen(con: Connection) -> None:
    scores(con, 24 * 8, percentage_error=[50.0] * 24 + [20.0] * 24 * 7)
    found = evidence(con)
    assert found.pseudo_accuracy == 80.0
    assert found.n_values == 24 * 7
    assert found.skill == 0.5


def test_a_missing_hour_is_as_faulty_as_a_bad_one(con: Connection) -> None:
    good_hours(con, 24 * 8)
    con.execute("DELETE FROM core.aggregated_hours WHERE hour_utc < $t AND hour_utc >= $s",
                {"t": T0 + 21 * HOUR, "s": T0})  # fmt: skip
    con.execute("UPDATE core.aggregated_hours SET quality = 'spike' WHERE hour_utc < $t"
                " AND hour_utc >= $s", {"t": T0 + 42 * HOUR, "s": T0 + 21 * HOUR})  # fmt: skip
    assert evidence(con).faulty_share == pytest.approx(42 / 168)
    assert not evidence(con).newest_hours_faulty


def test_a_young_warehouse_is_judged_by_the_hours_it_has(con: Connection) -> None:
    good_hours(con, 48)
    assert evidence(con).faulty_share == 0.0


def test_the_newest_three_hours_alone_can_put_the_feed_at_fault(con: Connection) -> None:
    good_hours(con, 48)
    good_hours(con, 3, quality="frozen")
    assert evidence(con).newest_hours_faulty
    assert evidence(con).faulty_share == pytest.approx(3 / 48)
    good_hours(con, 1)
    assert not evidence(con).newest_hours_faulty


def test_a_decision_that_was_taken_stands(con: Connection) -> None:
    def decision(reason: str) -> dict[str, object]:
        return filled(RETRAIN_DECISIONS, window_start_utc=[T0], reason=reason).row(0, named=True)

    assert read_decision(con, T0) is None
    assert store_decision(Transaction(con, 1), decision("first")) == Counts(new=1)
    assert store_decision(Transaction(con, 2), decision("second")) == Counts(unchanged=1)
    found = read_decision(con, T0)
    assert found is not None
    assert found["reason"] == "first"
    assert row(con, "SELECT count(*), max(reason) FROM main.retrain_ledger") == (1, "first")
