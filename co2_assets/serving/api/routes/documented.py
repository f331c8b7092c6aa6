"""How a route is described in OpenAPI: model, formats, a true example, its own errors."""

from __future__ import annotations

import json
from functools import cache
from importlib import resources
from typing import Any

from pydantic import BaseModel
from starlette.responses import JSONResponse

ERRORS_OF_ALL = (
    "unauthorized",
    "not_acceptable",
    "request_timeout",
    "body_too_large",
    "query_too_long",
    "bad_parameter",
    "unknown_parameter",
    "too_many_requests",
    "internal_error",
    "nothing_published",
    "unreadable",
)
"""Codes that every route that reads the published copy may answer with."""


def documented(
    model: type[BaseModel], *errors: str, asked: str = "", csv: bool = True
) -> dict[str, Any]:
    """Arguments of a route's decorator.

    Args:
        model: of its JSON answer.
        errors: codes of problems that are this route's own.
        asked: query of the request that the example answers.
        csv: whether it also answers in CSV.
    """
    content: dict[str, Any] = {}
    if csv:
        content["text/csv"] = {
            "schema": {"type": "string"},
            "example": "columns of data, then those of about with the prefix about_",
        }
    return {
        "response_model": model,
        # Routes render by themselves; this is what OpenAPI says of the type.
        "response_class": JSONResponse,
        "responses": {200: {"content": content}},
        "openapi_extra": {"x-errors": [*ERRORS_OF_ALL, *errors], "x-example-query": asked},
    }


@cache
def examples() -> dict[str, Any]:
    """An answer of each route to its example request, from a demo's home, by function name."""
    text = (resources.files("co2_assets.serving.api") / "examples.json").read_text()
    found: dict[str, Any] = json.loads(text)
    return found
