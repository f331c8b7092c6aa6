"""Whether the platform is well, and where to go."""

from __future__ import annotations

from fastapi import APIRouter, Request
from pydantic_core import to_json
from starlette.responses import HTMLResponse, Response

from co2_assets.serving.api.formats import Answer
from co2_assets.serving.api.models import HealthAnswer, Index
from co2_assets.serving.api.page import documentation_page
from co2_assets.serving.api.problems import ProblemError
from co2_assets.serving.api.reading import NowDep, ReaderDep, respond
from co2_assets.serving.api.routes.documented import documented

router = APIRouter(tags=["operation"])


@router.get("/", **documented(Index, csv=False))
def index(request: Request) -> Response:
    """Every path of this API."""
    document = request.app.openapi()
    return Response(
        to_json(
            {
                "title": document["info"]["title"],
                "version": document["info"]["version"],
                "documentation": "/docs",
                "openapi": "/openapi.json",
                "routes": {
                    path: operations["get"]["summary"]
                    for path, operations in document["paths"].items()
                },
            },
            indent=2,
        ),
        media_type="application/json",
    )


@router.get("/health", **documented(HealthAnswer, "stale", csv=False))
def health(request: Request, reader: ReaderDep, now: NowDep) -> Response:
    """Whether forecast and data are fresh: 200, else 503 with what is too old.

    For monitors. A platform whose forecast is old is not well, though it answers: its other
    routes go on and mark what they say as stale. Needs no API key.
    """
    with reader.look(now) as look:
        about = look.about
        if about.is_stale:
            raise ProblemError(
                "stale",
                "too old: " + "; ".join(about.stale_reasons),
                where=f"generation {about.generation}",
                found="; ".join(about.stale_reasons),
                expected="measured hours and a forecast of the last seven hours",
                next_step="look at the last tick: `co2 status`, or Dagster's UI",
            )
        answer = respond(request, Answer(about, {"status": "ok"}), "json")
        answer.headers["Cache-Control"] = "no-store"
        return answer


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    openapi_extra={"x-errors": ["unauthorized", "unknown_parameter", "too_many_requests"]},
)
def metrics(request: Request) -> Response:
    """What is forecast and measured, its age, and how the API does, for Prometheus."""
    response: Response = request.app.state.metrics.response()
    return response


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> Response:
    """This API explained on one page, without anything from elsewhere."""
    return HTMLResponse(documentation_page(request.app.openapi()))
