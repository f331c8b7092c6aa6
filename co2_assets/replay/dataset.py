"""The recordings as the models read them: for benchmarks and studies without a warehouse."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import NamedTuple

import polars as pl

from co2_assets.replay.recordings import WIND_SOLAR_COLUMNS, Recordings
from co2_assets.schema import (
    CO2_COLUMN,
    DAY_AHEAD_PRICES,
    FORECAST_TYPES,
    VALUE_COLUMNS,
    WIND_SOLAR_FORECASTS,
    cleaned,
)
from co2_assets.settings import Settings
from co2_assets.source.archive import read_archive
from co2_assets.source.datasets import POWER_SYSTEM_RIGHT_NOW
from co2_assets.source.publication import with_availability
from co2_assets.transform.external import earliest_issue_time, hourly_external
from co2_assets.transform.features import engineer
from co2_assets.transform.hourly import hourly_means
from co2_assets.transform.quality import assess, is_trainable

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)
AFTERWARDS = datetime(9000, 1, 1, tzinfo=UTC)
"""Seen long after the fact: the publication rule decides from when a value may be used."""


class Dataset(NamedTuple):
    """A history and what others forecast; see `co2_assets.forecasting`."""

    history: pl.DataFrame
    external: pl.DataFrame


def recorded_dataset(recordings: Recordings | None = None) -> Dataset:
    """All recorded hours, through the platform's own transforms.

    Args:
        recordings: those of the package by default. The prognosis is always the shipped
            archive: it holds the first published values with their times.
    """
    recorded = recordings or Recordings.load()
    return Dataset(history_of(recorded_hours(recorded)), _external(recorded))


def recorded_hours(recordings: Recordings) -> pl.DataFrame:
    """All recorded hours as `core.aggregated_hours` holds them."""
    names = {field.api_name: field.name for field in POWER_SYSTEM_RIGHT_NOW.fields}
    recorded = recordings.power_system.rename(names | {"HourUTC": "minute_utc"}, strict=False)
    start, end = recordings.span
    means = hourly_means(recorded.select("minute_utc", *VALUE_COLUMNS), start, end)
    # A recorded hour is the mean of all its minutes; one that was not recorded has none.
    return assess(means.with_columns(minutes_seen=pl.col("minutes_seen") * 60))


def history_of(hours: pl.DataFrame) -> pl.DataFrame:
    """Assessed hours as the models read them."""
    actual = pl.when(pl.col("quality") == "ok").then(cleaned(CO2_COLUMN))
    return engineer(hours).join(
        hours.select("hour_utc", actual.alias(CO2_COLUMN)).with_columns(
            is_trainable=is_trainable(hours)
        ),
        on="hour_utc",
    )


def _external(recordings: Recordings) -> pl.DataFrame:
    kinds = dict(zip(WIND_SOLAR_COLUMNS.values(), FORECAST_TYPES, strict=True))
    wind_solar = recordings.forecasts_hour.select(
        pl.col("HourUTC").alias("hour_utc"),
        pl.col("PriceArea").alias("area"),
        pl.col("ForecastType").replace_strict(kinds, return_dtype=pl.String).alias("forecast_type"),
        pl.lit("day_ahead").alias("kind"),
        pl.col("ForecastDayAhead").alias("forecast_mw"),
    )
    prices = pl.concat(
        [
            _prices(recordings.elspotprices, "HourUTC", "SpotPriceEUR", 60),
            _prices(recordings.day_ahead_prices, "TimeUTC", "DayAheadPriceEUR", 15),
        ]
    )
    usable_from = earliest_issue_time(Settings().issue_delay)
    known = (
        with_availability(WIND_SOLAR_FORECASTS, wind_solar, AFTERWARDS),
        read_archive(None, start=LONG_AGO, seen_by=AFTERWARDS),
        with_availability(DAY_AHEAD_PRICES, prices, AFTERWARDS),
    )
    return hourly_external(*(rows.with_columns(available_utc=usable_from) for rows in known))


def _prices(rows: pl.DataFrame, time: str, value: str, step_minutes: int) -> pl.DataFrame:
    return rows.select(
        pl.col(time).alias("time_utc"),
        pl.col("PriceArea").alias("area"),
        pl.col(value).alias("price_eur_per_mwh"),
        pl.lit(step_minutes, pl.Int32).alias("step_minutes"),
    )
