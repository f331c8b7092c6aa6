"""An HTTP server that speaks Energi Data Service's API over recordings, on loopback.

It holds back what was not published at its virtual time. Minutes of PowerSystemRightNow
are reconstructed: each carries the recorded mean of its hour.
"""

from __future__ import annotations

import gzip
import json
import re
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from zoneinfo import ZoneInfo

import polars as pl
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from co2_assets.errors import RecordingError
from co2_assets.replay.faults import Answer, Asked, FaultPlan, Saboteur
from co2_assets.replay.recordings import DANISH, POWER_SYSTEM_COLUMNS, Recordings

DENMARK = ZoneInfo(DANISH)
DEFAULT_LIMIT = 100
START_WITHIN_S = 20.0
NOTE = (
    "Recorded data of Energinet (energidataservice.dk), CC BY 4.0. PowerSystemRightNow minutes"
    " are reconstructed: each carries the recorded mean of its hour."
)
API_TIME = "%Y-%m-%dT%H:%M:%S"


class _BadRequest(Exception):
    """What the API answers with 400 and plain text."""


class _Served(NamedTuple):
    """One dataset: rows of a span as known at a time, and the columns that go with it."""

    time_column: str
    danish_column: str | None
    key: tuple[str, ...]
    rows: Callable[[datetime, datetime, datetime], pl.DataFrame]
    description: str


