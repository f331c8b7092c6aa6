"""How far to trust the numbers: accuracy, models, decisions to retrain, faults of the data."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import polars as pl
from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from co2_assets.serving import contract
from co2_assets.serving.api.formats import Answer
from co2_assets.serving.api.models import (
    Accuracy,
    BestModel,
    DataQuality,
    Models,
    RetrainLedger,
    Scoreboard,
)
from co2_assets.serving.api.parameters import (
    LONGEST_HORIZON,
    FormatDep,
    Limit,
    Month,
    Time,
    shown,
    time_query,
)
from co2_assets.serving.api.problems import ProblemError
from co2_assets.serving.api.reading import Look, NowDep, ReaderDep, respond
from co2_assets.serving.api.routes.documented import documented

router = APIRouter(tags=["trust"])

ACCURACY_DAYS = 28
QUALITY_DAYS = 7
LEDGER_ROWS = 100

JSON_COLUMNS = ("hyperparameters", "features", "metrics")
"""Columns of a model version that hold JSON: parsed in JSON answers, text in CSV."""


@router.get("/best-model", **documented(BestModel, "no_champion"))
def best_model(request: Request, reader: ReaderDep, now: NowDep, wanted: FormatDep) -> Response:
    """The champion: the version that won against the others, not the newest.

    `metrics` has its figures on the gate's holdout by `scope/predictor/lead_hours/metric`.
    """
    with reader.look(now) as look:
        champion = contract.champion(look.con)
        if champion is None:
            raise ProblemError(
                "no_champion",
                "no model was promoted yet",
                next_step="/retrain-ledger says why; a fallback forecasts meanwhile",
            )
        return respond(request, Answer(look.about, _parsed(champion), champion), wanted)


@router.get("/models", **documented(Models, "too_many_rows"))
def models(request: Request, reader: ReaderDep, now: NowDep, wanted: FormatDep) -> Response:
    """Every model version with its training, its figures and its fate, the newest first."""
    with reader.look(now) as look:
        found = contract.models(look.con)
        reader.refuse_more_rows_than_allowed(len(found), "ask DuckDB: co2.models")
        data: Any = found if wanted == "csv" else [_parsed(row) for row in found.to_dicts()]
        return respond(request, Answer(look.about, data), wanted)


@router.get("/accuracy", **documented(Accuracy))
def accuracy(
    request: Request,
    reader: ReaderDep,
    now: NowDep,
    wanted: FormatDep,
    start: Annotated[
        Time | None,
        time_query(
            f"First valid time that counts; by default {ACCURACY_DAYS} days before the end.",
            "2025-01-18T00:00:00Z",
        ),
    ] = None,
    end: Annotated[
        Time | None,
        time_query("Exclusive end of the valid times; by default now.", "2025-02-01T00:00:00Z"),
    ] = None,
) -> Response:
    """How wrong the served forecasts were, by lead, beside persistence and climatology.

    Live forecasts only: one made after the fact never counts. `skill` is the share of
    persistence's error that is saved; `coverage_80` should be near 0.8.
    """
    with reader.look(now) as look:
        first, last = _span(look, start, end, ACCURACY_DAYS)
        found = contract.accuracy_by_lead(look.con, first, last)
        spanned = found.select(
            pl.lit(first).alias("start_utc"), pl.lit(last).alias("end_utc"), pl.all()
        )
        return respond(request, Answer(_noting_none(look, spanned), spanned), wanted)


@router.get(
    "/scoreboard",
    **documented(Scoreboard, "too_many_rows", asked="?lead=1&predictor=champion"),
)
def scoreboard(
    request: Request,
    reader: ReaderDep,
    now: NowDep,
    wanted: FormatDep,
    month: Annotated[
        Month | None,
        Query(
            description="Only this month, UTC.",
            openapi_examples=shown("2025-01"),
        ),
    ] = None,
    lead: Annotated[
        int | None,
        Query(
            ge=1,
            le=LONGEST_HORIZON,
            description="Only this lead, in hours.",
            openapi_examples=shown(1),
        ),
    ] = None,
    predictor: Annotated[
        str | None,
        Query(
            max_length=100,
            description="Only this one: a model version, a baseline, or `champion` for whatever"
            " was served.",
            openapi_examples=shown("champion"),
        ),
    ] = None,
) -> Response:
    """Champion, versions and baselines by month and lead, on live forecasts."""
    chosen = [
        pl.col(column) == value
        for column, value in (("lead_hours", lead), ("predictor", predictor))
        if value is not None
    ]
    if month is not None:
        chosen.append(pl.col("month_utc").dt.strftime("%Y-%m") == month)
    with reader.look(now) as look:
        found = contract.scoreboard(look.con).filter(*chosen)
        reader.refuse_more_rows_than_allowed(len(found), "name a month, a lead or a predictor")
        return respond(request, Answer(_noting_none(look, found), found), wanted)


@router.get(
    "/retrain-ledger",
    **documented(RetrainLedger, "too_many_rows", asked="?limit=2"),
)
def retrain_ledger(
    request: Request,
    reader: ReaderDep,
    now: NowDep,
    wanted: FormatDep,
    limit: Limit = LEDGER_ROWS,
) -> Response:
    """Why the model was or was not retrained: one decision per tick, the newest first.

    Its evidence (pseudo-accuracy, skill), the rule, the reason in words, and what came of
    a training: the gate's outcome, and what the new champion was worth afterwards.
    """
    with reader.look(now) as look:
        most = reader.settings.api_max_rows
        found = contract.retrain_ledger(look.con, min(limit, most + 1))
        reader.refuse_more_rows_than_allowed(len(found), f"ask with limit={most} or less")
        return respond(request, Answer(look.about, found), wanted)


@router.get("/data-quality", **documented(DataQuality, "too_many_rows"))
def data_quality(
    request: Request,
    reader: ReaderDep,
    now: NowDep,
    wanted: FormatDep,
    start: Annotated[
        Time | None,
        time_query(
            f"First hour; by default {QUALITY_DAYS} days before the end.", "2025-01-25T00:00:00Z"
        ),
    ] = None,
    end: Annotated[
        Time | None,
        time_query("Exclusive end of the hours; by default now.", "2025-02-01T00:00:00Z"),
    ] = None,
) -> Response:
    """What was wrong with the data: spikes, frozen or missing hours, failed loads, drift."""
    with reader.look(now) as look:
        first, last = _span(look, start, end, QUALITY_DAYS)
        found = contract.data_quality(look.con, first, last)
        reader.refuse_more_rows_than_allowed(len(found), "ask for a shorter span")
        return respond(request, Answer(look.about, found), wanted)


def _span(
    look: Look, start: datetime | None, end: datetime | None, days: int
) -> tuple[datetime, datetime]:
    last = end or look.now
    earliest = datetime.min.replace(tzinfo=UTC)
    # Not before the year 1: Python has no such time.
    first = start or max(last, earliest + timedelta(days=days)) - timedelta(days=days)
    if first >= last:
        raise ProblemError(
            "bad_parameter",
            "start does not come before end",
            where="query parameters start and end",
            found=f"start {first.isoformat()}, end {last.isoformat()}",
            expected="start before end, which is exclusive",
            next_step="ask for an earlier start or a later end",
        )
    return first, last


def _noting_none(look: Look, found: pl.DataFrame) -> contract.About:
    if not found.is_empty():
        return look.about
    return look.noting("no live forecast with a known outcome is among what was asked for")


def _parsed(version: dict[str, Any]) -> dict[str, Any]:
    return {
        name: json.loads(value) if name in JSON_COLUMNS and value is not None else value
        for name, value in version.items()
    }
