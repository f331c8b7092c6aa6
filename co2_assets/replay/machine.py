"""The time machine: the real job and the real sensor over recorded windows, tick by tick.

It is the demo, the end-to-end test and a user's way to watch any past week. Its ticks
are live forecasts, since the virtual clock stands at each issue time when they are made.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import requests
import sqlalchemy
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage

from co2_assets.errors import Co2Error, SettingsError
from co2_assets.orchestration.build import build_definitions
from co2_assets.orchestration.home import prepare_home
from co2_assets.orchestration.jobs import FIRST_TICK, QUIET, RETRAIN, TICK
from co2_assets.orchestration.living import living
from co2_assets.orchestration.partitions import partition_key
from co2_assets.orchestration.sensors import DECISIONS
from co2_assets.replay.faults import FaultPlan
from co2_assets.replay.recordings import Recordings
from co2_assets.replay.server import RecordedServer
from co2_assets.settings import WINDOW, Settings
from co2_assets.source.clock import platform_now
from co2_assets.warehouse.registry import was_trained
from co2_assets.warehouse.store import Warehouse

SENSOR = "retrain_on_drift"


@dataclass
class Replayed:
    """What a replay did."""

    ticks: int = 0
    skipped: int = 0
    trainings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)


class ReplayFailed(Co2Error):
    """A tick of a replay failed; the replay can be started again and goes on there."""


def replay(
    settings: Settings,
    *,
    start: datetime,
    end: datetime,
    faults: FaultPlan | None = None,
    say: Callable[[str], None],
    serves: bool = True,
) -> Replayed:
    """Run the ticks of [start, end) that have not run yet, and act on the sensor after each.

    Args:
        settings: of a recorded home.
        start: start of the first window.
        end: end of the last one.
        faults: what the recorded server does wrong, or None.
        say: told what goes on, line by line.
        serves: whether to start the recorded server, or use one that runs already.

    Raises:
        SettingsError: the home is live, or the windows are not its own.
        ReplayFailed: a tick failed; the run's log in the UI says why.
    """
    settings = prepare_home(settings)
    _check_range(settings, start, end)
    report = Replayed()
    with ExitStack() as stack:
        stack.enter_context(fast_event_log())
        if serves:
            stack.enter_context(
                recorded_server(settings, faults=faults, starts_at=tick_time(settings, start))
            )
        os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
        instance = stack.enter_context(dg.DagsterInstance.get())
        tags = stack.enter_context(living(settings.state_dir))
        machine = _Machine(settings, instance, tags, say, report)
        window = start
        while window < end:
            machine.tick(window)
            window += WINDOW
    # A tick that was killed between its last step and its publication is done, and not public.
    Warehouse(settings.home, lock_timeout_s=settings.lock_timeout_s).publish()
    return report


class _Machine:
    def __init__(
        self,
        settings: Settings,
        instance: dg.DagsterInstance,
        tags: dict[str, str],
        say: Callable[[str], None],
        report: Replayed,
    ) -> None:
        self._settings = settings
        self._instance = instance
        self._tags = tags
        self._say = say
        self._report = report
        self._definitions = build_definitions(settings)
        self._cursor_file = settings.state_dir / "replay.json"
        self._done = instance.get_materialized_partitions(DECISIONS)
        self._trained = False

    def tick(self, window: datetime) -> None:
        """One window: clock, job, sensor, and what the sensor asks for."""
        key = partition_key(window)
        if key in self._done:
            self._report.skipped += 1
            return
        set_clock(self._settings, tick_time(self._settings, window))
        name = TICK if self._was_trained() else FIRST_TICK
        started = time.monotonic()
        self._run(name, partition_key=key)
        seconds = time.monotonic() - started
        self._report.ticks += 1
        self._report.seconds[name] = self._report.seconds.get(name, 0.0) + seconds
        self._say(f"{name} {key}: {seconds:.1f} s")
        self._act_on_sensor()

    def _run(self, name: str, **options: Any) -> None:
        job = self._definitions.resolve_job_def(name)
        config = {**options.pop("run_config", {}), **QUIET}
        tags = {**options.pop("tags", {}), **self._tags}
        result = job.execute_in_process(
            instance=self._instance, raise_on_error=False, run_config=config, tags=tags, **options
        )
        if not result.success:
            self._report.failed.append(result.run_id)
            raise ReplayFailed(
                f"{name} failed",
                where=f"partition {options.get('partition_key')}, run {result.run_id}",
                found=_first_failure(result),
                next_step="open the run in the UI (`co2 ui`), mend the cause and replay again",
            )

    def _was_trained(self) -> bool:
        if not self._trained:
            with Warehouse(self._settings.home, lock_timeout_s=self._settings.lock_timeout_s).read(
                "whether anything was trained"
            ) as con:
                self._trained = was_trained(con)
        return self._trained

    def _act_on_sensor(self) -> None:
        """What the daemon would do: evaluate, keep the cursor, run what is asked for."""
        sensor = self._definitions.resolve_sensor_def(SENSOR)
        with dg.build_sensor_context(
            instance=self._instance,
            cursor=self._read_cursor(),
            definitions=self._definitions,
            sensor_name=SENSOR,
        ) as context:
            outcome = sensor.evaluate_tick(context)
        for request in outcome.run_requests or []:
            self._say(f"{SENSOR} asks for {RETRAIN}: {request.run_key}")
            started = time.monotonic()
            self._run(
                RETRAIN,
                run_config=request.run_config,
                tags={
                    **request.tags,
                    # The daemon recognises by these what has been done already.
                    "dagster/run_key": request.run_key or "",
                    "dagster/sensor_name": SENSOR,
                },
            )
            self._report.trainings.append(request.run_key or "")
            self._report.seconds[RETRAIN] = self._report.seconds.get(RETRAIN, 0.0) + (
                time.monotonic() - started
            )
        self._write_cursor(outcome.cursor)

    def _read_cursor(self) -> str | None:
        try:
            cursor = json.loads(self._cursor_file.read_text())["sensor_cursor"]
        except FileNotFoundError:
            return None
        return None if cursor is None else str(cursor)

    def _write_cursor(self, cursor: str | None) -> None:
        draft = self._cursor_file.with_suffix(".tmp")
        draft.write_text(json.dumps({"sensor_cursor": cursor}))
        draft.replace(self._cursor_file)


def _first_failure(result: dg.ExecuteInProcessResult) -> str:
    for event in result.all_events:
        if event.is_step_failure:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            return f"{event.step_key}: {error.message.strip() if error else 'no error recorded'}"
    return "no step failed; see the run's log"


def _check_range(settings: Settings, start: datetime, end: datetime) -> None:
    first, last = settings.first_window, settings.last_window
    if settings.source != "recorded" or first is None or last is None:
        raise SettingsError(
            "only a recorded home can be replayed",
            where=f"home {settings.home}",
            found=f"source {settings.source}",
            expected="recorded",
            next_step="choose another with `co2 --home`",
        )
    if not first <= start < end <= last:
        raise SettingsError(
            "the windows are not those of this home",
            where=f"home {settings.home}",
            found=f"{start:%Y-%m-%dT%H:%M} to {end:%Y-%m-%dT%H:%M}",
            expected=f"within {first:%Y-%m-%dT%H:%M} to {last:%Y-%m-%dT%H:%M}",
            next_step="replay within them, or in another home",
        )


@contextmanager
def recorded_server(
    settings: Settings, *, faults: FaultPlan | None = None, starts_at: datetime
) -> Iterator[RecordedServer]:
    """The recorded server of a home, on its port; a clock never set begins at `starts_at`."""
    recordings = Recordings.load(settings.recorded_dir)
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with RecordedServer(
        recordings,
        port=settings.recorded_port,
        clock_file=settings.clock_file,
        faults=faults,
        starts_at=starts_at,
    ) as server:
        yield server


def set_clock(settings: Settings, time_utc: datetime) -> None:
    """Move the virtual clock of a home on; it never goes back.

    A window that is replayed after a later one finds the clock there already.
    """
    if read_clock(settings) >= time_utc:
        return
    reply = requests.put(
        f"{settings.base_url}/_replay/clock",
        json={"now_utc": time_utc.astimezone(UTC).isoformat()},
        timeout=10,
    )
    reply.raise_for_status()


def tick_time(settings: Settings, window: datetime) -> datetime:
    """Where the virtual clock stands in the tick of a window: at the cut-off of its forecast."""
    return window + WINDOW + settings.issue_delay


def read_clock(settings: Settings) -> datetime:
    """The virtual time of a home's recorded server."""
    return platform_now(settings)