class RecordedServer:
    """The recorded server; a context manager, or `run_forever` for a command.

    Args:
        recordings: what it serves.
        port: on loopback; 0 takes a free one.
        clock_file: where the virtual time is kept over restarts, or None.
        faults: what it does wrong, or None.
        starts_at: virtual time of a clock that was never set; the end of the recordings
            when None.
    """

    def __init__(
        self,
        recordings: Recordings,
        *,
        port: int = 0,
        clock_file: Path | None = None,
        faults: FaultPlan | None = None,
        starts_at: datetime | None = None,
    ) -> None:
        self._recordings = recordings
        self._port = port
        self._clock_file = clock_file
        self._saboteur = Saboteur(faults)
        self._clock_lock = threading.Lock()
        self._now = self._kept_clock() or starts_at or recordings.span[1]
        self._served = _served(recordings)
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def now(self) -> datetime:
        """The virtual time."""
        return self._now

    @property
    def url(self) -> str:
        """Base URL of the running server."""
        return f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Answer requests from a thread of its own.

        Raises:
            RecordingError: the port is taken.
        """
        listener = self._listen()
        self._server = uvicorn.Server(self._configuration())
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, daemon=True
        )
        self._thread.start()
        deadline = time.monotonic() + START_WITHIN_S
        while not self._server.started:
            if time.monotonic() > deadline:
                raise RecordingError("the recorded server did not start", where=self.url)
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop answering."""
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._server.force_exit = True
            self._thread.join(START_WITHIN_S)

    def run_forever(self) -> None:
        """Answer until Ctrl-C or SIGTERM."""
        uvicorn.Server(self._configuration()).run(sockets=[self._listen()])

    def _configuration(self) -> uvicorn.Config:
        return uvicorn.Config(self._application(), log_level="warning", lifespan="off", ws="none")

    def _listen(self) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", self._port))
        except OSError as error:
            listener.close()
            raise RecordingError(
                "the recorded server cannot have its port",
                where=f"127.0.0.1:{self._port}",
                found=error.strerror or error,
                expected="a free port",
                next_step="stop what holds it, or set CO2_RECORDED_PORT to another",
            ) from error
        self._port = listener.getsockname()[1]
        return listener

    def _application(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/dataset/{name}", self._dataset),
                Route("/meta/dataset", self._meta_list),
                Route("/meta/dataset/{name}", self._meta),
                Route("/_replay/clock", self._get_clock, methods=["GET"]),
                Route("/_replay/clock", self._put_clock, methods=["PUT"]),
                Route("/_replay/about", self._about),
            ]
        )

    def _dataset(self, request: Request) -> Response:
        name = self._name(request)
        if name is None:
            return PlainTextResponse(f"dataset not found {request.path_params['name']}", 404)
        served, now = self._served[name], self._now
        asked = Asked(
            name,
            served.time_column,
            now,
            lambda moment: served.rows(moment - timedelta(hours=2), moment, now).tail(1),
        )
        faults = self._saboteur.acting(asked)
        try:
            query = _Query.of(request, now)
            start, end = query.start or _DISTANT_PAST, query.end or now + timedelta(days=3)
            rows = served.rows(start, end, now)
            for fault in faults:
                rows = fault.spoil_rows(rows, asked)
            body = _envelope(name, served, rows, query)
        except _BadRequest as error:
            return PlainTextResponse(str(error), 400)
        for fault in faults:
            answer = fault.spoil_reply(body)
            if answer is not None:
                return _spoiled(answer)
        return _maybe_zipped(request, body)

    def _name(self, request: Request) -> str | None:
        """The dataset that a path names, in the API's spelling; the API ignores case."""
        asked = request.path_params["name"].lower()
        return next((name for name in self._served if name.lower() == asked), None)

    def _meta_list(self, _request: Request) -> Response:
        return JSONResponse([self._meta_entry(name) for name in self._served])

    def _meta(self, request: Request) -> Response:
        name = self._name(request)
        return Response(status_code=204) if name is None else JSONResponse(self._meta_entry(name))

    def _meta_entry(self, name: str) -> dict[str, Any]:
        served = self._served[name]
        return {
            "datasetName": name,
            "description": served.description,
            "filterColumn": served.time_column,
            "primaryKey": list(served.key),
            "recorded": True,
            "note": NOTE,
        }

    def _about(self, _request: Request) -> Response:
        first, end = self._recordings.span
        return JSONResponse(
            {
                "recorded": True,
                "data_start_utc": first.isoformat(),
                "data_end_utc": end.isoformat(),
                "now_utc": self._now.isoformat(),
                "note": NOTE,
            }
        )

    def _get_clock(self, _request: Request) -> Response:
        return JSONResponse({"now_utc": self._now.isoformat()})

    async def _put_clock(self, request: Request) -> Response:
        try:
            wanted = datetime.fromisoformat(json.loads(await request.body())["now_utc"])
            if wanted.tzinfo is None:
                raise ValueError("a time zone is needed")
        except (ValueError, KeyError, TypeError) as error:
            return PlainTextResponse(f"Invalid clock: {error}", 400)
        with self._clock_lock:
            if wanted < self._now:
                return PlainTextResponse(
                    f"The clock stands at {self._now.isoformat()} and never goes back", 409
                )
            self._now = wanted.astimezone(UTC)
            self._keep_clock()
        return JSONResponse({"now_utc": self._now.isoformat()})

    def _kept_clock(self) -> datetime | None:
        if self._clock_file is None or not self._clock_file.exists():
            return None
        text = self._clock_file.read_text()
        try:
            return datetime.fromisoformat(json.loads(text)["now_utc"]).astimezone(UTC)
        except (ValueError, KeyError, TypeError) as error:
            raise RecordingError(
                "the kept virtual clock is damaged",
                where=str(self._clock_file),
                found=text[:100],
                expected='{"now_utc": "2025-01-18T06:02:00+00:00"}',
            ) from error

    def _keep_clock(self) -> None:
        if self._clock_file is not None:
            self._clock_file.parent.mkdir(parents=True, exist_ok=True)
            draft = self._clock_file.with_name(f".{self._clock_file.name}.tmp")
            draft.write_text(json.dumps({"now_utc": self._now.isoformat()}))
            draft.replace(self._clock_file)


_DISTANT_PAST = datetime(2000, 1, 1, tzinfo=UTC)


