"""The recorded server on a thread, and the real client asking it: what these tests share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any

from co2_assets.replay.faults import FaultPlan
from co2_assets.replay.recordings import Recordings
from co2_assets.replay.server import RecordedServer
from co2_assets.source.client import EnergiDataClient, OnWait
from co2_assets.source.datasets import POWER_SYSTEM_RIGHT_NOW, Dataset
from co2_assets.source.parse import Parsed, parse


def utc(text: str) -> datetime:
    """`utc("2025-01-20T06:00")`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@cache
def shipped() -> Recordings:
    return Recordings.load()


@contextmanager
def server(
    *faults: dict[str, Any], now: str = "2025-01-21T00:02", **options: Any
) -> Iterator[RecordedServer]:
    recordings = options.pop("recordings", None) or shipped()
    plan = FaultPlan.of({"faults": list(faults)}) if faults else None
    with RecordedServer(recordings, faults=plan, starts_at=utc(now), **options) as running:
        yield running


@contextmanager
def client(url: str, **options: Any) -> Iterator[EnergiDataClient]:
    waits: OnWait | None = options.pop("on_wait", None)
    with EnergiDataClient(
        base_url=url,
        timeout_s=options.pop("timeout_s", 20.0),
        deadline_s=options.pop("deadline_s", 60.0),
        retries=options.pop("retries", 0),
        retry_after_max_s=options.pop("retry_after_max_s", 1.0),
        on_wait=waits,
    ) as asking:
        yield asking


def ask(
    *faults: dict[str, Any],
    start: str = "2025-01-20T06:00",
    end: str = "2025-01-20T12:00",
    now: str = "2025-01-21T00:02",
    dataset: Dataset = POWER_SYSTEM_RIGHT_NOW,
    **options: Any,
) -> Parsed:
    """What the platform would store of a span, asked at a virtual time, under faults."""
    with server(*faults, now=now) as running, client(running.url, **options) as asking:
        return parse(asking.fetch(dataset, utc(start), utc(end)))
