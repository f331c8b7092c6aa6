"""Sixty recorded days, tick by tick, with a random fault in every second tick and random kills.

    python -m bench.soak [--ticks 240] [--kills 110] [--seed 0] [--folder DIR]     (make soak)

Two homes live through the same windows. One is left in peace. In the other the recorded
server does, in about two ticks of three, one fault of the catalogue, moved into that tick, and
each tick runs in a process of its own that is killed with -9 at a random moment in about two
of five attempts, then started again. After every tick the disturbed home is looked at, and
compared with the other. All is drawn from the seed, so a soak can be repeated.

Results go to bench/results/soak.json and soak.md.
"""

from __future__ import annotations

import json
import multiprocessing as mp
import os
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import duckdb
import psutil

from co2_assets.orchestration.home import prepare_home
from co2_assets.processes import free_port
from co2_assets.replay.fault_catalogue import CATALOGUE, FaultExample
from co2_assets.replay.faults import FaultPlan
from co2_assets.replay.machine import recorded_server, replay, set_clock, tick_time
from co2_assets.schema import (
    CO2_PROGNOSIS,
    DAY_AHEAD_PRICES,
    TABLES,
    VALUE_COLUMNS,
    WIND_SOLAR_FORECASTS,
    Table,
)
from co2_assets.settings import WINDOW, Settings, load_settings
from co2_assets.warehouse.layout import Layout
from co2_assets.warehouse.reader import open_published

RESULTS = Path(__file__).parent / "results"
FIRST = datetime(2024, 11, 20, tzinfo=UTC)
EXAMPLE_WINDOW = datetime(2025, 1, 20, tzinfo=UTC)
"""The window that the catalogue's examples are written for."""

SMALL: dict[str, Any] = {
    "training_days": 140,
    "feature_history_days": 2,
    "recipe": "log_ridge",
    "horizon_hours": 6,
    "members": 1,
    "request_retries": 1,
    "retry_after_tick_s": 2.0,
    "request_timeout_s": 3.0,
    "reply_deadline_s": 5.0,
    "lock_timeout_s": 60.0,
}
"""A small training and little patience: what is soaked is the platform, not the model."""

HEALED_AFTER = timedelta(hours=24)
"""Two ticks after a fault has ended its hours have been fetched again."""

FAULT_SHARE, KILL_SHARE = 0.67, 0.45
UNDETECTABLE = ("drift", "unnoticed", "healed")
"""Outcomes of faults whose values are plausible while they last: a revision, a bias."""

DERIVED = tuple(table for table in TABLES if table.schema in {"raw", "core"})
TOLERANCE = 1e-6
DAY = timedelta(days=1)

DATASETS_OF = {
    WIND_SOLAR_FORECASTS.name: ("Forecasts_Hour",),
    CO2_PROGNOSIS.name: ("CO2EmisProg",),
    DAY_AHEAD_PRICES.name: ("Elspotprices", "DayAheadPrices"),
}


@dataclass
class Report:
    """What a soak found; all counts of faults should be 0."""

    seed: int
    ticks: int = 0
    fault_kinds: int = 0
    faulted_ticks: int = 0
    kills: int = 0
    lost: int = 0
    doubled: int = 0
    torn: int = 0
    unmarked_wrong: int = 0
    ticks_without_forecast: int = 0
    unmarked_fallbacks: int = 0
    fallback_ticks: int = 0
    attempts: int = 0
    seconds: float = 0.0
    kinds: dict[str, int] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether nothing was found."""
        return not (
            self.lost
            or self.doubled
            or self.torn
            or self.unmarked_wrong
            or self.ticks_without_forecast
            or self.unmarked_fallbacks
        )


@dataclass(frozen=True)
class Assault:
    """What is done to one tick."""

    window: datetime
    example: FaultExample | None


def plan_assaults(first: datetime, ticks: int, seed: int) -> list[Assault]:
    """Which fault each tick suffers; every example comes before any comes twice.

    The first day is left in peace, so that there is a champion to disturb.
    """
    chance = random.Random(seed)  # noqa: S311, a repeatable soak, no secret
    bag: list[FaultExample] = []
    assaults = []
    for index in range(ticks):
        example = None
        if index >= 4 and chance.random() < FAULT_SHARE:
            if not bag:
                bag = list(CATALOGUE)
                chance.shuffle(bag)
            example = bag.pop()
        assaults.append(Assault(first + index * WINDOW, example))
    return assaults


def moved(assault: Assault) -> list[dict[str, Any]]:
    """The example's faults, with their times moved to the tick, acting while it lasts."""
    if assault.example is None:
        return []
    by = assault.window - EXAMPLE_WINDOW
    end = assault.window + WINDOW
    return [
        {name: _moved(value, by) for name, value in fault.items()}
        | {
            "active_from": end.isoformat(),
            "active_to": (end + assault.example.ticks * WINDOW).isoformat(),
        }
        for fault in assault.example.faults
    ]


