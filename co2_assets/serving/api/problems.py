"""Errors of the API: one shape for all of them, RFC 9457 `application/problem+json`."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

import duckdb
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from co2_assets.errors import Co2Error, SettingsError, WarehouseError, WindowDoesNotFit

LOG = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
RETRY_AFTER_S = 30
LONGEST_ECHO = 200
"""Characters of a request that an error repeats."""


class Code(NamedTuple):
    """What a stable code stands for."""

    status: int
    title: str
    meaning: str


CODES = {
    "unauthorized": Code(401, "An API key is needed", "The key is missing or wrong."),
    "not_found": Code(404, "There is no such path", "The path is none of this API's."),
    "no_such_forecast": Code(
        404, "There is no such forecast", "No served forecast has that issue or valid time."
    ),
    "no_champion": Code(404, "There is no champion", "No model was promoted yet."),
    "method_not_allowed": Code(405, "Only GET and HEAD", "The API is read-only."),
    "not_acceptable": Code(406, "No such format", "The Accept header allows neither JSON nor CSV."),
    "request_timeout": Code(408, "The body came too slowly", "A request needs no body at all."),
    "body_too_large": Code(413, "The body is too large", "A request needs no body at all."),
    "query_too_long": Code(414, "The address is too long", "Path and query have a limit."),
    "unknown_parameter": Code(
        422, "Unknown parameter", "The route has no parameter of that name, or it came twice."
    ),
    "bad_parameter": Code(422, "Bad parameter", "A value is missing, malformed or out of range."),
    "too_many_rows": Code(422, "Too many rows", "The span would give more rows than one answer."),
    "window_does_not_fit": Code(
        422, "The window does not fit", "The forecast has no room for the job as asked for."
    ),
    "bad_request": Code(400, "Bad request", "The request cannot be read."),
    "too_many_requests": Code(
        429, "Too many requests", "The client's limit is used up; see Retry-After."
    ),
    "internal_error": Code(500, "The API failed", "A fault of ours; it is logged by `instance`."),
    "nothing_published": Code(
        503, "Nothing is published yet", "The home has no readable published copy; see Retry-After."
    ),
    "no_forecast": Code(
        503, "There is no forecast yet", "No tick has issued one; see Retry-After."
    ),
    "no_data": Code(
        503, "There are no measured hours yet", "No tick has loaded any; see Retry-After."
    ),
    "unreadable": Code(
        503, "The published copy cannot be read", "The file is damaged; the next tick replaces it."
    ),
    "stale": Code(
        503, "Forecast or data are old", "Only /health and /adapters: it names what is too old."
    ),
}
"""Every error that the API answers with, by its stable code."""


class Problem(BaseModel):
    """An error. Branch on `code`, which is stable; the texts are for people."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "type": "/docs#unknown_parameter",
                "title": "Unknown parameter",
                "status": 422,
                "detail": "unknown parameter 'lead'; did you mean 'leads'?",
                "instance": "/forecasts",
                "code": "unknown_parameter",
                "where": "query parameter lead",
                "found": "lead",
                "expected": "one of as_of, format, issue_time, leads",
                "next_step": "did you mean 'leads'?",
            }
        },
    )

    type: str = Field(description="Address of the explanation of this kind of error.")
    title: str = Field(description="The kind of error, in words.")
    status: int = Field(description="The HTTP status again.")
    detail: str = Field(description="What went wrong this time.")
    instance: str = Field(
        description="The path that was asked; of a status 500 the id under which it is logged."
    )
    code: str = Field(
        description="Stable name of the kind of error.", json_schema_extra={"enum": [*CODES]}
    )
    where: str | None = Field(None, description="Parameter, header or file at fault.")
    found: str | None = Field(None, description="What was found there.")
    expected: str | None = Field(None, description="What would have been right.")
    next_step: str | None = Field(None, description="What to do now.")


