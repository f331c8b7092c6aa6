"""What others forecast, by the hour: only whole hours, first values, and when they were known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from co2_assets.schema import (
    CO2_COLUMN,
    EXTERNAL_COLUMNS,
    FORECAST_TYPES,
    PRICE_AREAS,
    available_column,
    imputed,
    price_column,
    wind_solar_column,
)
from co2_assets.source.archive import read_archive
from co2_assets.transform.external import earliest_issue_time, hourly_external
from co2_assets_tests.replay.serving import utc

HOUR = datetime(2024, 8, 13, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EARLY, LATE = HOUR - timedelta(hours=30), HOUR - timedelta(hours=3)
TIME = pl.Datetime("us", "UTC")
WIND_SOLAR = {
    "hour_utc": TIME, "area": pl.String, "forecast_type": pl.String, "kind": pl.String,
    "forecast_mw": pl.Float64, "available_utc": TIME,
}  # fmt: skip
PROGNOSIS = {
    "time_utc": TIME, "area": pl.String, "vintage": pl.Int32, "co2_g_per_kwh": pl.Float64,
    "step_minutes": pl.Int32, "available_utc": TIME,
}  # fmt: skip
PRICES = {
    "time_utc": TIME, "area": pl.String, "price_eur_per_mwh": pl.Float64,
    "step_minutes": pl.Int32, "available_utc": TIME,
}  # fmt: skip
CO2, DK1 = "co2_prognosis_g_per_kwh", price_column("DK1")

Rows = list[tuple[Any, ...]]


def hourly(wind_solar: Rows = (), prognosis: Rows = (), prices: Rows = ()) -> pl.DataFrame:  # type: ignore[assignment]
    return hourly_external(
        pl.DataFrame(list(wind_solar), schema=WIND_SOLAR, orient="row"),
        pl.DataFrame(list(prognosis), schema=PROGNOSIS, orient="row"),
        pl.DataFrame(list(prices), schema=PRICES, orient="row"),
    )


def wind(
    area: str, megawatts: tuple[Any, Any, Any], seen: datetime | None = EARLY, at: datetime = HOUR
) -> Rows:
    """One area's offshore wind, onshore wind and solar."""
    kinds = zip(FORECAST_TYPES, megawatts, strict=True)
    return [(at, area, kind, "day_ahead", value, seen) for kind, value in kinds]


def co2(
    area: str, value: float | None, seen: datetime | None = EARLY, vintage: int = 1, steps: int = 12
) -> Rows:
    """An area's prognosis of one value for the first steps of five minutes of the hour."""
    return [(HOUR + 5 * MINUTE * step, area, vintage, value, 5, seen) for step in range(steps)]


def of_hour(frame: pl.DataFrame, column: str) -> tuple[float | None, datetime | None]:
    row = frame.filter(pl.col("hour_utc") == HOUR)
    return row[column].to_list()[0], row[available_column(column)].to_list()[0]


def test_nothing_known_is_a_frame_without_rows() -> None:
    names = [name for column in EXTERNAL_COLUMNS for name in (column, available_column(column))]
    assert hourly().is_empty()
    assert hourly().columns == ["hour_utc", *names]


def test_a_recorded_hour_is_the_mean_of_its_five_minutes_in_shares_of_the_areas(
    external: pl.DataFrame,
) -> None:
    recorded = read_archive(None, start=HOUR, seen_by=HOUR).filter(
        pl.col("time_utc") < HOUR + timedelta(hours=1)
    )
    assert recorded.height == 24
    dk1, dk2 = (recorded.filter(area=area)["co2_g_per_kwh"].mean() for area in ("DK1", "DK2"))
    value, available = of_hour(external, CO2)
    assert value == pytest.approx(0.6 * dk1 + 0.4 * dk2)
    first_cutoff = available + 5 * MINUTE
    assert first_cutoff - timedelta(hours=1) < recorded["available_utc"].max() <= first_cutoff


