"""Calibrated bands hold what they promise, from what was known, and never move the median."""

from __future__ import annotations

import math
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from co2_assets.forecasting.baselines import fit_persistence
from co2_assets.forecasting.calibration import (
    BANDS,
    FEWEST_SCORES,
    WINDOW_DAYS,
    Margins,
    band_widths,
    calibrate,
    conformity,
    holdout_without,
    left_out,
    margins_of,
    roll_margins,
    select_margins,
    with_quantiles,
)
from co2_assets.forecasting.evaluate import rolling_origin
from co2_assets.forecasting.external import GROUPS
from co2_assets.forecasting.forecaster import forecast_frame
from co2_assets.schema import QUANTILE_COLUMNS
from co2_assets_tests.forecasting.small import HOUR, SPRING_END, SPRING_START

DAY = 24 * HOUR
ROLLING = ("rolling", "rolling")
HORIZON = 6
SPLIT = Margins(np.full((HORIZON, 3), 0.25), np.full(HORIZON, 99.0), ("split",) * HORIZON)
FULL = {frozenset[str](): SPLIT}
"""Margins of a holdout with all inputs."""
MEDIAN = "p50_g_per_kwh"
ACTUAL = "actual_g_per_kwh"


@pytest.fixture(scope="module")
def persistence(history: pl.DataFrame) -> pl.DataFrame:
    """Seven months of forecasts every six hours, with the actuals."""
    model = fit_persistence(history, SPRING_START, SPRING_END, HORIZON)
    return rolling_origin(model, history, [SPRING_END + 6 * HOUR * n for n in range(4 * 210)])


def stretched(forecasts: pl.DataFrame, factor: float) -> pl.DataFrame:
    """Bands so many times as wide, in log space."""
    log_q = np.log(forecasts.select(QUANTILE_COLUMNS).to_numpy())
    median = log_q[:, 3:4]
    return with_quantiles(forecasts, np.exp(median + factor * (log_q - median)))


def coverage(paired: pl.DataFrame, band: int) -> float:
    low, high = (QUANTILE_COLUMNS[index] for index in BANDS[band])
    # A margin makes one actual lie on the edge itself, but for rounding.
    inside = (pl.col(ACTUAL) * (1 + 1e-9) >= pl.col(low)) & (
        pl.col(ACTUAL) <= pl.col(high) * (1 + 1e-9)
    )
    return float(paired.select(inside.mean()).item())


quantiles = st.lists(st.floats(0.1, 2000), min_size=7, max_size=7).map(sorted)
margin = st.floats(-3, 3)


@given(st.lists(quantiles, min_size=2, max_size=2), st.lists(margin, min_size=6, max_size=6))
def test_whatever_the_margins_the_median_stays_and_quantiles_are_in_order(
    values: list[list[float]], by_lead: list[float]
) -> None:
    forecasts = forecast_frame([SPRING_END], np.array([values]))
    made = calibrate(forecasts, Margins(np.reshape(by_lead, (2, 3)), np.ones(2), ROLLING))
    assert made[MEDIAN].to_numpy() == pytest.approx(forecasts[MEDIAN].to_numpy(), rel=1e-12)
    assert (np.diff(made.select(QUANTILE_COLUMNS).to_numpy(), axis=1) >= 0).all()
    assert made.drop(QUANTILE_COLUMNS).equals(forecasts.drop(QUANTILE_COLUMNS))


def test_a_margin_is_added_to_both_ends_of_its_band_of_its_lead_in_log_units() -> None:
    rows = [[50.0, 60.0, 80.0, 100.0, 120.0, 150.0, 200.0]] * 2
    forecasts = forecast_frame([SPRING_END], np.array([rows]))
    log_2 = np.log(2)
    margins = np.array([[0.0, 0.0, 0.0], [np.log(0.9), np.log(1.1), log_2]])
    made = calibrate(forecasts, Margins(margins, np.ones(2), ROLLING))
    assert made.row(0)[3:] == pytest.approx(rows[0])
    widened = [50 / 2, 60 / 1.1, 80 / 0.9, 100, 120 * 0.9, 150 * 1.1, 200 * 2]
    assert made.row(1)[3:] == pytest.approx(widened)
    assert band_widths(made.tail(1)) == pytest.approx(
        {50: 108 - 80 / 0.9, 80: 165 - 60 / 1.1, 90: 400 - 25}
    )


