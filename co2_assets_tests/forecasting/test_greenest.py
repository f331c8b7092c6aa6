"""The greenest window: what is chosen, what it saves, how sure that is, what is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from statistics import NormalDist
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from co2_assets.errors import Co2Error, WindowDoesNotFit
from co2_assets.forecasting import greenest
from co2_assets.forecasting.advice_calibration import (
    DEFAULTS,
    JOBS,
    NEAR_HOURS,
    UNCALIBRATED,
    Calibration,
    Calibrations,
)
from co2_assets.forecasting.greenest import (
    ERROR_CORRELATION,
    HOUR,
    Recommendation,
    WindowRequest,
    describe,
    scenarios,
    window_means,
)
from co2_assets.schema import QUANTILE_COLUMNS, QUANTILES

ISSUE = datetime(2025, 1, 20, 6, tzinfo=UTC)
SPREAD = np.array([-1.64, -1.28, -0.67, 0.0, 0.67, 1.28, 1.64])
"""Normal scores of the quantiles."""

SOME = settings(max_examples=80, deadline=None)


def outlook(
    medians: Sequence[float], *, spread: float | Sequence[float] = 0.1, start: datetime = ISSUE
) -> pl.DataFrame:
    """A forecast with these medians; its quantiles are log-normal of this spread."""
    widths = np.broadcast_to(np.asarray(spread, dtype=float), (len(medians),))
    quantiles = np.asarray(medians)[:, None] * np.exp(widths[:, None] * SPREAD)
    return pl.DataFrame(
        {
            "valid_time_utc": [start + HOUR * hour for hour in range(len(medians))],
            **{name: quantiles[:, index] for index, name in enumerate(QUANTILE_COLUMNS)},
        },
        schema_overrides={"valid_time_utc": pl.Datetime("us", "UTC")},
    )


def recommend(
    forecast: pl.DataFrame,
    request: WindowRequest,
    now: datetime,
    calibrations: Calibrations = UNCALIBRATED,
) -> Recommendation:
    return greenest.recommend(forecast, request, now, calibrations)


def at(*hours: int) -> tuple[datetime, ...]:
    return tuple(ISSUE + HOUR * hour for hour in hours)


V_SHAPE = outlook([100, 90, 60, 50, 70, 95])


def test_one_window_is_the_lowest_mean_of_neighbours() -> None:
    found = recommend(V_SHAPE, WindowRequest(2), ISSUE)
    assert found.hours == at(2, 3)
    assert (found.start_utc, found.end_utc) == (ISSUE + 2 * HOUR, ISSUE + 4 * HOUR)
    assert found.expected_g_per_kwh == pytest.approx(55)
    assert found.now_g_per_kwh == pytest.approx(95)
    assert found.expected_saving_g_per_kwh == pytest.approx(40)
    assert found.expected_saving_percent == pytest.approx(100 * 40 / 95)
    assert found.horizon_end_utc == ISSUE + 6 * HOUR
    assert not found.is_now
    assert [c.start_utc for c in found.candidates] == list(at(0, 1, 2, 3, 4))
    assert [c.expected_g_per_kwh for c in found.candidates] == pytest.approx([95, 75, 55, 60, 82.5])


def test_a_job_that_may_pause_has_the_single_lowest_hours() -> None:
    forecast = outlook([100, 50, 90, 95, 40, 99])
    together = recommend(forecast, WindowRequest(2), ISSUE)
    apart = recommend(forecast, WindowRequest(2, contiguous=False), ISSUE)
    assert together.hours == at(3, 4)
    assert apart.hours == at(1, 4)
    assert apart.expected_g_per_kwh == pytest.approx(45)
    assert (apart.start_utc, apart.end_utc) == (ISSUE + HOUR, ISSUE + 5 * HOUR)
    assert len(apart.candidates) == 6
    assert recommend(forecast, WindowRequest(6, contiguous=False), ISSUE).is_now


def test_the_current_hour_counts_as_now_and_those_before_it_are_past() -> None:
    found = recommend(
        outlook([10, 20, 80, 90, 70, 95]),
        WindowRequest(1),
        ISSUE + 2 * HOUR + timedelta(minutes=59),
    )
    assert found.now_utc == ISSUE + 2 * HOUR
    assert found.now_g_per_kwh == pytest.approx(80)
    assert found.hours == at(4)
    assert found.candidates[0].start_utc == ISSUE + 2 * HOUR


def test_where_now_is_best_nothing_is_saved_and_nothing_is_beaten() -> None:
    found = recommend(outlook([50, 60, 70, 80]), WindowRequest(2), ISSUE)
    assert found.is_now
    assert (found.expected_saving_g_per_kwh, found.expected_saving_percent) == (0, 0)
    assert found.chance_beats_now == 0


def test_among_equals_the_earliest_is_chosen() -> None:
    assert recommend(outlook([80] * 24), WindowRequest(3), ISSUE).is_now
    forecast = outlook([90, 60, 60, 90, 60, 60])
    assert recommend(forecast, WindowRequest(2), ISSUE).hours == at(1, 2)
    assert recommend(forecast, WindowRequest(3, contiguous=False), ISSUE).hours == at(1, 2, 4)


def test_earliest_and_deadline_narrow_inwards_to_whole_hours() -> None:
    minutes = timedelta(minutes=20)
    request = WindowRequest(
        1, earliest=ISSUE + 3 * HOUR + minutes, deadline=ISSUE + 6 * HOUR - minutes
    )
    found = recommend(V_SHAPE, request, ISSUE)
    assert [c.start_utc for c in found.candidates] == list(at(4))
    late = WindowRequest(1, deadline=ISSUE + 6 * HOUR + minutes)
    assert recommend(V_SHAPE, late, ISSUE).hours == at(3)


def test_times_of_any_zone_mean_the_same_moment() -> None:
    copenhagen = ZoneInfo("Europe/Copenhagen")
    request = WindowRequest(1, ISSUE + HOUR, ISSUE + 4 * HOUR)
    danish = WindowRequest(
        1, (ISSUE + HOUR).astimezone(copenhagen), (ISSUE + 4 * HOUR).astimezone(copenhagen)
    )
    half_past = timezone(timedelta(hours=5, minutes=30))
    assert recommend(V_SHAPE, danish, ISSUE.astimezone(half_past)) == recommend(
        V_SHAPE, request, ISSUE
    )


def test_a_cautious_quantile_avoids_what_may_be_bad_but_saving_stays_the_medians() -> None:
    forecast = outlook([100, 70, 75], spread=[0.1, 0.8, 0.1])
    bold, cautious = (recommend(forecast, WindowRequest(1, quantile=q), ISSUE) for q in (0.5, 0.9))
    assert (bold.hours, cautious.hours) == (at(1), at(2))
    assert cautious.expected_saving_g_per_kwh == pytest.approx(25)
    assert (
        cautious.candidates[1].deciding_g_per_kwh > 75 > cautious.candidates[1].expected_g_per_kwh
    )
    assert cautious.chance_beats_now > bold.chance_beats_now


def test_the_median_decides_for_the_near_hours_and_the_upper_quartile_beyond() -> None:
    # One hour ahead is low by its median, the one after it by its upper quartile.
    forecast = outlook([100, 70, 72, *[120.0] * 21], spread=[0.1, 0.3, 0.01, *[0.1] * 21])
    for reach in (3, NEAR_HOURS, NEAR_HOURS + 1, 24):
        found = recommend(forecast, WindowRequest(1, deadline=ISSUE + reach * HOUR), ISSUE)
        near = reach <= NEAR_HOURS
        assert found.hours == (at(1) if near else at(2))
        assert found.quantile == (0.5 if near else 0.75)
    # The reach is counted from now, and without a deadline it ends with the forecast.
    late = recommend(forecast, WindowRequest(1), ISSUE + (23 - NEAR_HOURS) * HOUR)
    later = recommend(forecast, WindowRequest(1), ISSUE + (24 - NEAR_HOURS) * HOUR)
    assert (late.quantile, later.quantile) == (0.75, 0.5)


def test_the_calibration_is_that_of_the_nearest_kind_of_job() -> None:
    said = {
        (duration, within): Calibration(0.0, 0.5 + duration / 100 + within / 1000, "receipts", 9)
        for duration, within in JOBS
    }
    forecast = outlook([100.0] * 5 + [50.0] * 19)
    for duration, reach, kind in ((1, 6, (1, 6)), (2, 9, (2, 24)), (9, 24, (3, 24))):
        request = WindowRequest(duration, deadline=ISSUE + reach * HOUR)
        found = recommend(forecast, request, ISSUE, said)
        factor = found.expected_saving_g_per_kwh / found.raw_saving_g_per_kwh
        assert factor == pytest.approx(said[kind].saving_factor)
        assert (found.calibrated_on, found.calibration_n) == ("receipts", 9)


def test_what_is_not_worth_waiting_for_is_recommended_only_if_the_request_forces_it() -> None:
    forecast = outlook([100, 99, 99.5, 120], spread=0.2)
    hopeless = {(1, 6): Calibration(-1.0, 0.9, "receipts", 100)}
    worthless = {(1, 6): Calibration(0.0, 0.0, "receipts", 100)}
    for calibrations in (hopeless, worthless):
        found = recommend(forecast, WindowRequest(1), ISSUE, calibrations)
        assert found.is_now
        assert (found.expected_saving_g_per_kwh, found.chance_beats_now) == (0, 0)
        assert found.expected_g_per_kwh == found.now_g_per_kwh == 100
        # What the forecast preferred is kept: receipts learn from it.
        assert found.preferred_start_utc == ISSUE + HOUR
        assert found.raw_saving_g_per_kwh == pytest.approx(1)
        assert found.raw_chance_beats_now > 0.5
        for forced in (WindowRequest(1, earliest=ISSUE + HOUR), WindowRequest(1, quantile=0.5)):
            assert recommend(forecast, forced, ISSUE, calibrations).hours == at(1)
    assert recommend(forecast, WindowRequest(1), ISSUE, DEFAULTS).hours == at(1)
    # Without any calibration, too: the upper quartile is lower, but not the median.
    unsure = outlook([100, *[101.0] * 9], spread=[0.5, *[0.01] * 9])
    assert recommend(unsure, WindowRequest(1, quantile=0.75), ISSUE).hours == at(1)
    assert recommend(unsure, WindowRequest(1), ISSUE).is_now


def test_a_saving_below_zero_is_not_made_smaller() -> None:
    forced = WindowRequest(1, earliest=ISSUE + 2 * HOUR)
    found = recommend(outlook([50, 60, 70]), forced, ISSUE, DEFAULTS)
    assert found.expected_saving_g_per_kwh == pytest.approx(-20)


def test_a_window_with_a_missing_hour_is_no_candidate() -> None:
    for holed in (
        V_SHAPE.filter(pl.col("valid_time_utc") != ISSUE + 3 * HOUR),
        V_SHAPE.with_columns(
            p95_g_per_kwh=pl.when(pl.col("valid_time_utc") != ISSUE + 3 * HOUR).then(
                "p95_g_per_kwh"
            )
        ),
    ):
        found = recommend(holed, WindowRequest(2), ISSUE)
        assert [c.start_utc for c in found.candidates] == list(at(0, 1, 4))
        assert found.hours == at(1, 2)
        assert recommend(holed, WindowRequest(1, contiguous=False), ISSUE).hours == at(2)


def test_low_and_high_of_one_hour_are_its_quantiles() -> None:
    found = recommend(V_SHAPE, WindowRequest(1), ISSUE)
    row = V_SHAPE.row(3, named=True)
    assert found.low_g_per_kwh == pytest.approx(row["p10_g_per_kwh"], rel=1e-3)
    assert found.high_g_per_kwh == pytest.approx(row["p90_g_per_kwh"], rel=1e-3)


def test_the_chance_is_that_of_two_correlated_hours() -> None:
    """Two log-normal hours: log ratio is normal, its spread follows from the correlation."""
    found = recommend(outlook([100, 95], spread=0.2), WindowRequest(1), ISSUE)
    spread = 0.2 * (2 * (1 - ERROR_CORRELATION)) ** 0.5
    expected = NormalDist().cdf(np.log(100 / 95) / spread)
    assert found.chance_beats_now == pytest.approx(expected, abs=0.02)


def test_it_is_said_in_words() -> None:
    later = recommend(V_SHAPE, WindowRequest(2), ISSUE)
    assert describe(later).splitlines() == [
        "run from 2025-01-20T08:00 UTC to 2025-01-20T10:00 UTC",
        f"expected 55 g/kWh, in 8 of 10 cases {later.low_g_per_kwh:.0f}"
        f" to {later.high_g_per_kwh:.0f}",
        "at once 95 g/kWh: saves 40 g/kWh, 42 %; chance that it is less 100% (not calibrated)",
        "the forecast ends 2025-01-20T12:00 UTC",
    ]
    paused = recommend(outlook([100, 50, 90, 40]), WindowRequest(2, contiguous=False), ISSUE)
    assert describe(paused).startswith(
        "run in the hours from 2025-01-20T07:00 UTC, 2025-01-20T09:00 UTC\n"
    )
    at_once = describe(recommend(outlook([50, 60]), WindowRequest(1), ISSUE))
    assert at_once.startswith("run at once, 1 hour to 2025-01-20T07:00 UTC\nexpected 50 g/kWh")
    assert "saves" not in at_once
    learned = Calibration(-0.4, 0.8, "receipts", 412)
    learned_from = describe(recommend(V_SHAPE, WindowRequest(2), ISSUE, {(2, 6): learned}))
    assert "saves 32 g/kWh, 34 %" in learned_from
    assert learned_from.splitlines()[2].endswith("(calibrated on 412 settled receipts)")


def test_the_same_forecast_has_the_same_odds_every_time() -> None:
    forecast = outlook([100, 97, 95, 99], spread=0.2)
    assert recommend(forecast, WindowRequest(2), ISSUE) == recommend(
        forecast, WindowRequest(2), ISSUE
    )


def test_an_hour_of_the_scenarios_has_the_quantiles_it_was_drawn_from() -> None:
    quantiles = V_SHAPE.select(QUANTILE_COLUMNS).to_numpy()
    paths = scenarios(quantiles, np.arange(6))
    assert np.allclose(np.quantile(paths, QUANTILES, axis=1).T, quantiles, rtol=2e-3)
    assert np.all(paths > 0)
    neighbours = np.corrcoef(np.log(paths))[0, 1]
    assert neighbours == pytest.approx(ERROR_CORRELATION, abs=0.03)


def test_window_means_are_those_of_a_loop() -> None:
    values = np.array([1.0, 2.0, np.nan, 4.0, 6.0, 8.0])
    expected = [1.5, np.nan, np.nan, 5.0, 7.0]
    assert np.array_equal(window_means(values, 2), expected, equal_nan=True)


@pytest.mark.parametrize(
    ("request_", "now", "message"),
    [
        (WindowRequest(0), ISSUE, "a job of no hours; where: duration; found: 0"),
        (
            WindowRequest(1, quantile=0.6),
            ISSUE,
            "no such quantile is forecast; where: quantile; found: 0.6; expected: one of 0.05,",
        ),
        (
            WindowRequest(7),
            ISSUE,
            "the job is longer than the time that is left for it; where: duration; found: 7 hours,"
            " and 6 hours whole from 2025-01-20T06:00 UTC to 2025-01-20T12:00 UTC;"
            " expected: at most those; horizon end 2025-01-20T12:00 UTC; next: ask for fewer hours",
        ),
        (WindowRequest(3), ISSUE + 4 * HOUR, "found: 3 hours, and 2 hours whole from"),
        (
            WindowRequest(2, deadline=ISSUE + 2 * HOUR - timedelta(seconds=1)),
            ISSUE,
            "found: 2 hours, and 1 hour whole from 2025-01-20T06:00 UTC to 2025-01-20T07:59 UTC",
        ),
        (
            WindowRequest(2, deadline=ISSUE + 7 * HOUR),
            ISSUE,
            "the deadline lies beyond the forecast; where: deadline; found: 2025-01-20T13:00 UTC;"
            " expected: at most the horizon end, 2025-01-20T12:00 UTC",
        ),
        (
            WindowRequest(1, earliest=ISSUE - timedelta(minutes=1)),
            ISSUE + timedelta(minutes=30),
            "earliest is past; where: earliest; found: 2025-01-20T05:59 UTC;"
            " expected: the current hour, 2025-01-20T06:00 UTC, or later",
        ),
        (
            WindowRequest(1, earliest=ISSUE + 3 * HOUR, deadline=ISSUE + 3 * HOUR),
            ISSUE,
            "the deadline does not come after earliest; where: earliest and deadline; found:"
            " earliest 2025-01-20T09:00 UTC, deadline 2025-01-20T09:00 UTC",
        ),
        (
            WindowRequest(1, earliest=ISSUE + 9 * HOUR),
            ISSUE,
            "expected: earliest before the deadline; horizon end 2025-01-20T12:00 UTC",
        ),
        (
            WindowRequest(1, deadline=ISSUE.replace(tzinfo=None)),
            ISSUE,
            "a time without its zone; where: deadline; found: 2025-01-20T06:00:00",
        ),
        (
            WindowRequest(1, earliest=ISSUE.replace(tzinfo=None)),
            ISSUE,
            "a time without its zone; where: earliest",
        ),
        (WindowRequest(1), ISSUE.replace(tzinfo=None), "a time without its zone; where: now"),
        (
            WindowRequest(1),
            ISSUE + 6 * HOUR,
            "the forecast has run out; where: now, 2025-01-20T12:00 UTC;"
            " found: horizon end 2025-01-20T12:00 UTC",
        ),
        (
            WindowRequest(1),
            ISSUE - HOUR,
            "the forecast lacks an hour of a job that runs at once: nothing to compare with;"
            " where: now; found: no forecast of 2025-01-20T05:00 UTC",
        ),
    ],
)
def test_a_request_that_does_not_fit_is_refused_with_the_reason(
    request_: WindowRequest, now: datetime, message: str
) -> None:
    with pytest.raises(WindowDoesNotFit, match=re.escape(message)) as refused:
        recommend(V_SHAPE, request_, now)
    assert isinstance(refused.value, Co2Error)
    assert refused.value.exit_code == 7
    for part in (refused.value.where, refused.value.found, refused.value.expected):
        assert part
    assert refused.value.next_step


def test_where_every_window_lacks_an_hour_it_says_so() -> None:
    holed = outlook([9, 8, 7, 6, 5]).filter(
        ~pl.col("valid_time_utc").is_in([ISSUE + 2 * HOUR, ISSUE + 4 * HOUR])
    )
    holed = pl.concat([holed, outlook([4], start=ISSUE + 5 * HOUR)])
    late = WindowRequest(2, earliest=ISSUE + 2 * HOUR)
    with pytest.raises(WindowDoesNotFit, match="found: 2 of 4 hours known; expected: 2 hours in a"):
        recommend(holed, late, ISSUE)
    with pytest.raises(WindowDoesNotFit, match="found: 2 of 4 hours known; expected: 3 hours;"):
        recommend(holed, WindowRequest(3, late.earliest, contiguous=False), ISSUE)


def test_without_a_forecast_it_says_so() -> None:
    with pytest.raises(WindowDoesNotFit, match="run out.*found: no forecast"):
        recommend(V_SHAPE.clear(), WindowRequest(1), ISSUE)


@st.composite
def cases(draw: st.DrawFn) -> tuple[pl.DataFrame, WindowRequest, datetime]:
    """A forecast and a request that fits it, with a now inside."""
    length = draw(st.integers(2, 30))
    level = st.floats(5, 400)
    forecast = outlook(
        draw(st.lists(level, min_size=length, max_size=length)),
        spread=draw(st.lists(st.floats(0, 0.5), min_size=length, max_size=length)),
    )
    minutes = draw(st.integers(0, 60 * (length - 1) - 1))
    now = ISSUE + timedelta(minutes=minutes)
    left = length - minutes // 60
    first = draw(st.integers(0, left - 1))
    last = draw(st.integers(first + 1, left))
    current = ISSUE + (minutes // 60) * HOUR
    request = WindowRequest(
        draw(st.integers(1, last - first)),
        draw(st.sampled_from([None, current + first * HOUR]))
        if first == 0
        else current + first * HOUR,
        draw(st.sampled_from([None, current + last * HOUR]))
        if last == left
        else current + last * HOUR,
        draw(st.booleans()),
        draw(st.sampled_from(QUANTILES)),
    )
    return forecast, request, now


def column(forecast: pl.DataFrame, quantile: float) -> dict[datetime, float]:
    name = QUANTILE_COLUMNS[QUANTILES.index(quantile)]
    return dict(forecast.select("valid_time_utc", name).iter_rows())


def mean(values: dict[datetime, float], hours: Sequence[datetime]) -> float:
    return float(np.mean([values[hour] for hour in hours]))


@SOME
@given(cases())
def test_the_chosen_hours_are_in_range_and_none_in_range_are_lower(
    case: tuple[pl.DataFrame, WindowRequest, datetime],
) -> None:
    forecast, request, now = case
    found = recommend(forecast, request, now)
    values = column(forecast, request.quantile)
    earliest = request.earliest or found.now_utc
    deadline = request.deadline or found.horizon_end_utc
    inside = [hour for hour in values if earliest <= hour and hour + HOUR <= deadline]
    assert len(found.hours) == request.duration_hours == len(set(found.hours))
    assert list(found.hours) == sorted(found.hours)
    assert set(found.hours) <= set(inside)
    chosen = mean(values, found.hours)
    if request.contiguous:
        assert found.end_utc - found.start_utc == request.duration_hours * HOUR
        windows = [
            inside[i : i + request.duration_hours]
            for i in range(len(inside) - request.duration_hours + 1)
        ]
        best = min(mean(values, hours) for hours in windows)
        assert [c.start_utc for c in found.candidates] == [hours[0] for hours in windows]
    else:
        best = float(np.mean(sorted(values[hour] for hour in inside)[: request.duration_hours]))
        assert [c.start_utc for c in found.candidates] == inside
    assert chosen == pytest.approx(best)


@SOME
@given(cases())
def test_saving_is_of_the_medians_and_zero_where_it_is_now(
    case: tuple[pl.DataFrame, WindowRequest, datetime],
) -> None:
    forecast, request, now = case
    found = recommend(forecast, request, now)
    medians = column(forecast, 0.5)
    at_once = [found.now_utc + HOUR * hour for hour in range(request.duration_hours)]
    assert found.expected_g_per_kwh == pytest.approx(mean(medians, found.hours))
    assert found.now_g_per_kwh == pytest.approx(mean(medians, at_once))
    assert found.expected_saving_g_per_kwh == found.now_g_per_kwh - found.expected_g_per_kwh
    assert found.low_g_per_kwh <= found.expected_g_per_kwh <= found.high_g_per_kwh
    assert 0 <= found.chance_beats_now <= 1
    assert found.is_now == (list(found.hours) == at_once)
    if found.is_now:
        assert found.expected_saving_g_per_kwh == found.chance_beats_now == 0
    if request.quantile == 0.5 and request.earliest in (None, found.now_utc):
        assert found.expected_saving_g_per_kwh >= -1e-9


@SOME
@given(cases(), st.booleans(), st.floats(-3, 3), st.floats(0, 1))
def test_what_is_said_agrees_with_itself_whatever_the_calibration(
    case: tuple[pl.DataFrame, WindowRequest, datetime],
    usual: bool,
    shift: float,
    factor: float,
) -> None:
    forecast, request, now = case
    if usual:
        request = replace(request, quantile=None)
    calibration = Calibration(shift, factor, "receipts", 50)
    found = recommend(forecast, request, now, dict.fromkeys(JOBS, calibration))
    raw = recommend(forecast, replace(request, quantile=found.quantile), now)
    saving = found.expected_saving_g_per_kwh
    assert found.now_g_per_kwh - found.expected_g_per_kwh == pytest.approx(saving, abs=1e-9)
    assert found.expected_saving_percent == pytest.approx(100 * saving / found.now_g_per_kwh)
    assert 0 < found.low_g_per_kwh <= found.expected_g_per_kwh * (1 + 1e-9)
    assert found.expected_g_per_kwh <= found.high_g_per_kwh * (1 + 1e-9)
    assert 0 <= found.chance_beats_now <= 1
    assert found.now_g_per_kwh == raw.now_g_per_kwh
    assert saving <= max(raw.expected_saving_g_per_kwh, 0) + 1e-9
    assert found.raw_saving_g_per_kwh == raw.expected_saving_g_per_kwh
    assert found.raw_chance_beats_now == raw.chance_beats_now
    assert found.preferred_start_utc == raw.start_utc
    assert found.hours == raw.hours or found.is_now
    if usual and found.hours != raw.hours:
        assert saving == found.chance_beats_now == 0
    if usual and not found.is_now and request.earliest in (None, found.now_utc):
        assert saving > 0
        assert found.chance_beats_now >= 0.5


@SOME
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_the_rows_and_the_past_change_nothing(
    case: tuple[pl.DataFrame, WindowRequest, datetime], random: object
) -> None:
    forecast, request, now = case
    found = recommend(forecast, request, now)
    order = list(range(forecast.height))
    random.shuffle(order)  # type: ignore[attr-defined]
    assert recommend(forecast[order], request, now) == found
    past = forecast.filter(pl.col("valid_time_utc") >= found.now_utc)
    assert recommend(past, request, now) == found


@SOME
@given(cases())
def test_more_room_is_never_worse_and_a_longer_job_never_lower(
    case: tuple[pl.DataFrame, WindowRequest, datetime],
) -> None:
    forecast, request, now = case
    found = recommend(forecast, request, now)
    lowest = min(c.deciding_g_per_kwh for c in found.candidates)
    roomier = WindowRequest(
        request.duration_hours, None, None, request.contiguous, request.quantile
    )
    assert min(c.deciding_g_per_kwh for c in recommend(forecast, roomier, now).candidates) <= lowest
    values = column(forecast, request.quantile)
    if request.duration_hours > 1:
        shorter = WindowRequest(1, request.earliest, request.deadline, quantile=request.quantile)
        one = recommend(forecast, shorter, now)
        assert mean(values, one.hours) <= mean(values, found.hours) + 1e-9
    if request.contiguous:
        apart = WindowRequest(
            request.duration_hours, request.earliest, request.deadline, False, request.quantile
        )
        paused = recommend(forecast, apart, now)
        assert mean(values, paused.hours) <= mean(values, found.hours) + 1e-9


@SOME
@given(cases(), st.sampled_from([0.25, 2.0, 4.0]))
def test_a_dirtier_country_has_the_same_hours_and_saves_as_much_per_cent(
    case: tuple[pl.DataFrame, WindowRequest, datetime], factor: float
) -> None:
    forecast, request, now = case
    found = recommend(forecast, request, now)
    scaled = recommend(forecast.with_columns(pl.col(QUANTILE_COLUMNS) * factor), request, now)
    assert scaled.hours == found.hours
    assert scaled.expected_saving_g_per_kwh == factor * found.expected_saving_g_per_kwh
    assert scaled.expected_saving_percent == found.expected_saving_percent


def test_recorded_hours_as_a_perfect_forecast_are_never_beaten(history: pl.DataFrame) -> None:
    """With the actuals as a forecast, the realised saving is the expected one, for certain."""
    actuals = history.select(
        valid_time_utc="hour_utc", **{name: pl.col("co2_g_per_kwh") for name in QUANTILE_COLUMNS}
    ).drop_nulls()
    savings = []
    for day in range(60):
        now = datetime(2024, 1, 1, 6, tzinfo=UTC) + timedelta(days=day)
        forecast = actuals.filter(
            pl.col("valid_time_utc").is_between(now, now + 24 * HOUR, closed="left")
        )
        if forecast.height < 24:
            continue
        found: Recommendation = recommend(forecast, WindowRequest(2), now)
        assert found.chance_beats_now == (0.0 if found.is_now else 1.0)
        assert found.low_g_per_kwh == pytest.approx(found.expected_g_per_kwh)
        assert found.expected_saving_g_per_kwh >= 0
        savings.append(found.expected_saving_percent)
    assert len(savings) > 50
    assert float(np.mean(savings)) > 5
