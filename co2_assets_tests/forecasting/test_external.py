"""What others forecast reaches a lead as it was known at the issue time, and no later."""

from __future__ import annotations

import math
from datetime import datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from co2_assets.forecasting.covariates import Series
from co2_assets.forecasting.external import (
    DK1,
    FURTHEST,
    MEASURED_OF,
    PRICES,
    PROGNOSIS,
    WIND_SOLAR,
    External,
    group_columns,
    group_covariates,
    missing_columns,
    no_external,
)
from co2_assets.forecasting.inputs import hours_ahead
from co2_assets.schema import (
    CO2_COLUMN,
    EXTERNAL_COLUMNS,
    POWER_COLUMNS,
    available_column,
    imputed,
)
from co2_assets_tests.forecasting.small import HOUR
from co2_assets_tests.properties.test_no_leakage_external import INSTANT, KINDS, altered_after

MORNING = datetime.fromisoformat("2024-08-13T06:00+00:00")
"""Nothing of tomorrow is published: known until Danish midnight, 16 leads."""

EVENING = MORNING + 12 * HOUR
"""Tomorrow is published: 28 leads."""

HORIZON, DAY = 30, 24
KNOWN_LEADS = {MORNING: 16, EVENING: 28}


def covariates(
    history: pl.DataFrame, external: pl.DataFrame, issue: datetime
) -> dict[str, np.ndarray]:
    """By name, one value per lead."""
    first = issue - 10 * DAY * HOUR
    known = history.filter(pl.col("hour_utc").is_between(first, issue, closed="left"))
    made = group_covariates(
        Series.of(known, HORIZON),
        External.of(external, first, known.height + hours_ahead(HORIZON)),
        np.array([known.height]),
    )
    return {
        name: group[0, :, index]
        for names, group in zip(group_columns(), made, strict=True)
        for index, name in enumerate(names)
    }


def expected(
    history: pl.DataFrame, external: pl.DataFrame, issue: datetime, lead: int
) -> dict[str, float]:
    """Covariates by hand; another forecast stands in beyond the leads that are known."""
    newest = issue + (KNOWN_LEADS[issue] - 1) * HOUR

    def of(frame: pl.DataFrame, name: str, time: datetime) -> float:
        return float(frame.filter(pl.col("hour_utc") == time)[name].item())

    def load(time: datetime) -> float:
        return sum(of(history, imputed(name), time) for name in POWER_COLUMNS)

    def at(name: str, time: datetime) -> float:
        if time <= newest:
            return of(external, name, time)
        if name in (*WIND_SOLAR[:2], *PROGNOSIS):
            return of(external, name, newest)
        before = of(external, name, time - DAY * HOUR)
        if name not in PRICES:
            return before
        return before + of(external, name, newest) - of(external, name, newest - DAY * HOUR)

    def wind_solar(time: datetime) -> float:
        return sum(at(name, time) for name in WIND_SOLAR)

    valid, last, week = issue + (lead - 1) * HOUR, issue - HOUR, 7 * DAY * HOUR
    ahead = {name: at(name, valid) for name in EXTERNAL_COLUMNS}
    now = {name: of(external, name, last) for name in EXTERNAL_COLUMNS}
    made: dict[str, float] = {}
    for name, power in zip(WIND_SOLAR, MEASURED_OF, strict=True):
        measured = of(history, imputed(power), last)
        made[name] = ahead[name]
        made[f"{name}_change"] = ahead[name] - now[name]
        made[f"{name}_gap_to_measured"] = ahead[name] - measured
        made[f"{name}_error_last_hour"] = now[name] - measured
        if name == "solar_forecast_mw":
            continue
        misses = [
            of(external, name, issue - h * HOUR) - of(history, imputed(power), issue - h * HOUR)
            for h in range(1, 25)
        ]
        made[f"{name}_error_3h"] = sum(misses[:3]) / 3
        made[f"{name}_error_24h"] = sum(misses) / 24
    both, before = (sum(values[name] for name in WIND_SOLAR) for values in (ahead, now))
    made["wind_solar_sum_change"] = both - before
    made["wind_solar_sum_to_next"] = wind_solar(valid + HOUR) - both
    made["wind_solar_sum_from_previous"] = both - wind_solar(valid - HOUR)
    made["residual_load_mw"] = load(valid - week) - both
    made["residual_load_change"] = load(valid - week) - both - (load(last - week) - before)
    (name,) = PROGNOSIS
    errors = [
        math.log(of(external, name, issue - h * HOUR))
        - math.log(of(history, imputed(CO2_COLUMN), issue - h * HOUR))
        for h in range(1, 25)
    ]
    made["prognosis_change"] = math.log(ahead[name] / now[name])
    made["prognosis_gap"] = math.log(ahead[name] / of(history, imputed(CO2_COLUMN), last))
    made["prognosis_to_next"] = math.log(at(name, valid + HOUR) / ahead[name])
    made["prognosis_from_previous"] = math.log(ahead[name] / at(name, valid - HOUR))
    made["prognosis_error_last_hour"] = errors[0]
    made["prognosis_error_24h"] = sum(errors) / 24
    for name in PRICES:
        made |= {name: ahead[name], f"{name}_change": ahead[name] - now[name]}
    for other in ("no2", "de"):
        gap = ahead["price_dk1_eur_per_mwh"] - ahead[f"price_{other}_eur_per_mwh"]
        made[f"price_dk1_less_{other}"] = gap
    flags = ("wind_solar_is_known", "prognosis_is_known", "prices_is_known")
    return made | dict.fromkeys(flags, float(valid <= newest))


