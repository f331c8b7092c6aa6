"""`co2 demo`: two years over HTTP, a training, the last recorded days tick by tick, the UI."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from co2_assets.errors import SettingsError
from co2_assets.orchestration.launch import Ports, co2_service, serve
from co2_assets.replay.machine import demo_windows, replay
from co2_assets.replay.recordings import Recordings
from co2_assets.settings import Settings, load_settings, read_home
from co2_assets.source.clock import platform_now
from co2_assets.warehouse.query import rows
from co2_assets.warehouse.reader import open_published
from co2_assets.warehouse.status import describe, read_status


def run_demo(
    home: Path, *, days: int, fresh: bool, ports: Ports | None, say: Callable[[str], None]
) -> None:
    """Make the demo's home, or go on with it, and leave the faces running.

    Args:
        home: where everything is written; it must be the demo's own.
        days: recorded days to replay.
        fresh: delete the home first.
        ports: of the faces, or None to end when the work is done.
        say: told what goes on.

    Raises:
        SettingsError: the home holds live data.
    """
    began = time.monotonic()
    home = home.absolute()
    if fresh:
        _delete(home)
    settings = _settings(home, days)
    first, last = settings.first_window, settings.last_window
    if first is None or last is None:
        raise SettingsError("a recorded home lacks its windows", where=str(home))
    say(f"home {home}: recorded data, windows {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC")
    report = replay(settings, start=first, end=last, say=say)
    _say_stages(settings, report.seconds, report.ticks, report.skipped, began, say)
    now = platform_now(settings)
    say("what the home holds now:\n" + describe(read_status(settings, now)))
    if ports is not None:
        _serve(settings, ports, say)


def _settings(home: Path, days: int) -> Settings:
    if read_home(home) is not None:
        settings = load_settings(home=home)
        if settings.source != "recorded":
            raise SettingsError(
                "the demo needs a home of its own",
                where=f"home {home}",
                found="live data",
                expected="recorded data, or no such folder",
                next_step="`co2 --home .demo demo`",
            )
        return settings
    first, last = demo_windows(Recordings.load(load_settings(home=home).recorded_dir), days)
    return load_settings(home=home, source="recorded", first_window=first, last_window=last)


def _delete(home: Path) -> None:
    """Delete a recorded home, and nothing else."""
    if not home.exists():
        return
    kept = read_home(home)
    if kept is None or kept["source"] != "recorded":
        raise SettingsError(
            "only a recorded home is deleted to begin anew",
            where=f"home {home}",
            found="no home.json" if kept is None else f"source {kept['source']}",
            expected="source recorded",
            next_step="delete the folder yourself, or choose another with `co2 --home`",
        )
    shutil.rmtree(home)


def _say_stages(
    settings: Settings,
    seconds: dict[str, float],
    ticks: int,
    skipped: int,
    began: float,
    say: Callable[[str], None],
) -> None:
    with open_published(settings.home) as con:
        loads = rows(
            con,
            "SELECT table_name, sum(rows_read), sum(duration_seconds) FROM ops.etl_runs"
            " WHERE window_end_utc - window_start_utc > to_days(60) GROUP BY 1 ORDER BY 1",
        )
        trainings = rows(
            con,
            "SELECT model_version, training_seconds FROM ml.model_versions"
            " WHERE training_seconds IS NOT NULL ORDER BY 1",
        )
    stages = [
        *(f"load {table}: {int(read):,} rows in {took:.1f} s" for table, read, took in loads),
        *(f"train {version}: {took:.1f} s" for version, took in trainings),
        *(f"{name}: {took:.1f} s in all" for name, took in seconds.items()),
        f"{ticks} ticks run, {skipped} were there already",
        f"everything: {time.monotonic() - began:.1f} s",
    ]
    say("stages:\n  " + "\n  ".join(stages))


def _serve(settings: Settings, ports: Ports, say: Callable[[str], None]) -> None:
    """The recorded server and all faces side by side, until Ctrl-C."""
    about = {"recorded data, as of": str(settings.last_window), "home": str(settings.home)}
    say(json.dumps(about))
    server = co2_service(settings, "Recorded server", "recorded-server", url=settings.base_url)
    serve(settings, ports, say, [server])
