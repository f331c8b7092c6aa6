"""Hourly means of the minutes."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from co2_assets.schema import VALUE_COLUMNS


def hourly_means(minutes: pl.DataFrame, start: datetime, end: datetime) -> pl.DataFrame:
    """One row for each hour of [start, end), in order, whether it has minutes or not.

    Hours are UTC: the Danish hour that comes twice in October is two rows, the one that
    is left out in March leaves nothing out.

    Args:
        minutes: `minute_utc` and the seven measured columns (g/kWh and MW), null as
            published; each minute once.
        start: first hour, on the hour.
        end: exclusive end, on the hour.

    Returns:
        `hour_utc`, the means of what is not null (null without any), and `minutes_seen`,
        the minutes in which all seven were reported.

    Raises:
        ValueError: `start` or `end` is not on the hour, in UTC.
    """
    for name, time in (("start", start), ("end", end)):
        if time.utcoffset() != timedelta(0) or time != time.replace(
            minute=0, second=0, microsecond=0
        ):
            raise ValueError(f"{name} must be a whole hour in UTC, found {time.isoformat()}")
    hours = pl.DataFrame(
        {"hour_utc": pl.datetime_range(start, end, "1h", closed="left", eager=True)},
        schema={"hour_utc": pl.Datetime("us", "UTC")},
    )
    # In order, so that a mean has the same last digits however its minutes were read.
    in_order = minutes.sort("minute_utc")
    means = in_order.group_by(pl.col("minute_utc").dt.truncate("1h").alias("hour_utc")).agg(
        *(pl.col(name).mean() for name in VALUE_COLUMNS),
        pl.all_horizontal(pl.col(VALUE_COLUMNS).is_not_null())
        .sum()
        .cast(pl.Int32)
        .alias("minutes_seen"),
    )
    return (
        hours.join(means, on="hour_utc", how="left")
        .with_columns(pl.col("minutes_seen").fill_null(0))
        .sort("hour_utc")
    )
