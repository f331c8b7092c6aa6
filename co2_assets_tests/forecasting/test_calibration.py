"""Calibration: bands that hold what they promise, from what was known at the issue time."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2_assets.forecasting.baselines import Baseline, fit_persistence
from co2_assets.forecasting.calibration import (
    BANDS,
    Margins,
    calibrate,
    choose,
    margins_of,
    roll_margins,
)
from co2_assets.forecasting.evaluate import rolling_origin
from co2_assets.schema import QUANTILE_COLUMNS
from co2_assets_tests.forecasting.small import HOUR, SPRING_END, SPRING_START

HORIZON = 3


@pytest.fixture(scope="module")
def timid(history: pl.DataFrame) -> pl.DataFrame:
    """Half a year of persistence forecasts whose bands are half as wide as they should be."""
    honest = fit_persistence(history, SPRING_START, SPRING_END, HORIZON)
    narrow = Baseline("persistence", HORIZON, honest.log_error_quantiles / 2)
    times = [SPRING_END + 3 * HOUR * step for step in range(8 * 180)]
    return rolling_origin(narrow, history, times)


def coverage(rows: pl.DataFrame, band: int) -> float:
    low, high = (QUANTILE_COLUMNS[index] for index in BANDS[band])
    return float(rows["actual_g_per_kwh"].is_between(rows[low], rows[high]).mean() or 0.0)


def quantiles(rows: pl.DataFrame) -> np.ndarray:
    return rows.select(QUANTILE_COLUMNS).to_numpy()


def test_rolling_margins_make_narrow_bands_hold_what_they_promise(timid: pl.DataFrame) -> None:
    assert coverage(timid, 80) < 0.65
    # After the two weeks in which there is nothing to go by.
    later = pl.col("issue_time_utc") >= SPRING_END + timedelta(days=15)
    mended = roll_margins(timid).filter(later)
    for band in BANDS:
        assert coverage(mended, band) == pytest.approx(band / 100, abs=0.025)
    for lead in range(1, HORIZON + 1):
        of_lead = mended.filter(pl.col("lead_hours") == lead)
        assert coverage(of_lead, 80) == pytest.approx(0.8, abs=0.05)


def test_the_median_never_moves(timid: pl.DataFrame) -> None:
    mended = roll_margins(timid)
    ordered = timid.sort("issue_time_utc", "lead_hours")
    np.testing.assert_allclose(mended["p50_g_per_kwh"], ordered["p50_g_per_kwh"])


@given(st.lists(st.floats(-3, 3), min_size=9, max_size=9))
def test_quantiles_stay_in_order_whatever_the_margins(margins: list[float]) -> None:
    made = pl.DataFrame(
        {
            "lead_hours": [1, 2, 3],
            **{name: [50.0 + 10 * index] * 3 for index, name in enumerate(QUANTILE_COLUMNS)},
        }
    )
    moved = calibrate(made, Margins(np.array(margins).reshape(3, 3), np.ones(3), "rolling"))
    assert (np.diff(quantiles(moved), axis=1) >= 0).all()
    assert moved["p50_g_per_kwh"].to_list() == pytest.approx([80.0] * 3)


def test_margins_cover_their_own_scores(timid: pl.DataFrame) -> None:
    margins = margins_of(timid, HORIZON, "split")
    for band in BANDS:
        assert coverage(calibrate(timid, margins), band) >= band / 100
    assert margins.counts.sum() == timid.height


def test_what_follows_changes_no_earlier_band(timid: pl.DataFrame) -> None:
    time = SPRING_END + timedelta(days=60, hours=12)
    other = timid.with_columns(
        pl.when(pl.col("valid_time_utc") >= time)
        .then(999.0)
        .otherwise("actual_g_per_kwh")
        .alias("actual_g_per_kwh")
    )
    before = pl.col("issue_time_utc") <= time
    kept, changed = (quantiles(roll_margins(rows).filter(before)) for rows in (timid, other))
    assert np.array_equal(kept, changed)
    assert not np.array_equal(quantiles(roll_margins(timid)), quantiles(roll_margins(other)))


def test_two_weeks_decide_between_rolling_and_split(timid: pl.DataFrame) -> None:
    split = Margins(np.full((HORIZON, 3), 0.5), np.full(HORIZON, 99.0), "split")

    def chosen(days: int, margins: Margins | None) -> str:
        time: datetime = SPRING_END + timedelta(days=days)
        return choose(timid, margins, time, HORIZON).method

    assert [chosen(days, split) for days in (0, 13, 14, 60)] == [
        "split", "split", "rolling", "rolling",
    ]  # fmt: skip
    assert chosen(5, None) == "none"


def test_actuals_of_hours_that_are_not_over_do_not_count(timid: pl.DataFrame) -> None:
    time = SPRING_END + timedelta(days=30)
    over = timid.filter(pl.col("valid_time_utc") + HOUR <= time)
    assert over.height < timid.filter(pl.col("issue_time_utc") <= time).height
    found, alone = choose(timid, None, time, HORIZON), choose(over, None, time, HORIZON)
    assert np.array_equal(found.values, alone.values)