def test_conformity_is_how_far_the_actual_lies_outside_of_each_band() -> None:
    row = np.array([[50.0, 60.0, 80.0, 100.0, 120.0, 150.0, 200.0]] * 3)
    found = conformity(row, np.array([240.0, 100.0, 55.0]))
    above, inside, below = np.exp(found)
    assert above == pytest.approx([2.0, 1.6, 1.2])
    assert inside == pytest.approx([100 / 120, 100 / 150, 50 / 100])
    assert below == pytest.approx([80 / 55, 60 / 55, 50 / 55])


@pytest.mark.parametrize("factor", [0.3, 1.0, 3.0])
def test_margins_cover_their_own_forecasts_at_every_lead_and_no_more_than_need_be(
    factor: float, persistence: pl.DataFrame
) -> None:
    wrong = stretched(persistence, factor)
    margins = margins_of(wrong, HORIZON, "split")
    made = calibrate(wrong, margins)
    for lead in range(1, HORIZON + 1):
        of_lead = made.filter(pl.col("lead_hours") == lead)
        assert margins.counts[lead - 1] == of_lead.height
        for band in BANDS:
            assert band / 100 <= coverage(of_lead, band) < band / 100 + 0.01
    assert margins.methods == ("split",) * HORIZON
    assert margins.frame().select("lead_hours", "band").rows() == [
        (lead, band) for lead in range(1, HORIZON + 1) for band in BANDS
    ]
    assert margins.frame()["margin_log"].to_list() == margins.values.reshape(-1).tolist()


