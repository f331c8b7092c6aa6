"""The shipped archive of first-published CO2 prognoses: the only honest history of them.

Energinet overwrites CO2EmisProg, so what was really known at an issue time cannot be
fetched afterwards; these recordings kept the first value of each interval with the time
at which it was first seen.
"""

from __future__ import annotations

from datetime import datetime
from importlib import resources
from pathlib import Path

import polars as pl

from co2_assets.errors import RecordingError

FIVE_MINUTES, HOURLY = "co2_emis_prog_5min", "co2_emis_prog_hourly"
DECIMALS = 3
"""The API publishes at most three; float32 copies carry a tail that is not data."""


def read_archive(folder: Path | None, *, start: datetime, seen_by: datetime) -> pl.DataFrame:
    """First-published prognoses for times from `start` on, seen by `seen_by`.

    Five-minute values where there are any, hourly means elsewhere.

    Args:
        folder: a folder of recordings, or None for those in the package.
        start: first valid time wanted.
        seen_by: the platform's time: nothing first seen later is returned.

    Returns:
        `time_utc`, `area`, `co2_g_per_kwh`, `step_minutes`, `first_seen_utc`,
        `available_utc`; one row per time and area; empty where nothing is recorded.

    Raises:
        RecordingError: a file cannot be read or lacks a column.
    """
    with resources.as_file(resources.files("co2_assets") / "replay" / "recorded") as shipped:
        source = folder or shipped
        five = _read(source, FIVE_MINUTES, "Minutes5UTC", 5)
        hourly = _read(source, HOURLY, "HourUTC", 60)
    covered = five.select("area", pl.col("time_utc").dt.truncate("1h")).unique()
    return (
        pl.concat([five, hourly.join(covered, on=["area", "time_utc"], how="anti")])
        .filter(pl.col("time_utc") >= start, pl.col("first_seen_utc") <= seen_by)
        .with_columns(
            # Seen only after the fact is no forecast: it is kept, and never usable.
            pl.when(pl.col("first_seen_utc") < pl.col("time_utc"))
            .then("first_seen_utc")
            .alias("first_seen_utc")
        )
        .with_columns(available_utc=pl.col("first_seen_utc"))
        .sort("time_utc", "area")
    )


def _read(folder: Path, stem: str, time_column: str, step_minutes: int) -> pl.DataFrame:
    files = sorted(folder.glob(f"{stem}*.parquet"))
    frames = [_read_file(file, time_column, step_minutes) for file in files]
    return pl.concat(frames) if frames else _EMPTY


def _read_file(file: Path, time_column: str, step_minutes: int) -> pl.DataFrame:
    needed = [time_column, "PriceArea", "CO2Emission", "first_seen_utc"]
    try:
        rows = pl.read_parquet(file)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RecordingError("a recording cannot be read", where=str(file), found=error) from error
    if missing := sorted(set(needed) - set(rows.columns)):
        raise RecordingError(
            "a recording lacks columns",
            where=str(file),
            found=f"columns {rows.columns}",
            expected=f"also {missing}",
            next_step="docs/recordings.md has the form of each file",
        )
    return rows.select(
        _utc(time_column).alias("time_utc"),
        pl.col("PriceArea").cast(pl.String).alias("area"),
        pl.col("CO2Emission").cast(pl.Float64).round(DECIMALS).alias("co2_g_per_kwh"),
        pl.lit(step_minutes, pl.Int32).alias("step_minutes"),
        _utc("first_seen_utc"),
    )


def _utc(name: str) -> pl.Expr:
    return pl.col(name).dt.cast_time_unit("us").dt.replace_time_zone("UTC")


_EMPTY = pl.DataFrame(
    schema={
        "time_utc": pl.Datetime("us", "UTC"),
        "area": pl.String,
        "co2_g_per_kwh": pl.Float64,
        "step_minutes": pl.Int32,
        "first_seen_utc": pl.Datetime("us", "UTC"),
    }
)