def _served(recordings: Recordings) -> dict[str, _Served]:
    def published(rows: pl.DataFrame, time_column: str) -> Callable[..., pl.DataFrame]:
        def known(start: datetime, end: datetime, now: datetime) -> pl.DataFrame:
            return rows.filter(
                pl.col(time_column) >= start,
                pl.col(time_column) < end,
                pl.col("published_utc") <= now,
            ).drop("published_utc")

        return known

    def minutes(start: datetime, end: datetime, now: datetime) -> pl.DataFrame:
        until = min(end, now)
        offsets = pl.DataFrame({"offset": [timedelta(minutes=m) for m in range(60)]})
        return (
            recordings.power_system.filter(
                pl.col("HourUTC") > start - timedelta(hours=1), pl.col("HourUTC") < until
            )
            .join(offsets, how="cross", maintain_order="left_right")
            .select(
                (pl.col("HourUTC") + pl.col("offset")).alias("Minutes1UTC"), *POWER_SYSTEM_COLUMNS
            )
            .filter(pl.col("Minutes1UTC") >= start, pl.col("Minutes1UTC") < until)
        )

    return {
        "PowerSystemRightNow": _Served(
            "Minutes1UTC", "Minutes1DK", ("Minutes1UTC",), minutes, "the power system, by minute"
        ),
        "Forecasts_Hour": _Served(
            "HourUTC",
            "HourDK",
            ("HourUTC", "PriceArea", "ForecastType"),
            published(recordings.forecasts_hour, "HourUTC"),
            "wind and solar forecasts",
        ),
        "CO2EmisProg": _Served(
            "Minutes5UTC",
            "Minutes5DK",
            ("Minutes5UTC", "PriceArea"),
            published(recordings.co2_emis_prog, "Minutes5UTC"),
            "CO2 prognosis as first published",
        ),
        "Elspotprices": _Served(
            "HourUTC",
            "HourDK",
            ("HourUTC", "PriceArea"),
            published(recordings.elspotprices, "HourUTC"),
            "day-ahead prices to 2025-09-30",
        ),
        "DayAheadPrices": _Served(
            "TimeUTC",
            "TimeDK",
            ("TimeUTC", "PriceArea"),
            published(recordings.day_ahead_prices, "TimeUTC"),
            "day-ahead prices from 2025-10-01",
        ),
    }


class _Query(NamedTuple):
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
    def of(cls, request: Request, now: datetime) -> _Query:
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
        raise _BadRequest(f"Invalid timezone {text}") from None


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
    raise _BadRequest(f"Invalid time {text}")


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
        raise _BadRequest(f"Invalid {name} {text}")
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
        raise _BadRequest(f"Invalid filter {text}") from None


def _envelope(name: str, served: _Served, rows: pl.DataFrame, query: _Query) -> bytes:
    if served.danish_column:
        rows = rows.with_columns(
            pl.col(served.time_column)
            .dt.convert_time_zone(DANISH)
            .dt.replace_time_zone(None)
            .alias(served.danish_column)
        )
    for column, values in query.filters.items():
        if column not in rows.columns:
            raise _BadRequest(f"Invalid column {column}")
        try:
            rows = rows.filter(pl.col(column).is_in(values))
        except pl.exceptions.PolarsError:
            raise _BadRequest(f"Invalid filter {query.filters_text}") from None
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


def _selected(rows: pl.DataFrame, served: _Served, columns: tuple[str, ...]) -> pl.DataFrame:
    """The columns asked for; those that the API has and no recording does are null."""
    if not columns:
        front = [served.time_column, *([served.danish_column] if served.danish_column else [])]
        return rows.select(*front, *(name for name in rows.columns if name not in front))
    for column in columns:
        if column not in rows.columns and column not in _NEVER_RECORDED:
            raise _BadRequest(f"Invalid column {column}")
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


def _sorted(rows: pl.DataFrame, served: _Served, sort: str | None) -> pl.DataFrame:
    if not sort:
        return rows.sort(served.key, descending=True)
    names, descending = [], []
    for part in sort.split(","):
        name, _, direction = part.strip().partition(" ")
        if name not in rows.columns or direction.upper() not in ("", "ASC", "DESC"):
            raise _BadRequest(f"Invalid column {part.strip()}")
        names.append(name)
        descending.append(direction.upper() == "DESC")
    return rows.sort(names, descending=descending, maintain_order=True)


def _maybe_zipped(request: Request, body: bytes) -> Response:
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(body, media_type="application/json")
    return Response(
        gzip.compress(body, compresslevel=1),
        media_type="application/json",
        headers={"Content-Encoding": "gzip"},
    )


def _spoiled(answer: Answer) -> Response:
    # Endpoints run in a pool of threads: sleeping here delays this reply alone.
    time.sleep(answer.delay_s)
    return Response(
        answer.body, answer.status, media_type=answer.content_type, headers=answer.headers
    )