def _moved(value: Any, by: timedelta) -> Any:
    if not isinstance(value, str):
        return value
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return value
    return (time.replace(tzinfo=time.tzinfo or UTC) + by).isoformat()


def soak(folder: Path, *, ticks: int, kills: int, seed: int, first: datetime, told: Told) -> Report:
    """Run both homes and compare them after every tick.

    Args:
        folder: for the two homes.
        ticks: windows to live through.
        kills: no more kills than this.
        seed: of everything random.
        first: start of the first window.
        told: what has been found so far, after every tick.
    """
    began = time.monotonic()
    assaults = plan_assaults(first, ticks, seed)
    report = Report(seed)
    calm, disturbed = (_home(folder / name, first, ticks) for name in ("calm", "disturbed"))
    plan = FaultPlan.of({"faults": [fault for one in assaults for fault in moved(one)]})
    chance = random.Random(seed + 1)  # noqa: S311
    starts_at = tick_time(calm, first)
    with (
        workers() as start,
        recorded_server(calm, starts_at=starts_at),
        recorded_server(disturbed, faults=plan, starts_at=starts_at),
    ):
        typical = 20.0
        for assault in assaults:
            with _undisturbed(start, calm, assault.window) as took:
                _disturbed(start, disturbed, assault, chance, typical, kills, report)
            # The first tick trains, and says little of the others.
            typical = took[0] if report.ticks <= 1 else 0.8 * typical + 0.2 * took[0]
            report.ticks += 1
            _note(assault, report)
            look(calm, disturbed, assaults[: report.ticks], report)
            report.seconds = time.monotonic() - began
            told(report)
    return report


def _note(assault: Assault, report: Report) -> None:
    if assault.example is not None:
        report.faulted_ticks += 1
        report.kinds[assault.example.name] = report.kinds.get(assault.example.name, 0) + 1
        report.fault_kinds = len(report.kinds)


def _home(home: Path, first: datetime, ticks: int) -> Settings:
    settings = load_settings(
        home=home,
        source="recorded",
        first_window=first,
        last_window=first + ticks * WINDOW,
        recorded_port=free_port(),
        **SMALL,
    )
    return prepare_home(settings)


Told = Callable[[Report], None]


# Processes


@contextmanager
def workers() -> Iterator[Callable[[Path, datetime], mp.process.BaseProcess]]:
    """Starts ticks in processes forked from one that has imported everything and opened nothing."""
    context = mp.get_context("forkserver")
    context.set_forkserver_preload(["bench.soak", "co2_assets.orchestration.build"])

    def start(home: Path, window: datetime) -> mp.process.BaseProcess:
        process = context.Process(target=run_tick, args=(str(home), window.isoformat()))
        process.start()
        return process

    yield start


def run_tick(home: str, window: str) -> None:
    """One tick, and what the sensor asks for, in this process: a group that can be killed."""
    os.setpgid(0, 0)
    with Path(home, "soak.log").open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        start = datetime.fromisoformat(window)
        settings = load_settings(home=Path(home), **SMALL | {"recorded_port": _port(Path(home))})
        replay(settings, start=start, end=start + WINDOW, say=print, serves=False)


def _port(home: Path) -> int:
    return int((home / "port").read_text())


@contextmanager
def _undisturbed(
    start: Callable[[Path, datetime], mp.process.BaseProcess], settings: Settings, window: datetime
) -> Iterator[list[float]]:
    """The calm home's tick, beside the block; yields a list that will hold its seconds."""
    _prepare(settings, window)
    process = start(settings.home, window)
    began, took = time.monotonic(), list[float]()

    def wait() -> None:
        process.join()
        took.append(time.monotonic() - began)

    waiting = threading.Thread(target=wait)
    waiting.start()
    try:
        yield took
    finally:
        waiting.join()
    if process.exitcode != 0:
        raise RuntimeError(f"a calm tick failed: see {settings.home / 'soak.log'}")


