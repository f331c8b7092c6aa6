from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest

from co2_assets.schema import (
    AGGREGATED_HOURS,
    CO2_PROGNOSIS,
    ETL_RUNS,
    FORECAST_EVALUATIONS,
    FORECASTS,
    POWER_SYSTEM,
    QUANTILE_COLUMNS,
)
from co2_assets.warehouse.checks import (
    columns_differ,
    coverage_80,
    forecasts_not_monotone,
    hours_not_contiguous,
    hours_of_quality,
    implausible_hours,
    keys_repeated,
    minutes_missing,
    newest_age,
)
from co2_assets.warehouse.query import Connection
from co2_assets.warehouse.store import Transaction
from co2_assets_tests.warehouse.filled import HOUR, T0, filled, hours, put

FINE = {"is_complete": True, "quality": "ok", "minutes_seen": 60}


def test_an_empty_warehouse_has_nothing_wrong_but_no_minute(con: Connection) -> None:
    counts = [
        keys_repeated(con, POWER_SYSTEM).count,
        hours_not_contiguous(con).count,
        implausible_hours(con).count,
        hours_of_quality(con, "spike").count,
        forecasts_not_monotone(con).count,
        coverage_80(con, 0.15).count,
        columns_differ(con, POWER_SYSTEM).count,
    ]
    assert counts == [0] * len(counts)
    assert newest_age(con, HOUR).text == "no minute is stored"


def test_a_column_that_came_went_or_changed_its_type_is_named(con: Connection) -> None:
    con.execute("ALTER TABLE raw.co2_prognosis ADD COLUMN extra INTEGER")
    con.execute("ALTER TABLE raw.co2_prognosis DROP COLUMN etl_run_id")
    con.execute("ALTER TABLE raw.co2_prognosis ALTER step_minutes TYPE BIGINT")
    found = columns_differ(con, CO2_PROGNOSIS)
    assert found.count == 3
    assert found.details["columns"] == {
        "extra": "stored INTEGER, declared None",
        "etl_run_id": "stored None, declared VARCHAR",
        "step_minutes": "stored BIGINT, declared INTEGER",
    }


def test_a_repeated_key_is_counted_though_no_table_should_allow_it(con: Connection) -> None:
    put(con, CO2_PROGNOSIS, time_utc=hours(3))
    assert keys_repeated(con, CO2_PROGNOSIS).count == 0
    con.execute("CREATE TABLE raw.keyless AS FROM raw.co2_prognosis")
    con.execute("DROP TABLE raw.co2_prognosis")
    con.execute("ALTER TABLE raw.keyless RENAME TO co2_prognosis")
    con.execute("INSERT INTO raw.co2_prognosis FROM raw.co2_prognosis LIMIT 2")
    assert keys_repeated(con, CO2_PROGNOSIS).text == "2 rows repeat a key"


def test_a_left_out_hour_is_counted(con: Connection) -> None:
    put(con, AGGREGATED_HOURS, hour_utc=[t for i, t in enumerate(hours(10)) if i not in (3, 4)])
    assert hours_not_contiguous(con).count == 2


def test_missing_minutes_of_the_newest_day_are_counted(con: Connection) -> None:
    """By the minutes themselves: hours are made of them only later in a tick."""
    minutes = [T0 + timedelta(minutes=index) for index in range(30 * 60)]
    asked = T0 + 30 * HOUR
    stored = [time for time in minutes if not asked - HOUR <= time < asked][10:]
    put(con, POWER_SYSTEM, minute_utc=[time for time in stored if time.minute != 7])
    put(
        con, ETL_RUNS, etl_run_id=["1"], table_name="raw.power_system", window_end_utc=asked
    )  # fmt: skip
    assert minutes_missing(con).count == 60 + 23


