"""Baselines do what their names say, from little history and with holes in it."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from co2_assets.errors import InputsMissing
from co2_assets.forecasting.baselines import (
    Baseline,
    fit_climatology,
    fit_persistence,
    fit_seasonal_naive,
)
from co2_assets.forecasting.evaluate import rolling_origin, summarise
from co2_assets.schema import CO2_COLUMN, QUANTILES, imputed
from co2_assets_tests.forecasting.small import HOUR, SPRING_START, made_of

FITS = [fit_persistence, fit_seasonal_naive, fit_climatology]
RANGE = datetime(2023, 1, 1, tzinfo=UTC), datetime(2024, 7, 1, tzinfo=UTC)
ISSUE = datetime(2024, 8, 13, 6, tzinfo=UTC)


def medians(baseline: Baseline, history: pl.DataFrame, issue_time: datetime) -> list[float]:
    return baseline.predict(history, [issue_time])["p50_g_per_kwh"].to_list()


def known(history: pl.DataFrame, time: datetime) -> float:
    value = history.filter(pl.col("hour_utc") == time)[imputed(CO2_COLUMN)].item()
    assert isinstance(value, float)
    return value


def without(history: pl.DataFrame, first: datetime, last: datetime) -> pl.DataFrame:
    silent = pl.col("hour_utc").is_between(first, last)
    return history.with_columns(
        pl.when(~silent).then(name).alias(name) for name in (CO2_COLUMN, imputed(CO2_COLUMN))
    )


def test_persistence_goes_on_with_the_hour_before_the_issue_time(history: pl.DataFrame) -> None:
    made = medians(fit_persistence(history, *RANGE, 6), history, ISSUE)
    assert made == pytest.approx([known(history, ISSUE - HOUR)] * 6)


def test_seasonal_naive_repeats_the_day_before(history: pl.DataFrame) -> None:
    made = medians(fit_seasonal_naive(history, *RANGE, 30), history, ISSUE)
    yesterday = [known(history, ISSUE + (lead - 25) * HOUR) for lead in range(1, 25)]
    assert made == pytest.approx([*yesterday, *yesterday[:6]])


def test_climatology_equals_its_formula(history: pl.DataFrame) -> None:
    fitted = fit_climatology(history, *RANGE, 6)
    assert fitted.damping is not None

    def climate(time: datetime) -> float:
        days = (known(history, time - timedelta(days=day)) for day in range(1, 29))
        return sum(math.log(value) for value in days) / 28

    last = ISSUE - HOUR
    departure = math.log(known(history, last)) - climate(last)
    middle = fitted.log_error_quantiles[:, QUANTILES.index(0.5)]
    expected = [
        math.exp(climate(ISSUE + lead * HOUR) + fitted.damping[lead] * departure + middle[lead])
        for lead in range(6)
    ]
    assert medians(fitted, history, ISSUE) == pytest.approx(expected)


def test_what_is_left_of_a_departure_fades_with_the_lead(history: pl.DataFrame) -> None:
    damping = fit_climatology(history, *RANGE, 24).damping
    assert damping is not None
    assert ((damping >= 0) & (damping <= 1)).all()
    assert (np.diff(damping[:12]) < 0).all()
    assert damping[0] > 0.9


def test_a_day_that_repeats_itself_is_forecast_exactly_at_every_lead() -> None:
    history = made_of([100 + 50 * math.sin(2 * math.pi * row / 24) for row in range(24 * 40)])
    now = SPRING_START + timedelta(days=35, hours=6)
    follows = history.filter(pl.col("hour_utc").is_between(now, now + 29 * HOUR))
    for fit in (fit_seasonal_naive, fit_climatology):
        made = medians(fit(history, SPRING_START, now, 30), history, now)
        assert made == pytest.approx(follows[CO2_COLUMN].to_list())


@pytest.mark.parametrize("fit", FITS)
def test_bands_cover_about_what_they_say(fit: type, history: pl.DataFrame) -> None:
    issues = [RANGE[1] + timedelta(hours=6 * step) for step in range(4 * 60)]
    paired = rolling_origin(fit(history, *RANGE, 6), history, issues)  # type: ignore[call-arg]
    figures = {row["metric"]: row["value"] for row in summarise(paired) if row["leads"] == "1-6"}
    assert 0.7 < float(figures["coverage_80"]) < 0.93


@pytest.mark.parametrize("fit", FITS)
def test_two_days_of_history_are_enough(fit: type, history: pl.DataFrame) -> None:
    start = datetime(2024, 8, 1, tzinfo=UTC)
    end = start + timedelta(hours=48)
    little = history.filter(pl.col("hour_utc").is_between(start, end, closed="left"))
    made = fit(little, start, end, 6).predict(little, [end])  # type: ignore[call-arg, attr-defined]
    assert made.height == 6
    assert made.select(pl.all().is_null().any()).row(0) == (False,) * made.width


@pytest.mark.parametrize("fit", FITS)
def test_a_day_of_history_is_too_little_and_says_so(fit: type, history: pl.DataFrame) -> None:
    start = datetime(2024, 8, 1, tzinfo=UTC)
    little = history.filter(pl.col("hour_utc").is_between(start, start + 20 * HOUR))
    with pytest.raises(InputsMissing, match=r"too little history to fit.*at least 24"):
        fit(little, start, start + 20 * HOUR, 6)  # type: ignore[call-arg]


@pytest.mark.parametrize("hours", [1, 3, 4, 23])
def test_persistence_goes_by_the_last_known_hour_of_the_day(
    hours: int, history: pl.DataFrame
) -> None:
    silent = without(history, ISSUE - hours * HOUR, ISSUE - HOUR)
    made = medians(fit_persistence(history, *RANGE, 6), silent, ISSUE)
    assert made == pytest.approx([known(history, ISSUE - (hours + 1) * HOUR)] * 6)


def test_persistence_after_a_day_of_silence_says_that_it_has_nothing(
    history: pl.DataFrame,
) -> None:
    silent = without(history, ISSUE - 24 * HOUR, ISSUE - HOUR)
    fitted = fit_persistence(history, *RANGE, 6)
    with pytest.raises(InputsMissing, match=r"persistence has nothing.*2024-08-13T06:00 UTC"):
        fitted.predict(silent, [ISSUE])


def test_climatology_answers_after_days_of_silence(history: pl.DataFrame) -> None:
    silent = without(history, ISSUE - 100 * HOUR, ISSUE - HOUR)
    made = fit_climatology(history, *RANGE, 6).predict(silent, [ISSUE])
    assert made.height == 6


def test_an_older_last_hour_has_faded_more(history: pl.DataFrame) -> None:
    fitted = fit_climatology(history, *RANGE, 6)
    assert fitted.damping is not None
    lonely = without(history, ISSUE - 3 * HOUR, ISSUE - HOUR)
    flat = Baseline("climatology", 6, fitted.log_error_quantiles, np.zeros(6))
    fresh = np.log(medians(fitted, lonely, ISSUE)) - np.log(medians(flat, lonely, ISSUE))
    # Three hours are unknown: lead 1 departs as lead 4 would have, had they been known.
    assert fresh[0] / fresh[1] == pytest.approx(fitted.damping[3] / fitted.damping[4])


def test_to_json_holds_all_that_a_baseline_is(history: pl.DataFrame) -> None:
    fitted = fit_climatology(history, *RANGE, 6)
    kept = fitted.to_json()
    assert fitted.damping is not None
    again = Baseline(
        kept["name"],
        kept["horizon_hours"],
        np.array(kept["log_error_quantiles"]),
        np.array(kept["damping"]),
    )
    assert again.predict(history, [ISSUE]).equals(fitted.predict(history, [ISSUE]))
