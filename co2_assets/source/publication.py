"""From when on a value of a forecast dataset was known: what models obey.

A value that we saw before its valid time was known when we first saw it, and at the latest
from its publication rule plus an hour: wind and solar 18:00, prices 13:00 Danish time on the
day before. One that we saw afterwards (history) was known by the rule. Energinet's CO2
prognosis has no such rule, since the API overwrites it: what was not seen in time is never
used. What changes later is a vintage of its own; see `warehouse.raw.store_vintages`.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl

from co2_assets.schema import CO2_PROGNOSIS, DAY_AHEAD_PRICES, WIND_SOLAR_FORECASTS, Table

DANISH = "Europe/Copenhagen"

USABLE_FROM_HOUR = {WIND_SOLAR_FORECASTS.name: 19, DAY_AHEAD_PRICES.name: 14}
"""Hour of the day before, Danish time: the publication rule and an hour of grace."""


def with_availability(table: Table, rows: pl.DataFrame, seen_at: datetime) -> pl.DataFrame:
    """The rows with `first_seen_utc` and `available_utc`.

    Args:
        table: a forecast table; its first key column is the valid time.
        rows: rows of it, fetched together.
        seen_at: the platform's time at the fetch, UTC.
    """
    valid = pl.col(table.key[0])
    seen = pl.lit(seen_at).dt.cast_time_unit("us")
    return rows.with_columns(first_seen_utc=pl.when(seen < valid).then(seen)).with_columns(
        available_utc=pl.min_horizontal("first_seen_utc", publication_rule(table))
    )


def publication_rule(table: Table) -> pl.Expr:
    """When a value was known at the latest, by the rule; null where there is none."""
    if table.name == CO2_PROGNOSIS.name:
        return pl.lit(None, pl.Datetime("us", "UTC"))
    # Naive in between: an hour added to a zoned midnight is off by one on the two days a
    # year whose clock changes.
    danish_day = pl.col(table.key[0]).dt.convert_time_zone(DANISH).dt.replace_time_zone(None)
    return (
        danish_day.dt.truncate("1d")
        .dt.offset_by("-1d")
        .dt.offset_by(f"{USABLE_FROM_HOUR[table.name]}h")
        .dt.replace_time_zone(DANISH)
        .dt.convert_time_zone("UTC")
    )
