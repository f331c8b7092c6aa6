"""The platform's clock: the wall clock, or the recorded server's virtual time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import requests

from co2_assets.errors import SettingsError
from co2_assets.settings import Settings

TIMEOUT_S = 5.0


def platform_now(settings: Settings) -> datetime:
    """The platform's time of a home, UTC; see `clock_now`."""
    return clock_now(settings.source, settings.base_url, settings.clock_file)


def kept_now(settings: Settings) -> datetime:
    """The same without asking the recorded server: for readers, who ask often.

    The server writes each move of its clock to the file before it answers.

    Raises:
        SettingsError: a recorded home that never had a clock.
    """
    if settings.source != "recorded":
        return datetime.now(UTC)
    return _kept(settings.clock_file, str(settings.clock_file), "")


def clock_now(source: str, base_url: str, clock_file: Path) -> datetime:
    """The platform's time, UTC: virtual where the source is recorded.

    The recorded server is asked first; when it is down, what it last wrote to
    `clock_file` still stands, since virtual time only moves when somebody moves it.

    Raises:
        SettingsError: a recorded home that never had a clock.
    """
    if source != "recorded":
        return datetime.now(UTC)
    url = f"{base_url}/_replay/clock"
    try:
        reply = requests.get(url, timeout=TIMEOUT_S)
        reply.raise_for_status()
        return _parse(reply.text)
    except requests.RequestException as unreachable:
        return _kept(clock_file, f"{url}, then {clock_file}", f"{type(unreachable).__name__}, then")


def _kept(clock_file: Path, where: str, found: str) -> datetime:
    try:
        return _parse(clock_file.read_text())
    except (OSError, ValueError, KeyError) as error:
        raise SettingsError(
            "the virtual clock of a recorded home cannot be read",
            where=where,
            found=f"{found} {error}".strip(),
            expected="the recorded server, or the clock that it last wrote",
            next_step="start it with `co2 recorded-server`",
        ) from error


def _parse(text: str) -> datetime:
    return datetime.fromisoformat(json.loads(text)["now_utc"]).astimezone(UTC)
