"""What all tests share: the recorded two years as a history, and prepared homes."""

from __future__ import annotations

from datetime import timedelta
from importlib import resources

import polars as pl
import pytest

from co2_assets.replay.dataset import recorded_dataset
from co2_assets.schema import CO2_COLUMN, VALUE_COLUMNS
from co2_assets.source.datasets import POWER_SYSTEM_RIGHT_NOW
from co2_assets.transform.features import engineer
from co2_assets.transform.quality import assess, is_trainable
from co2_assets_tests.prepared import copies, first_replay, fresh_copy, replayed

__all__ = ["copies", "first_replay", "fresh_copy", "history", "replayed"]


@pytest.fixture(scope="session")
def history() -> pl.DataFrame:
    """Every hour from 2022-12-31T23 to 2025-01-31T23 UTC, with all that is wrong in them.

    Made as the platform makes it, but for the minutes: an hour that was recorded counts
    as having all 60 of them, the two that were not as having none.
    """
    recording = (
        resources.files("co2_assets")
        / "replay"
        / "recorded"
        / "power_system_hourly_2023-01_2025-01.parquet"
    )
    with resources.as_file(recording) as path:
        published = pl.read_parquet(path)
    names = {field.api_name: field.name for field in POWER_SYSTEM_RIGHT_NOW.fields}
    recorded = published.rename(
        {name: names.get(name, "hour_utc") for name in published.columns if name != "HourDK"}
    ).select(
        pl.col("hour_utc").dt.cast_time_unit("us").dt.replace_time_zone("UTC"),
        *VALUE_COLUMNS,
        pl.lit(60, pl.Int32).alias("minutes_seen"),
    )
    first, last = recorded["hour_utc"].min(), recorded["hour_utc"].max()
    hours = (
        pl.datetime_range(first, last + timedelta(hours=1), "1h", closed="left", eager=True)
        .alias("hour_utc")
        .to_frame()
        .join(recorded, on="hour_utc", how="left", maintain_order="left")
        .with_columns(pl.col("minutes_seen").fill_null(0))
    )
    assessed = assess(hours)
    actual = pl.when(pl.col("quality") == "ok").then(CO2_COLUMN)
    return (
        engineer(assessed)
        .join(
            assessed.select("hour_utc", actual.alias(CO2_COLUMN)),
            on="hour_utc",
            maintain_order="left",
        )
        .with_columns(is_trainable=is_trainable(assessed))
    )


@pytest.fixture(scope="session")
def external() -> pl.DataFrame:
    """What others forecast, as recorded, with the time from which each value may be used."""
    return recorded_dataset().external
