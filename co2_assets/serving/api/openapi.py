"""The OpenAPI document: FastAPI's, with every error of every route in its one shape."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from co2_assets.schema import QUANTILES
from co2_assets.serving.api.caching import UNKEPT
from co2_assets.serving.api.guards import OPEN_PATHS
from co2_assets.serving.api.problems import CODES, PROBLEM_JSON, Problem
from co2_assets.serving.api.reading import ABOUT_HEADERS
from co2_assets.serving.api.routes.documented import examples

TAGS = [
    {"name": "now", "description": "How green the power is, was and will be."},
    {"name": "forecasts", "description": "What is and was forecast, and from what."},
    {"name": "decisions", "description": "When to use power, and what that was worth."},
    {"name": "trust", "description": "How far to trust it: accuracy, models, data."},
    {"name": "operation", "description": "Whether it runs well."},
]

WITHOUT_ABOUT = frozenset({"/", "/metrics"})

DESCRIPTION = f"""\
Measured and forecast CO2 emission of the electricity consumed in Denmark, in g/kWh by the hour.

- Read-only: GET and HEAD. JSON, or CSV by `?format=csv` or `Accept: text/csv`.
- An answer is `{{"about": ..., "data": ...}}`. `about` says where the data come from: issue time,
  age, `is_stale`, model version, unit, area, source, licence. In CSV it is columns with the
  prefix `about_`; the headers `Co2-*` repeat it.
- Times are UTC and mark the beginning of their hour. In a parameter a time without a zone is UTC,
  and a `+` must be written as `%2B`.
- A forecast of **issue time** T is made from data up to T; its **lead** 1 is the hour that begins
  at T. It has {len(QUANTILES)} quantiles, p05 to p95: `p50_g_per_kwh` is the median, p10 to p90
  the 80 % band.
- null is "not known", never zero.
- Every error is `application/problem+json` (RFC 9457) of one shape, with a stable `code`.
- An answer holds for one published generation and one minute: it has an `ETag`; send it back as
  `If-None-Match` and get 304.

Data: Energinet, Energi Data Service (energidataservice.dk), CC BY 4.0."""


def openapi_document(app: FastAPI, *, needs_key: bool) -> dict[str, Any]:
    """The document of an app, made once.

    Args:
        app: with all its routes.
        needs_key: whether an API key is set.
    """
    document: dict[str, Any] = get_openapi(
        title=app.title,
        version=app.version,
        description=app.description,
        routes=app.routes,
        tags=TAGS,
        license_info={"name": "Data: CC BY 4.0", "identifier": "CC-BY-4.0"},
    )
    schemas = document["components"]["schemas"]
    schemas["Problem"] = Problem.model_json_schema()
    for leftover in ("HTTPValidationError", "ValidationError"):
        schemas.pop(leftover, None)
    for path, operations in document["paths"].items():
        for operation in operations.values():
            _describe(path, operation, needs_key)
    if needs_key:
        document["components"]["securitySchemes"] = {
            "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
            "bearer": {"type": "http", "scheme": "bearer"},
        }
    return document


def _describe(path: str, operation: dict[str, Any], needs_key: bool) -> None:
    summary, _, rest = operation["description"].partition("\n")
    operation["summary"] = summary.removesuffix(".")
    operation["description"] = rest.strip() or summary
    errors = operation.pop("x-errors")
    responses = operation["responses"]
    responses.pop("422", None)
    responses["200"]["description"] = summary
    example = examples().get(operation["operationId"])
    if example is not None:
        # Here, since FastAPI would leave out its nulls.
        responses["200"]["content"]["application/json"]["example"] = example
    if path not in UNKEPT:
        responses["200"]["headers"] = {"ETag": _header("Changes with the answer.")}
        responses["304"] = {"description": "As in your If-None-Match."}
    if path not in WITHOUT_ABOUT:
        responses["200"].setdefault("headers", {}).update(
            {name: _header(meaning) for name, meaning in ABOUT_HEADERS.items()}
        )
    is_open = path in OPEN_PATHS
    for status, codes in sorted(_by_status(errors).items()):
        if status == 401 and (is_open or not needs_key):
            continue
        responses[str(status)] = _problem(status, codes)
    if needs_key and not is_open:
        operation["security"] = [{"header": []}, {"bearer": []}]


def _by_status(errors: list[str]) -> dict[int, list[str]]:
    found = defaultdict(list)
    for code in dict.fromkeys(errors):
        found[CODES[code].status].append(code)
    return found


def _problem(status: int, codes: list[str]) -> dict[str, Any]:
    headers = {}
    if status in (429, 503):
        headers["Retry-After"] = _header("Seconds to wait.")
    if status == 401:
        headers["WWW-Authenticate"] = _header("Bearer.")
    return {
        "description": " ".join(f"`{code}`: {CODES[code].meaning}" for code in codes),
        "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        **({"headers": headers} if headers else {}),
    }


def _header(meaning: str) -> dict[str, Any]:
    return {"description": meaning, "schema": {"type": "string"}}
