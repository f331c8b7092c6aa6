"""Reading a folder of recordings: ours, or somebody else's in the same form.

The form of each file is in docs/recordings.md. Every frame that leaves here has the
API's column names, and `published_utc`: when its row became known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib import resources
from pathlib import Path

import polars as pl

from co2_assets.errors import RecordingError

DANISH = "Europe/Copenhagen"
UTC_TIME = pl.Datetime("us", "UTC")
PRICE_SWITCH = pl.datetime(2025, 9, 30, 22, time_zone="UTC")
PRICES_KNOWN_HOUR = 13
"""Danish time on the day before: when day-ahead prices are published."""

POWER_SYSTEM_COLUMNS = (
    "CO2Emission",
    "ProductionGe100MW",
    "ProductionLt100MW",
    "SolarPower",
    "OffshoreWindPower",
    "OnshoreWindPower",
    "Exchange_Sum",
)
WIND_SOLAR_COLUMNS = {
    "OffshoreWindForecastDayAhead": "Offshore Wind",
    "OnshoreWindForecastDayAhead": "Onshore Wind",
    "SolarForecastDayAhead": "Solar",
}
SERVED_NUMBERS = {
    "PowerSystemRightNow": POWER_SYSTEM_COLUMNS,
    "Forecasts_Hour": ("ForecastDayAhead",),
    "CO2EmisProg": ("CO2Emission",),
    "Elspotprices": ("SpotPriceEUR",),
    "DayAheadPrices": ("DayAheadPriceEUR",),
}
"""The columns of numbers that recordings have, by dataset."""

API_TIME = "%Y-%m-%dT%H:%M:%S"
DECIMALS = 3
NEXT_STEP = "docs/recordings.md has the form of each file"


@dataclass(frozen=True)
class FileForm:
    """What the files of one kind must look like."""

    stem: str
    time_column: str
    key: tuple[str, ...]
    numbers: tuple[str, ...]
    seen: bool
    """Whether `first_seen_utc` must be there."""
    step: str = "1h"
    """Times lie on a multiple of it."""


POWER_SYSTEM = FileForm(
    "power_system_hourly", "HourUTC", ("HourUTC",), POWER_SYSTEM_COLUMNS, seen=False
)
PROGNOSIS_5MIN = FileForm(
    "co2_emis_prog_5min",
    "Minutes5UTC",
    ("Minutes5UTC", "PriceArea"),
    ("CO2Emission",),
    seen=True,
    step="5m",
)
PROGNOSIS_HOURLY = FileForm(
    "co2_emis_prog_hourly", "HourUTC", ("HourUTC", "PriceArea"), ("CO2Emission",), seen=True
)
WIND_SOLAR = FileForm(
    "forecasts_hour_day_ahead",
    "HourUTC",
    ("HourUTC", "PriceArea"),
    tuple(WIND_SOLAR_COLUMNS),
    seen=True,
)
PRICES = FileForm("day_ahead_prices_hourly_eur", "TimeUTC", ("TimeUTC",), (), seen=False)


@dataclass(frozen=True)
class Recordings:
    """Recorded datasets in the API's columns, in order of time.

    `power_system` has one row an hour, the mean of its minutes; the others have one row a
    record. A dataset that was not recorded has no rows.
    """

    power_system: pl.DataFrame
    forecasts_hour: pl.DataFrame
    co2_emis_prog: pl.DataFrame
    elspotprices: pl.DataFrame
    day_ahead_prices: pl.DataFrame

    @classmethod
    def load(cls, folder: Path | None = None) -> Recordings:
        """The recordings of a folder, or those of the package.

        Raises:
            RecordingError: a file is missing, unreadable or malformed; names file, column
                and row.
        """
        if folder is None:
            with resources.as_file(resources.files(__package__) / "recorded") as shipped:
                return cls._load(shipped)
        if not folder.is_dir():
            raise RecordingError(
                "there is no such folder of recordings",
                where=f"setting CO2_RECORDED_DIR = {folder}",
                next_step="docs/recordings.md says what belongs in it",
            )
        return cls._load(folder)

    @classmethod
    def _load(cls, folder: Path) -> Recordings:
        power_system = _read(folder, POWER_SYSTEM)
        if power_system is None:
            raise RecordingError(
                "a folder of recordings has no measured hours",
                where=str(folder),
                found=", ".join(sorted(path.name for path in folder.iterdir())) or "no files",
                expected=f"{POWER_SYSTEM.stem}*.parquet or .csv",
                next_step=NEXT_STEP,
            )
        elspot, quarter_hours = _prices(_read(folder, PRICES))
        return cls(
            power_system=power_system.select("HourUTC", *POWER_SYSTEM_COLUMNS),
            forecasts_hour=_wind_solar(_read(folder, WIND_SOLAR)),
            co2_emis_prog=_prognosis(
                _read(folder, PROGNOSIS_5MIN), _read(folder, PROGNOSIS_HOURLY)
            ),
            elspotprices=elspot,
            day_ahead_prices=quarter_hours,
        )

    @property
    def span(self) -> tuple[datetime, datetime]:
        """First recorded hour of the power system, and the end of the last."""
        hours = self.power_system["HourUTC"]
        return hours[0], hours[-1] + timedelta(hours=1)


def _read(folder: Path, form: FileForm) -> pl.DataFrame | None:
    """All files of a kind as one frame, checked and in order; None without files."""
    files = sorted(
        path
        for path in folder.iterdir()
        if path.name.startswith(form.stem) and path.suffix in (".parquet", ".csv")
    )
    if not files:
        return None
    rows = pl.concat(
        [
            _read_file(file, form).with_columns(pl.lit(file.name).alias("file")).with_row_index()
            for file in files
        ],
        how="diagonal",
    )
    repeated = ~rows.select(pl.struct(form.key).is_first_distinct()).to_series()
    if repeated.any():
        again = rows.row(repeated.arg_max() or 0, named=True)
        first = rows.filter(pl.col(name) == again[name] for name in form.key).row(0, named=True)
        raise RecordingError(
            "a recorded key comes twice",
            where=_where(again["file"], form.time_column, again["index"]),
            found=", ".join(str(again[name]) for name in form.key),
            expected=f"each key once; {first['file']} has it in row {first['index']}, too",
        )
    return rows.drop("file", "index").sort(form.key)


def _read_file(file: Path, form: FileForm) -> pl.DataFrame:
    rows = _open(file)
    numbers = form.numbers or tuple(name for name in rows.columns if name != form.time_column)
    times = (form.time_column, *(("first_seen_utc",) if form.seen else ()))
    texts = tuple(name for name in form.key if name != form.time_column)
    for name in (*times, *texts, *numbers):
        if name not in rows.columns:
            raise RecordingError(
                "a recording lacks a column",
                where=_where(file.name, name),
                found="columns " + ", ".join(rows.columns),
                expected=name,
                next_step=NEXT_STEP,
            )
    rows = rows.select(
        *(_times(file, rows[name]) for name in times),
        *(_texts(file, rows[name]) for name in texts),
        *(_numbers(file, rows[name]) for name in numbers),
    )
    time = rows[form.time_column]
    off_step = time != time.dt.truncate(form.step)
    _refuse_where(off_step, file, time, f"a recorded time lies between steps of {form.step}")
    return rows


def _open(file: Path) -> pl.DataFrame:
    try:
        # The whole file decides the types: a value that is no number far below counts.
        return (
            pl.read_csv(file, infer_schema_length=None)
            if file.suffix == ".csv"
            else pl.read_parquet(file)
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise RecordingError(
            "a recording cannot be read",
            where=str(file),
            found=str(error).splitlines()[0],
            expected="Parquet or CSV",
            next_step=NEXT_STEP,
        ) from error


def _times(file: Path, values: pl.Series) -> pl.Series:
    """Times in UTC: naive ones are UTC already, by the form."""
    expected = "a time in UTC such as 2025-01-31T23:00:00"
    if values.dtype == pl.String:
        # Programs that write CSV differ in the separator, in fractions and in a final Z.
        plain = values.str.replace(" ", "T").str.replace(r"(\.\d*)?(Z|\+00:?00)?$", "")
        read = plain.str.to_datetime(API_TIME, strict=False, time_unit="us")
        _refuse_where(read.is_null(), file, values, "a recorded time cannot be read", expected)
        values = read
    kind = values.dtype
    if not isinstance(kind, pl.Datetime):
        raise _wrong_type(file, values, expected)
    _refuse_where(values.is_null(), file, values, "a recorded time is missing", expected)
    values = values.dt.cast_time_unit("us")
    if kind.time_zone:
        return values.dt.convert_time_zone("UTC")
    return values.dt.replace_time_zone("UTC")


def _texts(file: Path, values: pl.Series) -> pl.Series:
    if values.dtype != pl.String:
        raise _wrong_type(file, values, "text")
    _refuse_where(values.is_null(), file, values, "a recorded key is missing", "text")
    return values


def _numbers(file: Path, values: pl.Series) -> pl.Series:
    expected = "a finite number or null"
    if values.dtype == pl.String:
        read = values.cast(pl.Float64, strict=False)
        unread = read.is_null() & values.is_not_null()
        _refuse_where(unread, file, values, "a recorded value is no number", expected)
    if not (values.dtype.is_numeric() or values.dtype == pl.Null):
        raise _wrong_type(file, values, expected)
    values = values.cast(pl.Float64)
    infinite = ~values.is_finite().fill_null(value=True)
    _refuse_where(infinite, file, values, "a recorded number is not finite", expected)
    return values


def _refuse_where(
    wrong: pl.Series, file: Path, values: pl.Series, what: str, expected: str | None = None
) -> None:
    if wrong.any():
        row = wrong.arg_max() or 0
        raise RecordingError(
            what,
            where=_where(file.name, values.name, row),
            found=values[row],
            expected=expected,
            next_step=NEXT_STEP,
        )


def _wrong_type(file: Path, values: pl.Series, expected: str) -> RecordingError:
    return RecordingError(
        "a recorded column has a wrong type",
        where=_where(file.name, values.name),
        found=values.dtype,
        expected=expected,
        next_step=NEXT_STEP,
    )


def _where(file: str, column: str, row: int | None = None) -> str:
    return f"file {file}, column {column}" + ("" if row is None else f", row {row}")


def _wind_solar(rows: pl.DataFrame | None) -> pl.DataFrame:
    if rows is None:
        return _empty("HourUTC", "PriceArea", "ForecastType", numbers=("ForecastDayAhead",))
    return (
        rows.rename(WIND_SOLAR_COLUMNS)
        .unpivot(
            on=list(WIND_SOLAR_COLUMNS.values()),
            index=["HourUTC", "PriceArea", "first_seen_utc"],
            variable_name="ForecastType",
            value_name="ForecastDayAhead",
        )
        .rename({"first_seen_utc": "published_utc"})
        .select("HourUTC", "PriceArea", "ForecastType", "ForecastDayAhead", "published_utc")
        .sort("HourUTC", "PriceArea", "ForecastType")
    )


def _prognosis(five: pl.DataFrame | None, hourly: pl.DataFrame | None) -> pl.DataFrame:
    """Five-minute rows; where only the hourly mean was recorded, twelve of it."""
    parts = []
    if five is not None:
        parts.append(five)
    if hourly is not None:
        if five is not None:
            covered = five.select(
                pl.col("Minutes5UTC").dt.truncate("1h").alias("HourUTC"), "PriceArea"
            ).unique()
            hourly = hourly.join(covered, on=["HourUTC", "PriceArea"], how="anti")
        parts.append(
            hourly.join(_minutes(range(0, 60, 5)), how="cross")
            .with_columns((pl.col("HourUTC") + pl.col("offset")).alias("Minutes5UTC"))
            .select("Minutes5UTC", "first_seen_utc", "PriceArea", "CO2Emission")
        )
    if not parts:
        return _empty("Minutes5UTC", "PriceArea", numbers=("CO2Emission",))
    return (
        pl.concat(parts, how="diagonal")
        .with_columns(pl.col("CO2Emission").round(DECIMALS))
        .rename({"first_seen_utc": "published_utc"})
        .select("Minutes5UTC", "PriceArea", "CO2Emission", "published_utc")
        .sort("Minutes5UTC", "PriceArea")
    )


def _prices(rows: pl.DataFrame | None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Hourly rows before the switch of datasets, quarter hours after it."""
    if rows is None:
        return (
            _empty("HourUTC", "PriceArea", numbers=("SpotPriceEUR",)),
            _empty("TimeUTC", "PriceArea", numbers=("DayAheadPriceEUR",)),
        )
    long = (
        rows.unpivot(index="TimeUTC", variable_name="PriceArea", value_name="price")
        .with_columns(published_utc=_prices_known(pl.col("TimeUTC")))
        .sort("TimeUTC", "PriceArea")
    )
    hourly = long.filter(pl.col("TimeUTC") < PRICE_SWITCH).select(
        pl.col("TimeUTC").alias("HourUTC"),
        "PriceArea",
        pl.col("price").alias("SpotPriceEUR"),
        "published_utc",
    )
    quarters = (
        long.filter(pl.col("TimeUTC") >= PRICE_SWITCH)
        .join(_minutes(range(0, 60, 15)), how="cross")
        .select(
            (pl.col("TimeUTC") + pl.col("offset")).alias("TimeUTC"),
            "PriceArea",
            pl.col("price").alias("DayAheadPriceEUR"),
            "published_utc",
        )
        .sort("TimeUTC", "PriceArea")
    )
    return hourly, quarters


def _prices_known(time: pl.Expr) -> pl.Expr:
    # Naive in between: hours added to a zoned midnight are off by one where the clock changes.
    return (
        time.dt.convert_time_zone(DANISH)
        .dt.replace_time_zone(None)
        .dt.truncate("1d")
        .dt.offset_by("-1d")
        .dt.offset_by(f"{PRICES_KNOWN_HOUR}h")
        .dt.replace_time_zone(DANISH)
        .dt.convert_time_zone("UTC")
    )


def _minutes(offsets: range) -> pl.DataFrame:
    return pl.DataFrame({"offset": [timedelta(minutes=minute) for minute in offsets]}).cast(
        pl.Duration("us")
    )


def _empty(time: str, *texts: str, numbers: Sequence[str]) -> pl.DataFrame:
    return pl.DataFrame(
        schema={
            time: UTC_TIME,
            **dict.fromkeys(texts, pl.String),
            **dict.fromkeys(numbers, pl.Float64),
            "published_utc": UTC_TIME,
        }
    )
