"""An HTTP server that speaks Energi Data Service's API over recordings, on loopback.

It holds back what was not published at its virtual time. Minutes of PowerSystemRightNow
are reconstructed: each carries the recorded mean of its hour.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import struct
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from co2_assets.errors import RecordingError
from co2_assets.replay.catalogue import served_datasets
from co2_assets.replay.faults import Answer, Asked, FaultPlan, Saboteur, spoiled_records
from co2_assets.replay.query import BadRequest, Query, envelope
from co2_assets.replay.recordings import Recordings

START_WITHIN_S = 20.0
RESET_WITHIN_S = 5.0
ZIPPED = {"Content-Encoding": "gzip"}
NOTE = (
    "Recorded data of Energinet (energidataservice.dk), CC BY 4.0. PowerSystemRightNow minutes"
    " are reconstructed: each carries the recorded mean of its hour."
)


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
        self._served = served_datasets(recordings)
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
        self._server = uvicorn.Server(self._configuration())
        self._server.run(sockets=[self._listen()])

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
            query = Query.of(request, now)
            start, end = query.start or _DISTANT_PAST, query.end or now + timedelta(days=3)
            rows = served.rows(start, end, now)
            for fault in faults:
                rows = fault.spoil_rows(rows, asked)
            body = spoiled_records(envelope(name, served, rows, query), faults, asked)
        except BadRequest as error:
            return PlainTextResponse(str(error), 400)
        for fault in faults:
            answer = fault.spoil_reply(body)
            if answer is not None:
                if answer.chunk_bytes and _takes_gzip(request):
                    answer = answer._replace(body=_zipped(body), headers=ZIPPED)
                return _Spoiled(answer, lambda: self._reset(request))
        return _maybe_zipped(request, body)

    def _reset(self, request: Request) -> None:
        """Reset the connection of a request, which HTTP itself has no word for."""
        connections = self._server.server_state.connections if self._server else ()
        for connection in list(connections):
            transport = connection.transport
            if transport.get_extra_info("peername") == request.client:
                # Closing a socket that does not linger sends a reset.
                transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                transport.abort()

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


def _maybe_zipped(request: Request, body: bytes) -> Response:
    if not _takes_gzip(request):
        return Response(body, media_type="application/json")
    return Response(_zipped(body), media_type="application/json", headers=ZIPPED)


def _takes_gzip(request: Request) -> bool:
    return "gzip" in request.headers.get("accept-encoding", "")


def _zipped(body: bytes) -> bytes:
    return gzip.compress(body, compresslevel=1)


class _Spoiled(Response):
    """The reply of a fault: late, in pieces, or with a broken connection for an end."""

    def __init__(self, answer: Answer, reset: Callable[[], None]) -> None:
        super().__init__(answer.body, answer.status, answer.headers, answer.content_type)
        self._answer = answer
        self._reset = reset

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, for as long as somebody listens."""
        answer = self._answer
        if await _gone_within(answer.delay_s, receive):
            return
        head = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **head})
        sent = answer.body[: answer.reset_after]
        size = answer.chunk_bytes or len(sent) or 1
        for start in range(0, len(sent), size):
            piece = {"body": sent[start : start + size], "more_body": True}
            await send({"type": "http.response.body", **piece})
            if await _gone_within(answer.pause_s, receive):
                return
        if answer.reset_after is None:
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            return
        self._reset()
        # A reply without an end is logged as a fault of ours unless nobody listens any more.
        await _gone_within(RESET_WITHIN_S, receive)


async def _gone_within(seconds: float, receive: Receive) -> bool:
    """Whether the client goes within that time, which is waited for."""
    if not seconds:
        return False
    try:
        async with asyncio.timeout(seconds):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True