def test_an_hour_that_lacks_five_minutes_or_an_area_is_missing() -> None:
    whole = co2("DK1", 100.0) + co2("DK2", 50.0)
    assert of_hour(hourly(prognosis=whole), CO2) == (pytest.approx(80.0), EARLY)
    assert hourly(prognosis=whole[:-1]).is_empty()
    assert hourly(prognosis=co2("DK1", 100.0)).is_empty()
    assert hourly(prognosis=co2("DK1", 100.0) + co2("DK2", None)).is_empty()


def vintages(frame: pl.DataFrame, column: str) -> Rows:
    """Each value of the hour with from when it may be used, oldest first."""
    rows = frame.filter(pl.col("hour_utc") == HOUR).drop_nulls(column)
    return rows.select(pl.col(column).round(9), available_column(column)).rows()


def test_each_vintage_of_an_hour_is_kept_with_from_when_it_may_be_used() -> None:
    first = co2("DK1", 100.0) + co2("DK2", 100.0)
    again = co2("DK1", 200.0, LATE, 2) + co2("DK2", 200.0, LATE, 2)
    assert vintages(hourly(prognosis=first + again), CO2) == [(100.0, EARLY), (200.0, LATE)]
    never = co2("DK1", 100.0, None) + co2("DK2", 100.0, None)
    assert vintages(hourly(prognosis=never + again), CO2) == [(200.0, LATE)]
    assert hourly(prognosis=never).is_empty()


def test_one_interval_that_changed_is_a_vintage_of_its_hour() -> None:
    first = co2("DK1", 100.0) + co2("DK2", 100.0)
    later = [(HOUR, "DK1", 2, 220.0, 5, LATE)]
    assert vintages(hourly(prognosis=first + later), CO2) == [(100.0, EARLY), (106.0, LATE)]
    the_same = [(HOUR, "DK1", 2, 100.0, 5, LATE)]
    assert vintages(hourly(prognosis=first + the_same), CO2) == [(100.0, EARLY)]


def test_of_vintages_that_one_issue_time_may_use_first_the_newest_is_kept() -> None:
    prices = [(HOUR, "DK1", price, 60, EARLY) for price in (5.0, 7.0)]
    assert vintages(hourly(prices=prices), DK1) == [(7.0, EARLY)]


def test_what_cannot_be_forecast_leaves_the_vintage_before_it_standing() -> None:
    prices = [(HOUR, "DK1", 5.0, 60, EARLY), (HOUR, "DK1", 99_999.0, 60, LATE)]
    assert vintages(hourly(prices=prices), DK1) == [(5.0, EARLY)]


def test_wind_that_was_taken_back_leaves_what_had_been_said_standing() -> None:
    both = wind("DK1", (300.0, 900.0, 50.0)) + wind("DK2", (100.0, 200.0, 7.0))
    zeros = wind("DK1", (0.0, 0.0, 0.0), LATE)
    assert vintages(hourly(both + zeros), "onshore_wind_forecast_mw") == [(1100.0, EARLY)]


@pytest.mark.parametrize(
    ("available", "expected"),
    [
        ("2025-01-20T17:05:00", "2025-01-20T17:00"),
        ("2025-01-20T17:05:01", "2025-01-20T18:00"),
        ("2025-01-20T18:00:00", "2025-01-20T18:00"),
        ("2025-01-20T18:05:00", "2025-01-20T18:00"),
        ("2025-01-20T18:40:00", "2025-01-20T19:00"),
    ],
)
def test_a_value_may_be_used_from_the_issue_time_whose_cutoff_is_at_or_after_it(
    available: str, expected: str
) -> None:
    delay = 5 * MINUTE
    rows = pl.DataFrame({"available_utc": [utc(available)]}, schema={"available_utc": TIME})
    found = rows.select(earliest_issue_time(delay)).item()
    assert found == utc(expected)
    # A live forecast was read for with its own cut-off: it may use all of it.
    live = utc("2025-01-20T18:00")
    of_live = rows.select(earliest_issue_time(delay, issue_time=live)).item()
    assert of_live == min(found, live)


@pytest.mark.parametrize(("value", "expected"), [(399.9, 399.9), (400.0, None), (711.0, None)])
def test_nonsense_of_one_area_is_dropped(value: float, expected: float | None) -> None:
    made = hourly(
        prognosis=co2("DK1", value) + co2("DK2", expected or 90.0),
        prices=[(HOUR, "DK1", 7.0, 60, EARLY)],
    )
    assert of_hour(made, CO2)[0] == (expected and pytest.approx(expected))


