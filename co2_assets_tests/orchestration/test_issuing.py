"""A forecast is always issued: by the champion, or marked, with the reason why not by it."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from co2_assets.orchestration.issuing import Issued, issue
from co2_assets.settings import WINDOW
from co2_assets.warehouse import query
from co2_assets_tests.homes import REPLAYED_UNTIL, Home

LEADS = 24
NEXT = REPLAYED_UNTIL + WINDOW
"""An issue time that the replayed home has no forecast for, and no hours up to either."""


def issued(home: Home, time: Any = REPLAYED_UNTIL, late: timedelta = timedelta(0)) -> Issued:
    return issue(home.store, home.settings, issue_time=time, now=time + late, run_id="test")


def served(home: Home, time: Any = REPLAYED_UNTIL) -> dict[str, Any]:
    """What the served rows of an issue time have in common."""
    columns = "model_version, is_fallback, is_hindcast, fallback_reason"
    with home.store.read("test") as con:
        found = query.rows(
            con,
            f"SELECT {columns}, count(*) FROM ml.forecasts"
            " WHERE is_served AND issue_time_utc = $time GROUP BY ALL",
            time=time,
        )
    (row,) = found
    assert row[-1] == LEADS
    return dict(zip(columns.split(", "), row[:-1], strict=True))


def change(home: Home, sql: str, **params: Any) -> None:
    with home.store.write("test", "test") as tx:
        tx.execute(sql, **params)


@pytest.fixture
def unissued(fresh_copy: Home) -> Home:
    """A home whose newest issue time has lost its forecasts."""
    change(fresh_copy, "DELETE FROM ml.forecasts WHERE issue_time_utc = $time", time=REPLAYED_UNTIL)
    return fresh_copy


def test_the_champion_answers_when_it_can(unissued: Home) -> None:
    outcome = issued(unissued)
    # The champion and four shadows; Energinet says nothing yet of the last of the 24 hours.
    assert outcome == Issued("issued", 5 * LEADS - 2, None)
    assert served(unissued) == {
        "model_version": "v0001",
        "is_fallback": False,
        "is_hindcast": False,
        "fallback_reason": None,
    }


def test_an_issue_time_is_issued_once_and_never_changed(unissued: Home) -> None:
    issued(unissued)
    everything = "SELECT * EXCLUDE (commit_id) FROM ml.forecasts ORDER BY ALL"
    with unissued.store.read("test") as con:
        before = query.rows(con, everything)
    # Another history would make another forecast, if there were one to make.
    change(
        unissued,
        "UPDATE core.engineered_features SET co2_imputed_g_per_kwh = 2 * co2_imputed_g_per_kwh",
    )
    assert issued(unissued, late=timedelta(days=3)) == Issued("already issued", 0, None)
    with unissued.store.read("test") as con:
        assert query.rows(con, everything) == before


def test_without_a_champion_climatology_answers_and_says_so(unissued: Home) -> None:
    change(unissued, "DELETE FROM ml.model_aliases")
    outcome = issued(unissued)
    found = served(unissued)
    assert (found["model_version"], found["is_fallback"]) == ("climatology", True)
    assert "no champion" in found["fallback_reason"] == outcome.reason


def test_a_damaged_artifact_is_named_and_climatology_answers(unissued: Home) -> None:
    folder = unissued.settings.home / "artifacts" / "v0001"
    with (folder / "weights.safetensors").open("ab") as weights:
        weights.write(b"\0")
    issued(unissued)
    found = served(unissued)
    assert (found["model_version"], found["is_fallback"]) == ("climatology", True)
    assert str(folder) in found["fallback_reason"]
    assert "sha256" in found["fallback_reason"]


def test_a_lost_artifact_is_named_and_climatology_answers(unissued: Home) -> None:
    (unissued.settings.home / "artifacts" / "v0001" / "config.json").unlink()
    issued(unissued)
    found = served(unissued)
    assert (found["model_version"], found["is_fallback"]) == ("climatology", True)
    assert "config.json" in found["fallback_reason"]


def test_without_its_newest_hours_the_champion_is_not_asked_to_guess(fresh_copy: Home) -> None:
    outcome = issued(fresh_copy, NEXT)
    found = served(fresh_copy, NEXT)
    assert outcome.status == "issued"
    assert (found["model_version"], found["is_fallback"]) == ("climatology", True)
    assert "2025-01-20T06:00" in found["fallback_reason"]


def test_the_fallback_is_one_row_a_lead_and_persistence_stays_beside_it(
    fresh_copy: Home,
) -> None:
    issued(fresh_copy, NEXT)
    with fresh_copy.store.read("test") as con:
        rows = query.rows(
            con,
            "SELECT model_version, is_served, count(*) FROM ml.forecasts"
            " WHERE issue_time_utc = $time GROUP BY 1, 2 ORDER BY 1",
            time=NEXT,
        )
    assert rows == [
        ("climatology", True, LEADS),
        ("energinet", False, 17),
        ("energinet_recalibrated", False, 17),
        ("persistence", False, LEADS),
    ]


def test_with_nothing_stored_there_is_no_forecast_and_the_reason_is_given(
    tmp_path: Path,
) -> None:
    empty = Home.new(tmp_path / "home")
    outcome = issued(empty)
    assert (outcome.status, outcome.rows_new) == ("no data", 0)
    assert "too little history" in (outcome.reason or "")


@pytest.mark.parametrize(
    ("late", "is_hindcast"),
    [(timedelta(minutes=2), False), (timedelta(hours=1), False), (timedelta(minutes=61), True)],
)
def test_more_than_an_hour_late_is_a_hindcast(
    unissued: Home, late: timedelta, is_hindcast: bool
) -> None:
    issued(unissued, late=late)
    assert served(unissued)["is_hindcast"] is is_hindcast


def test_a_version_that_saw_the_time_after_an_issue_time_does_not_forecast_it(
    unissued: Home,
) -> None:
    change(
        unissued,
        "UPDATE ml.model_versions SET train_end_utc = $later WHERE model_version = 'v0001'",
        later=REPLAYED_UNTIL + timedelta(hours=1),
    )
    issued(unissued, late=timedelta(days=1))
    assert served(unissued)["model_version"] == "climatology"