@settings(deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**31))
def test_a_margin_is_at_least_its_share_of_scores_and_zero_with_too_few(
    count: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    rows = np.sort(random.uniform(10, 900, (count, 1, 7)), axis=2)
    times = [SPRING_END + HOUR * n for n in range(count)]
    actual = random.uniform(10, 900, count)
    paired = forecast_frame(times, rows).with_columns(pl.Series(ACTUAL, actual))
    (values,) = margins_of(paired, 1, "split").values
    if count < FEWEST_SCORES:
        assert not values.any()
        return
    held = (conformity(rows[:, 0], actual) <= values).mean(axis=0)
    assert (held >= np.array(list(BANDS)) / 100).all()
    assert (held <= np.array(list(BANDS)) / 100 + 2 / count).all()


@pytest.mark.parametrize("band", BANDS)
def test_of_equal_weights_the_margin_is_the_conformal_quantile(
    band: int, persistence: pl.DataFrame
) -> None:
    of_lead = persistence.filter(pl.col("lead_hours") == 2)
    scores = conformity(of_lead.select(QUANTILE_COLUMNS).to_numpy(), of_lead[ACTUAL].to_numpy())
    index, n = list(BANDS).index(band), of_lead.height
    found = margins_of(persistence, HORIZON, "split").values[1, index]
    expected = np.sort(scores[:, index])[math.ceil(band / 100 * (n + 1)) - 1]
    assert found == expected


def test_recent_days_weigh_more_so_that_bands_follow_the_weather(
    persistence: pl.DataFrame,
) -> None:
    """Errors of the last week were twice as large as those of the weeks before."""
    issue = SPRING_END + 60 * DAY
    known = known_by(persistence, issue)
    recent = pl.col("issue_time_utc") >= issue - 7 * DAY
    wild = pl.concat([known.filter(~recent), stretched(known.filter(recent), 0.5)])
    equal, weighted = (
        margins_of(wild, HORIZON, "rolling", at=at).values[:, 1] for at in (None, issue)
    )
    alone = margins_of(wild.filter(recent), HORIZON, "rolling").values[:, 1]
    assert (equal < weighted).all()
    assert (weighted < alone).mean() > 0.5


def test_where_few_are_recent_those_of_about_the_same_lead_are_evidence_too(
    persistence: pl.DataFrame,
) -> None:
    issue = SPRING_END + 60 * DAY
    known = known_by(persistence, issue)
    rolled = margins_of(known, HORIZON, "rolling", at=issue)
    for lead, alike in {1: [1], 2: [2], 3: [3, 4], 4: [3, 4, 5], 5: [4, 5, 6], 6: [5, 6]}.items():
        others = known.with_columns(
            pl.when(pl.col("lead_hours").is_in(alike)).then(ACTUAL).otherwise(1.0).alias(ACTUAL)
        )
        again = margins_of(others, HORIZON, "rolling", at=issue)
        assert np.array_equal(again.values[lead - 1], rolled.values[lead - 1])
        near = known.filter(pl.col("lead_hours").is_in(alike)).with_columns(
            lead_hours=pl.lit(lead, pl.Int32)
        )
        alone = margins_of(near, HORIZON, "rolling", at=issue)
        assert np.array_equal(alone.values[lead - 1], rolled.values[lead - 1])
        assert rolled.counts[lead - 1] == known.filter(lead_hours=lead).height


def known_by(paired: pl.DataFrame, issue: datetime) -> pl.DataFrame:
    over = pl.col("valid_time_utc") + HOUR <= issue
    return paired.filter(over, pl.col("issue_time_utc") >= issue - WINDOW_DAYS * DAY)


@pytest.mark.parametrize(
    ("days", "method"), [(0, "none"), (13.75, "none"), (14, "rolling"), (100, "rolling")]
)
def test_margins_roll_from_two_weeks_on_and_before_are_those_of_the_holdout_or_none(
    days: float, method: str, persistence: pl.DataFrame
) -> None:
    issue = SPRING_END + days * DAY
    found = select_margins(persistence, {}, (), issue, HORIZON)
    assert found.methods == (method,) * HORIZON
    if method == "rolling":
        expected = margins_of(known_by(persistence, issue), HORIZON, "rolling", at=issue)
        assert np.array_equal(found.values, expected.values)
        assert found.counts.sum() == known_by(persistence, issue).height
        assert found.values.any()
    else:
        assert not found.values.any()
        assert select_margins(persistence, FULL, (), issue, HORIZON) is SPLIT
    assert select_margins(persistence.clear(), FULL, (), issue, HORIZON) is SPLIT


def test_a_lead_with_too_few_rolling_scores_has_the_margin_of_the_holdout(
    persistence: pl.DataFrame,
) -> None:
    """After an outage, say: fifteen scores are no evidence, and no margin is worse than an old."""
    issue = SPRING_END + 40 * DAY
    few = persistence.filter(
        (pl.col("lead_hours") != 3) | (pl.col("issue_time_utc") < SPRING_END + 15 * 6 * HOUR)
    )
    found = select_margins(few, FULL, (), issue, HORIZON)
    assert found.methods == tuple("split" if lead == 3 else "rolling" for lead in range(1, 7))
    assert found.values[2].tolist() == [0.25] * 3
    rolled = select_margins(persistence, FULL, (), issue, HORIZON)
    unlike = [0, 1, 4, 5]  # lead 4 has lost the evidence of lead 3
    assert np.array_equal(found.values[unlike], rolled.values[unlike])


@pytest.mark.parametrize(
    ("missing", "nearest"),
    [
        ((), "holdout"),
        (("price_no2_eur_per_mwh", "price_se3_eur_per_mwh"), "holdout without prices"),
        (("co2_prognosis_g_per_kwh",), "holdout without co2_prognosis"),
        (
            ("solar_forecast_mw", "co2_prognosis_g_per_kwh"),
            "holdout without wind_solar, co2_prognosis, prices",
        ),
    ],
)
def test_before_there_is_evidence_of_a_pattern_the_holdout_that_lacks_as_little_more_counts(
    missing: tuple[str, ...], nearest: str, persistence: pl.DataFrame
) -> None:
    scopes = [holdout_without(groups) for groups in [(), *((g,) for g in GROUPS), GROUPS]]
    split = {
        left_out(scope): Margins(np.full((HORIZON, 3), n), np.ones(HORIZON), ("split",) * HORIZON)
        for n, scope in enumerate(scopes)
    }
    found = select_margins(persistence.clear(), split, missing, SPRING_END, HORIZON)
    assert found is split[left_out(nearest)]


@settings(max_examples=25, deadline=None)
@given(hours=st.integers(0, 24 * 200), factor=st.floats(0.1, 10))
def test_nothing_that_follows_the_issue_time_counts(
    hours: int, factor: float, persistence: pl.DataFrame
) -> None:
    issue = SPRING_END + hours * HOUR
    later = pl.col("valid_time_utc") + HOUR > issue
    altered = persistence.with_columns(
        pl.when(later).then(pl.col(ACTUAL) * factor + 1).otherwise(ACTUAL).alias(ACTUAL)
    )
    found = select_margins(persistence, FULL, (), issue, HORIZON)
    for other in (altered, persistence.filter(~later)):
        again = select_margins(other, FULL, (), issue, HORIZON)
        assert np.array_equal(again.values, found.values)
        assert (again.methods, again.counts.tolist()) == (found.methods, found.counts.tolist())


@settings(max_examples=15, deadline=None)
@given(hours=st.integers(24 * 15, 24 * 200), factor=st.floats(0.1, 0.8) | st.floats(1.3, 10))
def test_rolling_margins_of_a_day_rest_on_what_was_over_at_its_midnight(
    hours: int, factor: float, persistence: pl.DataFrame
) -> None:
    first = SPRING_END + hours * HOUR
    near = persistence.filter(
        (pl.col("issue_time_utc") - first).dt.total_days().abs() < 70, pl.col("lead_hours") <= 2
    )
    altered = near.with_columns(
        pl.when(pl.col("valid_time_utc") >= first)
        .then(pl.col(ACTUAL) * factor)
        .otherwise(ACTUAL)
        .alias(ACTUAL)
    )
    # The first altered hour is over an hour after it begins.
    untouched = pl.col("issue_time_utc").dt.truncate("1d") < first + HOUR
    made, again = (roll_margins(frame).drop(ACTUAL) for frame in (near, altered))
    assert again.filter(untouched).equals(made.filter(untouched))
    assert not again.filter(~untouched).equals(made.filter(~untouched))
    # Nor do they know that anything follows.
    cut = roll_margins(near.filter(untouched)).drop(ACTUAL)
    assert cut.equals(made.filter(untouched))


def test_each_day_is_calibrated_by_the_days_before_its_midnight(
    persistence: pl.DataFrame,
) -> None:
    made = roll_margins(persistence)
    assert made.drop(QUANTILE_COLUMNS).equals(persistence.drop(QUANTILE_COLUMNS))
    for days in (20, 100):
        midnight = SPRING_END + days * DAY
        of_day = pl.col("issue_time_utc").is_between(midnight, midnight + DAY, closed="left")
        margins = margins_of(known_by(persistence, midnight), HORIZON, "rolling", at=midnight)
        expected = calibrate(persistence.filter(of_day), margins)
        found = made.filter(of_day).select(QUANTILE_COLUMNS).to_numpy()
        assert found == pytest.approx(expected.select(QUANTILE_COLUMNS).to_numpy(), rel=1e-9)
    early = pl.col("issue_time_utc") < SPRING_END + timedelta(days=13)
    first, as_made = (frame.filter(early).select(QUANTILE_COLUMNS) for frame in (made, persistence))
    assert first.to_numpy() == pytest.approx(as_made.to_numpy(), rel=1e-12)


@pytest.mark.parametrize("factor", [0.3, 2.5])
def test_wrong_bands_come_to_hold_eighty_percent_of_what_followed(
    factor: float, persistence: pl.DataFrame
) -> None:
    wrong = stretched(persistence, factor)
    assert abs(coverage(wrong, 80) - 0.8) > 0.1
    right = roll_margins(wrong).filter(pl.col("issue_time_utc") >= SPRING_END + 14 * DAY)
    assert coverage(right, 80) == pytest.approx(0.8, abs=0.02)
    assert right[MEDIAN].to_numpy() == pytest.approx(
        wrong.filter(pl.col("issue_time_utc") >= SPRING_END + 14 * DAY)[MEDIAN].to_numpy()
    )
