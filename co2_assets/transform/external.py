"""Hourly series of what others forecast, each hour with the time from which it may be used.

An hour counts only when it is whole: all of its intervals, and all of the areas that are
added up. So whatever is published later cannot change whether an hour was known at an
earlier issue time.
"""

from __future__ import annotations

from functools import reduce

import polars as pl

from co2_assets.schema import (
    EXTERNAL_COLUMNS,
    FORECAST_TYPES,
    PRICE_AREAS,
    PROGNOSIS_SHARES,
    available_column,
    price_column,
    wind_solar_column,
)
from co2_assets.transform.quality import PLAUSIBLE

NONSENSE_FROM_G_PER_KWH = 400.0
"""Energinet's prognosis stays below; what it published above (flat 711, 756) was no forecast."""

POSSIBLE = {
    **{wind_solar_column(kind): (0.0, PLAUSIBLE[f"{kind}_mw"][1]) for kind in FORECAST_TYPES},
    "co2_prognosis_g_per_kwh": (1.0, NONSENSE_FROM_G_PER_KWH),
    **{price_column(area): (-600.0, 5000.0) for area in PRICE_AREAS},
}
"""What can be forecast of Denmark: up to the capacities of 2026, and the limits of the power
exchange (-500 to 4,000 or 5,000 EUR/MWh). What lies beyond is missing, as if it had not been
published: a unit error must not steer a forecast."""

UTC_TIME = pl.Datetime("us", "UTC")


def hourly_external(
    wind_solar: pl.DataFrame, prognosis: pl.DataFrame, prices: pl.DataFrame
) -> pl.DataFrame:
    """One row per hour with anything known of it, in order.

    Args:
        wind_solar: rows of `raw.wind_solar_forecasts`; only day-ahead forecasts are read.
        prognosis: rows of `raw.co2_prognosis`; of several vintages the first usable counts,
            which is what the archive holds, so that training and forecasting read alike.
        prices: rows of `raw.day_ahead_prices`.

    Returns:
        `hour_utc`, and for each of `schema.EXTERNAL_COLUMNS` its value (null where it is
        missing) and its `..._available_utc`: the earliest issue time that may use it.
    """
    parts = [
        *_wind_and_solar(wind_solar),
        _prognosis(prognosis),
        *(_price(prices, area) for area in PRICE_AREAS),
    ]
    joined = reduce(
        lambda left, right: left.join(right, on="hour_utc", how="full", coalesce=True), parts
    )
    columns = [name for column in EXTERNAL_COLUMNS for name in (column, available_column(column))]
    return (
        joined.select("hour_utc", *columns)
        .with_columns(
            pl.when(pl.col(name).is_between(low, high)).then(pl.col(name)).alias(name)
            for name, (low, high) in POSSIBLE.items()
        )
        .sort("hour_utc")
    )


def _wind_and_solar(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Sums over both areas, one frame a type.

    Where nothing is said of the wind, solar is no forecast either; where the wind is
    there, a null of solar is the night (as published).
    """
    usable = rows.filter(pl.col("kind") == "day_ahead", pl.col("available_utc").is_not_null())
    wide = (
        usable.group_by("hour_utc", "area")
        .agg(
            pl.col("available_utc").max(),
            pl.col("forecast_type").n_unique().alias("types"),
            *(
                pl.col("forecast_mw").filter(pl.col("forecast_type") == kind).first().alias(kind)
                for kind in FORECAST_TYPES
            ),
        )
        # A row that is not there yet is no night: only a null that was published is.
        .filter(pl.col("types") == len(FORECAST_TYPES))
        .with_columns(
            no_wind=pl.all_horizontal(
                pl.col(kind).fill_null(0.0) == 0.0 for kind in FORECAST_TYPES if kind != "solar"
            )
        )
        # The recorder, like the API, turns a block that is missing into zeros.
        .filter(~pl.col("no_wind"))
        .with_columns(pl.col("solar").fill_null(0.0))
    )
    areas = wide.group_by("hour_utc").agg(
        pl.len().alias("areas"),
        pl.col("available_utc").max(),
        *(_whole_sum(kind) for kind in FORECAST_TYPES),
    )
    whole = areas.filter(pl.col("areas") == len(PROGNOSIS_SHARES))
    return [
        _named(whole.select("hour_utc", kind, "available_utc"), kind, wind_solar_column(kind))
        for kind in FORECAST_TYPES
    ]


def _whole_sum(name: str) -> pl.Expr:
    """The sum, or null where a part of it is."""
    return pl.when(pl.col(name).is_not_null().all()).then(pl.col(name).sum()).alias(name)


def _prognosis(rows: pl.DataFrame) -> pl.DataFrame:
    first = (
        rows.filter(pl.col("available_utc").is_not_null(), pl.col("co2_g_per_kwh").is_not_null())
        .sort("available_utc")
        .unique(["time_utc", "area", "step_minutes"], keep="first", maintain_order=True)
    )
    sane = pl.when(pl.col("value") < NONSENSE_FROM_G_PER_KWH).then(pl.col("value"))
    by_area = _whole_hours(first, "co2_g_per_kwh").with_columns(value=sane)
    share = pl.col("area").replace_strict(PROGNOSIS_SHARES, default=None, return_dtype=pl.Float64)
    denmark = (
        by_area.with_columns(share=share)
        .filter(pl.col("share").is_not_null(), pl.col("value").is_not_null())
        .group_by("hour_utc")
        .agg(
            pl.len().alias("areas"),
            (pl.col("value") * pl.col("share")).sum().alias("value"),
            pl.col("available_utc").max(),
        )
        .filter(pl.col("areas") == len(PROGNOSIS_SHARES))
    )
    return _named(
        denmark.select("hour_utc", "value", "available_utc"), "value", "co2_prognosis_g_per_kwh"
    )


def _price(rows: pl.DataFrame, area: str) -> pl.DataFrame:
    of_area = rows.filter(pl.col("area") == area, pl.col("available_utc").is_not_null())
    hours = _whole_hours(of_area, "price_eur_per_mwh")
    return _named(hours.select("hour_utc", "value", "available_utc"), "value", price_column(area))


def _whole_hours(rows: pl.DataFrame, value: str) -> pl.DataFrame:
    """Hourly means per area as `value`, of hours whose intervals are all there.

    Intervals of different lengths are apart (the archive has hours where the API has five
    minutes); what was whole first counts.
    """
    return (
        rows.filter(pl.col(value).is_not_null())
        .group_by(pl.col("time_utc").dt.truncate("1h").alias("hour_utc"), "area", "step_minutes")
        .agg(
            pl.col(value).mean().alias("value"),
            (pl.col("step_minutes").first() * pl.len()).alias("minutes"),
            pl.col("available_utc").max(),
        )
        .filter(pl.col("minutes") >= 60)
        .sort("available_utc", "step_minutes")
        .unique(["hour_utc", "area"], keep="first", maintain_order=True)
        .drop("minutes", "step_minutes")
    )


def _named(rows: pl.DataFrame, value: str, column: str) -> pl.DataFrame:
    return rows.rename({value: column, "available_utc": available_column(column)}).cast(
        {column: pl.Float64, available_column(column): UTC_TIME}
    )