@contextmanager
def fast_event_log() -> Iterator[None]:
    """Dagster's SQLite without fsync, in this process only: a tick in 3 s instead of 15.

    A replay can be made again; a live run keeps Dagster's default. Dagster also makes an
    engine for each connection, 500 in a tick, each of which compiles its statements anew;
    here it keeps one for each file, with its connections, a fifth of the time of a tick.
    """

    def no_fsync(connection: Any, _record: object) -> None:
        if type(connection).__module__.startswith("sqlite3"):
            connection.execute("PRAGMA synchronous=OFF")

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "connect", no_fsync)
    originals = {module: module.create_engine for module in _ENGINE_MAKERS}
    engines: dict[str, sqlalchemy.Engine] = {}
    for module, create_engine in originals.items():
        module.create_engine = _one_per_file(create_engine, engines)
    try:
        yield
    finally:
        sqlalchemy.event.remove(sqlalchemy.engine.Engine, "connect", no_fsync)
        for module, create_engine in originals.items():
            module.create_engine = create_engine
        for engine in engines.values():
            engine.pool.dispose()


_ENGINE_MAKERS: tuple[Any, ...] = (sqlite_event_log, sqlite_run_storage)


def _one_per_file(
    create_engine: Callable[..., sqlalchemy.Engine], engines: dict[str, sqlalchemy.Engine]
) -> Callable[..., sqlalchemy.Engine]:
    def cached(url: str, **options: Any) -> sqlalchemy.Engine:
        if url not in engines:
            engines[url] = _Kept(
                create_engine(url, **options | {"poolclass": sqlalchemy.QueuePool})
            )
        return engines[url]

    return cached


class _Kept(sqlalchemy.Engine):
    """An engine that Dagster cannot dispose of after each event."""

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self.__dict__.update(engine.__dict__)

    def dispose(self, close: bool = True) -> None:
        """Keep the connections: the replay closes them when it ends."""


def demo_windows(recordings: Recordings, days: int) -> tuple[datetime, datetime]:
    """First and last window of a demo: the last `days` days that were recorded."""
    last = recordings.span[1].replace(minute=0, second=0, microsecond=0)
    last -= timedelta(hours=last.hour % 6)
    return last - timedelta(days=days), last
