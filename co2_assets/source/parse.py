"""Judging a reply before anything of it is stored.

Unknown columns are kept out and named. A missing required column, a wrong type, a number
that is not finite, a time outside the asked span, a null in the key and two different
records under one key are errors that name dataset, field, row and value.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from co2_assets.errors import SourceMalformed
from co2_assets.schema import FORECAST_KINDS, WIND_SOLAR_FORECASTS
from co2_assets.source.client import Reply
from co2_assets.source.datasets import Dataset, Field

POLARS_TYPES = {"time": pl.Datetime("us"), "text": pl.String(), "number": pl.Float64()}
API_TIME = "%Y-%m-%dT%H:%M:%S"
FORECAST_TYPES = {
    "Offshore Wind": "offshore_wind",
    "Onshore Wind": "onshore_wind",
    "Solar": "solar",
}


@dataclass(frozen=True)
class Parsed:
    """The rows of a reply, fit to be stored.

    `frame` has the columns of the dataset's table but what records how and when it was
    fetched, each key once.
    """

    frame: pl.DataFrame
    rows_read: int
    rows_repeated: int
    unknown_columns: tuple[str, ...]


def parse(reply: Reply) -> Parsed:
    """Judge and convert a reply.

    Raises:
        SourceMalformed: the reply breaks the dataset's contract; nothing may be stored.
    """
    dataset, records = reply.dataset, reply.records
    _refuse_non_objects(dataset, records)
    present = _present_columns(records)
    _refuse_missing_columns(dataset, present, records)
    known = [field for field in dataset.fields if field.api_name in present or not records]
    columns = {
        field.name: _column(dataset, field, [record.get(field.api_name) for record in records])
        for field in known
    }
    frame = pl.DataFrame(columns)
    _refuse_nulls_in_key(dataset, frame)
    _refuse_unknown_types(dataset, frame)
    frame = frame.with_columns(pl.col(dataset.time_field.name).dt.replace_time_zone("UTC"))
    _refuse_times_outside(dataset, frame, reply.start, reply.end)
    unique = frame.unique(maintain_order=True)
    _refuse_contradictions(dataset, frame, unique)
    names = {field.api_name for field in dataset.fields}
    return Parsed(
        frame=_as_table(dataset, unique),
        rows_read=len(records),
        rows_repeated=frame.height - unique.height,
        unknown_columns=tuple(sorted(present - names - _IGNORED)),
    )


_IGNORED = {"HourDK", "Minutes5DK", "TimeDK", "TimestampUTC", "TimestampDK"}
"""Known columns that say nothing that is not said elsewhere."""


def _refuse_non_objects(dataset: Dataset, records: Sequence[Any]) -> None:
    for row, record in enumerate(records):
        if not isinstance(record, dict):
            raise SourceMalformed(
                "a record is not an object",
                dataset=dataset.name,
                row=row,
                found=repr(record)[:80],
                expected="an object of columns",
            )


def _present_columns(records: Sequence[dict[str, Any]]) -> set[str]:
    present: set[str] = set()
    shape: tuple[str, ...] = ()
    for record in records:
        # Almost all records have the shape of the one before.
        keys = tuple(record)
        if keys != shape:
            present.update(keys)
            shape = keys
    return present


def _refuse_missing_columns(
    dataset: Dataset, present: set[str], records: Sequence[dict[str, Any]]
) -> None:
    if not records:
        return
    for field in dataset.fields:
        if field.required and field.api_name not in present:
            raise SourceMalformed(
                "a required column is missing",
                dataset=dataset.name,
                field=field.api_name,
                row=0,
                found="columns " + ", ".join(sorted(present)),
                expected=field.api_name,
                next_step="the dataset has changed: see its page at energidataservice.dk",
            )


def _column(dataset: Dataset, field: Field, values: list[Any]) -> pl.Series:
    convert = {"time": _times, "text": _texts, "number": _numbers}[field.kind]
    return convert(dataset, field, values)


def _numbers(dataset: Dataset, field: Field, values: list[Any]) -> pl.Series:
    kinds = {type(value) for value in values}
    if not kinds <= {int, float, type(None)}:
        _refuse_first(
            dataset,
            field,
            values,
            "a wrong type",
            "a number or null",
            lambda value: type(value) in (int, float, type(None)),
        )
    series = pl.Series(field.name, values, dtype=pl.Float64, strict=False)
    # An integer beyond the largest float comes out as null.
    if not series.is_finite().all() or series.null_count() > values.count(None):
        _refuse_first(
            dataset,
            field,
            values,
            "a number is not finite",
            "a finite number or null",
            lambda value: value is None or _fits_a_float(value),
        )
    return series


def _fits_a_float(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def _texts(dataset: Dataset, field: Field, values: list[Any]) -> pl.Series:
    if not {type(value) for value in values} <= {str, type(None)}:
        _refuse_first(
            dataset,
            field,
            values,
            "a wrong type",
            "text",
            lambda value: value is None or type(value) is str,
        )
    return pl.Series(field.name, values, dtype=pl.String)


def _times(dataset: Dataset, field: Field, values: list[Any]) -> pl.Series:
    texts = _texts(dataset, field, values)
    times = texts.str.to_datetime(API_TIME, strict=False, time_unit="us")
    bad = times.is_null() & texts.is_not_null()
    if bad.any():
        row = bad.arg_max() or 0
        raise SourceMalformed(
            "a time cannot be read",
            dataset=dataset.name,
            field=field.api_name,
            row=row,
            found=values[row],
            expected="a time like 2025-01-31T23:00:00",
        )
    return times.alias(field.name)


def _refuse_first(
    dataset: Dataset,
    field: Field,
    values: list[Any],
    what: str,
    expected: str,
    is_good: Callable[[Any], bool],
) -> None:
    row = next(index for index, value in enumerate(values) if not is_good(value))
    raise SourceMalformed(
        what,
        dataset=dataset.name,
        field=field.api_name,
        row=row,
        found=repr(values[row])[:80],
        expected=expected,
    )


def _key_fields(dataset: Dataset) -> list[Field]:
    return [field for field in dataset.fields if field.api_name in dataset.key]


def _refuse_nulls_in_key(dataset: Dataset, frame: pl.DataFrame) -> None:
    for field in _key_fields(dataset):
        nulls = frame[field.name].is_null()
        if nulls.any():
            raise SourceMalformed(
                "a key is null",
                dataset=dataset.name,
                field=field.api_name,
                row=nulls.arg_max(),
                found="null",
                expected="a value",
            )


def _refuse_times_outside(
    dataset: Dataset, frame: pl.DataFrame, start: datetime, end: datetime
) -> None:
    times = frame[dataset.time_field.name]
    outside = (times < start.astimezone(UTC)) | (times >= end.astimezone(UTC))
    if outside.any():
        row = outside.arg_max() or 0
        raise SourceMalformed(
            "a time lies outside the span that was asked for",
            dataset=dataset.name,
            field=dataset.time_field.api_name,
            row=row,
            found=times[row],
            expected=f"{start:%Y-%m-%dT%H:%M} to {end:%Y-%m-%dT%H:%M} UTC",
        )


def _refuse_contradictions(dataset: Dataset, frame: pl.DataFrame, unique: pl.DataFrame) -> None:
    keys = [field.name for field in _key_fields(dataset)]
    repeated = unique.select(keys).is_duplicated()
    if not repeated.any():
        return
    wrong = unique.row(repeated.arg_max() or 0, named=True)
    same_key = frame.with_row_index("row").filter(*(pl.col(key) == wrong[key] for key in keys))
    first, second = (
        same_key.unique([name for name in frame.columns], keep="first", maintain_order=True)
        .head(2)
        .rows(named=True)
    )
    different = next(
        field
        for field in dataset.fields
        if field.name in frame.columns and first[field.name] != second[field.name]
    )
    raise SourceMalformed(
        "two records have one key and different values",
        dataset=dataset.name,
        field=different.api_name,
        row=second["row"],
        found=f"{second[different.name]} at {[str(wrong[key]) for key in keys]}",
        expected=f"{first[different.name]}, as in row {first['row']}",
    )


def _as_table(dataset: Dataset, frame: pl.DataFrame) -> pl.DataFrame:
    if dataset.table is WIND_SOLAR_FORECASTS:
        return _long_forecasts(frame)
    missing = [
        pl.lit(None, POLARS_TYPES[field.kind]).alias(field.name)
        for field in dataset.fields
        if field.name not in frame.columns
    ]
    step = (
        [pl.lit(int(dataset.step.total_seconds() // 60), pl.Int32).alias("step_minutes")]
        if "step_minutes" in dataset.table.column_names
        else []
    )
    # The order of the fields, whichever of them this reply has.
    order = [field.name for field in dataset.fields]
    return frame.with_columns(*missing, *step).select(*order, pl.exclude(order))


def _refuse_unknown_types(dataset: Dataset, frame: pl.DataFrame) -> None:
    if dataset.table is not WIND_SOLAR_FORECASTS:
        return
    unknown = ~frame["forecast_type"].is_in(list(FORECAST_TYPES))
    if unknown.any():
        row = unknown.arg_max() or 0
        raise SourceMalformed(
            "an unknown forecast type",
            dataset=dataset.name,
            field="ForecastType",
            row=row,
            found=frame["forecast_type"][row],
            expected="one of " + ", ".join(FORECAST_TYPES),
        )


def _long_forecasts(frame: pl.DataFrame) -> pl.DataFrame:
    kinds = [kind for kind in FORECAST_KINDS if kind in frame.columns]
    long = frame.with_columns(pl.col("forecast_type").replace(FORECAST_TYPES)).unpivot(
        on=kinds,
        index=["hour_utc", "area", "forecast_type"],
        variable_name="kind",
        value_name="forecast_mw",
    )
    # The day-ahead forecast of each hour is owed: its null is news. The others may never come.
    return long.filter((pl.col("kind") == "day_ahead") | pl.col("forecast_mw").is_not_null())
