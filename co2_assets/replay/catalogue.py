"""The datasets that the recorded server serves, by their names at Energi Data Service."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

from co2_assets.replay.recordings import POWER_SYSTEM_COLUMNS, Recordings


class Served(NamedTuple):
    """One dataset: rows of a span as known at a time, and the columns that go with it."""

    time_column: str
    danish_column: str | None
    key: tuple[str, ...]
    rows: Callable[[datetime, datetime, datetime], pl.DataFrame]
    description: str


def served_datasets(recordings: Recordings) -> dict[str, Served]:
    """What a server of these recordings serves, by the API's names."""

    def published(rows: pl.DataFrame, time_column: str) -> Callable[..., pl.DataFrame]:
        def known(start: datetime, end: datetime, now: datetime) -> pl.DataFrame:
            return rows.filter(
                pl.col(time_column) >= start,
                pl.col(time_column) < end,
                pl.col("published_utc") <= now,
            ).drop("published_utc")

        return known

    def minutes(start: datetime, end: datetime, now: datetime) -> pl.DataFrame:
        until = min(end, now)
        offsets = pl.DataFrame({"offset": [timedelta(minutes=m) for m in range(60)]})
        return (
            recordings.power_system.filter(
                pl.col("HourUTC") > start - timedelta(hours=1), pl.col("HourUTC") < until
            )
            .join(offsets, how="cross", maintain_order="left_right")
            .select(
                (pl.col("HourUTC") + pl.col("offset")).alias("Minutes1UTC"), *POWER_SYSTEM_COLUMNS
            )
            .filter(pl.col("Minutes1UTC") >= start, pl.col("Minutes1UTC") < until)
        )

    return {
        "PowerSystemRightNow": Served(
            "Minutes1UTC", "Minutes1DK", ("Minutes1UTC",), minutes, "the power system, by minute"
        ),
        "Forecasts_Hour": Served(
            "HourUTC",
            "HourDK",
            ("HourUTC", "PriceArea", "ForecastType"),
            published(recordings.forecasts_hour, "HourUTC"),
            "wind and solar forecasts",
        ),
        "CO2EmisProg": Served(
            "Minutes5UTC",
            "Minutes5DK",
            ("Minutes5UTC", "PriceArea"),
            published(recordings.co2_emis_prog, "Minutes5UTC"),
            "CO2 prognosis as first published",
        ),
        "Elspotprices": Served(
            "HourUTC",
            "HourDK",
            ("HourUTC", "PriceArea"),
            published(recordings.elspotprices, "HourUTC"),
            "day-ahead prices to 2025-09-30",
        ),
        "DayAheadPrices": Served(
            "TimeUTC",
            "TimeDK",
            ("TimeUTC", "PriceArea"),
            published(recordings.day_ahead_prices, "TimeUTC"),
            "day-ahead prices from 2025-10-01",
        ),
    }
