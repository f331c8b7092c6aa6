"""Hourly series of what others forecast, each value with the issue time that may first use it.

An hour of a column counts only when it is whole: all of its intervals, and all of the areas
that are added up. A value that changes afterwards is one more vintage of the hour: at an
issue time the newest that was known counts. So whatever is published later changes nothing
of what was known at an earlier issue time.
"""

from __future__ import annotations

from datetime import datetime, timedelta
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
HOUR = timedelta(hours=1)


def earliest_issue_time(issue_delay: timedelta, *, issue_time: datetime | None = None) -> pl.Expr:
    """The first issue time, on the hour, whose forecast may use a value known from `available_utc`.

    A forecast of issue time T is made at T + `issue_delay`, its cut-off. One that is made at
    another time, such as a live one after its own loads, is given by its own issue time:
    what was read for it was known by its cut-off, so it may use all of it.

    Args:
        issue_delay: from the issue time to the cut-off.
        issue_time: of the one forecast that the values were read for, or None.
    """
    known = pl.col("available_utc") - issue_delay
    # Up to the whole hour; one microsecond before it keeps a whole hour as it is.
    earliest = (known - timedelta(microseconds=1)).dt.truncate("1h") + HOUR
    if issue_time is None:
        return earliest
    at_issue = pl.lit(issue_time).dt.cast_time_unit("us")
    return pl.when(earliest > at_issue).then(at_issue).otherwise(earliest)


def hourly_external(
    wind_solar: pl.DataFrame, prognosis: pl.DataFrame, prices: pl.DataFrame
) -> pl.DataFrame:
    """What is known of each hour, in order: one row per hour and vintage.

    Args:
        wind_solar: rows of `raw.wind_solar_forecasts`; only day-ahead forecasts are read.
        prognosis: rows of `raw.co2_prognosis`.
        prices: rows of `raw.day_ahead_prices`. In all three `available_utc` is the earliest
            issue time that may use the row, and older vintages come before newer ones.

    Returns:
        `hour_utc`, and for each of `schema.EXTERNAL_COLUMNS` its value (null where it is
        missing) and its `..._available_utc`: the earliest issue time that may use it. The
        n-th row of an hour has the n-th vintage of each column, oldest first.
    """
    parts = [
        *_wind_and_solar(wind_solar),
        _prognosis(prognosis),
        *(_price(prices, area) for area in PRICE_AREAS),
    ]
    on = ["hour_utc", "vintage"]
    joined = reduce(lambda left, right: left.join(right, on=on, how="full", coalesce=True), parts)
    columns = [name for column in EXTERNAL_COLUMNS for name in (column, available_column(column))]
    return joined.sort(on).select("hour_utc", *columns)