@pytest.mark.parametrize(
    ("issue", "lead"),
    [(MORNING, 1), (MORNING, 16), (MORNING, 17), (MORNING, 30), (EVENING, 6), (EVENING, 28),
     (EVENING, 29)],
)  # fmt: skip
def test_covariates_equal_what_their_names_say(
    issue: datetime, lead: int, history: pl.DataFrame, external: pl.DataFrame
) -> None:
    made = covariates(history, external, issue)
    by_hand = expected(history, external, issue, lead)
    assert made.keys() == by_hand.keys()
    assert {name: value[lead - 1] for name, value in made.items()} == pytest.approx(by_hand)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(hours=st.integers(0, 2000), kind=st.sampled_from(KINDS), seed=st.integers(0, 2**31))
def test_what_was_published_after_the_issue_time_changes_nothing(
    hours: int, kind: str, seed: int, history: pl.DataFrame, external: pl.DataFrame
) -> None:
    issue = MORNING + hours * HOUR
    around = pl.col("hour_utc").is_between(issue - 12 * DAY * HOUR, issue + 3 * DAY * HOUR)
    external = external.filter(around)
    altered = altered_after(external, issue, kind, seed)
    assert not altered.equals(external)
    found, again = (covariates(history, frame, issue) for frame in (external, altered))
    for name, value in found.items():
        assert np.array_equal(again[name], value, equal_nan=True), name
    assert missing_columns(altered, issue, HORIZON) == missing_columns(external, issue, HORIZON)


def test_what_was_published_before_does_change_each_covariate(
    history: pl.DataFrame, external: pl.DataFrame
) -> None:
    """The test above would pass if nothing were read."""
    altered = altered_after(external, MORNING - 10 * DAY * HOUR, "other values")
    found, again = (covariates(history, frame, MORNING) for frame in (external, altered))
    assert [name for name, value in found.items() if np.array_equal(again[name], value)] == [
        "wind_solar_is_known", "prognosis_is_known", "prices_is_known",
    ]  # fmt: skip


def test_values_lie_beside_the_hours_of_the_history(external: pl.DataFrame) -> None:
    found = External.of(external, MORNING, 48)
    recorded = external.filter(pl.col("hour_utc") >= MORNING).head(48)
    for name in EXTERNAL_COLUMNS:
        assert found.values[name].tolist() == [recorded[name].to_list()]
    after = External.of(external.head(10), external["hour_utc"][8], 4)
    for name in EXTERNAL_COLUMNS:
        assert np.isfinite(after.values[name]).tolist() == [[True, True, False, False]]
        assert np.isinf(after.known_from[name][:, 2:]).all()


