"""The derived hourly tables: what has to be recomputed, and reading it back.

A derived table remembers up to which commit it has taken in its input
(`ops.watermarks`), so a run recomputes exactly what changed since, whatever its window.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl

from co2_assets.schema import (
    AGGREGATED_HOURS,
    ENGINEERED_FEATURES,
    FEATURE_COLUMNS,
    POWER_SYSTEM,
    WATERMARKS,
    Table,
)
from co2_assets.warehouse.query import Connection, frame, row, value
from co2_assets.warehouse.raw import Span, covered_until
from co2_assets.warehouse.store import Transaction

HOUR = timedelta(hours=1)


def watermark(con: Connection, consumer: Table, producer: Table) -> int:
    """The last commit of `producer` that `consumer` has taken in; -1 for none."""
    found = value(
        con,
        "SELECT commit_id FROM ops.watermarks WHERE consumer = $consumer AND producer = $producer",
        consumer=consumer.qualified_name,
        producer=producer.qualified_name,
    )
    return -1 if found is None else int(found)


def advance_watermark(transaction: Transaction, consumer: Table, producer: Table) -> None:
    """Note that `consumer` has taken in everything that `producer` holds now."""
    newest = value(
        transaction.con, f"SELECT coalesce(max(commit_id), -1) FROM {producer.qualified_name}"
    )
    if newest == watermark(transaction.con, consumer, producer):
        return
    # Replaced by hand: commit_id is the value here, not the stamp that upsert would set.
    transaction.execute(
        "DELETE FROM ops.watermarks WHERE consumer = $consumer AND producer = $producer",
        consumer=consumer.qualified_name,
        producer=producer.qualified_name,
    )
    transaction.execute(
        f"INSERT INTO {WATERMARKS.qualified_name} VALUES ($consumer, $producer, $newest)",
        consumer=consumer.qualified_name,
        producer=producer.qualified_name,
        newest=newest,
    )


def hours_to_aggregate(con: Connection, reach_hours: int) -> Span | None:
    """The hours whose minutes changed, or that were covered since, as one span.

    Args:
        con: head.
        reach_hours: how many later hours a changed hour has an influence on.

    Returns:
        Start and exclusive end on whole hours, or None when nothing changed.
    """
    end = covered_until(con, POWER_SYSTEM)
    first_minute = value(con, f"SELECT min(minute_utc) FROM {POWER_SYSTEM.qualified_name}")
    if end is None or first_minute is None:
        return None
    end = _floor(end)
    changed = _changed_hours(con, AGGREGATED_HOURS, POWER_SYSTEM, "minute_utc")
    known_until = value(con, f"SELECT max(hour_utc) FROM {AGGREGATED_HOURS.qualified_name}")
    starts = [_floor(first_minute)] if known_until is None else [known_until + HOUR]
    stops = [end] if known_until is None or known_until + HOUR < end else []
    if changed:
        starts.append(changed[0])
        stops.append(changed[1] + timedelta(hours=reach_hours))
    if not stops:
        return None
    return min(starts), min(max(stops), end)


def hours_to_engineer(con: Connection, reach_hours: int) -> Span | None:
    """The hours whose features have to be recomputed; see `hours_to_aggregate`."""
    changed = _changed_hours(con, ENGINEERED_FEATURES, AGGREGATED_HOURS, "hour_utc")
    if changed is None:
        return None
    last = value(con, f"SELECT max(hour_utc) FROM {AGGREGATED_HOURS.qualified_name}")
    return changed[0], min(changed[1] + timedelta(hours=reach_hours), last + HOUR)


def _changed_hours(
    con: Connection, consumer: Table, producer: Table, time_column: str
) -> Span | None:
    """First and end of the hours in which `producer` changed since the watermark."""
    first, last = row(
        con,
        f"SELECT min({time_column}), max({time_column}) FROM {producer.qualified_name}"
        " WHERE commit_id > $watermark",
        watermark=watermark(con, consumer, producer),
    ) or (None, None)
    return None if first is None else (_floor(first), _floor(last) + HOUR)


def _floor(time: datetime) -> datetime:
    return time.replace(minute=0, second=0, microsecond=0)


def first_minute_hour(con: Connection) -> datetime | None:
    """The hour of the first stored minute: nothing is known before it."""
    first: datetime | None = value(
        con, f"SELECT min(minute_utc) FROM {POWER_SYSTEM.qualified_name}"
    )
    return None if first is None else _floor(first)


def read_hours(con: Connection, start: datetime, end: datetime) -> pl.DataFrame:
    """Rows of `core.aggregated_hours` in [start, end), in order, without `commit_id`."""
    return frame(
        con,
        f"SELECT * EXCLUDE (commit_id) FROM {AGGREGATED_HOURS.qualified_name}"
        " WHERE hour_utc >= $start AND hour_utc < $end ORDER BY hour_utc",
        start=start,
        end=end,
    )


def read_features(con: Connection, start: datetime, end: datetime) -> pl.DataFrame:
    """Encoder inputs and actuals, one row per hour of [start, end), in order.

    Columns: `hour_utc`, the encoder inputs, `is_usable`, and `co2_g_per_kwh`, the actual:
    null unless the hour is complete and ok.
    """
    features = ", ".join(f"features.{name}" for name in FEATURE_COLUMNS)
    return frame(
        con,
        f"""
        SELECT features.hour_utc, {features}, features.is_usable, actuals.co2_g_per_kwh
        FROM core.engineered_features AS features
        JOIN main.actuals AS actuals USING (hour_utc)
        WHERE features.hour_utc >= $start AND features.hour_utc < $end
        ORDER BY features.hour_utc
        """,
        start=start,
        end=end,
    )


def last_complete_hour_end(con: Connection) -> datetime | None:
    """End of the newest complete and ok hour: the training's "now" without a window."""
    last: datetime | None = value(
        con, "SELECT max(hour_utc) FROM main.actuals WHERE co2_g_per_kwh IS NOT NULL"
    )
    return None if last is None else last + HOUR
