"""Receipts of recommended windows: written for new forecasts, settled by what was measured."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import polars as pl

from co2_assets.forecasting.receipts import JOBS, recommend_jobs, settle
from co2_assets.warehouse import receipts as stored
from co2_assets.warehouse.forecasts import read_issue
from co2_assets.warehouse.store import Transaction
from co2_assets.warehouse.upsert import Counts

LONGEST = timedelta(hours=max(within for _, within in JOBS))


def settle_receipts(tx: Transaction) -> Counts:
    """Make every receipt with news exactly right; what was recommended never changes."""
    times = stored.issues_with_news(tx.con)
    if not times:
        return stored.store_receipts(tx, [])
    kept: list[dict[str, Any]] = stored.read_receipts(tx.con, times).to_dicts()
    have = {receipt["issue_time_utc"] for receipt in kept}
    new = [
        receipt
        for time in times
        if time not in have
        for receipt in recommend_jobs(_served(tx, time), time)
    ]
    hours = stored.measured_hours(tx.con, times[0], times[-1] + LONGEST)
    return stored.store_receipts(
        tx, [{**receipt, **settle(receipt, hours)._asdict()} for receipt in [*kept, *new]]
    )


def _served(tx: Transaction, issue_time: datetime) -> pl.DataFrame:
    return read_issue(tx.con, issue_time).filter(pl.col("is_served"))