def _disturbed(
    start: Callable[[Path, datetime], mp.process.BaseProcess],
    settings: Settings,
    assault: Assault,
    chance: random.Random,
    typical: float,
    kills: int,
    report: Report,
) -> None:
    """One tick until it completes, killed on the way now and then."""
    _prepare(settings, assault.window)
    while True:
        report.attempts += 1
        process = start(settings.home, assault.window)
        # The first tick trains and is left in peace.
        doomed = report.ticks > 0 and report.kills < kills and chance.random() < KILL_SHARE
        delay = chance.uniform(0.05, 1.0) * typical
        process.join(delay if doomed else None)
        if process.exitcode is None and process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            report.kills += 1
            _look_at_public(settings, report)
            continue
        if process.exitcode != 0:
            report.findings.append(f"{assault.window:%Y-%m-%dT%H}: exit code {process.exitcode}")
            if report.findings.count(report.findings[-1]) >= 3:
                raise RuntimeError(f"a tick fails: see {settings.home / 'soak.log'}")
            continue
        return


def _prepare(settings: Settings, window: datetime) -> None:
    (settings.home / "port").write_text(str(settings.recorded_port))
    set_clock(settings, tick_time(settings, window))


# What is looked at


def look(calm: Settings, disturbed: Settings, assaults: list[Assault], report: Report) -> None:
    """Compare after a tick; findings are counted and said."""
    now = assaults[-1].window + WINDOW
    issue = {"issue": now}
    with open_published(disturbed.home) as con:
        _count(report, "doubled", now, sum(_doubled(con, table) for table in TABLES if table.key))
        served = con.execute(
            "SELECT count(*), count(DISTINCT model_version), bool_or(is_fallback),"
            " bool_and(is_fallback = (fallback_reason IS NOT NULL)), min(model_version)"
            " FROM main.forecast_history WHERE is_served AND issue_time_utc = $issue",
            issue,
        ).fetchone() or (0, 0, False, True, None)
        n, versions, fallback, is_said, version = served
        _count(report, "ticks_without_forecast", now, int(n == 0))
        _count(report, "torn", now, int(n not in (0, disturbed.horizon_hours) or versions > 1))
        unmarked = bool(n) and (not is_said or (version == "climatology" and not fallback))
        _count(report, "unmarked_fallbacks", now, int(unmarked))
        report.fallback_ticks += int(bool(fallback))
    _compare(calm, disturbed, assaults, now, report)


def _look_at_public(settings: Settings, report: Report) -> None:
    """After a kill: what is public opens and is one state."""
    public = Layout(settings.home).public
    try:
        with open_published(settings.home) as con:
            ids = con.execute("SELECT count(*), max(commit_id) FROM ops.commits").fetchone()
            torn = ids is None or ids[0] != ids[1] + 1
    except duckdb.Error as error:
        report.findings.append(f"{public}: {error}")
        torn = True
    report.torn += int(torn)


def _doubled(con: duckdb.DuckDBPyConnection, table: Table) -> int:
    found = con.execute(
        f"SELECT count(*) - count(DISTINCT ({', '.join(table.key)})) FROM {table.qualified_name}"
    ).fetchone()
    return int(found[0]) if found else 0


def _compare(
    calm: Settings, disturbed: Settings, assaults: list[Assault], now: datetime, report: Report
) -> None:
    """Against the undisturbed home: equal where no fault is young, marked where one is."""
    settled = now - HEALED_AFTER
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        for name, settings in (("calm", calm), ("disturbed", disturbed)):
            path = str(Layout(settings.home).public.resolve()).replace("'", "''")
            con.execute(f"ATTACH '{path}' AS {name} (READ_ONLY)")
        for table in DERIVED:
            columns = ", ".join(table.compared_columns)
            within = f"{table.key[0]} < $settled {_but_faulted(table, assaults)}"
            for here, there, what in (
                ("calm", "disturbed", "lost"),
                ("disturbed", "calm", "doubled"),
            ):
                found = con.execute(
                    f"SELECT count(*) FROM (SELECT {columns} FROM {here}.{table.qualified_name}"
                    f" WHERE {within} EXCEPT ALL"
                    f" SELECT {columns} FROM {there}.{table.qualified_name} WHERE {within})",
                    {"settled": settled},
                ).fetchone()
                if found and found[0]:
                    _count(report, what, now, int(found[0]), table.qualified_name)
        young = assaults[-4:]
        if any(one.example and one.example.outcome in UNDETECTABLE for one in young):
            return
        differs = " OR ".join(
            f"abs(theirs.{name} - ours.{name}) > {TOLERANCE}" for name in VALUE_COLUMNS
        )
        found = con.execute(
            f"SELECT count(*) FROM disturbed.core.aggregated_hours AS ours"
            f" JOIN calm.core.aggregated_hours AS theirs USING (hour_utc)"
            f" WHERE ours.quality = 'ok' AND ours.hour_utc >= $settled AND ({differs})"
            # Nobody can tell the first two hours of a meter that stands still; what comes
            # after them marks the run, and training leaves all of it out.
            " AND NOT EXISTS (SELECT 1 FROM disturbed.core.aggregated_hours AS later"
            " WHERE later.quality = 'frozen' AND later.hour_utc > ours.hour_utc"
            " AND later.hour_utc <= ours.hour_utc + INTERVAL 2 HOUR)",
            {"settled": settled},
        ).fetchone()
        _count(report, "unmarked_wrong", now, int(found[0]) if found else 0)


