"""The partition key is the clock: six-hour windows, their end is the issue time.

https://docs.dagster.io/guides/build/partitions-and-backfills/partitioning-assets
"""

from datetime import UTC, datetime

import dagster as dg

from co2_assets.settings import WINDOW, Settings

KEY_FORMAT = "%Y-%m-%dT%H:%M"


def six_hour_windows(settings: Settings) -> dg.TimeWindowPartitionsDefinition:
    """The one partitions definition: [start, end) on 00, 06, 12 and 18 UTC."""
    if settings.first_window is None:
        raise ValueError("a home must have its first window; see home.ensure_home")
    return dg.TimeWindowPartitionsDefinition(
        cron_schedule="0 */6 * * *",
        start=settings.first_window.strftime(KEY_FORMAT),
        end=settings.last_window.strftime(KEY_FORMAT) if settings.last_window else None,
        fmt=KEY_FORMAT,
        timezone="UTC",
    )


def partition_key(window_start: datetime) -> str:
    """The key of the window that begins at `window_start`."""
    return window_start.strftime(KEY_FORMAT)


def window_end(key: str) -> datetime:
    """The end of the window of a key: its issue time."""
    return datetime.strptime(key, KEY_FORMAT).replace(tzinfo=UTC) + WINDOW
