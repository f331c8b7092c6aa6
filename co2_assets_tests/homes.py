"""A home to test on: settings, its recorded server on a free port, ticks of the real job."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg

from co2_assets.orchestration.build import build_definitions
from co2_assets.orchestration.home import ensure_home
from co2_assets.orchestration.jobs import QUIET, TICK
from co2_assets.orchestration.partitions import partition_key
from co2_assets.processes import free_port
from co2_assets.replay.faults import FaultPlan
from co2_assets.replay.machine import set_clock, tick_time
from co2_assets.replay.server import RecordedServer
from co2_assets.settings import WINDOW, Settings, load_settings
from co2_assets.warehouse import query
from co2_assets.warehouse.reader import open_published
from co2_assets.warehouse.store import Warehouse
from co2_assets_tests.replay.serving import shipped, utc

__all__ = [
    "FIRST",
    "LAST",
    "REPLAYED_UNTIL",
    "SMALL",
    "Home",
    "checks",
    "free_port",
    "metadata",
    "utc",
    "windows",
]

FIRST, LAST = utc("2025-01-18T00:00"), utc("2025-01-31T18:00")
REPLAYED_UNTIL = utc("2025-01-20T00:00")
"""The prepared home holds the ticks of [FIRST, REPLAYED_UNTIL): two days, eight windows."""

SMALL: dict[str, Any] = {
    "training_days": 30,
    "feature_history_days": 2,
    "request_retries": 0,
    "retry_after_tick_s": 1.0,
    "request_timeout_s": 20.0,
    "lock_timeout_s": 60.0,
}
"""Settings of small homes: seconds in place of minutes, no patience with the source."""


@dataclass(frozen=True)
class Home:
    """One home on disk, with the settings that it runs under."""

    settings: Settings

    @classmethod
    def new(
        cls, folder: Path, *, first: datetime = FIRST, last: datetime = LAST, **given: Any
    ) -> Home:
        options: dict[str, Any] = {**SMALL, "recorded_port": free_port(), **given}
        settings = load_settings(
            home=folder, source="recorded", first_window=first, last_window=last, **options
        )
        return cls(ensure_home(settings))

    def copy(self, folder: Path, **given: Any) -> Home:
        """This home in another folder, on another port, under the same or other settings."""
        shutil.copytree(self.settings.home, folder, symlinks=True)
        return Home(load_settings(home=folder, **{**SMALL, "recorded_port": free_port(), **given}))

    def under(self, **given: Any) -> Home:
        """The same folder under other settings."""
        options = {**SMALL, "recorded_port": self.settings.recorded_port, **given}
        return Home(load_settings(home=self.settings.home, **options))

    @property
    def store(self) -> Warehouse:
        return Warehouse(self.settings.home, lock_timeout_s=self.settings.lock_timeout_s)

    @contextmanager
    def served(self, *faults: dict[str, Any], until: datetime | None = None) -> Iterator[Home]:
        """With its recorded server running, and its clock at least at `until`."""
        start = self.settings.first_window or FIRST
        with RecordedServer(
            shipped(),
            port=self.settings.recorded_port,
            clock_file=self.settings.clock_file,
            faults=FaultPlan.of({"faults": list(faults)}) if faults else None,
            starts_at=tick_time(self.settings, start),
        ):
            if until is not None:
                set_clock(self.settings, until)
            yield self

    def job(
        self,
        name: str,
        window: datetime | None = None,
        *,
        assets: Sequence[str] = (),
        instance: dg.DagsterInstance | None = None,
        **options: Any,
    ) -> dg.ExecuteInProcessResult:
        """Run one job in this process, whether it succeeds or not."""
        selection = [dg.AssetKey(name.split("/")) for name in assets] or None
        config = {**options.pop("run_config", {}), **QUIET}
        with _instance(instance) as used:
            return (
                build_definitions(self.settings)
                .resolve_job_def(name)
                .execute_in_process(
                    instance=used,
                    partition_key=None if window is None else partition_key(window),
                    asset_selection=selection,
                    raise_on_error=False,
                    run_config=config,
                    **options,
                )
            )

    def tick(
        self, window: datetime, *, name: str = TICK, now: datetime | None = None, **options: Any
    ) -> dg.ExecuteInProcessResult:
        """One tick soon after its window, as a live one, unless `now` is later."""
        set_clock(self.settings, now or tick_time(self.settings, window))
        result = self.job(name, window, **options)
        assert result.success, [event for event in result.all_events if event.is_failure]
        return result

    def clean_tick(self, window: datetime, *faults: dict[str, Any]) -> dg.ExecuteInProcessResult:
        """One tick with a server of its own, which does these faults."""
        with self.served(*faults):
            return self.tick(window)

    def rows(self, sql: str, **params: Any) -> list[tuple[Any, ...]]:
        """Rows of a query on the published copy."""
        with open_published(self.settings.home) as con:
            return query.rows(con, sql, **params)

    def row(self, sql: str, **params: Any) -> tuple[Any, ...]:
        found = self.rows(sql, **params)
        assert len(found) == 1, found
        return found[0]

    def value(self, sql: str, **params: Any) -> Any:
        (found,) = self.row(sql, **params)
        return found


@contextmanager
def _instance(given: dg.DagsterInstance | None) -> Iterator[dg.DagsterInstance]:
    if given is not None:
        yield given
        return
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def windows(start: datetime, end: datetime) -> list[datetime]:
    """Starts of the windows of [start, end)."""
    return [start + index * WINDOW for index in range((end - start) // WINDOW)]


def checks(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    """The check results of a run, by asset (`raw/power_system`) and check."""
    return {
        (evaluation.asset_key.to_user_string(), evaluation.check_name): evaluation
        for evaluation in result.get_asset_check_evaluations()
    }


def metadata(result: dg.ExecuteInProcessResult, asset: str) -> dict[str, Any]:
    """What a run reported of one asset."""
    (event,) = result.asset_materializations_for_node(asset.replace("/", "__"))
    return {name: value.value for name, value in event.metadata.items()}