def _but_faulted(table: Table, assaults: list[Assault]) -> str:
    """SQL that leaves out the hours of forecasts whose source had a fault.

    They are not asked for again once they are past, and a value that was first seen later
    says so.
    """
    datasets = DATASETS_OF.get(table.name, ())
    spans = [
        (one.window - timedelta(hours=12), one.window + (one.example.ticks * WINDOW) + 2 * DAY)
        for one in assaults
        if one.example and any(fault.get("dataset") in datasets for fault in one.example.faults)
    ]
    return " ".join(
        f"AND NOT ({table.key[0]} >= TIMESTAMPTZ '{start.isoformat()}'"
        f" AND {table.key[0]} < TIMESTAMPTZ '{end.isoformat()}')"
        for start, end in spans
    )


def _count(report: Report, what: str, now: datetime, count: int, where: str = "") -> None:
    if count:
        setattr(report, what, getattr(report, what) + count)
        report.findings.append(f"{now:%Y-%m-%dT%H}: {count} {what} {where}".strip())


# The report


def markdown(report: Report) -> str:
    """The report for a reader."""
    shown = (
        ("ticks", "ticks lived through"),
        ("faulted_ticks", "of them with a fault"),
        ("fault_kinds", "kinds of faults"),
        ("kills", "kills with -9"),
        ("lost", "rows lost"),
        ("doubled", "rows doubled"),
        ("torn", "torn states or forecasts"),
        ("unmarked_wrong", "hours wrong and not marked"),
        ("ticks_without_forecast", "ticks without a forecast"),
        ("unmarked_fallbacks", "fallbacks not marked"),
        ("fallback_ticks", "ticks whose forecast is a marked fallback"),
    )
    values = asdict(report)
    minutes = report.seconds / 60
    lines = [
        "# Report of `make soak`",
        "",
        f"Seed {report.seed}, {minutes:.0f} minutes.",
        "",
        "| what | count |",
        "|---|---|",
        *(f"| {words} | {values[name]} |" for name, words in shown),
        "",
        "Faults by name: " + ", ".join(f"{name} {n}" for name, n in sorted(report.kinds.items())),
        "",
    ]
    if report.findings:
        lines += ["Findings:", "", *(f"- {line}" for line in report.findings), ""]
    return "\n".join(lines)


def _keep(report: Report) -> None:
    """After every tick: a soak that is broken off has said what it found."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "soak.json").write_text(json.dumps(asdict(report), indent=1) + "\n")
    (RESULTS / "soak.md").write_text(markdown(report))
    found = len(report.findings)
    click.echo(
        f"tick {report.ticks}: {report.kills} kills, {report.seconds:.0f} s, {found} findings"
    )


@click.command()
@click.option("--ticks", default=240, show_default=True)
@click.option("--kills", default=120, show_default=True, help="No more kills than this.")
@click.option("--seed", default=0, show_default=True)
@click.option("--folder", type=click.Path(path_type=Path), help="Keep the two homes here.")
def main(ticks: int, kills: int, seed: int, folder: Path | None) -> None:
    """Soak the platform and write the report."""
    kept = folder or Path(tempfile.mkdtemp(prefix="co2-soak-"))
    try:
        report = soak(kept, ticks=ticks, kills=kills, seed=seed, first=FIRST, told=_keep)
    finally:
        for child in psutil.Process().children(recursive=True):
            child.kill()
        if folder is None:
            shutil.rmtree(kept, ignore_errors=True)
    click.echo(markdown(report))
    sys.exit(0 if report.is_clean else 1)


if __name__ == "__main__":
    main()
