"""One look at one published generation, at one time: all that an answer is made from."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Annotated, Any

import polars as pl
from fastapi import Depends, Request
from starlette.responses import Response

from co2_assets.serving.api.clock import Clock
from co2_assets.serving.api.formats import MEDIA_TYPES, Answer, Format
from co2_assets.serving.api.problems import ProblemError
from co2_assets.serving.contract import About, about
from co2_assets.serving.generations import Generations
from co2_assets.settings import Settings
from co2_assets.warehouse.query import Connection, listed

AGES_KEPT = 8
"""Provenances of the last generations and minutes that are kept: every answer needs one."""


@dataclass(frozen=True)
class Look:
    """One generation while an answer is made from it.

    Attributes:
        con: read-only connection to it.
        about: the provenance of every answer from it at this time.
    """

    con: Connection
    about: About

    @property
    def now(self) -> datetime:
        """The platform's time, to the minute."""
        return self.about.now_utc

    def noting(self, *notes: str, **changes: Any) -> About:
        """The provenance with more notes, or with other facts of the one forecast answered."""
        return replace(self.about, notes=(*self.about.notes, *notes), **changes)

    def of(self, forecast: pl.DataFrame, *notes: str) -> About:
        """The provenance with the facts of a forecast that may not be the newest."""
        first = forecast.row(0, named=True)
        issue_time = first["issue_time_utc"]
        return self.noting(
            *notes,
            issue_time_utc=issue_time,
            model_version=first["model_version"],
            is_fallback=first["is_fallback"],
            fallback_reason=first["fallback_reason"],
            inputs_missing=listed(first["inputs_missing"]),
            forecast_age_minutes=int((self.now - issue_time).total_seconds() // 60),
        )


class Reader:
    """The published copies of one home, with the platform's time."""

    def __init__(self, settings: Settings, generations: Generations, clock: Clock) -> None:
        self.settings = settings
        self.generations = generations
        self.clock = clock
        self._abouts: dict[tuple[int, datetime, tuple[str, ...]], About] = {}

    @contextmanager
    def look(self, now: datetime | None = None) -> Iterator[Look]:
        """The newest readable generation, from begin to end of one answer.

        Args:
            now: the time that the answer is for; by default the clock's.

        Raises:
            WarehouseError: nothing is published or readable.
            SettingsError: a recorded home without a clock.
        """
        with self.generations.reading() as (con, generation, notes):
            now = now or self.clock()
            key = (generation, now, notes)
            found = self._abouts.get(key)
            if found is None:
                found = about(con, self.settings, now, generation, notes)
                self._keep(key, found)
            yield Look(con, found)

    def _keep(self, key: tuple[int, datetime, tuple[str, ...]], found: About) -> None:
        while len(self._abouts) >= AGES_KEPT:
            self._abouts.pop(next(iter(self._abouts)), None)
        self._abouts[key] = found

    def refuse_more_rows_than_allowed(self, rows: int, narrower: str) -> None:
        """End the request when its answer would have too many rows.

        Args:
            rows: that it would have.
            narrower: what to ask for instead.
        """
        most = self.settings.api_max_rows
        if rows > most:
            raise ProblemError(
                "too_many_rows",
                f"the answer would have {rows} rows",
                found=rows,
                expected=f"at most {most} (CO2_API_MAX_ROWS)",
                next_step=narrower,
            )


def _reader(request: Request) -> Reader:
    reader: Reader = request.app.state.reader
    return reader


def _now(request: Request) -> datetime:
    """The minute that the answer is kept under, where it is kept; else that of the clock."""
    kept: datetime | None = getattr(request.state, "now", None)
    return kept or _reader(request).clock()


ReaderDep = Annotated[Reader, Depends(_reader)]
NowDep = Annotated[datetime, Depends(_now)]


def respond(request: Request, answer: Answer, wanted: Format) -> Response:
    """The HTTP answer, which says by its headers too where it comes from."""
    request.state.generation = answer.about.generation
    return Response(
        answer.render(wanted),
        headers=about_headers(answer.about),
        media_type=MEDIA_TYPES[wanted],
    )


ABOUT_HEADERS = {
    "Co2-Area": "area",
    "Co2-Unit": "unit",
    "Co2-Issue-Time": "issue_time_utc",
    "Co2-Model-Version": "model_version",
    "Co2-Data-Until": "data_until_utc",
    "Co2-Data-Age-Minutes": "data_age_minutes",
    "Co2-Is-Stale": "is_stale",
    "Co2-Source": "source",
    "Co2-Generation": "generation",
    "Co2-Attribution": "attribution",
    "Co2-Licence": "licence",
}
"""Headers that repeat the provenance, by what of `about` they say; unknown is `none`."""


def about_headers(about: About) -> dict[str, str]:
    """The provenance as headers: an empty CSV file has no row to say it."""
    return {header: _text(getattr(about, name)) for header, name in ABOUT_HEADERS.items()}


def _text(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else str(value)
