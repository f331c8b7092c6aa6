"""The newest forecast in the shapes that other programs read; docs/integrations.md.

The shape of each is that of another program, which documents it: so they are not in this API's
own document. None has a place to say that a number is old, but in a header that nobody reads:
so they answer with a problem when data or forecast are stale, and give no past hours.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Literal

import polars as pl
from fastapi import APIRouter, Request
from pydantic_core import to_json
from starlette.responses import Response

from co2_assets.schema import AREA
from co2_assets.serving.api.formats import MEDIA_TYPES
from co2_assets.serving.api.parameters import Time
from co2_assets.serving.api.problems import ProblemError
from co2_assets.serving.api.reading import Look, NowDep, Reader, ReaderDep, about_headers
from co2_assets.serving.contract import HOUR, newest_forecast, this_hour

router = APIRouter(prefix="/adapters", include_in_schema=False)

HALF_HOUR = timedelta(minutes=30)
AHEAD = timedelta(hours=48)

Rows = list[dict[str, Any]]


@router.get("/evcc")
def evcc(request: Request, reader: ReaderDep, now: NowDep) -> Response:
    """The current hour and those after it, as evcc's tariff of type custom reads a forecast."""
    with _fresh(reader, now) as (look, forecast):
        rates = [
            {
                "start": _utc(row["valid_time_utc"]),
                "end": _utc(row["valid_time_utc"] + HOUR),
                "value": row["p50_g_per_kwh"],
            }
            for row in _from(look, forecast, this_hour(look.now))
        ]
        return _respond(request, look, rates)


@router.get("/carbon-aware-sdk")
def carbon_aware_sdk(request: Request, reader: ReaderDep, now: NowDep) -> Response:
    """The same as a file of the Carbon Aware SDK's JSON data source."""
    with _fresh(reader, now) as (look, forecast):
        emissions = [
            {
                "Location": AREA,
                "Time": row["valid_time_utc"].isoformat(),
                "Rating": row["p50_g_per_kwh"],
                "Duration": "01:00:00",
            }
            for row in _from(look, forecast, this_hour(look.now))
        ]
        issued = forecast["issue_time_utc"][0].isoformat()
        return _respond(request, look, {"Date": issued, "Emissions": emissions})


@router.get("/carbonintensity/regional/intensity/{start}/fw48h/postcode/{area}")
def carbonintensity(
    request: Request, reader: ReaderDep, now: NowDep, start: Time, area: Literal["DK"]
) -> Response:
    """The half hours from `start` on, as the Carbon Intensity API of Great Britain gives them.

    Each half hour has the value of its hour. There is no `index`: its bands are British.
    """
    with _fresh(reader, now) as (look, forecast):
        halves = [
            {
                "from": f"{begin:%Y-%m-%dT%H:%MZ}",
                "to": f"{begin + HALF_HOUR:%Y-%m-%dT%H:%MZ}",
                "intensity": {"forecast": row["p50_g_per_kwh"]},
            }
            for row in _from(look, forecast, start)
            for begin in (row["valid_time_utc"], row["valid_time_utc"] + HALF_HOUR)
            if start - HALF_HOUR < begin < start + AHEAD
        ]
        return _respond(
            request, look, {"data": {"shortname": AREA, "postcode": area, "data": halves}}
        )


@contextmanager
def _fresh(reader: Reader, now: datetime) -> Iterator[tuple[Look, pl.DataFrame]]:
    """The newest forecast, if nothing about it is stale."""
    with reader.look(now) as look:
        forecast = newest_forecast(look.con)
        if forecast.is_empty():
            raise ProblemError(
                "no_forecast",
                "no forecast was issued yet",
                where=f"generation {look.about.generation}",
                next_step="wait for the first tick; `co2 status` says how far it is",
            )
        if look.about.is_stale:
            raise ProblemError(
                "stale",
                "too old, and this shape cannot say so: " + "; ".join(look.about.stale_reasons),
                where=f"generation {look.about.generation}",
                found="; ".join(look.about.stale_reasons),
                expected="measured hours and a forecast of the last seven hours",
                next_step="/forecasts gives it with its mark; /health says the same as this",
            )
        yield look, forecast


def _from(look: Look, forecast: pl.DataFrame, start: datetime) -> Rows:
    """Its hours that have not ended by `start`; never none."""
    found = forecast.filter(pl.col("valid_time_utc") + HOUR > start)
    if found.is_empty():
        end = forecast["valid_time_utc"][-1] + HOUR
        raise ProblemError(
            "no_such_forecast",
            f"the newest forecast has no hour from {_utc(start)} on",
            where=f"generation {look.about.generation}",
            found=_utc(start),
            expected=f"a time before {_utc(end)}, where it ends",
            next_step="ask by the platform's time, about.now_utc of /forecasts: that of a replay of"
            " recordings is virtual",
        )
    return found.to_dicts()


def _respond(request: Request, look: Look, content: object) -> Response:
    request.state.generation = look.about.generation
    return Response(
        to_json(content), headers=about_headers(look.about), media_type=MEDIA_TYPES["json"]
    )


def _utc(time: datetime) -> str:
    return f"{time:%Y-%m-%dT%H:%M:%SZ}"
