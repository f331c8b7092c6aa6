"""JSON and CSV: which one a client wants, and how an answer is written in each."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal

import polars as pl
from pydantic_core import to_json

from co2_assets.serving.api.problems import ProblemError
from co2_assets.serving.contract import About

Format = Literal["json", "csv"]

MEDIA_TYPES: dict[Format, str] = {"json": "application/json", "csv": "text/csv; charset=utf-8"}

ABOUT_PREFIX = "about_"
"""Of the provenance's columns in a CSV file, which the data's own columns must not meet."""

TIME_FORMAT = "%Y-%m-%dT%H:%M:%S%.fZ"


@dataclass(frozen=True)
class Answer:
    """What a route says.

    Attributes:
        about: where it comes from.
        data: a frame, or what JSON can nest: one object, or rows of objects.
        row: one object as one flat row, for CSV; by default the object itself.
    """

    about: About
    data: pl.DataFrame | Mapping[str, Any] | list[dict[str, Any]]
    row: Mapping[str, Any] | None = None

    def render(self, wanted: Format) -> bytes:
        """The body, in the format that is wanted."""
        return self._json() if wanted == "json" else self._csv()

    def _json(self) -> bytes:
        data = self.data.to_dicts() if isinstance(self.data, pl.DataFrame) else self.data
        # NaN is no JSON; it never is a value of ours either.
        return to_json({"about": asdict(self.about), "data": data}, inf_nan_mode="null")

    def _csv(self) -> bytes:
        if isinstance(self.data, pl.DataFrame):
            table = self.data
        else:
            rows = self.data if isinstance(self.data, list) else [self.row or self.data]
            table = pl.DataFrame(
                [{name: _cell(value) for name, value in row.items()} for row in rows]
            )
        table = table.with_columns(_flat(table)).with_columns(
            pl.lit(_cell(value)).alias(ABOUT_PREFIX + name)
            for name, value in asdict(self.about).items()
        )
        return table.write_csv(datetime_format=TIME_FORMAT).encode()


def wanted_format(asked: Format | None, accept: str | None) -> Format:
    """What `?format=` says, else the better of JSON and CSV by the Accept header.

    Raises:
        ProblemError: the header allows neither (406).
    """
    if asked is not None:
        return asked
    if not accept or accept == "*/*":
        return "json"
    liking = {"json": _liking(accept, "application", "json"), "csv": _liking(accept, "text", "csv")}
    if max(liking.values()) <= 0:
        raise ProblemError(
            "not_acceptable",
            "the API speaks JSON and CSV",
            where="header Accept",
            found=accept,
            expected="application/json or text/csv",
            next_step="leave the header out, or add ?format=csv",
        )
    return "csv" if liking["csv"] > liking["json"] else "json"


def _liking(accept: str, kind: str, subtype: str) -> float:
    """The quality that a header gives a media type; the most specific range decides."""
    found: dict[str, float] = {}
    for part in accept.lower().split(","):
        media, *parameters = (piece.strip() for piece in part.split(";"))
        quality = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        try:
            found[media] = float(quality)
        except ValueError:
            found[media] = 0.0
    for range_ in (f"{kind}/{subtype}", f"{kind}/*", "*/*"):
        if range_ in found:
            return found[range_]
    return 0.0


def _cell(value: object) -> object:
    """A value that one cell can hold."""
    if isinstance(value, tuple | list) and all(isinstance(part, str) for part in value):
        return "; ".join(value)
    if isinstance(value, tuple | list) and all(isinstance(part, datetime) for part in value):
        return " ".join(f"{part:%Y-%m-%dT%H:%M:%SZ}" for part in value)
    if isinstance(value, tuple | list | dict):
        return json.dumps(json.loads(to_json(value, inf_nan_mode="null")))
    return value


def _flat(table: pl.DataFrame) -> list[pl.Expr]:
    """Expressions that make text of columns that a CSV file cannot hold."""
    return [
        pl.col(name).map_elements(
            lambda value: _cell(value.to_list() if isinstance(value, pl.Series) else value),
            return_dtype=pl.String,
        )
        for name, kind in table.schema.items()
        if kind.is_nested() or kind == pl.Object
    ]