def test_wind_and_solar_are_sums_over_both_areas() -> None:
    made = hourly(wind("DK1", (300.0, 900.0, 50.0)) + wind("DK2", (100.0, 200.0, 7.0), LATE))
    found = [of_hour(made, wind_solar_column(kind)) for kind in FORECAST_TYPES]
    assert found == [(400.0, LATE), (1100.0, LATE), (57.0, LATE)]


def test_each_type_is_known_once_both_areas_are() -> None:
    offshore, onshore, solar = wind("DK1", (300.0, 900.0, 50.0))
    made = hourly([offshore, (*onshore[:-1], LATE), solar, *wind("DK2", (100.0, 200.0, 7.0))])
    assert of_hour(made, "solar_forecast_mw") == (57.0, EARLY)
    assert of_hour(made, "onshore_wind_forecast_mw") == (1100.0, LATE)


def test_a_type_that_is_not_forecast_any_more_costs_no_other() -> None:
    both = wind("DK1", (300.0, 900.0, 50.0)) + wind("DK2", (100.0, 200.0, 7.0))
    made = hourly([row for row in both if row[2] != "offshore_wind"])
    assert of_hour(made, "onshore_wind_forecast_mw") == (1100.0, EARLY)
    assert of_hour(made, "solar_forecast_mw") == (57.0, EARLY)
    assert of_hour(made, "offshore_wind_forecast_mw") == (None, None)


def test_a_null_of_solar_beside_wind_is_the_night_and_a_null_of_wind_is_missing() -> None:
    made = hourly(wind("DK1", (300.0, 900.0, None)) + wind("DK2", (None, 200.0, 7.0)))
    assert of_hour(made, "solar_forecast_mw")[0] == 7.0
    assert of_hour(made, "onshore_wind_forecast_mw")[0] == 1100.0
    assert of_hour(made, "offshore_wind_forecast_mw")[0] is None


@pytest.mark.parametrize("nothing", [(0.0, 0.0, 40.0), (None, None, 40.0), (None, 0.0, 0.0)])
def test_a_block_without_any_wind_is_missing_whatever_the_sun(nothing: tuple[Any, ...]) -> None:
    assert hourly(wind("DK1", (300.0, 900.0, 50.0)) + wind("DK2", nothing)).is_empty()  # type: ignore[arg-type]


def test_only_usable_day_ahead_forecasts_are_read() -> None:
    both = wind("DK1", (300.0, 900.0, 50.0)) + wind("DK2", (100.0, 200.0, 7.0))
    intraday = [(*row[:3], "intraday", 9999.0, EARLY) for row in both]
    assert hourly(both + intraday).equals(hourly(both))
    assert hourly(intraday).is_empty()
    assert hourly(wind("DK1", (300.0, 900.0, 5.0)) + wind("DK2", (1.0, 2.0, 7.0), None)).is_empty()


def test_the_price_of_an_hour_is_its_own_or_the_mean_of_its_four_quarters() -> None:
    quarters: Rows = [(HOUR + 15 * MINUTE * q, "DK1", 10.0 * q, 15, EARLY) for q in range(4)]
    assert of_hour(hourly(prices=quarters), DK1) == (15.0, EARLY)
    assert of_hour(hourly(prices=[(HOUR, "DK1", -3.0, 60, LATE)]), DK1) == (-3.0, LATE)
    assert hourly(prices=quarters[1:]).is_empty()
    last = [(*quarters[3][:4], LATE)]
    assert of_hour(hourly(prices=quarters[:3] + last), DK1) == (15.0, LATE)


