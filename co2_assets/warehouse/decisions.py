"""The evidence for the retrain rule, and its write-once ledger."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import polars as pl

from co2_assets.forecasting.input_drift import Drift
from co2_assets.schema import INPUT_DRIFT, MISSION_LEADS, RETRAIN_DECISIONS
from co2_assets.warehouse.query import Connection, frame, row
from co2_assets.warehouse.raw import polars_schema
from co2_assets.warehouse.store import Transaction
from co2_assets.warehouse.upsert import Counts

_COUNTED = """
    is_served AND NOT is_hindcast AND NOT is_fallback AND lead_hours <= $leads
    AND valid_time_utc >= $start AND valid_time_utc < $end
"""


class LiveEvidence(NamedTuple):
    """What the stored scores and hours say at the end of a window."""

    pseudo_accuracy: float | None
    n_forecasts: int
    n_values: int
    skill: float | None
    faulty_share: float
    newest_hours_faulty: bool


def live_evidence(
    con: Connection, window_end: datetime, *, accuracy_days: int, skill_days: int
) -> LiveEvidence:
    """Evidence from live, served, non-fallback scores with valid time before `window_end`.

    Pseudo-accuracy is 100 - MAPE, pooled over all values; skill is 1 - MAE / MAE of
    persistence on the same values; an hour is faulty that is not complete and ok.
    """
    percentages, n_forecasts, n_values = row(
        con,
        "SELECT list(percentage_error), count(DISTINCT issue_time_utc), count(*)"
        f" FROM ml.forecast_evaluations WHERE {_COUNTED}",
        leads=MISSION_LEADS,
        start=window_end - timedelta(days=accuracy_days),
        end=window_end,
    ) or (None, 0, 0)
    mape = _mean(percentages)
    errors, reference_errors = row(
        con,
        "SELECT list(absolute_error_g_per_kwh),"
        " list(abs(persistence_g_per_kwh - actual_g_per_kwh))"
        f" FROM ml.forecast_evaluations WHERE {_COUNTED} AND persistence_g_per_kwh IS NOT NULL",
        leads=MISSION_LEADS,
        start=window_end - timedelta(days=skill_days),
        end=window_end,
    ) or (None, None)
    mae, reference_mae = _mean(errors), _mean(reference_errors)
    good, good_newest, first_hour = row(
        con,
        "SELECT count(co2_g_per_kwh) FILTER (hour_utc >= $start),"
        " count(co2_g_per_kwh) FILTER (hour_utc >= $newest),"
        " min(hour_utc) FROM main.actuals WHERE hour_utc < $end",
        start=window_end - timedelta(days=accuracy_days),
        newest=window_end - timedelta(hours=3),
        end=window_end,
    ) or (0, 0, None)
    start = window_end - timedelta(days=accuracy_days)
    expected = (window_end - max(start, first_hour or start)) / timedelta(hours=1)
    return LiveEvidence(
        pseudo_accuracy=None if mape is None else 100 - mape,
        n_forecasts=n_forecasts,
        n_values=n_values,
        skill=None if mae is None or not reference_mae else 1 - mae / reference_mae,
        faulty_share=1 - good / expected if first_hour and expected else 1.0,
        newest_hours_faulty=good_newest == 0,
    )


def _mean(values: list[float | None] | None) -> float | None:
    """The mean to the last bit the same in whatever order DuckDB hands the rows over."""
    known = [value for value in values or [] if value is not None]
    return math.fsum(known) / len(known) if known else None


def store_decision(transaction: Transaction, decision: dict[str, Any]) -> Counts:
    """Add the decision of a window; one that was taken already stands."""
    return transaction.upsert(
        RETRAIN_DECISIONS,
        pl.DataFrame([decision], schema=polars_schema(RETRAIN_DECISIONS)),
        keep_existing=True,
    )


def store_drift(
    transaction: Transaction, found: list[Drift], window_start: datetime, model_version: str
) -> Counts:
    """Add the input drift of a window; one that was looked at already stands."""
    rows = [
        {
            "window_start_utc": window_start,
            "column_name": one.column,
            "psi": one.psi,
            "usual_psi": one.usual,
            "is_unusual": one.is_unusual,
            "n_hours": one.n_hours,
            "model_version": model_version,
        }
        for one in found
    ]
    return transaction.upsert(
        INPUT_DRIFT, pl.DataFrame(rows, schema=polars_schema(INPUT_DRIFT)), keep_existing=True
    )


def newest_ledger(con: Connection, window_start: datetime, limit: int) -> list[dict[str, Any]]:
    """The newest rows of the ledger up to a window, newest first, for a person to read."""
    return frame(
        con,
        "SELECT strftime(window_end_utc AT TIME ZONE 'UTC', '%m-%d %Hh') AS decided,"
        " decision, rule, pseudo_accuracy, skill, champion, trained_version,"
        " split_part(gate_outcome, ':', 1) AS gate, worth_g_per_kwh AS worth"
        " FROM main.retrain_ledger WHERE window_start_utc <= $window"
        " ORDER BY window_start_utc DESC LIMIT $limit",
        window=window_start,
        limit=limit,
    ).to_dicts()


def read_decision(con: Connection, window_start: datetime) -> dict[str, Any] | None:
    """The decision of a window, or None."""
    found = con.sql(
        "SELECT * EXCLUDE (commit_id) FROM ml.retrain_decisions WHERE window_start_utc = $start",
        params={"start": window_start},
    ).pl()
    return None if found.is_empty() else found.row(0, named=True)
