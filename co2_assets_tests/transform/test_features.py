"""Encoder inputs equal what SQL window functions make of the same hours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from co2_assets.schema import (
    CO2_COLUMN,
    CO2_LAGS,
    FEATURE_COLUMNS,
    IMPUTED_COLUMNS,
    ROLLING_HOURS,
    imputed,
)
from co2_assets.transform.features import FEATURE_CONTEXT_HOURS, engineer

CO2 = imputed(CO2_COLUMN)


def by_sql(hours: pl.DataFrame) -> pl.DataFrame:
    """The same inputs by DuckDB: by time (RANGE), null unless the window is whole."""
    lags = [
        f"""max({CO2}) OVER (ORDER BY hour_utc RANGE BETWEEN INTERVAL {lag} HOUR PRECEDING
            AND INTERVAL {lag} HOUR PRECEDING) AS co2_lag_{lag}h_g_per_kwh"""
        for lag in CO2_LAGS
    ]
    rolling = [
        f"""CASE WHEN count({CO2}) OVER w{window} = {window}
            THEN {function}({CO2}) OVER w{window} END
            AS co2_rolling_{statistic}_{window}h_g_per_kwh"""
        for window in ROLLING_HOURS
        for statistic, function in (("mean", "avg"), ("std", "stddev_samp"))
    ]
    windows = [
        f"w{window} AS (ORDER BY hour_utc RANGE BETWEEN INTERVAL {window - 1} HOUR PRECEDING"
        " AND CURRENT ROW)"
        for window in ROLLING_HOURS
    ]
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.register("hours", hours.to_arrow())
        return connection.sql(
            f"SELECT hour_utc, {', '.join([*IMPUTED_COLUMNS, *lags, *rolling])} FROM hours"
            f" WINDOW {', '.join(windows)} ORDER BY hour_utc"
        ).pl()


def test_inputs_equal_sql_window_functions_on_all_recorded_hours(
    assessed_hours: pl.DataFrame,
) -> None:
    ours = engineer(assessed_hours).drop("is_usable")
    theirs = by_sql(assessed_hours).cast(dict(ours.schema))
    assert ours.columns == ["hour_utc", *FEATURE_COLUMNS]
    assert_frame_equal(ours, theirs, rel_tol=1e-9, abs_tol=1e-6)


def test_an_hour_is_usable_when_no_input_is_null(assessed_hours: pl.DataFrame) -> None:
    features = engineer(assessed_hours)
    complete = features.select(pl.all_horizontal(pl.col(FEATURE_COLUMNS).is_not_null()))
    assert features["is_usable"].equals(complete.to_series(), check_names=False)
    assert not features["is_usable"].head(FEATURE_CONTEXT_HOURS).any()
    assert features["is_usable"][FEATURE_CONTEXT_HOURS]


def test_a_hole_makes_exactly_the_hours_that_look_at_it_unusable(
    assessed_hours: pl.DataFrame,
) -> None:
    part = assessed_hours.slice(1000, 60).with_columns(
        pl.when(pl.int_range(pl.len()) == 30).then(None).otherwise(pl.col(CO2)).alias(CO2)
    )
    unusable = engineer(part).with_row_index().filter(~pl.col("is_usable"))["index"].to_list()
    assert unusable == [*range(FEATURE_CONTEXT_HOURS), *range(30, 30 + FEATURE_CONTEXT_HOURS + 1)]


def test_lag_one_is_the_hour_before_and_the_rolling_mean_takes_in_the_hour(
    assessed_hours: pl.DataFrame,
) -> None:
    at = datetime(2024, 7, 1, 12, tzinfo=UTC)
    co2 = {
        back: assessed_hours.row(
            by_predicate=pl.col("hour_utc") == at - timedelta(hours=back), named=True
        )[CO2]
        for back in range(6)
    }
    inputs = engineer(assessed_hours).row(by_predicate=pl.col("hour_utc") == at, named=True)
    assert inputs[CO2] == co2[0]
    assert inputs["co2_lag_1h_g_per_kwh"] == co2[1]
    assert inputs["co2_lag_5h_g_per_kwh"] == co2[5]
    assert inputs["co2_rolling_mean_6h_g_per_kwh"] == pytest.approx(sum(co2.values()) / 6)


def test_a_constant_feed_has_a_standard_deviation_of_exactly_zero(
    assessed_hours: pl.DataFrame,
) -> None:
    flat = assessed_hours.head(40).with_columns(pl.lit(88.59).alias(CO2))
    std = engineer(flat)["co2_rolling_std_12h_g_per_kwh"].drop_nulls()
    assert std.abs().max() < 1e-12


def test_the_same_hours_give_the_same_bits_again_and_again(assessed_hours: pl.DataFrame) -> None:
    first = engineer(assessed_hours)
    for _ in range(5):
        assert engineer(assessed_hours).equals(first)


def test_a_gap_in_the_hours_is_refused(assessed_hours: pl.DataFrame) -> None:
    with pytest.raises(ValueError, match="hours are not contiguous"):
        engineer(pl.concat([assessed_hours.head(5), assessed_hours.slice(6, 5)]))
