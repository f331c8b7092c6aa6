"""Recomputing the derived hourly tables: exactly what changed, whatever the window."""

from __future__ import annotations

from datetime import timedelta

from co2_assets.schema import AGGREGATED_HOURS, ENGINEERED_FEATURES, POWER_SYSTEM
from co2_assets.transform.features import FEATURE_CONTEXT_HOURS, engineer
from co2_assets.transform.hourly import hourly_means
from co2_assets.transform.quality import QUALITY_CONTEXT_HOURS, assess
from co2_assets.warehouse import hours as hourly
from co2_assets.warehouse import raw
from co2_assets.warehouse.store import Transaction
from co2_assets.warehouse.upsert import Counts


def refresh_hours(tx: Transaction) -> tuple[Counts, raw.Span | None]:
    """Recompute exactly the hours whose minutes changed; returns counts and their span."""
    span = hourly.hours_to_aggregate(tx.con, QUALITY_CONTEXT_HOURS)
    counts = Counts()
    if span is not None:
        start, end = span
        first = hourly.first_minute_hour(tx.con)
        context_start = max(start - timedelta(hours=QUALITY_CONTEXT_HOURS), first or start)
        minutes = raw.read_minutes(tx.con, context_start, end)
        assessed = assess(hourly_means(minutes, context_start, end))
        counts = tx.upsert(AGGREGATED_HOURS, assessed.filter(assessed["hour_utc"] >= start))
    hourly.advance_watermark(tx, AGGREGATED_HOURS, POWER_SYSTEM)
    return counts, span


def refresh_features(tx: Transaction) -> tuple[Counts, raw.Span | None]:
    """Recompute exactly the features whose hours changed; returns counts and their span."""
    span = hourly.hours_to_engineer(tx.con, FEATURE_CONTEXT_HOURS)
    counts = Counts()
    if span is not None:
        start, end = span
        known = hourly.read_hours(tx.con, start - timedelta(hours=FEATURE_CONTEXT_HOURS), end)
        features = engineer(known)
        counts = tx.upsert(ENGINEERED_FEATURES, features.filter(features["hour_utc"] >= start))
    hourly.advance_watermark(tx, ENGINEERED_FEATURES, AGGREGATED_HOURS)
    return counts, span
