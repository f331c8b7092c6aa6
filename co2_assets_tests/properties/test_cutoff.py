"""A tick uses what its own loads brought, up to its cut-off; a backtest of it uses the same."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl
import pytest

from co2_assets.forecasting.artifact import load
from co2_assets.forecasting.calibration import calibrate, select_margins
from co2_assets.orchestration.history import history_start, read_external, read_history
from co2_assets.orchestration.issuing import issue
from co2_assets.replay.machine import tick_time
from co2_assets.schema import QUANTILE_COLUMNS
from co2_assets.settings import WINDOW
from co2_assets.warehouse import calibration, query, registry
from co2_assets_tests.homes import REPLAYED_UNTIL, Home, utc, windows

EVENING = utc("2025-01-19T18:00")
"""Its tick is the first that can know tomorrow's wind, sun, prices and prognosis."""

TICKS = [window + WINDOW for window in windows(utc("2025-01-18T06:00"), REPLAYED_UNTIL)]
TABLES = {
    "raw.wind_solar_forecasts": ("hour_utc", "forecast_mw"),
    "raw.co2_prognosis": ("time_utc", "co2_g_per_kwh"),
    "raw.day_ahead_prices": ("time_utc", "price_eur_per_mwh"),
}


def revise(home: Home, table: str, known_from: datetime) -> int:
    """Publish another value of each coming hour at a time; returns how many."""
    time_column, column = TABLES[table]
    with home.store.write("test", "test") as tx:
        return tx.execute(
            f"INSERT INTO {table} SELECT * REPLACE (vintage + 1 AS vintage,"
            f" {column} * 1.4 + 9 AS {column}, $known_from AS available_utc) FROM {table}"
            f" WHERE {time_column} >= $evening AND vintage = 1",
            evening=EVENING,
            known_from=known_from,
        )


def by_a_tick(home: Home, time: datetime) -> list[tuple[Any, ...]]:
    """What the champion says when the tick of an issue time is issued anew."""
    with home.store.write("test", "test") as tx:
        for table in ("ml.forecasts", "ml.forecast_calibration"):
            tx.execute(f"DELETE FROM {table} WHERE issue_time_utc = $time", time=time)
    now = tick_time(home.settings, time - WINDOW)
    issue(home.store, home.settings, issue_time=time, now=now, run_id="again")
    return said(home, "ml.forecast_calibration", time)


def by_a_backtest(home: Home, time: datetime) -> list[tuple[Any, ...]]:
    """What the champion says in a backtest of an issue time, before its calibration."""
    with home.store.read("test") as con:
        return backtested(home, con, time)[0].select(QUANTILE_COLUMNS).rows()


def backtested(home: Home, con: Any, time: datetime) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A backtest's forecast, read with all that is stored; as made, and calibrated."""
    settings = home.settings
    version = registry.champion_at(con, time)
    assert version is not None
    model = load(settings.home / version.artifact_path, version.artifact_sha256)
    start, end = history_start(settings, time), REPLAYED_UNTIL
    external = read_external(con, settings, start, end)
    made = model.predict(read_history(con, start, end), [time], external)
    margins = select_margins(
        calibration.evidence(con, time),
        calibration.holdout_margins(con, version.model_version),
        (),
        time,
        settings.horizon_hours,
    )
    return made, calibrate(made, margins)


def said(home: Home, table: str, time: datetime) -> list[tuple[Any, ...]]:
    with home.store.read("test") as con:
        return query.rows(
            con,
            f"SELECT {', '.join(QUANTILE_COLUMNS)} FROM {table} WHERE issue_time_utc = $time"
            " AND model_version = 'v0001' ORDER BY lead_hours",
            time=time,
        )


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("forecast", [by_a_tick, by_a_backtest])
def test_what_was_published_since_the_last_tick_counts_and_what_came_after_the_cutoff_does_not(
    table: str, forecast: Any, fresh_copy: Home
) -> None:
    cutoff = tick_time(fresh_copy.settings, EVENING - WINDOW)
    before = forecast(fresh_copy, EVENING)
    assert revise(fresh_copy, table, cutoff + timedelta(seconds=1)) > 0
    assert forecast(fresh_copy, EVENING) == before
    with fresh_copy.store.write("test", "test") as tx:
        tx.execute(f"DELETE FROM {table} WHERE vintage = 2")
    revise(fresh_copy, table, cutoff - timedelta(hours=1))
    assert forecast(fresh_copy, EVENING) != before


@pytest.mark.parametrize("time", TICKS, ids=lambda time: f"{time:%dT%H}")
def test_a_tick_and_a_backtest_of_its_issue_time_give_the_same_forecast_to_the_last_bit(
    time: datetime, replayed: Home
) -> None:
    """The recorded ticks, each with what it knew then; the backtest, reading it all afterwards."""
    with replayed.store.read("test") as con:
        made, calibrated = backtested(replayed, con, time)
    assert made.select(QUANTILE_COLUMNS).rows() == said(replayed, "ml.forecast_calibration", time)
    assert calibrated.select(QUANTILE_COLUMNS).rows() == said(replayed, "ml.forecasts", time)


def test_a_live_forecast_may_use_all_that_its_own_loads_brought(fresh_copy: Home) -> None:
    """A tick that took twenty minutes has seen what came in the meantime."""
    table, (time_column, _) = "raw.wind_solar_forecasts", TABLES["raw.wind_solar_forecasts"]
    late = EVENING + timedelta(minutes=20)
    with fresh_copy.store.write("test", "test") as tx:
        tx.execute(
            f"UPDATE {table} SET available_utc = $late WHERE {time_column} >= $tomorrow"
            " AND available_utc <= $late",
            late=late,
            tomorrow=utc("2025-01-19T23:00"),
        )
    without = by_a_tick(fresh_copy, EVENING)
    with fresh_copy.store.write("test", "test") as tx:
        tx.execute("DELETE FROM ml.forecasts WHERE issue_time_utc = $time", time=EVENING)
        tx.execute("DELETE FROM ml.forecast_calibration WHERE issue_time_utc = $t", t=EVENING)
    issue(fresh_copy.store, fresh_copy.settings, issue_time=EVENING, now=late, run_id="slow")
    assert said(fresh_copy, "ml.forecast_calibration", EVENING) != without
    with fresh_copy.store.read("test") as con:
        kept = query.rows(
            con,
            "SELECT DISTINCT cutoff_utc, is_hindcast, inputs_missing FROM ml.forecasts"
            " WHERE issue_time_utc = $time AND is_served",
            time=EVENING,
        )
    assert kept == [(late, False, None)]
