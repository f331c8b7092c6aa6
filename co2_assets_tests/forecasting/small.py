"""Configurations that train in a second, and the stretch that they are trained on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl

from co2_assets.forecasting.attention import AttentionConfig
from co2_assets.forecasting.train import SeedConfig
from co2_assets.schema import CO2_COLUMN, FEATURE_COLUMNS, imputed

SPRING_START = datetime(2024, 3, 1, tzinfo=UTC)
SPRING_END = datetime(2024, 5, 10, tzinfo=UTC)
SEED = SeedConfig(hidden=16, layers=1, max_epochs=3, batch=128, seed=7)
ATTENTION = AttentionConfig(
    horizon_hours=6, external=False, hidden=16, heads=2, epochs=6, batch=64, members=2, seed=7
)
EXTERNAL = replace(ATTENTION, external=True, horizon_hours=8, members=1)
"""With inputs from elsewhere, and leads beyond the mission's six."""

HOUR = timedelta(hours=1)


def made_of(co2: list[float | None], first: datetime = SPRING_START) -> pl.DataFrame:
    """A history with this CO2, hour by hour, and a constant for every other input."""
    return pl.DataFrame(
        {
            "hour_utc": [first + HOUR * row for row in range(len(co2))],
            **{name: [1.0] * len(co2) for name in FEATURE_COLUMNS},
            CO2_COLUMN: co2,
        },
        schema_overrides={"hour_utc": pl.Datetime("us", "UTC"), CO2_COLUMN: pl.Float64},
    ).with_columns(
        pl.col(CO2_COLUMN).alias(imputed(CO2_COLUMN)),
        is_usable=pl.col(CO2_COLUMN).is_not_null(),
        is_trainable=pl.col(CO2_COLUMN).is_not_null(),
    )
