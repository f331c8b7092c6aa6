"""The recorded two years as contiguous hours, before and after their assessment."""

from __future__ import annotations

from datetime import timedelta
from importlib import resources

import polars as pl
import pytest

from co2_assets.schema import CO2_COLUMN, VALUE_COLUMNS
from co2_assets.transform.quality import assess

PUBLISHED = {
    "HourUTC": "hour_utc",
    "CO2Emission": CO2_COLUMN,
    "ProductionGe100MW": "central_plants_mw",
    "ProductionLt100MW": "local_plants_mw",
    "SolarPower": "solar_mw",
    "OffshoreWindPower": "offshore_wind_mw",
    "OnshoreWindPower": "onshore_wind_mw",
    "Exchange_Sum": "net_import_mw",
}


@pytest.fixture(scope="session")
def recorded_hours() -> pl.DataFrame:
    """Every recorded hour with 60 minutes, and the two missing ones with none."""
    recording = (
        resources.files("co2_assets")
        / "replay"
        / "recorded"
        / "power_system_hourly_2023-01_2025-01.parquet"
    )
    with resources.as_file(recording) as path:
        published = pl.read_parquet(path)
    recorded = (
        published.rename(PUBLISHED)
        .select(pl.col("hour_utc").dt.replace_time_zone("UTC"), *VALUE_COLUMNS)
        .with_columns(minutes_seen=pl.lit(60, pl.Int32))
        .sort("hour_utc")
    )
    first, last = recorded["hour_utc"][0], recorded["hour_utc"][-1]
    hours = pl.datetime_range(
        first, last + timedelta(hours=1), "1h", closed="left", eager=True
    ).alias("hour_utc")
    return (
        hours.to_frame()
        .join(recorded, on="hour_utc", how="left")
        .with_columns(pl.col("minutes_seen").fill_null(0))
    )


@pytest.fixture(scope="session")
def assessed_hours(recorded_hours: pl.DataFrame) -> pl.DataFrame:
    return assess(recorded_hours)
