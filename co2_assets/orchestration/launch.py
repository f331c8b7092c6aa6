"""Starting ticks and Dagster itself from the command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import dagster as dg
import sqlalchemy.exc

from co2_assets.errors import Co2Error, SettingsError, WarehouseUnwritable
from co2_assets.orchestration.build import build_definitions
from co2_assets.orchestration.home import prepare_home
from co2_assets.orchestration.jobs import FIRST_TICK, QUIET, TICK
from co2_assets.orchestration.living import living
from co2_assets.orchestration.partitions import partition_key
from co2_assets.settings import WINDOW, Settings, window_floor
from co2_assets.source.clock import platform_now
from co2_assets.warehouse.registry import was_trained
from co2_assets.warehouse.store import Warehouse

STOP_WITHIN_S = 20.0


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
    clock = settings.state_dir / "clock.json"
    start = window or newest_window(
        settings, platform_now(settings.source, settings.base_url, clock)
    )
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


def serve(settings: Settings, *, port: int, say: Callable[[str], None]) -> None:
    """Run Dagster on a home until Ctrl-C or SIGTERM; ends every process that it started."""
    settings = prepare_home(settings)
    process = start_dagster(settings, port=port)
    say(f"Dagster's UI: http://127.0.0.1:{port} (Ctrl-C ends it)")
    stop = {"asked": False}

    def ask_to_stop(_number: int, _frame: object) -> None:
        stop["asked"] = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, ask_to_stop)
    try:
        while process.poll() is None and not stop["asked"]:
            time.sleep(0.2)
    finally:
        stop_group(process)
    if not stop["asked"]:
        raise TickFailed(
            "Dagster ended by itself",
            where=f"exit code {process.returncode}",
            found=f"log {settings.home / 'logs' / 'dagster.log'}",
            next_step=f"is port {port} free? `co2 ui --port` takes another",
        )


def start_dagster(settings: Settings, *, port: int) -> subprocess.Popen[bytes]:
    """Start `dagster dev` on loopback in a process group of its own, logging to the home."""
    workspace = workspace_file()
    target = ["-w", str(workspace)] if workspace else ["-m", "co2_assets.definitions"]
    log = (settings.home / "logs" / "dagster.log").open("ab")
    with log:
        return subprocess.Popen(  # noqa: S603, our own command
            [
                str(Path(sys.executable).with_name("dagster")),
                "dev",
                *target,
                "-h",
                "127.0.0.1",
                "-p",
                str(port),
            ],
            env={
                **os.environ,
                "CO2_HOME": str(settings.home),
                "DAGSTER_HOME": str(settings.dagster_home),
            },
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # A shell's `&` leaves SIGINT ignored, and dagster dev then ignores SIGTERM too.
            preexec_fn=_default_signals,
        )


def _default_signals() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def stop_group(process: subprocess.Popen[bytes]) -> None:
    """End a process and everything that it started: asked first, then killed."""
    for number, patience in ((signal.SIGTERM, STOP_WITHIN_S), (signal.SIGKILL, 5.0)):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(patience)
            if number == signal.SIGTERM:
                _wait_for_group(process.pid)
                return


def _wait_for_group(group: int) -> None:
    """Children outlive the leader for a moment; what does not end is killed."""
    deadline = time.monotonic() + STOP_WITHIN_S
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.1)
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)


def workspace_file() -> Path | None:
    """workspace.yaml of the checkout, or None for an installed package."""
    for folder in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (folder / "workspace.yaml").is_file():
            return folder / "workspace.yaml"
    return None