class ProblemError(Exception):
    """Raised, or answered by a guard, to end a request with a problem."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        where: str | None = None,
        found: object = None,
        expected: str | None = None,
        next_step: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.where = where
        self.found = None if found is None else _short(str(found))
        self.expected = expected
        self.next_step = next_step
        self.headers = dict(headers or {})

    def response(self, path: str, instance: str | None = None) -> Response:
        """The answer to the request for `path`."""
        status, title, _ = CODES[self.code]
        problem = Problem(
            type=f"/docs#{self.code}",
            title=title,
            status=status,
            detail=self.detail,
            instance=instance or _short(path),
            code=self.code,
            where=self.where,
            found=self.found,
            expected=self.expected,
            next_step=self.next_step,
        )
        headers = {"Cache-Control": "no-store", **self.headers}
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers.setdefault("Retry-After", str(RETRY_AFTER_S))
        return Response(
            problem.model_dump_json(exclude_none=True),
            status_code=status,
            headers=headers,
            media_type=PROBLEM_JSON,
        )


def answer_to(error: Exception, path: str) -> Response:
    """The problem that an exception becomes; one that nobody foresaw is logged by an id."""
    foreseen = _foreseen(error)
    if foreseen is not None:
        return foreseen.response(path)
    instance = f"urn:uuid:{uuid.uuid4()}"
    LOG.error("%s: request for %s failed", instance, _short(path), exc_info=error)
    fault = ProblemError(
        "internal_error",
        "the request was right, the API failed",
        next_step=f"look for {instance} in the API's log",
    )
    return fault.response(path, instance)


def _foreseen(error: Exception) -> ProblemError | None:
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, WindowDoesNotFit):
        return from_co2_error("window_does_not_fit", error)
    if isinstance(error, WarehouseError | SettingsError):
        return from_co2_error("nothing_published", error)
    if isinstance(error, RequestValidationError):
        return _bad_parameter(error)
    if isinstance(error, HTTPException):
        return _of_status(error)
    if isinstance(error, duckdb.CatalogException):
        return _unreadable(error, "a copy that this version has published")
    if isinstance(error, duckdb.Error) and not isinstance(error, duckdb.ProgrammingError):
        return _unreadable(error, "a whole DuckDB file")
    return None


def from_co2_error(code: str, error: Co2Error, *, next_step: str | None = None) -> ProblemError:
    """One of the platform's own errors, with all that it says, or with a better next step."""
    return ProblemError(
        code,
        error.what,
        where=error.where,
        found=error.found,
        expected=error.expected,
        next_step=next_step or error.next_step,
    )


def _unreadable(error: duckdb.Error, expected: str) -> ProblemError:
    LOG.error("the published copy cannot be read: %s", error)
    return ProblemError(
        "unreadable",
        "the published copy cannot be read",
        where="co2.duckdb",
        found=type(error).__name__,
        expected=expected,
        next_step="the next tick publishes a new one; `co2 publish` does it now",
    )


def _bad_parameter(error: RequestValidationError) -> ProblemError:
    first = error.errors()[0]
    place, *names = (str(part) for part in first["loc"])
    name = ".".join(names)
    missing = first["type"] == "missing"
    message = str(first["msg"]).removeprefix("Value error, ")
    return ProblemError(
        "bad_parameter",
        f"{name} is missing" if missing else f"{name}: {message}",
        where=f"{place} parameter {name}",
        found="nothing" if missing else first.get("input"),
        expected=None if missing else message,
        next_step="/docs describes every parameter, with an example",
    )


def _of_status(error: HTTPException) -> ProblemError:
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return ProblemError(
            "method_not_allowed",
            "this API is read-only",
            expected="GET or HEAD",
            headers={"Allow": "GET, HEAD"},
        )
    if error.status_code == HTTPStatus.NOT_FOUND:
        return ProblemError(
            "not_found",
            "there is no such path",
            next_step="/ lists every path, /docs explains them",
        )
    return ProblemError("bad_request", str(error.detail))


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_ECHO else text[: LONGEST_ECHO - 1] + "…"
