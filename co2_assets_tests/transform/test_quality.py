"""What an hour is worth: the faults of the recordings are found, and nothing else is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from co2_assets.schema import (
    CO2_COLUMN,
    IMPUTED_COLUMNS,
    POWER_COLUMNS,
    QUALITIES,
    VALUE_COLUMNS,
    cleaned,
    imputed,
)
from co2_assets.transform.quality import (
    PLAUSIBLE,
    QUALITY_CONTEXT_HOURS,
    SPIKE_LEAP,
    assess,
    is_trainable,
)

START = datetime(2024, 5, 1, tzinfo=UTC)
CO2_CLEANED = cleaned(CO2_COLUMN)
CO2_IMPUTED = imputed(CO2_COLUMN)
LOCAL = "local_plants_mw"
SPIKES = {  # ORIGINS.md
    datetime(2024, 4, 30, 10, tzinfo=UTC): 5417.22,
    datetime(2024, 10, 15, 13, tzinfo=UTC): 2771.54,
    datetime(2024, 10, 22, 14, tzinfo=UTC): 4594.6,
    datetime(2024, 10, 23, 9, tzinfo=UTC): 2152.97,
}
FROZEN_RUNS = {  # ORIGINS.md: first hour, hours
    datetime(2023, 10, 2, 12, tzinfo=UTC): 4,
    datetime(2024, 11, 16, 8, tzinfo=UTC): 12,
    datetime(2025, 1, 2, 21, tzinfo=UTC): 12,
}
MISSING = [datetime(2023, 10, 29, 1, tzinfo=UTC), datetime(2024, 10, 27, 1, tzinfo=UTC)]


def calm(n: int) -> pl.DataFrame:
    """`n` complete hours whose seven values all move by 1 from hour to hour."""
    return pl.DataFrame(
        {"hour_utc": [START + timedelta(hours=h) for h in range(n)]}
        | {name: [100.0 + h % 2 for h in range(n)] for name in VALUE_COLUMNS}
        | {"minutes_seen": [60] * n},
        schema_overrides={"hour_utc": pl.Datetime("us", "UTC"), "minutes_seen": pl.Int32},
    )


def with_values(hours: pl.DataFrame, name: str, at: dict[int, float | int | None]) -> pl.DataFrame:
    column = hours[name].to_list()
    for row, value in at.items():
        column[row] = value
    return hours.with_columns(pl.Series(name, column, dtype=hours.schema[name]))


def unreported(hours: pl.DataFrame, *rows: int) -> pl.DataFrame:
    for name in VALUE_COLUMNS:
        hours = with_values(hours, name, dict.fromkeys(rows))
    return with_values(hours, "minutes_seen", dict.fromkeys(rows, 0))


def test_exactly_the_four_recorded_spikes_are_found(assessed_hours: pl.DataFrame) -> None:
    found = assessed_hours.filter(pl.col("quality") == "spike")
    assert dict(zip(found["hour_utc"], found[LOCAL], strict=True)) == SPIKES


def test_a_recorded_spike_is_cleaned_where_it_is_and_out_of_co2(
    assessed_hours: pl.DataFrame,
) -> None:
    # 4,595 MW of local plants lifted CO2 to 214.6 between 26 and 49 g/kWh.
    hour = assessed_hours.row(
        by_predicate=pl.col("hour_utc") == datetime(2024, 10, 22, 14, tzinfo=UTC), named=True
    )
    assert hour[CO2_COLUMN] == 214.62
    assert hour[CO2_CLEANED] is None
    assert hour[CO2_IMPUTED] < 50
    assert hour[cleaned(LOCAL)] is None
    assert hour[imputed(LOCAL)] < 1000
    for name in POWER_COLUMNS:
        if name != LOCAL:
            assert hour[cleaned(name)] == hour[name]


def test_recorded_frozen_runs_are_frozen_from_their_third_hour(
    assessed_hours: pl.DataFrame,
) -> None:
    expected = [
        first + timedelta(hours=h)
        for first, length in FROZEN_RUNS.items()
        for h in range(2, length)
    ]
    found = assessed_hours.filter(pl.col("quality") == "frozen")
    assert found["hour_utc"].to_list() == expected
    assert found[CO2_CLEANED].null_count() == found.height


def test_the_two_recorded_missing_hours_are_imputed(assessed_hours: pl.DataFrame) -> None:
    found = assessed_hours.filter(pl.col("quality") == "imputed")
    assert found["hour_utc"].to_list() == MISSING
    assert found[CO2_CLEANED].null_count() == 2
    assert found[CO2_IMPUTED].null_count() == 0


def test_every_other_recorded_hour_is_ok(assessed_hours: pl.DataFrame) -> None:
    faulty = len(SPIKES) + sum(n - 2 for n in FROZEN_RUNS.values()) + len(MISSING)
    counts = dict(assessed_hours["quality"].value_counts().iter_rows())
    assert set(counts) <= set(QUALITIES)
    assert counts["ok"] == assessed_hours.height - faulty == 18_261


def test_small_negative_values_are_as_published(assessed_hours: pl.DataFrame) -> None:
    for name in ("solar_mw", "offshore_wind_mw", "central_plants_mw"):
        negative = assessed_hours.filter(pl.col(name) < 0, pl.col("quality") == "ok")
        assert negative.height > 0
        assert negative[cleaned(name)].equals(negative[name], check_names=False)


def test_the_reported_values_stay_as_they_were(
    recorded_hours: pl.DataFrame, assessed_hours: pl.DataFrame
) -> None:
    assert assessed_hours.select(recorded_hours.columns).equals(recorded_hours)


def test_training_leaves_out_all_that_is_faulty_and_the_start_of_frozen_runs(
    assessed_hours: pl.DataFrame,
) -> None:
    left_out = assessed_hours.filter(~is_trainable(assessed_hours))["hour_utc"].to_list()
    expected = [*SPIKES, *MISSING]
    for first, length in FROZEN_RUNS.items():
        expected += [first + timedelta(hours=h) for h in range(length)]
    assert left_out == sorted(expected)


def test_two_equal_hours_are_not_frozen_and_are_trained_on() -> None:
    hours = calm(30)
    for name in VALUE_COLUMNS:
        hours = with_values(hours, name, {20: 77.0, 21: 77.0})
    assessed = assess(hours)
    assert set(assessed["quality"]) == {"ok"}
    assert is_trainable(assessed).all()


@pytest.mark.parametrize("stuck", [name for name in VALUE_COLUMNS if name != "solar_mw"])
def test_a_meter_that_stands_still_is_frozen_alone_and_takes_co2_with_it(stuck: str) -> None:
    """No recording shows one meter alone; wind stuck at zero is what users fear."""
    assessed = assess(with_values(calm(30), stuck, dict.fromkeys(range(20, 26), 50.0)))
    assert assessed["quality"].to_list()[20:27] == ["ok", "ok", *["frozen"] * 4, "ok"]
    faulty = assessed.filter(pl.col("quality") == "frozen")
    for name in VALUE_COLUMNS:
        gone = name in (stuck, CO2_COLUMN)
        assert faulty[cleaned(name)].null_count() == (4 if gone else 0)
    assert is_trainable(assessed).to_list()[20:27] == [*[False] * 6, True]


@pytest.mark.parametrize("name", VALUE_COLUMNS)
def test_a_unit_error_never_becomes_the_level(name: str) -> None:
    """A leap is accepted from its third hour on, but not beyond what Denmark can report."""
    values = {row: 1000.0 * (100 + row % 2) for row in range(20, 26)}
    assessed = assess(with_values(calm(30), name, values))
    assert assessed["quality"].to_list()[20:26] == ["spike"] * 6
    assert assessed[cleaned(name)].to_list()[20:26] == [None] * 6
    assert not any(is_trainable(assessed).to_list()[20:26])


def test_the_sun_stands_still_all_night() -> None:
    hours = with_values(calm(30), "solar_mw", dict.fromkeys(range(20, 26), 0.0))
    assert set(assess(hours)["quality"]) == {"ok"}


def test_an_incomplete_hour_interrupts_a_frozen_run() -> None:
    hours = calm(30)
    for name in VALUE_COLUMNS:
        hours = with_values(hours, name, dict.fromkeys(range(20, 25), 77.0))
    hours = with_values(hours, "minutes_seen", {22: 10})
    assert assess(hours)["quality"].to_list()[20:25] == ["ok", "ok", "imputed", "ok", "ok"]


@pytest.mark.parametrize(("minutes", "is_complete"), [(44, False), (45, True), (60, True)])
def test_an_hour_is_complete_from_45_minutes(minutes: int, is_complete: bool) -> None:
    assessed = assess(with_values(calm(10), "minutes_seen", {5: minutes}))
    assert assessed["is_complete"].to_list()[5] is is_complete
    assert (assessed[CO2_CLEANED][5] is not None) is is_complete


@pytest.mark.parametrize("name", VALUE_COLUMNS)
def test_an_hour_that_lacks_one_quantity_is_not_complete(name: str) -> None:
    hour = assess(with_values(calm(10), name, {5: None})).row(5, named=True)
    assert hour["is_complete"] is False
    assert hour["quality"] == "imputed"
    assert all(hour[cleaned(column)] is None for column in VALUE_COLUMNS)


def test_three_missing_hours_are_imputed_and_the_fourth_is_missing() -> None:
    assessed = assess(unreported(calm(20), 10, 11, 12, 13, 14))
    assert assessed["quality"].to_list()[9:16] == [
        "ok",
        *["imputed"] * 3,
        *["missing"] * 2,
        "ok",
    ]
    assert assessed[CO2_IMPUTED].to_list()[9:16] == [101.0, *[101.0] * 3, None, None, 101.0]
    assert assessed["is_imputed"].to_list()[9:16] == [False, *[True] * 3, False, False, False]


def test_nothing_is_imputed_before_the_first_report() -> None:
    assessed = assess(unreported(calm(5), 0, 1))
    assert assessed["quality"].to_list()[:2] == ["missing", "missing"]
    assert assessed.head(2).select(IMPUTED_COLUMNS).null_count().row(0) == (2,) * 7


@pytest.mark.parametrize("sign", [1, -1], ids=["up", "down"])
@pytest.mark.parametrize("name", VALUE_COLUMNS)
def test_a_leap_beyond_the_day_before_is_a_spike(name: str, sign: int) -> None:
    level = sum(PLAUSIBLE[name]) / 2
    hours = with_values(calm(40), name, {row: level + row % 2 for row in range(40)})
    edge = level + 1 if sign > 0 else level
    leap = sign * SPIKE_LEAP[name]
    beyond = assess(with_values(hours, name, {30: edge + leap + sign}))
    within = assess(with_values(hours, name, {30: edge + leap}))
    assert beyond["quality"].to_list()[29:32] == ["ok", "spike", "ok"]
    assert beyond[cleaned(name)][30] is None
    assert beyond[CO2_CLEANED][30] is None
    assert beyond["is_complete"][30] is True
    assert set(within["quality"]) == {"ok"}


def test_a_shifted_level_is_accepted_from_its_third_hour() -> None:
    shifted = with_values(calm(60), LOCAL, {row: 2400.0 + row % 3 for row in range(30, 60)})
    assert assess(shifted)["quality"].to_list()[29:] == ["ok", "spike", "spike", *["ok"] * 28]


def test_one_spike_does_not_hide_the_next() -> None:
    hours = with_values(calm(60), LOCAL, {30: 2400.0, 40: 2000.0})
    spikes = assess(hours).filter(pl.col("quality") == "spike")["hour_utc"].to_list()
    assert spikes == [START + timedelta(hours=30), START + timedelta(hours=40)]


def test_the_context_reaches_back_to_all_that_an_imputed_value_depends_on() -> None:
    # Row 27 is filled from row 24, which is no spike only for the level of rows 0 and 1.
    shifted = with_values(calm(28), LOCAL, {0: 2400.0, 1: 2400.0, 24: 2400.0})
    whole = assess(unreported(shifted, 25, 26, 27))
    assert whole[imputed(LOCAL)][27] == 2400.0
    assert QUALITY_CONTEXT_HOURS == 27
    less = assess(whole.select(shifted.columns).tail(QUALITY_CONTEXT_HOURS))
    assert less[imputed(LOCAL)][-1] is None


def test_too_few_hours_before_make_no_spike() -> None:
    assert set(assess(with_values(calm(8), LOCAL, {5: 2400.0}))["quality"]) == {"ok"}
    assert assess(with_values(calm(8), LOCAL, {6: 2400.0}))["quality"][6] == "spike"


@pytest.mark.parametrize(
    "rows",
    [[0, 1, 3], [0, 1, 1], [0, 2, 1]],
    ids=["gap", "twice", "out of order"],
)
def test_hours_that_are_not_contiguous_are_refused(rows: list[int]) -> None:
    with pytest.raises(ValueError, match="hours are not contiguous: 2024-05-01 0"):
        assess(calm(4)[rows])


def test_no_hours_give_no_hours() -> None:
    assert assess(calm(0)).height == 0
