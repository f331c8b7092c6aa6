"""How green the power is and was."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from co2_assets.serving.api.formats import Answer
from co2_assets.serving.api.models import Comparison, Emissions
from co2_assets.serving.api.parameters import FormatDep
from co2_assets.serving.api.problems import ProblemError
from co2_assets.serving.api.reading import Look, NowDep, ReaderDep, respond
from co2_assets.serving.api.routes.documented import documented
from co2_assets.serving.contract import HOUR, forecast_against_actual, last_hours

router = APIRouter(tags=["now"])


@router.get("/last-24h-emissions", **documented(Emissions, "no_data"))
def last_24h_emissions(
    request: Request, reader: ReaderDep, now: NowDep, wanted: FormatDep
) -> Response:
    """What was measured in the last 24 hours that are known.

    They end with the newest measured hour (`about.data_until_utc`), which is up to six hours
    old when all is well: data are fetched by the tick. `co2_g_per_kwh` is null for an hour
    that is incomplete or faulty.
    """
    with reader.look(now) as look:
        hours = last_hours(look.con, look.now, 24)
        if hours.is_empty():
            raise _no_data(look)
        return respond(request, Answer(look.about, hours), wanted)


@router.get(
    "/last-6h-predictions-vs-actual",
    **documented(Comparison, "no_data"),
)
def last_6h_predictions_vs_actual(
    request: Request, reader: ReaderDep, now: NowDep, wanted: FormatDep
) -> Response:
    """The last six measured hours, each beside the newest forecast that was made of it.

    An hour that nobody forecast is left out, and a note says so. A hindcast, made after the
    fact, is marked.
    """
    with reader.look(now) as look:
        hours = last_hours(look.con, look.now, 6)
        if hours.is_empty():
            raise _no_data(look)
        start, end = hours["hour_utc"][0], hours["hour_utc"][-1] + HOUR
        compared = forecast_against_actual(look.con, start, end)
        lacking = len(hours) - len(compared)
        notes = [f"{lacking} of the last {len(hours)} hours were not forecast"] if lacking else []
        return respond(request, Answer(look.noting(*notes), compared), wanted)


def _no_data(look: Look) -> ProblemError:
    return ProblemError(
        "no_data",
        "no hour is measured yet",
        where=f"generation {look.about.generation}",
        next_step="wait for the first tick; `co2 status` says how far it is",
    )
