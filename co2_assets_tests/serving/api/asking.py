"""An API over a home, and what tests ask of its answers."""

from __future__ import annotations

import asyncio
import csv
import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import duckdb
import httpx
import uvicorn
from fastapi import FastAPI
from httpx import Response

from co2_assets.serving.api.app import create_app
from co2_assets.serving.api.problems import CODES, PROBLEM_JSON, Problem
from co2_assets.settings import Settings
from co2_assets_tests.homes import Home, free_port

ABOUT = {
    "area", "unit", "issue_time_utc", "model_version", "is_fallback", "fallback_reason",
    "inputs_missing",
    "data_until_utc", "data_age_minutes", "forecast_age_minutes", "is_stale", "stale_reasons",
    "source", "now_utc", "generation", "attribution", "licence", "notes",
}  # fmt: skip

DATA_ROUTES = {
    "/last-24h-emissions": "",
    "/next-6h-predictions": "",
    "/last-6h-predictions-vs-actual": "",
    "/best-model": "",
    "/forecasts": "?leads=3",
    "/accuracy": "",
    "/scoreboard": "?lead=1",
    "/models": "",
    "/retrain-ledger": "?limit=2",
    "/greenest-window": "?duration=2",
    "/window-receipts": "?limit=2",
    "/explain": "?valid_time=2025-01-19T12:00:00Z",
    "/data-quality": "",
}
"""Every route that answers with data, and a request that has an answer in the prepared home."""

KEY = "a-key-of-more-than-16-characters"

REQUESTS = [path + query for path, query in DATA_ROUTES.items()]


class Client:
    """Asks an app as a server would, in this process."""

    def __init__(self, app: FastAPI) -> None:
        self.app = app

    def get(self, address: str, **headers: str) -> Response:
        """Answer to GET; `if_none_match="x"` sends the header If-None-Match."""
        return self.request("GET", address, headers)

    def request(
        self, method: str, address: str, headers: Mapping[str, str] | None = None, **more: Any
    ) -> Response:
        """Answer to any request."""
        named = {name.replace("_", "-"): value for name, value in (headers or {}).items()}

        async def ask() -> Response:
            transport = httpx.ASGITransport(app=self.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://api") as client:
                return await client.request(method, address, headers=named, **more)

        return asyncio.run(ask())


def client(settings: Settings, now: Callable[[], datetime] | datetime | None = None) -> Client:
    """A client of the API of a home, at the home's time or another one."""
    clock = (lambda: now) if isinstance(now, datetime) else now
    return Client(create_app(settings, clock))


def answered(response: Response) -> Any:
    """The data of an answer that must be whole and must say where it comes from."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    answer = response.json()
    assert set(answer) == {"about", "data"}
    assert set(answer["about"]) == ABOUT
    assert answer["about"]["licence"] == "CC BY 4.0"
    return answer["data"]


def refused(response: Response, code: str) -> dict[str, Any]:
    """The problem that an answer must be, in the one shape."""
    assert response.headers["content-type"] == PROBLEM_JSON, response.text
    found: dict[str, Any] = response.json()
    Problem.model_validate(found)
    assert found["code"] == code, found
    assert found["status"] == response.status_code == CODES[code].status
    assert found["title"] == CODES[code].title
    assert found["type"] == f"/docs#{code}"
    assert "Traceback" not in response.text
    assert response.headers["x-content-type-options"] == "nosniff"
    return found


def table(response: Response) -> list[dict[str, str]]:
    """The rows of a CSV answer."""
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(response.text)))


def text(time: datetime | None) -> str | None:
    """A time as answers write it."""
    return None if time is None else time.isoformat().replace("+00:00", "Z")


def sql(home: Home, query: str) -> list[dict[str, Any]]:
    """Rows by name, times as text: a look at the published copy with nothing of the API's."""
    with duckdb.connect(str(home.settings.database_path.resolve()), read_only=True) as con:
        con.execute("SET TimeZone = 'UTC'")
        found = con.execute(query)
        names = [column[0] for column in found.description]
        return [
            {
                name: text(value) if isinstance(value, datetime) else value
                for name, value in zip(names, row, strict=True)
            }
            for row in found.fetchall()
        ]


def raw(app: FastAPI, path: str, headers: Mapping[str, str]) -> bytes:
    """The body as it goes over the wire, with nothing decoded."""

    async def ask() -> bytes:
        transport = httpx.ASGITransport(app=app)
        async with (
            httpx.AsyncClient(transport=transport, base_url="http://api") as client,
            client.stream("GET", path, headers=headers) as response,
        ):
            return b"".join([part async for part in response.aiter_raw()])

    return asyncio.run(ask())


@contextmanager
def listening(settings: Settings) -> Iterator[int]:
    """The API behind its real server, as `co2 api` starts it; gives the port."""
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings),
            port=port,
            log_level="error",
            access_log=False,
            server_header=False,
        )
    )
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join(30)


def under(home: Home, **changes: Any) -> Settings:
    """Settings of a home with other values of the API."""
    return home.settings.model_copy(update=changes)
