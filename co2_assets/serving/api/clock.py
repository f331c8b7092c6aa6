"""The platform's time as the API tells it: to the minute, so that answers can be kept."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from co2_assets.settings import Settings
from co2_assets.source.clock import kept_now

Clock = Callable[[], datetime]


def minute_clock(settings: Settings, now: Clock | None) -> Clock:
    """A clock that gives the beginning of the current minute, UTC.

    Args:
        settings: of the home whose time it is; virtual where the source is recorded.
        now: another clock to ask instead.
    """
    ask = now or (lambda: kept_now(settings))

    def this_minute() -> datetime:
        return ask().astimezone(UTC).replace(second=0, microsecond=0)

    return this_minute
