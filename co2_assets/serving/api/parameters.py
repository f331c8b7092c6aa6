"""Query parameters that several routes share, and the refusal of those that a route lacks."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from fastapi import Depends, Query, Request
from fastapi.openapi.models import Example
from pydantic import BeforeValidator, WithJsonSchema

from co2_assets.serving.api.formats import Format, wanted_format
from co2_assets.serving.api.problems import ProblemError

LONGEST_HORIZON = 168
"""Hours; settings allow no longer forecast."""


def parse_time(text: object) -> datetime:
    """A time of a query, UTC: ISO 8601, with zone; without one it is UTC.

    Raises:
        ValueError: it is none, or its `+` became a space on the way.
    """
    if isinstance(text, datetime):
        return text
    try:
        time = datetime.fromisoformat(str(text).upper())
        return time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC)
    except (ValueError, OverflowError):
        if " " in str(text).strip():
            raise ValueError(
                "a time such as 2025-01-18T06:00Z; it has a space: in an address a + means a"
                " space, so write the zone +02:00 as %2B02:00"
            ) from None
        raise ValueError("a time such as 2025-01-18T06:00Z or 2025-01-18T07:00%2B01:00") from None


Time = Annotated[
    datetime,
    BeforeValidator(parse_time),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]


def parse_month(text: object) -> str:
    """A month of a query.

    Raises:
        ValueError: it is none.
    """
    if re.fullmatch(MONTH, str(text)) is None:
        raise ValueError("a month such as 2025-01")
    return str(text)


MONTH = r"[0-9]{4}-(0[1-9]|1[0-2])"

Month = Annotated[
    str,
    BeforeValidator(parse_month),
    WithJsonSchema({"type": "string", "pattern": f"^{MONTH}$"}),
]

TIME_NOTE = "ISO 8601; without a zone it is UTC; write a + as %2B."


def shown(value: object) -> dict[str, Example]:
    """One example of a parameter's value, for OpenAPI."""
    return {"example": {"value": value}}


Limit = Annotated[
    int,
    Query(ge=1, le=1_000_000, description="At most this many rows.", openapi_examples=shown(4)),
]
"""Of a route whose newest rows come first."""


def time_query(meaning: str, example: str) -> Any:
    """A time as a parameter, described in one way everywhere."""
    return Query(description=f"{meaning} {TIME_NOTE}", openapi_examples=shown(example))


def _wanted_format(
    request: Request,
    format: Annotated[  # noqa: A002, the name of the parameter
        Literal["json", "csv"] | None,
        Query(description="Format of the answer; else the Accept header decides, else JSON."),
    ] = None,
) -> Format:
    return wanted_format(format, request.headers.get("accept"))


FormatDep = Annotated[Format, Depends(_wanted_format)]


def refuse_unknown(request: Request) -> None:
    """End a request whose query has a name that its route lacks, or one name twice.

    Raises:
        ProblemError: which, and the name that was probably meant.
    """
    known = request.app.state.parameters.get(request.scope["route"].path, frozenset())
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            raise _unknown(name, sorted(known))
        if times > 1:
            raise ProblemError(
                "unknown_parameter",
                f"parameter {name!r} came {times} times",
                where=f"query parameter {name}",
                found=", ".join(request.query_params.getlist(name)),
                expected="one value",
                next_step="send it once",
            )


def _unknown(name: str, known: list[str]) -> ProblemError:
    shown = name if len(name) <= 60 else name[:59] + "…"
    close = get_close_matches(shown, known, n=1)
    meant = f"did you mean {close[0]!r}?" if close else None
    return ProblemError(
        "unknown_parameter",
        f"unknown parameter {shown!r}" + (f"; {meant}" if meant else ""),
        where=f"query parameter {shown}",
        found=shown,
        expected="one of " + ", ".join(known) if known else "no parameter",
        next_step=meant or "leave it out; /docs names every parameter",
    )
