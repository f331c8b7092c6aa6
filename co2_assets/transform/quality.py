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
"""All seven quantities exactly equal in so many hours: the feed has stopped."""

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


def assess(hours: pl.DataFrame) -> pl.DataFrame:
    """The hours with their quality, cleaned and imputed values.

    Args:
        hours: contiguous, in order: `hour_utc`, the seven reported columns, `minutes_seen`.

    Returns:
        The same rows and columns, and
        - cleaned columns: null where the hour is incomplete or frozen, where the column
          itself is a spike, and for CO2 where any column is one, since Energinet computes
          it from the others (2024-10-22T14: 4,595 MW of local plants lift it fourfold);
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
        is_frozen=_is_frozen(), **{_spike(name): _is_spike(name) for name in VALUE_COLUMNS}
    )
    any_spike = pl.any_horizontal(_spike(name) for name in VALUE_COLUMNS)
    good = pl.col("is_complete") & ~pl.col("is_frozen")
    return (
        judged.with_columns(
            pl.when(good & ~any_spike).then(CO2_COLUMN).alias(cleaned(CO2_COLUMN)),
            *(
                pl.when(good & ~pl.col(_spike(name))).then(name).alias(cleaned(name))
                for name in POWER_COLUMNS
            ),
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
            quality=pl.when("is_frozen")
            .then(pl.lit("frozen"))
            .when(any_spike)
            .then(pl.lit("spike"))
            .when(pl.col("is_complete"))
            .then(pl.lit("ok"))
            .when(pl.col("is_imputed"))
            .then(pl.lit("imputed"))
            .otherwise(pl.lit("missing"))
        )
        .drop("is_frozen", *(_spike(name) for name in VALUE_COLUMNS))
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


def _is_frozen() -> pl.Expr:
    return pl.all_horizontal(
        pl.col("is_complete").shift(back, fill_value=False) for back in range(FROZEN_RUN)
    ) & pl.all_horizontal(
        pl.col(name).eq(pl.col(name).shift(back)).fill_null(value=False)
        for name in VALUE_COLUMNS
        for back in range(1, FROZEN_RUN)
    )


def _is_spike(name: str) -> pl.Expr:
    """Beyond the second highest or lowest of the complete hours of the day before.

    The second, so that one spike does not hide the next; and two hours at a new level
    make it the level: a true shift is accepted from its third hour on.
    """
    before = [
        pl.when(pl.col("is_complete")).then(pl.col(name)).shift(back)
        for back in range(1, REFERENCE_HOURS + 1)
    ]
    ranked = pl.concat_list(before).list.drop_nulls().list.sort()
    leap = SPIKE_LEAP[name]
    return (
        pl.col("is_complete")
        & (ranked.list.len() >= FEWEST_REFERENCES)
        & (
            (pl.col(name) > ranked.list.get(-2, null_on_oob=True) + leap)
            | (pl.col(name) < ranked.list.get(1, null_on_oob=True) - leap)
        )
    ).fill_null(value=False)
