"""The history that the benchmarks read: the recorded hours, through the real transforms."""

from __future__ import annotations

import polars as pl

from co2_assets.replay.recordings import Recordings
from co2_assets.schema import CO2_COLUMN, VALUE_COLUMNS, cleaned
from co2_assets.source.datasets import POWER_SYSTEM_RIGHT_NOW
from co2_assets.transform.features import engineer
from co2_assets.transform.hourly import hourly_means
from co2_assets.transform.quality import assess, is_trainable


def recorded_history() -> pl.DataFrame:
    """All recorded hours as the models read them; see `co2_assets.forecasting`."""
    recordings = Recordings.load()
    names = {field.api_name: field.name for field in POWER_SYSTEM_RIGHT_NOW.fields}
    recorded = recordings.power_system.rename(names | {"HourUTC": "minute_utc"}, strict=False)
    start, end = recordings.span
    means = hourly_means(recorded.select("minute_utc", *VALUE_COLUMNS), start, end)
    # A recorded hour is the mean of all its minutes; one that was not recorded has none.
    hours = assess(means.with_columns(minutes_seen=pl.col("minutes_seen") * 60))
    actual = pl.when(pl.col("quality") == "ok").then(cleaned(CO2_COLUMN))
    return engineer(hours).join(
        hours.select("hour_utc", actual.alias(CO2_COLUMN)).with_columns(
            is_trainable=is_trainable(hours)
        ),
        on="hour_utc",
    )