def _wind_and_solar(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Sums over both areas, one frame a type.

    Where nothing is said of the wind, solar is no forecast either; where the wind is
    there, a null of solar is the night (as published).
    """
    usable = rows.filter(pl.col("kind") == "day_ahead", pl.col("available_utc").is_not_null())
    place = ["hour_utc", "area"]
    # At each moment at which something of an area became known, the newest of each type.
    moments = usable.select(*place, pl.col("available_utc").alias("moment")).unique()
    known = (
        moments.join(usable, on=place)
        .filter(pl.col("available_utc") <= pl.col("moment"))
        .sort("available_utc", maintain_order=True)
        .group_by(*place, "moment")
        .agg(
            expression
            for kind in FORECAST_TYPES
            for expression in (
                pl.col("forecast_mw").filter(pl.col("forecast_type") == kind).last().alias(kind),
                (pl.col("forecast_type") == kind).any().alias(f"has_{kind}"),
            )
        )
        # The recorder, like the API, turns a block that is missing into zeros.
        .filter(
            ~pl.all_horizontal(
                pl.col(kind).fill_null(0.0) == 0.0 for kind in FORECAST_TYPES if kind != "solar"
            )
        )
        # A row that is not there yet is no night: only a null that was published is.
        .with_columns(solar=pl.when("has_solar").then(pl.col("solar").fill_null(0.0)))
    )
    return [
        _vintages(
            _whole(
                known.select(
                    "hour_utc",
                    part="area",
                    value=kind,
                    available_utc="moment",
                ),
                pl.len() == len(PROGNOSIS_SHARES),
                pl.col("value").sum(),
            ),
            wind_solar_column(kind),
        )
        for kind in FORECAST_TYPES
    ]


def _prognosis(rows: pl.DataFrame) -> pl.DataFrame:
    """Denmark as a whole, in shares of the areas."""
    areas = _interval_means(
        rows.filter(pl.col("area").is_in(list(PROGNOSIS_SHARES))), "co2_g_per_kwh"
    ).filter(pl.col("value") < NONSENSE_FROM_G_PER_KWH)
    share = pl.col("area").replace_strict(PROGNOSIS_SHARES, default=None, return_dtype=pl.Float64)
    denmark = _whole(
        areas.select("hour_utc", "available_utc", part="area", value=pl.col("value") * share),
        pl.len() == len(PROGNOSIS_SHARES),
        pl.col("value").sum(),
    )
    return _vintages(denmark, "co2_prognosis_g_per_kwh")


def _price(rows: pl.DataFrame, area: str) -> pl.DataFrame:
    hours = _interval_means(rows.filter(pl.col("area") == area), "price_eur_per_mwh")
    return _vintages(hours.select("hour_utc", "value", "available_utc"), price_column(area))


def _interval_means(rows: pl.DataFrame, value: str) -> pl.DataFrame:
    """Hourly means per area as `value`, of hours whose intervals are all there.

    Intervals of different lengths are apart (the archive has hours where the API has five
    minutes); what came last counts, and of what came at once the finer.
    """
    parts = rows.filter(pl.col(value).is_not_null(), pl.col("available_utc").is_not_null()).select(
        pl.col("time_utc").dt.truncate("1h").alias("hour_utc"),
        "area",
        "step_minutes",
        "available_utc",
        part="time_utc",
        value=value,
    )
    minutes = pl.col("step_minutes").first() * pl.len()
    whole = _whole(parts, minutes >= 60, pl.col("value").mean(), ["area", "step_minutes"])
    return whole.sort("available_utc", -pl.col("step_minutes")).drop("step_minutes")


def _whole(
    rows: pl.DataFrame, is_whole: pl.Expr, value: pl.Expr, by: list[str] | None = None
) -> pl.DataFrame:
    """Values of hours made of several parts, one row for each moment at which one changed.

    Args:
        rows: `hour_utc`, the columns of `by`, `part`, `value` (null where it is missing) and
            `available_utc`; of a part and time the last row counts.
        is_whole: whether the parts that are known make an hour.
        value: of the hour, from those of its parts.
        by: what else belongs to an hour's key.

    Returns:
        `hour_utc`, the columns of `by`, `value` and `available_utc`.
    """
    hour = ["hour_utc", *(by or [])]
    known = rows.filter(pl.col("value").is_not_null()).unique(
        [*hour, "part", "available_utc"], keep="last", maintain_order=True
    )
    # Before its last part came for the first time an hour cannot be whole.
    complete = (
        known.group_by(*hour, "part")
        .agg(pl.col("available_utc").min())
        .group_by(hour)
        .agg(pl.col("available_utc").max().alias("moment"))
    )
    later = known.join(complete, on=hour).filter(pl.col("available_utc") > pl.col("moment"))
    moments = pl.concat([complete, later.select(*hour, moment="available_utc").unique()])
    return (
        moments.join(known, on=hour)
        .filter(pl.col("available_utc") <= pl.col("moment"))
        .sort("available_utc", "part", maintain_order=True)
        .group_by(*hour, "moment", "part", maintain_order=True)
        .last()
        .group_by(*hour, "moment", maintain_order=True)
        .agg(value.alias("value"), is_whole.alias("is_whole"))
        .filter("is_whole")
        .select(*hour, "value", available_utc="moment")
    )


def _vintages(rows: pl.DataFrame, column: str) -> pl.DataFrame:
    """`hour_utc`, `vintage`, the column and from when it may be used; only what can be."""
    low, high = POSSIBLE[column]
    return (
        rows.filter(pl.col("value").is_between(low, high))
        .sort("available_utc", maintain_order=True)
        .unique(["hour_utc", "available_utc"], keep="last", maintain_order=True)
        .sort("hour_utc", "available_utc")
        # A vintage that says what the one before it said says nothing.
        .filter(
            (pl.col("value") != pl.col("value").shift()).fill_null(value=True)
            | (pl.col("hour_utc") != pl.col("hour_utc").shift()).fill_null(value=True)
        )
        .select(
            "hour_utc",
            pl.int_range(pl.len(), dtype=pl.Int32).over("hour_utc").alias("vintage"),
            pl.col("value").cast(pl.Float64).alias(column),
            pl.col("available_utc").cast(UTC_TIME).alias(available_column(column)),
        )
    )