@pytest.mark.parametrize(
    ("value", "available", "row"),
    [
        (5.0, MORNING, 0),
        (5.0, MORNING + INSTANT, 1),
        (5.0, MORNING + 3 * HOUR, 3),
        (5.0, MORNING - 10 * HOUR - INSTANT, -10),
        (5.0, None, math.inf),
        (None, MORNING, math.inf),
    ],
)
def test_a_value_is_known_from_the_first_issue_time_at_or_after_its_publication(
    value: float | None, available: datetime | None, row: float
) -> None:
    name = PRICES[0]
    schema = no_external().schema
    one = {"hour_utc": [MORNING + HOUR], name: [value], available_column(name): [available]}
    frame = pl.DataFrame(one, schema_overrides=schema).select(
        pl.col(key) if key in one else pl.lit(None, kind).alias(key) for key, kind in schema.items()
    )
    (found,) = External.of(frame, MORNING, 4).known_from[name]
    assert found[1] == row
    assert np.isinf(found[[0, 2, 3]]).all()


@settings(deadline=None)
@given(
    vintages=st.lists(st.lists(st.integers(-10, 60), max_size=3).map(sorted), min_size=50,
                      max_size=50),
    published=st.integers(0, 50),
    valid=st.integers(-30, 80),
    issue=st.integers(0, 50),
    column=st.sampled_from([WIND_SOLAR[0], WIND_SOLAR[2], *PROGNOSIS, DK1]),
    carries=st.booleans(),
)  # fmt: skip
def test_the_newest_vintage_that_was_known_counts_else_what_stands_in(
    vintages: list[list[int]], published: int, valid: int, issue: int, column: str, carries: bool
) -> None:
    """Generated: of real recordings only the first vintages are kept."""
    schema = no_external().schema
    vintages = [*vintages[:published], *([] for _ in vintages[published:])]
    rows = [
        {"hour_utc": MORNING + hour * HOUR, column: 100.0 * hour + number,
         available_column(column): MORNING + known * HOUR}
        for hour, of_hour in enumerate(vintages)
        for number, known in enumerate(of_hour)
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema=dict(schema)) if rows else no_external()

    def newest(hour: int) -> float:
        known = (
            [n for n, row in enumerate(vintages[hour]) if row <= issue] if 0 <= hour < 50 else []
        )
        return 100.0 * hour + known[-1] if known else np.nan

    last = max((hour for hour in range(50) if not np.isnan(newest(hour))), default=-1)
    candidates = [newest(valid), newest(valid - DAY)]
    if carries and 0 <= last < valid <= last + FURTHEST and column != WIND_SOLAR[2]:
        moved = newest(valid - DAY) + newest(last) - newest(last - DAY)
        candidates.insert(0, moved if column == DK1 else newest(last))
    expected = next((value for value in candidates if not np.isnan(value)), np.nan)
    made = External.of(frame, MORNING, 50, carries=carries)
    found = made.at(column, np.array([[valid]]), np.array([[issue]]))
    assert np.array_equal(found, [[expected]], equal_nan=True)


@pytest.mark.parametrize("column", EXTERNAL_COLUMNS)
@pytest.mark.parametrize(
    ("lead", "available", "absent"),
    [
        (1, MORNING, []),
        (1, MORNING + INSTANT, list(range(1, HORIZON + 1))),
        (1, None, list(range(1, HORIZON + 1))),
        (6, MORNING, []),
        (6, MORNING + INSTANT, [6]),
        (7, None, []),
    ],
)
def test_a_column_is_missing_without_the_next_hour_and_absent_at_a_mission_lead_without_its(
    column: str, lead: int, available: datetime | None, absent: list[int], external: pl.DataFrame
) -> None:
    name = available_column(column)
    that = pl.col("hour_utc") == MORNING + (lead - 1) * HOUR
    one = pl.when(that).then(pl.lit(available, pl.Datetime("us", "UTC"))).otherwise(name)
    other = external.with_columns(one.alias(name))
    assert missing_columns(external, MORNING, HORIZON) == ()
    assert missing_columns(other, MORNING, HORIZON) == ((column,) if 1 in absent else ())
    (found,) = External.of(other, MORNING - HOUR, HORIZON + 1).present(np.array([1]), HORIZON)
    index = EXTERNAL_COLUMNS.index(column)
    assert [number + 1 for number in np.flatnonzero(~found[:, index])] == absent
    assert np.delete(found, index, axis=1).all()


def test_without_rows_every_column_is_missing() -> None:
    assert missing_columns(no_external(), MORNING, 6) == EXTERNAL_COLUMNS
