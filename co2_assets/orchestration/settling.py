"""Receipts of recommended windows: written for new forecasts, settled by what was measured."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from co2_assets.forecasting import advice_calibration
from co2_assets.forecasting.advice_calibration import (
    DEFAULTS,
    EVIDENCE_DAYS,
    ON_HOLDOUT,
    Calibrations,
)
from co2_assets.forecasting.advice_holdout import holdout_calibrations
from co2_assets.forecasting.receipts import JOBS, recommend_jobs, settle
from co2_assets.schema import AREA
from co2_assets.warehouse import receipts as stored
from co2_assets.warehouse.forecasts import read_issue
from co2_assets.warehouse.store import Transaction
from co2_assets.warehouse.upsert import Counts

LONGEST = timedelta(hours=max(within for _, within in JOBS))
EVIDENCE = timedelta(days=EVIDENCE_DAYS)


def settle_receipts(tx: Transaction) -> Counts:
    """Make every receipt with news exactly right; what was recommended never changes.

    Each new issue time is recommended by what was known then, calibration included: by the
    receipts that were settled by its time. That calibration is kept for all who advise.
    """
    times = stored.issues_with_news(tx.con)
    if not times:
        return stored.store_receipts(tx, [])
    hours = stored.measured_hours(tx.con, times[0], times[-1] + LONGEST)

    def settled(receipts: list[dict[str, Any]]) -> pl.DataFrame:
        return stored.receipts_frame(
            [{**receipt, **settle(receipt, hours)._asdict()} for receipt in receipts]
        )

    news = settled(stored.read_receipts(tx.con, times).to_dicts())
    known = pl.concat([stored.receipts_before(tx.con, times[0] - EVIDENCE, times), news])
    calibrations: list[dict[str, Any]] = []
    for time in sorted(set(times) - set(news["issue_time_utc"])):
        served = read_issue(tx.con, time).filter(pl.col("is_served"))
        calibration = _calibration(tx, served, known, time)
        of_issue = settled(recommend_jobs(served, time, calibration))
        news, known = news.vstack(of_issue), known.vstack(of_issue)
        calibrations += [
            {"area": AREA, "issue_time_utc": time, **row}
            for row in advice_calibration.rows(calibration)
        ]
    stored.store_calibrations(tx, calibrations)
    return stored.store_receipts(tx, news.to_dicts())


def _calibration(
    tx: Transaction, served: pl.DataFrame, known: pl.DataFrame, issue_time: datetime
) -> Calibrations:
    """How advice from a served forecast is calibrated; a fallback's is not known."""
    first = served.row(0, named=True)
    if first["is_fallback"]:
        return DEFAULTS
    prior = holdout_calibrations(stored.advice_metrics(tx.con, first["model_version"]))
    evidence = advice_calibration.known_receipts(known, issue_time)
    return advice_calibration.fit(evidence, prior, ON_HOLDOUT, "receipts")
