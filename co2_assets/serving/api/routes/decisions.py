"""When to use power: the greenest window, and what past advice was worth."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from co2_assets.forecasting.advice_calibration import NEAR_HOURS
from co2_assets.forecasting.greenest import Recommendation, WindowRequest, recommend
from co2_assets.serving import contract
from co2_assets.serving.api.formats import Answer
from co2_assets.serving.api.models import GreenestWindow, Receipts
from co2_assets.serving.api.parameters import (
    LONGEST_HORIZON,
    FormatDep,
    Limit,
    Time,
    shown,
    time_query,
)
from co2_assets.serving.api.problems import ProblemError
from co2_assets.serving.api.reading import NowDep, ReaderDep, respond
from co2_assets.serving.api.routes.documented import documented

router = APIRouter(tags=["decisions"])

RECEIPT_ROWS = 100


class Quantile(float, Enum):
    """Quantiles by which a window may be chosen: the median, or a more cautious one."""

    MEDIAN = 0.5
    UPPER_QUARTILE = 0.75
    UPPER_TENTH = 0.9


@router.get(
    "/greenest-window",
    **documented(GreenestWindow, "window_does_not_fit", "no_forecast", asked="?duration=2"),
)
def greenest_window(
    request: Request,
    reader: ReaderDep,
    now: NowDep,
    wanted: FormatDep,
    duration: Annotated[
        int,
        Query(
            ge=1,
            le=LONGEST_HORIZON,
            description="Whole hours that the job runs.",
            openapi_examples=shown(2),
        ),
    ] = 1,
    earliest: Annotated[
        Time | None,
        time_query("No hour before it; by default the current hour.", "2025-01-31T20:00:00Z"),
    ] = None,
    deadline: Annotated[
        Time | None,
        time_query(
            "The job must have ended by then; by default the end of the forecast.",
            "2025-02-01T06:00:00Z",
        ),
    ] = None,
    contiguous: Annotated[
        bool,
        Query(
            description="One window; false: the job may pause, and has the lowest single hours.",
            openapi_examples=shown(True),
        ),
    ] = True,
    quantile: Annotated[
        Quantile | None,
        Query(
            description="Which quantile of the forecast must be lowest: 0.5 is the median, a"
            " higher one avoids hours that are low but unsure. By default the platform decides:"
            f" the median for a job that must have ended within {NEAR_HOURS} hours, else 0.75; and"
            " it says to run at once where nothing is likely to be saved by waiting.",
            openapi_examples=shown(0.75),
        ),
    ] = None,
) -> Response:
    """The coming hours with the least CO2 for a job, what they save, and how sure that is.

    Compared with running it at once. Chance and saving come from the forecast's quantiles, and
    are calibrated on what past advice was worth: `calibrated_on` says on what. A request that
    does not fit the forecast is refused, and says why.
    """
    asked = WindowRequest(
        duration, earliest, deadline, contiguous, None if quantile is None else quantile.value
    )
    with reader.look(now) as look:
        forecast = contract.newest_forecast(look.con)
        if forecast.is_empty():
            raise ProblemError(
                "no_forecast",
                "no forecast was issued yet",
                next_step="wait for the first tick; `co2 status` says how far it is",
            )
        calibrations = contract.advice_calibrations(look.con)
        found = recommend(forecast, asked, look.now, calibrations)
        return respond(
            request,
            Answer(look.about, _window(found, asked), _row(found, asked)),
            wanted,
        )


@router.get(
    "/window-receipts",
    **documented(Receipts, "too_many_rows", asked="?duration=2&within=6&limit=2"),
)
def window_receipts(
    request: Request,
    reader: ReaderDep,
    now: NowDep,
    wanted: FormatDep,
    duration: Annotated[
        int | None,
        Query(
            ge=1,
            le=LONGEST_HORIZON,
            description="Only jobs of so many hours.",
            openapi_examples=shown(2),
        ),
    ] = None,
    within: Annotated[
        int | None,
        Query(
            ge=1,
            le=LONGEST_HORIZON,
            description="Only jobs that had to end within so many hours.",
            openapi_examples=shown(24),
        ),
    ] = None,
    limit: Limit = RECEIPT_ROWS,
) -> Response:
    """What past advice was worth: the saving that it promised, and the one that came.

    `regret_g_per_kwh` is what a perfect forecast would have saved besides. The newest first;
    advice whose hours are not all measured yet is there, and not settled.
    """
    with reader.look(now) as look:
        most = reader.settings.api_max_rows
        found = contract.window_receipts(look.con, min(limit, most + 1), duration, within)
        reader.refuse_more_rows_than_allowed(len(found), f"ask with limit={most} or less")
        return respond(request, Answer(look.about, found), wanted)


def _row(found: Recommendation, asked: WindowRequest) -> dict[str, Any]:
    figures = asdict(found)
    return {
        "start_utc": found.start_utc,
        "end_utc": found.end_utc,
        "is_now": found.is_now,
        **{name: figures[name] for name in FIGURES},
        "duration_hours": asked.duration_hours,
        "contiguous": asked.contiguous,
        "quantile": found.quantile,
        "calibrated_on": found.calibrated_on,
        "calibration_n": found.calibration_n,
        "hours": found.hours,
    }


def _window(found: Recommendation, asked: WindowRequest) -> dict[str, Any]:
    return {
        **_row(found, asked),
        "candidates": [asdict(candidate) for candidate in found.candidates],
    }


FIGURES = (
    "expected_g_per_kwh",
    "low_g_per_kwh",
    "high_g_per_kwh",
    "now_g_per_kwh",
    "expected_saving_g_per_kwh",
    "expected_saving_percent",
    "chance_beats_now",
    "horizon_end_utc",
)