@pytest.mark.parametrize(("lag", "count"), [(1, 0), (7, 0), (8, 1)])
def test_the_feed_is_late_by_the_datas_own_time(con: Connection, lag: int, count: int) -> None:
    put(con, POWER_SYSTEM, minute_utc=hours(1))
    put(
        con, ETL_RUNS, etl_run_id=["1"], table_name="raw.power_system",
        window_end_utc=T0 + lag * HOUR,
    )  # fmt: skip
    assert newest_age(con, timedelta(hours=7)).count == count


def test_implausible_values_of_the_newest_week_are_counted_by_column(con: Connection) -> None:
    values = [9000.0] + [100.0] * 198 + [-1.0]
    put(
        con,
        AGGREGATED_HOURS,
        hour_utc=hours(200),
        co2_g_per_kwh=values,
        solar_mw=[None, *values[1:]],
    )
    put(con, AGGREGATED_HOURS, hour_utc=[hours(200)[199]], co2_g_per_kwh=-1.0, net_import_mw=8000.0)
    found = implausible_hours(con)
    assert found.details["columns"] == {"co2_g_per_kwh": 1, "net_import_mw": 1}


def test_a_marked_hour_names_its_column_and_value(con: Connection) -> None:
    put(con, AGGREGATED_HOURS, hour_utc=hours(3), **FINE)
    put(
        con, AGGREGATED_HOURS, hour_utc=[T0 + HOUR], is_complete=True, quality="spike",
        co2_g_per_kwh=999.0, solar_mw=5.0, solar_cleaned_mw=5.0,
    )  # fmt: skip
    found = hours_of_quality(con, "spike")
    assert found.count == 1
    assert found.details["dataset"] == "PowerSystemRightNow"
    assert found.details["marked"] == ["2025-01-20T01 co2_g_per_kwh = 999.0"]
    assert hours_of_quality(con, "frozen").count == 0


def forecast(*quantiles: float, leads: tuple[int, ...] = (1, 2, 3)) -> pl.DataFrame:
    return filled(
        FORECASTS,
        lead_hours=list(leads),
        valid_time_utc=hours(len(leads)),
        **dict(zip(QUANTILE_COLUMNS, quantiles, strict=True)),
    )


def test_falling_quantiles_and_lacking_leads_are_counted(con: Connection) -> None:
    tx = Transaction(con, 1)
    tx.upsert(FORECASTS, forecast(1, 2, 3, 4, 4, 6, 7))
    assert forecasts_not_monotone(con).count == 0
    tx.upsert(FORECASTS, forecast(1, 2, 3, 4, 3.9, 6, 7).with_columns(model_version=pl.lit("b")))
    assert forecasts_not_monotone(con).text == "3 rows fall, 0 forecasts lack a lead"
    tx.upsert(
        FORECASTS,
        forecast(1, 2, 3, 4, 5, 6, 7, leads=(1, 3)).with_columns(model_version=pl.lit("c")),
    )
    assert forecasts_not_monotone(con).text == "3 rows fall, 1 forecasts lack a lead"


@pytest.mark.parametrize(("hits", "count"), [(80, 0), (95, 0), (40, 1), (100, 0)])
def test_the_80_percent_band_is_suspect_only_when_it_is_far_off(
    con: Connection, hits: int, count: int
) -> None:
    put(
        con,
        FORECAST_EVALUATIONS,
        valid_time_utc=hours(100),
        is_served=True,
        hit_80=[index < hits for index in range(100)],
    )
    found = coverage_80(con, 0.15)
    assert found.count == count
    assert found.details == {"coverage": hits / 100, "n": 100}


def test_hindcasts_and_shadows_say_nothing_of_the_band(con: Connection) -> None:
    put(con, FORECAST_EVALUATIONS, valid_time_utc=hours(50), is_served=True, is_hindcast=True)
    put(con, FORECAST_EVALUATIONS, valid_time_utc=hours(50, T0 + 99 * HOUR), model_version="b")
    assert coverage_80(con, 0.15).text == "nothing scored yet"
