"""Starting ticks and Dagster itself from the command line."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import dagster as dg
import sqlalchemy.exc

from co2_assets.errors import Co2Error, SettingsError, WarehouseUnwritable
from co2_assets.orchestration.build import build_definitions
from co2_assets.orchestration.home import prepare_home
from co2_assets.orchestration.jobs import FIRST_TICK, QUIET, TICK
from co2_assets.orchestration.living import living
from co2_assets.orchestration.partitions import partition_key
from co2_assets.processes import Service, serve_until_stopped
from co2_assets.settings import WINDOW, Settings, window_floor
from co2_assets.source.clock import platform_now
from co2_assets.warehouse.registry import was_trained
from co2_assets.warehouse.store import Warehouse


class TickFailed(Co2Error):
    """A tick started from the command line failed."""


def newest_window(settings: Settings, now: datetime) -> datetime:
    """Start of the newest window that has ended at `now`, within the home's windows.

    Raises:
        SettingsError: no window of the home has ended yet.
    """
    start = window_floor(now) - WINDOW
    if settings.last_window is not None:
        start = min(start, settings.last_window - WINDOW)
    if settings.first_window is not None and start < settings.first_window:
        raise SettingsError(
            "no window of this home has ended yet",
            where=f"home {settings.home}, time {now:%Y-%m-%d %H:%M} UTC",
            found=f"newest ended window {start:%Y-%m-%dT%H:%M}",
            expected=f"{settings.first_window:%Y-%m-%dT%H:%M} or later",
        )
    return start


def run_tick(settings: Settings, window: datetime | None, say: Callable[[str], None]) -> str:
    """Run one tick in this process; returns the run id.

    Raises:
        TickFailed: a step failed; names it.
    """
    settings = prepare_home(settings)
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    start = window or newest_window(settings, platform_now(settings))
    with Warehouse(settings.home, lock_timeout_s=settings.lock_timeout_s).read("champion") as con:
        name = TICK if was_trained(con) else FIRST_TICK
    key = partition_key(start)
    say(f"{name} {key} begins")
    started = time.monotonic()
    with (
        _dagsters_files(settings),
        dg.DagsterInstance.get() as instance,
        living(settings.state_dir) as tags,
    ):
        result = (
            build_definitions(settings)
            .resolve_job_def(name)
            .execute_in_process(
                instance=instance,
                partition_key=key,
                raise_on_error=False,
                run_config=QUIET,
                tags=tags,
            )
        )
    if not result.success:
        failed = [event.step_key for event in result.all_events if event.is_step_failure]
        raise TickFailed(
            "the tick failed",
            where=f"{name}, partition {key}, run {result.run_id}",
            found=f"failed steps {failed}",
            next_step="`co2 ui` shows the run's log; run the tick again when it is mended",
        )
    # Dagster only logs a publication that fails; here it is an error, or there is none to do.
    Warehouse(settings.home, lock_timeout_s=settings.lock_timeout_s).publish()
    say(f"{name} {key} done in {time.monotonic() - started:.1f} s")
    return result.run_id


@contextmanager
def _dagsters_files(settings: Settings) -> Iterator[None]:
    """Say which files a full disk kept Dagster from writing."""
    try:
        yield
    except sqlalchemy.exc.OperationalError as error:
        raise WarehouseUnwritable(
            "Dagster cannot write its own files",
            where=str(settings.dagster_home),
            found=str(error.orig),
            expected="free disk space and a writable folder",
            next_step="free space or mend the rights, then run again; what was stored stays",
        ) from error


def first_tick(settings: Settings, say: Callable[[str], None]) -> None:
    """The tick that `co2 run` begins with, so that a forecast is there at once."""
    run_tick(settings, None, say)


class Ports(NamedTuple):
    """Where the faces answer on loopback; None leaves one out."""

    dagster: int = 3000
    api: int | None = 8000
    dashboard: int | None = 8501


def serve(
    settings: Settings,
    ports: Ports,
    say: Callable[[str], None],
    beside: Sequence[Service] = (),
) -> None:
    """Run Dagster, API and dashboard on a home until Ctrl-C or SIGTERM.

    Args:
        settings: of the home.
        ports: of each face.
        say: told where each answers.
        beside: what else runs as long.

    Raises:
        TickFailed: Dagster ended by itself.
    """
    settings = prepare_home(settings)
    services = [*beside, *_faces(settings, ports, say)]
    shown = settings.model_copy(update=_reached_at(ports))
    ended = serve_until_stopped(dagster_service(shown, ports.dagster), services, say)
    if ended is not None:
        raise TickFailed(
            "Dagster ended by itself",
            where=f"exit code {ended}",
            found=f"log {settings.home / 'logs' / 'dagster.log'}",
            next_step=f"is port {ports.dagster} free? `co2 ui --port` takes another",
        )


def dagster_service(settings: Settings, port: int) -> Service:
    """`dagster dev` on loopback: UI, schedule and sensors."""
    workspace = workspace_file()
    target = ("-w", str(workspace)) if workspace else ("-m", "co2_assets.definitions")
    return Service(
        "Dagster's UI",
        (_script("dagster"), "dev", *target, "-h", "127.0.0.1", "-p", str(port)),
        {
            "CO2_HOME": str(settings.home),
            "CO2_DASHBOARD_URL": settings.dashboard_url,
            "CO2_SERVING_URL": settings.serving_url,
            "DAGSTER_HOME": str(settings.dagster_home),
        },
        settings.home / "logs" / "dagster.log",
        f"http://127.0.0.1:{port}",
    )


def co2_service(settings: Settings, name: str, *verb: str, url: str = "") -> Service:
    """One verb of `co2` that serves until it is stopped."""
    command = (_script("co2"), "--home", str(settings.home), *verb)
    return Service(name, command, {}, settings.home / "logs" / f"{verb[0]}.log", url)


def _reached_at(ports: Ports) -> dict[str, str]:
    """Addresses of the faces that run on other ports than usual."""
    usual = Ports()
    found = {}
    if ports.dashboard not in (None, usual.dashboard):
        found["dashboard_url"] = f"http://127.0.0.1:{ports.dashboard}"
    if ports.api not in (None, usual.api):
        found["serving_url"] = f"http://127.0.0.1:{ports.api}"
    return found


def _faces(settings: Settings, ports: Ports, say: Callable[[str], None]) -> Iterator[Service]:
    for name, verb, port, package in (
        ("Dashboard", "dashboard", ports.dashboard, "streamlit"),
        ("API", "api", ports.api, "fastapi"),
    ):
        if port is None:
            continue
        if find_spec(package) is None:
            say(f"{name}: not installed; `pip install 'co2_assets[serve]'` adds it")
            continue
        url = f"http://127.0.0.1:{port}"
        yield co2_service(settings, name, verb, "--port", str(port), url=url)


def _script(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


def workspace_file() -> Path | None:
    """workspace.yaml of the checkout, or None for an installed package."""
    for folder in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (folder / "workspace.yaml").is_file():
            return folder / "workspace.yaml"
    return None
