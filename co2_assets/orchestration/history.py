"""What the models read: the stored hours of a span, and what others forecast of them."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from co2_assets.forecasting.inputs import hours_ahead
from co2_assets.settings import Settings
from co2_assets.transform.external import earliest_issue_time, hourly_external
from co2_assets.transform.quality import is_trainable
from co2_assets.warehouse import hours as hourly
from co2_assets.warehouse import raw
from co2_assets.warehouse.query import Connection


def history_start(settings: Settings, end: datetime) -> datetime:
    """Start of the history that ends at `end`: the training range and what features need."""
    return end - timedelta(days=settings.training_days + settings.feature_history_days)


def read_history(con: Connection, start: datetime, end: datetime) -> pl.DataFrame:
    """One row per hour from the first stored one in [start, end) up to `end`.

    Hours that are not stored yet, such as those of a feed that has stopped, are rows of
    nulls: a model must see that they lack.

    Returns:
        `hour_utc`, encoder inputs, `is_usable`, `co2_g_per_kwh` (the actual) and
        `is_trainable`; empty when nothing is stored.
    """
    features = hourly.read_features(con, start, end)
    if features.is_empty():
        return features.with_columns(is_trainable=pl.lit(False))
    hours = hourly.read_hours(con, start, end)
    trainable = hours.select("hour_utc", is_trainable(hours).alias("is_trainable"))
    every_hour = pl.DataFrame(
        {
            "hour_utc": pl.datetime_range(
                features["hour_utc"][0], end, "1h", closed="left", eager=True
            )
        },
        schema={"hour_utc": features.schema["hour_utc"]},
    )
    return (
        every_hour.join(features, on="hour_utc", how="left")
        .join(trainable, on="hour_utc", how="left")
        .with_columns(pl.col("is_usable", "is_trainable").fill_null(value=False))
        .sort("hour_utc")
    )


def read_external(
    con: Connection,
    settings: Settings,
    start: datetime,
    until: datetime,
    *,
    cutoff: datetime | None = None,
) -> pl.DataFrame:
    """What others forecast of the hours from `start` on, for issue times up to `until`.

    Args:
        con: head, or a published copy.
        settings: the delay from an issue time to its cut-off.
        start: first hour.
        until: the newest issue time; all that is read of its leads is there.
        cutoff: of the newest issue time, where that is a live forecast: it may use
            everything that was known by then.

    Returns:
        See `transform.external.hourly_external`.
    """
    end = until + timedelta(hours=hours_ahead(settings.horizon_hours))
    stored = raw.read_forecasts(con, start, end, cutoff or until + settings.issue_delay)
    usable_from = earliest_issue_time(
        settings.issue_delay, issue_time=None if cutoff is None else until
    )
    return hourly_external(*stored.usable(usable_from))
