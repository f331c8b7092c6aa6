"""Day-ahead prices come from two datasets, switched by date.

Elspotprices still answers, but has had no new row since 2025-09-30: asking it for later
hours would look like an empty day.
"""

from __future__ import annotations

from datetime import UTC, datetime

from co2_assets.source.datasets import DAY_AHEAD_PRICES_15MIN, ELSPOTPRICES, Dataset

SWITCH = datetime(2025, 9, 30, 22, tzinfo=UTC)
"""2025-10-01 00:00 Danish time: quarter hours from DayAheadPrices from here on."""


def price_spans(start: datetime, end: datetime) -> list[tuple[Dataset, datetime, datetime]]:
    """The parts of [start, end) with the dataset that holds each, in order of time."""
    spans = []
    if start < SWITCH:
        spans.append((ELSPOTPRICES, start, min(end, SWITCH)))
    if end > SWITCH:
        spans.append((DAY_AHEAD_PRICES_15MIN, max(start, SWITCH), end))
    return spans
