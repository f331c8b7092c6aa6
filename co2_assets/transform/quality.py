"""What an hour is worth, from itself and the hours before it only.

The verdict on hour t depends on hours t-27 to t and nothing else, so recomputing a
stretch with that much context gives exactly what recomputing everything would.
"""

from __future__ import annotations

import polars as pl

from co2_assets.schema import CO2_COLUMN, POWER_COLUMNS, VALUE_COLUMNS, cleaned, imputed

COMPLETE_MINUTES = 45
"""An hour with fewer minutes is no actual: its mean would speak for the minutes it lacks."""

FROZEN_RUN = 3
"""A quantity exactly equal in so many hours: its meter, or the feed, has stopped.

In two recorded years no quantity was, but in the hours in which all of them were; solar
alone is left out, which is zero all night.
"""

NEVER_STILL = tuple(name for name in VALUE_COLUMNS if name != "solar_mw")

IMPUTED_HOURS = 3
"""So many hours in a row are filled with the last cleaned value, then nothing."""

REFERENCE_HOURS = 24
FEWEST_REFERENCES = 6

QUALITY_CONTEXT_HOURS = REFERENCE_HOURS + IMPUTED_HOURS
"""Hours before an hour that its verdict depends on."""

SPIKE_LEAP = {
    CO2_COLUMN: 200.0,
    "central_plants_mw": 900.0,
    "local_plants_mw": 700.0,
    "solar_mw": 2500.0,
    "offshore_wind_mw": 1600.0,
    "onshore_wind_mw": 2500.0,
    "net_import_mw": 4000.0,
}
"""How far beyond the day before a value must leap to be called a spike.

Three to nine tenths more than the largest true leap in two recorded years (155 g/kWh;
674, 379, 1293, 1106, 1341 and 2201 MW), twice that for solar, whose capacity grows; far below
the recorded spikes of 1,600 to 4,800 MW.
"""


PLAUSIBLE = {
    "co2_g_per_kwh": (1.0, 700.0),
    "central_plants_mw": (-50.0, 6000.0),
    "local_plants_mw": (-50.0, 2500.0),
    "solar_mw": (-20.0, 6000.0),
    "offshore_wind_mw": (-50.0, 4000.0),
    "onshore_wind_mw": (-50.0, 6000.0),
    "net_import_mw": (-7000.0, 7000.0),
}
"""Lowest and highest value that the Danish system can report: small negatives are sensor
offset, the upper ends lie above the installed capacities of 2026. Beyond them a value is a
spike however long it lasts: a unit error must never become the level."""


def assess(hours: pl.DataFrame) -> pl.DataFrame:
    """The hours with their quality, cleaned and imputed values.

    Args:
        hours: contiguous, in order: `hour_utc`, the seven reported columns, `minutes_seen`.

    Returns:
        The same rows and columns, and
        - cleaned columns: null where the hour is incomplete or the whole feed frozen, where
          the column itself is a spike or stands still, and for CO2 where any column is or
          does, since Energinet computes it from the others (2024-10-22T14: 4,595 MW of local
          plants lift it fourfold);
        - imputed columns: cleaned, else carried forward for at most 3 hours, then null;
        - `is_complete`, `is_imputed`, and `quality`: frozen, spike, imputed, missing or ok.

    Raises:
        ValueError: the hours are not contiguous.
    """
    refuse_gaps(hours)
    complete = (pl.col("minutes_seen") >= COMPLETE_MINUTES) & pl.all_horizontal(
        pl.col(VALUE_COLUMNS).is_not_null()
    )
    judged = hours.with_columns(is_complete=complete).with_columns(
        **{_still(name): _stands_still(name) for name in VALUE_COLUMNS},
        **{_spike(name): _is_spike(name) for name in VALUE_COLUMNS},
    )
    any_spike = pl.any_horizontal(_spike(name) for name in VALUE_COLUMNS)
    any_still = pl.any_horizontal(_still(name) for name in NEVER_STILL)
    all_still = pl.all_horizontal(_still(name) for name in VALUE_COLUMNS)
    good = pl.col("is_complete") & ~all_still

    def sound(name: str) -> pl.Expr:
        bad = pl.col(_spike(name))
        return good & ~(bad | pl.col(_still(name)) if name in NEVER_STILL else bad)

    return (
        judged.with_columns(
            pl.when(good & ~any_spike & ~any_still).then(CO2_COLUMN).alias(cleaned(CO2_COLUMN)),
            *(pl.when(sound(name)).then(name).alias(cleaned(name)) for name in POWER_COLUMNS),
        )
        .with_columns(
            pl.col(cleaned(name)).forward_fill(limit=IMPUTED_HOURS).alias(imputed(name))
            for name in VALUE_COLUMNS
        )
        .with_columns(
            is_imputed=pl.any_horizontal(
                pl.col(cleaned(name)).is_null() & pl.col(imputed(name)).is_not_null()
                for name in VALUE_COLUMNS
            )
        )
        .with_columns(
            quality=pl.when(any_still)
            .then(pl.lit("frozen"))
            .when(any_spike)
            .then(pl.lit("spike"))
            .when(pl.col("is_complete"))
            .then(pl.lit("ok"))
            .when(pl.col("is_imputed"))
            .then(pl.lit("imputed"))
            .otherwise(pl.lit("missing"))
        )
        .drop(name(column) for name in (_still, _spike) for column in VALUE_COLUMNS)
    )


