"""The application: routes behind guards, over the published copies of one home."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from importlib.metadata import version
from typing import Any

import duckdb
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from co2_assets.errors import Co2Error
from co2_assets.serving.api.caching import Caching
from co2_assets.serving.api.clock import minute_clock
from co2_assets.serving.api.guards import Guards, Secured
from co2_assets.serving.api.metrics import Measured, Metrics
from co2_assets.serving.api.openapi import DESCRIPTION, openapi_document
from co2_assets.serving.api.parameters import refuse_unknown
from co2_assets.serving.api.problems import ProblemError, answer_to
from co2_assets.serving.api.reading import ABOUT_HEADERS, Reader
from co2_assets.serving.api.routes import adapters, decisions, forecasts, measured, operation, trust
from co2_assets.serving.generations import Generations
from co2_assets.settings import Settings

TITLE = "CO2 of Danish electricity"

ROUTERS = (
    measured.router,
    forecasts.router,
    decisions.router,
    trust.router,
    operation.router,
    adapters.router,
)

SWITCH_INTERVAL_S = 0.0005

FORESEEN = (ProblemError, Co2Error, duckdb.Error, RequestValidationError, HTTPException)
"""What a request may end with on purpose; anything else is a fault of ours."""


def create_app(settings: Settings, now: Callable[[], datetime] | None = None) -> FastAPI:
    """The API of one home.

    Args:
        settings: of the home; it may hold nothing yet.
        now: the platform's time, if not that of the home's clock.
    """
    generations = Generations(settings.home)
    clock = minute_clock(settings, now)
    reader = Reader(settings, generations, clock)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        # Answers from memory must not wait 5 ms for each thread that makes a new one.
        usual = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_INTERVAL_S)
        yield
        sys.setswitchinterval(usual)
        generations.close()

    app = FastAPI(
        title=TITLE,
        version=version("co2_assets"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
        dependencies=[Depends(refuse_unknown)],
        generate_unique_id_function=lambda route: route.name,
    )
    for router in ROUTERS:
        app.include_router(router)
    for kind in FORESEEN:
        app.add_exception_handler(kind, _answer)
    _describe(app, settings)
    app.state.reader = reader
    app.state.metrics = Metrics(reader)
    _wrap(app, settings, generations, clock)
    return app


def _describe(app: FastAPI, settings: Settings) -> None:
    document = openapi_document(app, needs_key=settings.api_key is not None)

    def openapi() -> dict[str, Any]:
        return document

    app.openapi = openapi  # type: ignore[method-assign]
    app.state.parameters = {
        path: frozenset(one["name"] for one in operations["get"].get("parameters", ()))
        for path, operations in document["paths"].items()
    } | {"/docs": frozenset(), "/openapi.json": frozenset()}


def _wrap(
    app: FastAPI, settings: Settings, generations: Generations, clock: Callable[[], datetime]
) -> None:
    """The layers around the routes, from the innermost to the outermost."""
    app.add_middleware(Recovering)
    app.add_middleware(
        Caching,
        generations=generations,
        clock=clock,
        is_virtual=settings.source == "recorded",
        shared=settings.api_key is None,
    )
    app.add_middleware(Guards, settings=settings)
    app.add_middleware(Secured)
    if settings.api_cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.api_cors_origins,
            allow_methods=("GET", "HEAD"),
            allow_headers=("X-API-Key", "Authorization", "If-None-Match"),
            expose_headers=("ETag", "Retry-After", *ABOUT_HEADERS),
        )
    app.add_middleware(Measured, metrics=app.state.metrics, paths=frozenset(app.state.parameters))


async def _answer(request: Request, error: Exception) -> Response:
    return answer_to(error, request.url.path)


class Recovering:
    """Turns what nobody foresaw into a problem, before the layers that every answer passes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on; a fault becomes status 500, unless the answer has begun."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def noted(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except Exception as error:
            if begun:
                raise
            await answer_to(error, scope["path"])(scope, receive, send)
