"""What is and was forecast."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import polars as pl
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from co2_assets.errors import WarehouseError
from co2_assets.serving.api.formats import Answer
from co2_assets.serving.api.models import Explanation, Forecast
from co2_assets.serving.api.parameters import LONGEST_HORIZON, FormatDep, Time, shown, time_query
from co2_assets.serving.api.problems import ProblemError, from_co2_error
from co2_assets.serving.api.reading import Look, NowDep, ReaderDep, respond
from co2_assets.serving.api.routes.documented import documented
from co2_assets.serving.contract import (
    HOUR,
    coming,
    forecast_issued,
    forecast_known,
    newest_forecast,
)
from co2_assets.warehouse.explain import read_explanation
from co2_assets.warehouse.query import listed

router = APIRouter()

NEXT_HOURS = 6


@router.get(
    "/next-6h-predictions",
    tags=["now"],
    **documented(Forecast, "no_forecast"),
)
def next_6h_predictions(
    request: Request, reader: ReaderDep, now: NowDep, wanted: FormatDep
) -> Response:
    """The current hour and the five after it, from the newest forecast.

    Hours that are past are not given. When the newest forecast no longer reaches six hours
    ahead, what is left of it is given, and `about.notes` says so.
    """
    with reader.look(now) as look:
        newest = newest_forecast(look.con)
        _need_forecast(look, newest)
        ahead = coming(look.con, look.now, NEXT_HOURS)
        notes = [] if len(ahead) == NEXT_HOURS else [_what_is_left(newest, len(ahead))]
        return respond(request, Answer(look.of(newest, *notes), ahead), wanted)


@router.get(
    "/forecasts",
    tags=["forecasts"],
    **documented(Forecast, "no_such_forecast", "no_forecast", asked="?leads=6"),
)
def forecasts(
    request: Request,
    reader: ReaderDep,
    now: NowDep,
    wanted: FormatDep,
    issue_time: Annotated[
        Time | None,
        time_query("The forecast of exactly this issue time.", "2025-01-31T12:00:00Z"),
    ] = None,
    as_of: Annotated[
        Time | None,
        time_query(
            "What was known then: the newest forecast that had been made by this time.",
            "2025-01-31T15:30:00Z",
        ),
    ] = None,
    leads: Annotated[
        int,
        Query(
            ge=1,
            le=LONGEST_HORIZON,
            description="How many hours of it: leads 1 to this one, in hours.",
            openapi_examples=shown(6),
        ),
    ] = LONGEST_HORIZON,
) -> Response:
    """One whole forecast with its quantiles: the newest, or a past one.

    A forecast is never changed once it is stored, so a past one is what was really said.
    Ask by `issue_time` or by `as_of`, not by both.
    """
    if issue_time is not None and as_of is not None:
        raise ProblemError(
            "bad_parameter",
            "issue_time and as_of exclude each other",
            where="query parameters issue_time and as_of",
            found=f"{issue_time:%Y-%m-%dT%H:%MZ} and {as_of:%Y-%m-%dT%H:%MZ}",
            expected="one of them, or neither for the newest forecast",
            next_step="leave one out",
        )
    with reader.look(now) as look:
        found = _asked_forecast(look, issue_time, as_of)
        return respond(
            request, Answer(look.of(found), found.filter(pl.col("lead_hours") <= leads)), wanted
        )


@router.get(
    "/explain",
    tags=["forecasts"],
    **documented(Explanation, "no_such_forecast", asked="?valid_time=2025-01-31T12:00:00Z"),
)
def explain(
    request: Request,
    reader: ReaderDep,
    now: NowDep,
    wanted: FormatDep,
    valid_time: Annotated[
        Time,
        shown,
        time_query("The hour that was forecast, by its beginning.", "2025-01-31T12:00:00Z"),
    ],
    issue_time: Annotated[
        Time | None,
        time_query(
            "Which forecast of it, by its issue time; by default the newest.",
            "2025-01-31T12:00:00Z",
        ),
    ] = None,
) -> Response:
    """From one served number back to what it was made from.

    Model version and its training, the hours before the issue time, the loads that their
    minutes came by with the hash of each reply, and the Dagster runs.
    """
    with reader.look(now) as look:
        try:
            origin = read_explanation(look.con, valid_time, issue_time)
        except WarehouseError as error:
            raise from_co2_error(
                "no_such_forecast", error, next_step="/forecasts lists the hours of the newest one"
            ) from error
        about = look.noting(
            issue_time_utc=origin["issue_time_utc"],
            model_version=origin["model_version"],
            is_fallback=origin["is_fallback"],
            fallback_reason=origin["fallback_reason"],
            inputs_missing=listed(origin["inputs_missing"]),
            forecast_age_minutes=(look.now - origin["issue_time_utc"]) // (HOUR / 60),
        )
        return respond(request, Answer(about, origin), wanted)


def _asked_forecast(
    look: Look, issue_time: datetime | None, as_of: datetime | None
) -> pl.DataFrame:
    if issue_time is not None:
        found = forecast_issued(look.con, issue_time)
        _need_such(look, found, f"of issue time {issue_time:%Y-%m-%dT%H:%M:%SZ}")
    elif as_of is not None:
        found = forecast_known(look.con, as_of)
        _need_such(look, found, f"made by {as_of:%Y-%m-%dT%H:%M:%SZ}")
    else:
        found = newest_forecast(look.con)
        _need_forecast(look, found)
    return found


def _need_such(look: Look, found: pl.DataFrame, which: str) -> None:
    if not found.is_empty():
        return
    newest = look.about.issue_time_utc
    raise ProblemError(
        "no_such_forecast",
        f"there is no served forecast {which}",
        where="co2.forecast_history",
        expected=f"issue times on 00, 06, 12 and 18 UTC, the newest {newest:%Y-%m-%dT%H:%MZ}"
        if newest
        else "a home with a forecast: none was issued yet",
        next_step="/forecasts without parameters gives the newest",
    )


def _need_forecast(look: Look, newest: pl.DataFrame) -> None:
    if newest.is_empty():
        raise ProblemError(
            "no_forecast",
            "no forecast was issued yet",
            where=f"generation {look.about.generation}",
            next_step="wait for the first tick; `co2 status` says how far it is",
        )


def _what_is_left(newest: pl.DataFrame, hours: int) -> str:
    end = newest["valid_time_utc"][-1] + HOUR
    return (
        f"the newest forecast, issued {newest['issue_time_utc'][0]:%Y-%m-%dT%H:%MZ}, ends at"
        f" {end:%Y-%m-%dT%H:%MZ}: {hours} of the next {NEXT_HOURS} hours are left of it"
    )