def is_trainable(hours: pl.DataFrame) -> pl.Series:
    """Whether training may use each hour: here alone the whole range is looked at.

    Complete and ok, and not one of the first two hours of a frozen run, which nobody
    could have told apart when they came.

    Args:
        hours: assessed, contiguous, in order.

    Returns:
        Booleans, one per row.
    """
    frozen = pl.col("quality") == "frozen"
    # A frozen hour repeats the two before it, so they belong to its run.
    in_frozen_run = pl.any_horizontal(
        frozen.shift(-ahead, fill_value=False) for ahead in range(FROZEN_RUN)
    )
    return hours.select(
        is_trainable=pl.col("is_complete") & (pl.col("quality") == "ok") & ~in_frozen_run
    ).to_series()


def refuse_gaps(hours: pl.DataFrame) -> None:
    """Refuse hours that are not contiguous: lags and windows go by row.

    Raises:
        ValueError: names the first hour after a gap.
    """
    gap = hours.select(pl.col("hour_utc").filter(pl.col("hour_utc").diff() != pl.duration(hours=1)))
    if gap.height:
        raise ValueError(f"hours are not contiguous: {gap.item(0, 0)} does not follow its hour")


def _spike(name: str) -> str:
    return f"{name} is spike"


def _still(name: str) -> str:
    return f"{name} stands still"


def _stands_still(name: str) -> pl.Expr:
    return pl.all_horizontal(
        pl.col("is_complete").shift(back, fill_value=False) for back in range(FROZEN_RUN)
    ) & pl.all_horizontal(
        pl.col(name).eq(pl.col(name).shift(back)).fill_null(value=False)
        for back in range(1, FROZEN_RUN)
    )


def _is_spike(name: str) -> pl.Expr:
    """Impossible, or beyond the second highest or lowest of the complete hours of the day before.

    The second, so that one spike does not hide the next; and two hours at a new level
    make it the level: a true shift is accepted from its third hour on.
    """
    before = [
        pl.when(pl.col("is_complete")).then(pl.col(name)).shift(back)
        for back in range(1, REFERENCE_HOURS + 1)
    ]
    ranked = pl.concat_list(before).list.drop_nulls().list.sort()
    leap = SPIKE_LEAP[name]
    leaps = (ranked.list.len() >= FEWEST_REFERENCES) & (
        (pl.col(name) > ranked.list.get(-2, null_on_oob=True) + leap)
        | (pl.col(name) < ranked.list.get(1, null_on_oob=True) - leap)
    )
    impossible = ~pl.col(name).is_between(*PLAUSIBLE[name])
    return (pl.col("is_complete") & (leaps | impossible)).fill_null(value=False)
