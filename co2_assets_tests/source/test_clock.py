"""The platform's clock: the wall clock, or the recorded server's."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests

from co2_assets.errors import SettingsError
from co2_assets.source.clock import clock_now
from co2_assets_tests.replay.serving import server, utc


def test_live_clock_is_the_wall_clock() -> None:
    now = clock_now("live", "http://127.0.0.1:1", Path("unused"))
    assert abs(now - datetime.now(UTC)) < timedelta(seconds=5)


def test_recorded_clock_is_the_servers_and_stands_when_it_is_down(tmp_path: Path) -> None:
    kept = tmp_path / "clock.json"
    with server(now="2025-01-18T06:02", clock_file=kept) as running:
        assert clock_now("recorded", running.url, kept) == utc("2025-01-18T06:02")
        moved = {"now_utc": "2025-01-18T12:02:00+00:00"}
        requests.put(f"{running.url}/_replay/clock", json=moved, timeout=5).raise_for_status()
        assert clock_now("recorded", running.url, kept) == utc("2025-01-18T12:02")
    assert clock_now("recorded", running.url, kept) == utc("2025-01-18T12:02")


@pytest.mark.parametrize("content", [None, "", "{}", '{"now_utc": "noon"}'])
def test_clock_that_was_never_kept_says_what_to_start(tmp_path: Path, content: str | None) -> None:
    kept = tmp_path / "clock.json"
    if content is not None:
        kept.write_text(content)
    with pytest.raises(SettingsError, match="co2 recorded-server"):
        clock_now("recorded", "http://127.0.0.1:1", kept)