@st.composite
def published(draw: st.DrawFn) -> tuple[Rows, Rows, Rows]:
    """Rows of one hour in any order of publication, with nulls, vintages and holes."""
    seen = st.none() | st.integers(1, 6).map(lambda ago: HOUR - timedelta(hours=ago))
    value = st.none() | st.sampled_from([0.0, 90.0, 250.0, 800.0])
    blocks = {area: draw(st.tuples(value, value, value)) for area in ("DK1", "DK2")}
    wind_solar = [row for area, block in blocks.items() for row in wind(area, block, draw(seen))]
    steps = [(area, HOUR + 5 * MINUTE * step) for area in ("DK1", "DK2") for step in range(12)]
    # Mostly values that were seen, so that whole hours come up.
    some = st.sampled_from([90.0, 120.0, 90.0, 450.0])
    spare = {draw(st.sampled_from(steps)): draw(value)} if draw(st.booleans()) else {}
    prognosis = []
    for vintage, ago in enumerate(draw(st.lists(st.integers(1, 40), max_size=3)), 1):
        held = draw(some)
        for index, (area, time) in enumerate(steps):
            known = HOUR - timedelta(hours=ago + index // 9)
            found = spare.get((area, time), held)
            prognosis.append((time, area, vintage, found, 5, known))
    prices = [
        (HOUR + 15 * MINUTE * quarter, area, draw(value), 15, draw(seen))
        for area in PRICE_AREAS[:2]
        for quarter in draw(st.sets(st.integers(0, 3), min_size=3))
    ]
    return wind_solar, prognosis, prices


@settings(max_examples=60, deadline=None)
@given(published(), st.integers(0, 42))
def test_what_is_published_later_changes_nothing_that_was_known(
    rows: tuple[Rows, Rows, Rows], hours_before: int
) -> None:
    now = HOUR - timedelta(hours=hours_before)
    then = hourly(*([row for row in part if row[-1] and row[-1] <= now] for part in rows))
    later = hourly(*rows)
    for column in EXTERNAL_COLUMNS:
        known = vintages(then, column)
        assert vintages(later, column)[: len(known)] == known
        # And what came after is not said to have been known.
        assert all(available > now for _, available in vintages(later, column)[len(known) :])


def test_recorded_values_are_plausible_and_were_known_before_their_hour(
    external: pl.DataFrame, history: pl.DataFrame
) -> None:
    assert external["hour_utc"].is_sorted()
    assert external["hour_utc"].is_unique().all()
    powers = {wind_solar_column(kind): (0, 5000) for kind in FORECAST_TYPES}
    ranges = dict.fromkeys(EXTERNAL_COLUMNS, (-501, 2500)) | powers | {CO2: (5, 400)}
    for column, (low, high) in ranges.items():
        known = external.drop_nulls(column)
        assert known.height > 0.97 * external.height
        assert known[column].is_between(low, high, closed="left").all(), column
        assert (known[available_column(column)] <= known["hour_utc"]).all(), column
    beside = external.join(history, on="hour_utc")
    measured = {wind_solar_column(kind): imputed(f"{kind}_mw") for kind in FORECAST_TYPES}
    measured[CO2] = CO2_COLUMN
    for column, actual in measured.items():
        pair = beside.drop_nulls([column, actual]).drop_nans([column, actual])
        assert pair.select(pl.corr(column, actual)).item() > 0.7, column


def test_whole_five_minutes_after_an_hour_of_the_archive_are_a_vintage() -> None:
    archive = [(HOUR, area, 1, 100.0, 60, EARLY) for area in ("DK1", "DK2")]
    live = co2("DK1", 200.0, LATE, 2) + co2("DK2", 200.0, LATE, 2)
    assert vintages(hourly(prognosis=archive), CO2) == [(100.0, EARLY)]
    assert vintages(hourly(prognosis=archive + live[:-1]), CO2)[0] == (100.0, EARLY)
    assert vintages(hourly(prognosis=archive + live), CO2) == [(100.0, EARLY), (200.0, LATE)]


def test_solar_that_is_not_stored_yet_is_no_night() -> None:
    without = [row for area in ("DK1", "DK2") for row in wind(area, (500.0, 700.0, 57.0))[:2]]
    assert of_hour(hourly(wind_solar=without), "solar_forecast_mw") == (None, None)


def test_a_vintage_without_a_value_is_not_the_first() -> None:
    nothing = co2("DK1", None) + co2("DK2", None)
    something = co2("DK1", 90.0, LATE, 2) + co2("DK2", 90.0, LATE, 2)
    assert of_hour(hourly(prognosis=nothing + something), CO2) == (pytest.approx(90.0), LATE)
