"""The parameters of a request, read and answered as Energi Data Service does.

Danish time unless the request says otherwise, an exclusive end, 100 records only where
neither start nor limit is given, descending unless a sort is given; see docs/recordings.md.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import polars as pl
from starlette.requests import Request

from co2_assets.replay.catalogue import Served
from co2_assets.replay.recordings import DANISH

DENMARK = ZoneInfo(DANISH)
DEFAULT_LIMIT = 100
API_TIME = "%Y-%m-%dT%H:%M:%S"


class BadRequest(Exception):
    """What the API answers with 400 and plain text."""


class Query(NamedTuple):
    """The parameters of a request, read as the API reads them."""

    start: datetime | None
    end: datetime | None
    columns: tuple[str, ...]
    filters: dict[str, list[Any]]
    filters_text: str | None
    sort: str | None
    offset: int
    limit: int

    @classmethod
    def of(cls, request: Request, now: datetime) -> Query:
        """The parameters of a request, with times resolved at the virtual `now`.

        Raises:
            BadRequest: a parameter that the API would refuse.
        """
        given = request.query_params
        zone = _zone(given.get("timezone"))
        filters_text = given.get("filter")
        return cls(
            start=_time(given.get("start"), zone, now),
            end=_time(given.get("end"), zone, now),
            columns=tuple(name for name in given.get("columns", "").split(",") if name),
            filters=_filters(filters_text),
            filters_text=filters_text,
            sort=given.get("sort"),
            offset=_whole(given.get("offset"), "offset", 0),
            limit=_whole(given.get("limit"), "limit", 0 if given.get("start") else DEFAULT_LIMIT),
        )


def _zone(text: str | None) -> ZoneInfo:
    zones = {None: DENMARK, "dk": DENMARK, "utc": ZoneInfo("UTC")}
    try:
        return zones[text.lower() if text else None]
    except KeyError:
        raise BadRequest(f"Invalid timezone {text}") from None


_FORMS = ("%Y", "%Y-%m", "%Y-%m-%d", "%Y-%m-%dT%H:%M")
_DYNAMIC = re.compile(
    r"(now|StartOfDay|StartOfMonth|StartOfYear)"
    r"(?:([+-])P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?)?)?",
    re.IGNORECASE,
)


def _time(text: str | None, zone: ZoneInfo, now: datetime) -> datetime | None:
    if not text:
        return None
    if dynamic := _DYNAMIC.fullmatch(text):
        naive = _dynamic_time(dynamic, now)
    else:
        naive = _absolute_time(text)
    return naive.replace(tzinfo=zone).astimezone(UTC)


def _absolute_time(text: str) -> datetime:
    for form in _FORMS:
        try:
            return datetime.strptime(text, form)  # noqa: DTZ007, the caller says the zone
        except ValueError:
            continue
    raise BadRequest(f"Invalid time {text}")


def _dynamic_time(match: re.Match[str], now: datetime) -> datetime:
    """Danish wall-clock time, whatever the zone of the request: the API's own trap."""
    base = now.astimezone(DENMARK).replace(tzinfo=None)
    word = match[1].lower()
    if word != "now":
        base = base.replace(hour=0, minute=0, second=0, microsecond=0)
    if word in ("startofmonth", "startofyear"):
        base = base.replace(day=1)
    if word == "startofyear":
        base = base.replace(month=1)
    if match[2] is None:
        return base
    years, months, days, hours, minutes = (int(part or 0) for part in match.groups()[2:])
    shift = timedelta(days=365 * years + 30 * months + days, hours=hours, minutes=minutes)
    return base + shift if match[2] == "+" else base - shift


def _whole(text: str | None, name: str, default: int) -> int:
    if text is None:
        return default
    if not text.isdigit():
        raise BadRequest(f"Invalid {name} {text}")
    return int(text)


def _filters(text: str | None) -> dict[str, list[Any]]:
    if not text:
        return {}
    try:
        parsed = json.loads(text)
        return {
            name: values if isinstance(values, list) else [values]
            for name, values in parsed.items()
        }
    except (ValueError, AttributeError):
        raise BadRequest(f"Invalid filter {text}") from None


def envelope(name: str, served: Served, rows: pl.DataFrame, query: Query) -> bytes:
    """The reply's body: the rows filtered, sorted, cut and named as asked.

    Raises:
        BadRequest: a column or a filter that the dataset does not have.
    """
    if served.danish_column:
        rows = rows.with_columns(
            pl.col(served.time_column)
            .dt.convert_time_zone(DANISH)
            .dt.replace_time_zone(None)
            .alias(served.danish_column)
        )
    for column, values in query.filters.items():
        if column not in rows.columns:
            raise BadRequest(f"Invalid column {column}")
        try:
            rows = rows.filter(pl.col(column).is_in(values))
        except pl.exceptions.PolarsError:
            raise BadRequest(f"Invalid filter {query.filters_text}") from None
    total = rows.height
    rows = _sorted(rows, served, query.sort)
    rows = rows.slice(query.offset, query.limit or None)
    rows = _selected(rows, served, query.columns)
    envelope = {
        "total": total,
        **({"filters": query.filters_text} if query.filters_text else {}),
        **({"sort": query.sort} if query.sort else {}),
        "limit": query.limit,
        "dataset": name,
    }
    times = [column for column, kind in rows.schema.items() if isinstance(kind, pl.Datetime)]
    records = rows.with_columns(pl.col(times).dt.strftime(API_TIME)).write_json()
    return (json.dumps(envelope)[:-1] + ', "records": ' + records + "}").encode()


def _selected(rows: pl.DataFrame, served: Served, columns: tuple[str, ...]) -> pl.DataFrame:
    """The columns asked for; those that the API has and no recording does are null."""
    if not columns:
        front = [served.time_column, *([served.danish_column] if served.danish_column else [])]
        return rows.select(*front, *(name for name in rows.columns if name not in front))
    for column in columns:
        if column not in rows.columns and column not in _NEVER_RECORDED:
            raise BadRequest(f"Invalid column {column}")
    return rows.select(
        pl.col(name) if name in rows.columns else pl.lit(None, pl.Float64).alias(name)
        for name in columns
    )


_NEVER_RECORDED = {
    "ForecastIntraday",
    "Forecast5Hour",
    "Forecast1Hour",
    "ForecastCurrent",
    "SpotPriceDKK",
    "DayAheadPriceDKK",
}


def _sorted(rows: pl.DataFrame, served: Served, sort: str | None) -> pl.DataFrame:
    if not sort:
        return rows.sort(served.key, descending=True)
    names, descending = [], []
    for part in sort.split(","):
        name, _, direction = part.strip().partition(" ")
        if name not in rows.columns or direction.upper() not in ("", "ASC", "DESC"):
            raise BadRequest(f"Invalid column {part.strip()}")
        names.append(name)
        descending.append(direction.upper() == "DESC")
    return rows.sort(names, descending=descending, maintain_order=True)
