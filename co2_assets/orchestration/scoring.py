"""Scoring stored forecasts against the actuals that followed."""

from __future__ import annotations

from datetime import datetime

from co2_assets.forecasting.evaluate import score
from co2_assets.settings import WINDOW
from co2_assets.warehouse import forecasts as stored
from co2_assets.warehouse.store import Transaction
from co2_assets.warehouse.upsert import Counts


def score_window(
    tx: Transaction, window: tuple[datetime, datetime]
) -> tuple[Counts, list[datetime]]:
    """Make the scores of a window, and of all windows with news, exactly right.

    Returns:
        Counts over all windows, and the starts of the windows that were scored.
    """
    total = Counts()
    starts = stored.windows_to_score(tx.con, window)
    for start in starts:
        scores = score(stored.read_to_score(tx.con, start, start + WINDOW))
        counts = stored.replace_scores(tx, start, start + WINDOW, scores)
        total = Counts(*(a + b for a, b in zip(total, counts, strict=True)))
    stored.all_scored(tx)
    return total, starts
