"""A receipt promises what was expected, and is settled by what was measured."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import polars as pl
import pytest

from co2_assets.forecasting.advice_calibration import DEFAULTS, JOBS, UNCALIBRATED, Calibration
from co2_assets.forecasting.greenest import HOUR, WindowRequest, recommend
from co2_assets.forecasting.receipts import Settled, recommend_jobs, settle
from co2_assets.schema import QUANTILE_COLUMNS

ISSUE = datetime(2025, 1, 20, 6, tzinfo=UTC)


def forecast(*medians: float) -> pl.DataFrame:
    """A served forecast; every quantile is the median times its share."""
    return pl.DataFrame(
        {
            "area": "DK",
            "model_version": "v0001",
            "is_hindcast": False,
            "is_fallback": True,
            "valid_time_utc": [ISSUE + HOUR * hour for hour in range(len(medians))],
            **{
                name: [median * (1 + index / 100) for median in medians]
                for index, name in enumerate(QUANTILE_COLUMNS, start=-3)
            },
        },
        schema_overrides={"valid_time_utc": pl.Datetime("us", "UTC")},
    )


def receipt(
    start: int, *, preferred: int | None = None, duration: int = 2, within: int = 6
) -> dict[str, Any]:
    return {
        "issue_time_utc": ISSUE,
        "duration_hours": duration,
        "within_hours": within,
        "recommended_start_utc": ISSUE + start * HOUR,
        "preferred_start_utc": ISSUE + (start if preferred is None else preferred) * HOUR,
    }


def measured(*co2: float | None) -> dict[datetime, tuple[float | None, str]]:
    return {
        ISSUE + HOUR * hour: (value, "frozen" if value is None else "ok")
        for hour, value in enumerate(co2)
    }


def test_every_job_is_told_what_somebody_who_asked_would_be_told() -> None:
    issued = forecast(*[100 - hour % 7 for hour in range(24)])
    receipts = recommend_jobs(issued, ISSUE, DEFAULTS)
    assert [(r["duration_hours"], r["within_hours"]) for r in receipts] == list(JOBS)
    for row in receipts:
        asked = WindowRequest(row["duration_hours"], deadline=ISSUE + row["within_hours"] * HOUR)
        found = recommend(issued, asked, ISSUE, DEFAULTS)
        assert row["recommended_start_utc"] == found.start_utc
        assert row["recommended_start_utc"] + row["duration_hours"] * HOUR <= asked.deadline
        assert row["expected_g_per_kwh"] == found.expected_g_per_kwh
        assert row["expected_saving_g_per_kwh"] == found.expected_saving_g_per_kwh
        assert row["chance_beats_now"] == found.chance_beats_now
        assert row["quantile"] == found.quantile
        assert row["expected_saving_g_per_kwh"] == pytest.approx(
            row["raw_saving_g_per_kwh"]
            * DEFAULTS[row["duration_hours"], row["within_hours"]].saving_factor
        )
        assert (row["area"], row["model_version"]) == ("DK", "v0001")
        assert (row["is_hindcast"], row["is_fallback"]) == (False, True)


def test_a_shorter_horizon_has_no_receipt_of_the_longer_jobs() -> None:
    receipts = recommend_jobs(forecast(*[100.0] * 6), ISSUE, DEFAULTS)
    assert {row["within_hours"] for row in receipts} == {6}


def test_a_settled_receipt_says_what_was_saved_and_what_could_have_been() -> None:
    settled = settle(receipt(2), measured(100, 90, 70, 80, 40, 50))
    assert settled == Settled(
        is_settled=True,
        unsettled_reason=None,
        realised_saving_g_per_kwh=pytest.approx(20),
        preferred_saving_g_per_kwh=pytest.approx(20),
        best_start_utc=ISSUE + 4 * HOUR,
        best_saving_g_per_kwh=pytest.approx(50),
        regret_g_per_kwh=pytest.approx(30),
    )


def test_running_at_once_saves_nothing_and_a_bad_choice_costs() -> None:
    rising = measured(50, 60, 70, 80, 90, 100)
    assert settle(receipt(0), rising)[2:] == (0, 0, ISSUE, 0, 0)
    assert settle(receipt(4), rising)[2:] == (-40, -40, ISSUE, 0, 40)


def test_what_the_forecast_preferred_is_settled_also_where_it_was_not_recommended() -> None:
    issued = forecast(100, 98, 99, 99, 99, 99)
    hopeless = {(1, 6): Calibration(-9.0, 0.9, "receipts", 100)}
    told = recommend_jobs(issued, ISSUE, hopeless)[0]
    assert told["recommended_start_utc"] == ISSUE
    assert told["preferred_start_utc"] == ISSUE + HOUR
    assert (told["chance_beats_now"], told["expected_saving_g_per_kwh"]) == (0, 0)
    assert told["raw_chance_beats_now"] > 0.5
    assert told["raw_saving_g_per_kwh"] == pytest.approx(2)
    settled = settle(told, measured(100, 70, 80, 90, 90, 90))
    assert settled.realised_saving_g_per_kwh == 0
    assert settled.preferred_saving_g_per_kwh == pytest.approx(30)
    assert recommend_jobs(issued, ISSUE, UNCALIBRATED)[0]["recommended_start_utc"] == ISSUE + HOUR


def test_until_all_hours_are_measured_it_waits() -> None:
    for known in ((), (100, 90), (100, 90, 80, 70, 60)):
        assert settle(receipt(0), measured(*known)) == Settled(
            unsettled_reason="waits for the hours until 2025-01-20T12 UTC"
        )


def test_an_hour_that_is_not_ok_is_named_and_nothing_is_settled() -> None:
    named = Settled(unsettled_reason="2025-01-20T09 UTC is frozen")
    assert settle(receipt(0), measured(1, 2, 3, None, 5, 6)) == named
    assert settle(receipt(0), measured(1, 2, 3, None)) == named
    # Hours after the job must have ended are none of its business.
    assert settle(receipt(0), measured(1, 2, 3, 4, 5, 6, None)).is_settled


def test_with_recorded_hours_the_best_is_never_beaten(history: pl.DataFrame) -> None:
    hours = {
        hour: (co2, "ok" if co2 is not None else "missing")
        for hour, co2 in history.select("hour_utc", "co2_g_per_kwh").iter_rows()
    }
    settled = []
    for day in range(300):
        issue_time = datetime(2024, 1, 1, 12, tzinfo=UTC) + day * 24 * HOUR
        for duration, within in JOBS:
            row = receipt(0, duration=duration, within=within) | {"issue_time_utc": issue_time}
            for start in (0, 3):
                row["recommended_start_utc"] = issue_time + start * HOUR
                row["preferred_start_utc"] = issue_time
                settled.append(settle(row, hours))
    found = [one for one in settled if one.is_settled]
    assert len(found) > 0.95 * len(settled)
    for one in found:
        assert one.regret_g_per_kwh >= 0 <= one.best_saving_g_per_kwh
        assert one.regret_g_per_kwh == pytest.approx(
            one.best_saving_g_per_kwh - one.realised_saving_g_per_kwh, abs=1e-9
        )
