"""Kill -9 of a writer of the warehouse, a thousand times at random, and a proof after each.

    python -m bench.kills [--kills 1000] [--seed 0] [--json FILE]

A writer does without end what ticks do: two transactions of two tables each, of recorded
rows, then a publication. It says what it is about to do and what is done on a pipe. It is
killed, at a random time or within a phase drawn by lot; then what is on disk is compared
with what the journal says must be there. The next writer goes on from there. A thread
reads the public copy all the while.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, Self

# Before polars and DuckDB start their threads: a writer is a fork of a process without any.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import duckdb
import polars as pl

from co2_assets.errors import Co2Error, WarehouseError
from co2_assets.schema import (
    AGGREGATED_HOURS,
    FORECASTS,
    POWER_SYSTEM,
    QUANTILE_COLUMNS,
    QUANTILES,
    RETRAIN_DECISIONS,
    VALUE_COLUMNS,
    Table,
)
from co2_assets.settings import WINDOW
from co2_assets.warehouse import compact, publish, store
from co2_assets.warehouse.layout import Layout
from co2_assets.warehouse.publish import GENERATIONS_KEPT
from co2_assets.warehouse.query import Connection, registered, row
from co2_assets.warehouse.raw import polars_schema
from co2_assets.warehouse.reader import open_published
from co2_assets.warehouse.store import Transaction, Warehouse

RESULT = Path(__file__).parent / "results" / "kills.json"

WINDOWS = 16
"""Windows that the writers go round: the first round is new rows, the others revise them."""

FIRST = datetime.fromisoformat("2025-01-10T00:00+00:00")
VERSIONS = ("champion", "persistence", "climatology")
LEADS = 24
LANES = 2
"""Warehouses beside each other: a kill waits for a disk as often as for a processor."""

NEW_HOME_EVERY = 20
"""Of so many kills one falls on the first opening of a new home: all migrations."""

PATIENCE_S = 1.5
"""How long a kill waits for its phase; then it falls where it falls."""

ENDS_WITHIN_S = 60.0
"""A server of writers ends when nobody speaks to it any more; a busy machine takes its time."""

READ_EVERY_S = 0.1
PUBLIC_PHASES = ("checkpoint", "copy", "sync and rename", "symlink", "record", "prune")
PHASES = ("opening", "write", "commit", *PUBLIC_PHASES, "compaction")


class Kind(NamedTuple):
    """A table as the writers fill it."""

    table: Table
    number: str
    """SQL of a row's place in the table: 0, 1, 2, ... over all windows."""
    stamp: str
    """A compared column that carries the commit id: it must agree with `commit_id`."""
    recorded: tuple[str, ...]
    """Columns that must hold the recorded values."""
    per_window: int


def _since(column: str, seconds: int) -> str:
    return f"(epoch({column})::BIGINT - {int(FIRST.timestamp())}) // {seconds}"


HOURS_OF_A_WINDOW = WINDOW // timedelta(hours=1)
KINDS = {
    "minutes": Kind(
        POWER_SYSTEM,
        _since("minute_utc", 60),
        "imbalance_dk1_mw",
        VALUE_COLUMNS,
        60 * HOURS_OF_A_WINDOW,
    ),
    "hours": Kind(
        AGGREGATED_HOURS,
        _since("hour_utc", 3600),
        "net_import_imputed_mw",
        (*VALUE_COLUMNS, "quality"),
        HOURS_OF_A_WINDOW,
    ),
    "forecasts": Kind(
        FORECASTS,
        f"({_since('issue_time_utc', 21600)} - 1) * {len(VERSIONS) * LEADS}"
        f" + list_position({list(VERSIONS)}, model_version) * {LEADS} - {LEADS} + lead_hours - 1",
        "power_system_age_hours",
        QUANTILE_COLUMNS,
        len(VERSIONS) * LEADS,
    ),
    "decisions": Kind(
        RETRAIN_DECISIONS, _since("window_start_utc", 21600), "n_values", ("reason",), 1
    ),
}
TRANSACTIONS = {"load": ("minutes", "hours"), "issue": ("forecasts", "decisions")}
"""What one transaction writes: two tables, which must never disagree."""


# Rows


Frames = dict[str, pl.DataFrame]
"""The recorded rows of all windows, by the names of `KINDS`."""


def recorded_rows(folder: Path) -> None:
    """Write the rows of all windows, one file for each table, where writers find them."""
    # Only here: a writer needs none of it.
    from co2_assets.replay.recordings import Recordings
    from co2_assets.source.datasets import POWER_SYSTEM_RIGHT_NOW
    from co2_assets.transform.hourly import hourly_means
    from co2_assets.transform.quality import assess

    end = FIRST + WINDOWS * WINDOW
    names = {field.api_name: field.name for field in POWER_SYSTEM_RIGHT_NOW.fields}
    recorded = (
        Recordings.load()
        .power_system.rename(names | {"HourUTC": "minute_utc"}, strict=False)
        .filter(pl.col("minute_utc").is_between(FIRST, end, closed="left"))
        .select("minute_utc", *VALUE_COLUMNS)
    )
    hours = assess(
        hourly_means(recorded, FIRST, end).with_columns(minutes_seen=pl.col("minutes_seen") * 60)
    )
    minutes = recorded.join(
        pl.DataFrame({"minute": range(60)}), how="cross", maintain_order="left_right"
    ).with_columns(minute_utc=pl.col("minute_utc") + pl.duration(minutes="minute"))
    issued = (
        hours.filter(pl.col("hour_utc").dt.hour() % HOURS_OF_A_WINDOW == HOURS_OF_A_WINDOW - 1)
        .select(
            issue_time_utc=pl.col("hour_utc") + pl.duration(hours=1),
            level=pl.col("co2_imputed_g_per_kwh"),
        )
        .join(pl.DataFrame({"model_version": VERSIONS}), how="cross", maintain_order="left_right")
        .join(
            pl.DataFrame({"lead_hours": range(1, LEADS + 1)}),
            how="cross",
            maintain_order="left_right",
        )
        .with_columns(
            valid_time_utc=pl.col("issue_time_utc") + pl.duration(hours=pl.col("lead_hours") - 1),
            **{
                name: pl.col("level") * (0.5 + share) + pl.col("lead_hours")
                for name, share in zip(QUANTILE_COLUMNS, QUANTILES, strict=True)
            },
        )
    )
    decided = hours.filter(pl.col("hour_utc").dt.hour() % HOURS_OF_A_WINDOW == 0).select(
        window_start_utc="hour_utc",
        window_end_utc=pl.col("hour_utc") + WINDOW,
        reason=pl.format("CO2 stood at {} g/kWh", pl.col("co2_imputed_g_per_kwh")),
    )
    found = {"minutes": minutes, "hours": hours, "forecasts": issued, "decisions": decided}
    for name, kind in KINDS.items():
        _whole(kind.table, found[name]).write_ipc(folder / f"{name}.arrow")


def _whole(table: Table, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with every column of the table: null where it may be, else a plain value."""
    plain: dict[str, Any] = {
        "VARCHAR": "kills",
        "DOUBLE": 0.0,
        "INTEGER": 1,
        "BOOLEAN": False,
        "TIMESTAMPTZ": FIRST,
        "TIMESTAMP": FIRST.replace(tzinfo=None),
    }
    schema = polars_schema(table)
    return rows.select(
        (
            pl.col(column.name)
            if column.name in rows.columns
            else pl.lit(None if column.nullable else plain[column.sql_type])
        )
        .cast(schema[column.name])
        .alias(column.name)
        for column in table.columns
        if column.name != "commit_id"
    )


def rows_of(frames: Frames, name: str, window: int, commit: int) -> pl.DataFrame:
    """What a commit writes into a table for a window."""
    kind = KINDS[name]
    return (
        frames[name]
        .slice(window * kind.per_window, kind.per_window)
        .with_columns(pl.lit(commit).cast(frames[name].schema[kind.stamp]).alias(kind.stamp))
    )


def read_rows(folder: Path) -> Frames:
    """What `recorded_rows` wrote."""
    return {name: pl.read_ipc(folder / f"{name}.arrow") for name in KINDS}


# The writer, in a process of its own


def _say(*words: object) -> None:
    """One line for the parent, with its time: a single write, so that no kill tears it."""
    line = " ".join(map(str, (time.monotonic_ns(), *words)))
    os.write(1, f"{line}\n".encode())


def _phase(name: str) -> None:
    _say("phase", name)


def _announced(owner: Any, name: str, before: str, after: str | None = None) -> None:
    """Make a function say which phase begins with it, and which when it has ended."""
    original = getattr(owner, name)

    def act(*arguments: Any, **options: Any) -> Any:
        _phase(before)
        result = original(*arguments, **options)
        if after is not None:
            _phase(after)
        return result

    setattr(owner, name, act)


def write_on(home: Path, rows: Path, window: int) -> None:
    """Write and publish windows, one after the other, until somebody kills this process."""
    _say("pid", os.getpid())
    _phase("opening")
    _announced(publish.shutil, "copyfile", "copy", "sync and rename")
    _announced(publish, "_swing", "symlink")
    _announced(publish, "_replace_text", "record")
    _announced(publish, "_prune", "prune")
    _announced(store, "compact_head", "compaction", "checkpoint")
    compact.SMALLEST_BLOCKS = 8  # a small file is compacted too, so that kills fall into that
    frames = read_rows(rows)
    warehouse = Warehouse(home)
    with warehouse.read("the first look"):
        _say("opened")
    while True:
        for what in TRANSACTIONS:
            _phase("write")
            with warehouse.write(what, "kills") as tx:
                _say("intends", tx.commit_id, what, window)
                write_transaction(tx, frames, what, window)
                _phase("commit")
            _say("committed", tx.commit_id)
        _phase("checkpoint")
        published = warehouse.publish()
        assert published is not None, "commits of this process were public before it published"
        _say("published", published.commit_id)
        window = (window + 1) % WINDOWS


def write_transaction(tx: Transaction, frames: Frames, what: str, window: int) -> None:
    """The two tables of one transaction."""
    for name in TRANSACTIONS[what]:
        tx.upsert(KINDS[name].table, rows_of(frames, name, window, tx.commit_id))


def serve_writers() -> None:
    """Fork a writer for each line on standard input; say when it has died."""
    # What polars and DuckDB import at their first exchange of rows, once for all writers.
    for name in ("numpy", "pyarrow", "pyarrow.dataset"):
        importlib.import_module(name)
    for line in sys.stdin.buffer:
        wanted = json.loads(line)
        pid = os.fork()
        if pid == 0:
            try:
                write_on(Path(wanted["home"]), Path(wanted["rows"]), wanted["window"])
            except BaseException:
                traceback.print_exc()
            os._exit(1)
        _, status = os.waitpid(pid, 0)
        _say("dead", os.waitstatus_to_exitcode(status))


class Line(NamedTuple):
    """One line of a writer: when, and its words."""

    seconds: float
    words: list[str]


class Writers:
    """Starts writers, hears what they say and kills them."""

    def __init__(self, rows: Path, errors: Path) -> None:
        self._rows = rows
        self._said_of_errors = errors
        self._errors = errors.open("wb")
        self._server = subprocess.Popen(
            [sys.executable, "-c", "from bench.kills import serve_writers; serve_writers()"],
            cwd=Path(__file__).parents[1],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
        )
        self._buffer = b""
        self._pid = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if self._pid:
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.stdout.close()
        self._errors.close()
        self._server.wait(ENDS_WITHIN_S)

    def start(self, home: Path, window: int) -> float:
        """Begin a writer; returns when."""
        assert self._server.stdin is not None
        wanted = {"home": str(home), "rows": str(self._rows), "window": window}
        self._server.stdin.write(json.dumps(wanted).encode() + b"\n")
        first = self.hear(60.0)
        assert first is not None, self.errors()
        self._pid = int(first.words[1])
        return first.seconds

    def hear(self, patience_s: float) -> Line | None:
        """The next line, or None if none came in time."""
        assert self._server.stdout is not None
        deadline = time.monotonic() + patience_s
        with selectors.DefaultSelector() as selector:
            selector.register(self._server.stdout, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    return None
                got = os.read(self._server.stdout.fileno(), 65536)
                if not got:
                    raise AssertionError(f"the server of writers ended: {self.errors()}")
                self._buffer += got
        line, _, self._buffer = self._buffer.partition(b"\n")
        when, *words = line.decode().split(" ")
        return Line(int(when) / 1e9, words)

    def kill(self) -> list[Line]:
        """Kill the writer; returns what it had still said."""
        os.kill(self._pid, signal.SIGKILL)
        lines = []
        while (line := self.hear(60.0)) is not None and line.words[0] != "dead":
            lines.append(line)
        assert line is not None, "the writer did not die"
        self._pid = 0
        assert int(line.words[1]) == -signal.SIGKILL, f"the writer failed: {self.errors()}"
        return lines

    def errors(self) -> str:
        """What writers wrote to standard error."""
        return self._said_of_errors.read_text()


# What must be on disk, and what is


class Held(NamedTuple):
    """A table in figures: two states with the same figures are the same state."""

    rows: int = 0
    stamps: int = 0
    weighted: int = 0


State = dict[str, Held]


class Found(NamedTuple):
    """A database as it is."""

    commit_id: int
    commits: int
    commits_distinct: int
    first_commit: int
    state: State
    keys_repeated: int
    disagreeing: int
    unlike_recorded: int


class Model:
    """What each commit must have left, reckoned without a database from the journal alone."""

    def __init__(self) -> None:
        self._stamps = {name: [0] * (WINDOWS * kind.per_window) for name, kind in KINDS.items()}
        self._now: State = {name: Held() for name in KINDS}
        self._before: tuple[int, State, dict[str, tuple[int, list[int]]]] | None = None
        self.empty: State = dict(self._now)
        self.states: dict[int, State] = {}

    def intend(self, commit_id: int, what: str, window: int) -> None:
        """A commit that is about to be made."""
        kept: dict[str, tuple[int, list[int]]] = {}
        self._before = (commit_id, self._now, kept)
        now = dict(self._now)
        for name in TRANSACTIONS[what]:
            size = KINDS[name].per_window
            first = window * size
            old = self._stamps[name][first : first + size]
            kept[name] = (first, old)
            self._stamps[name][first : first + size] = [commit_id] * size
            held = now[name]
            now[name] = Held(
                held.rows + old.count(0),
                held.stamps + commit_id * size - sum(old),
                held.weighted
                + sum((commit_id - stamp) * (first + index) for index, stamp in enumerate(old)),
            )
        self._now = now
        self.states[commit_id] = now

    def take_back(self) -> None:
        """The newest commit was not made."""
        assert self._before is not None
        commit_id, self._now, kept = self._before
        del self.states[commit_id]
        for name, (first, old) in kept.items():
            self._stamps[name][first : first + len(old)] = old
        self._before = None


def look(con: Connection, frames: Frames) -> Found:
    """A database in figures.

    Args:
        con: head, or a published copy.
        frames: the recorded rows.
    """
    state: State = {}
    repeated = unlike = 0
    for name, kind in KINDS.items():
        differs = " OR ".join(
            f"stored.{column} IS DISTINCT FROM recorded.{column}" for column in kind.recorded
        )
        with registered(con, "recorded", frames[name]):
            rows, keys, stamps, weighted, torn = row(
                con,
                f"""
                SELECT count(*), count(DISTINCT number), coalesce(sum(commit_id), 0),
                    coalesce(sum(commit_id * number), 0), count(*) FILTER (is_torn)
                FROM (
                    SELECT commit_id, {kind.number} AS number,
                        stored.{kind.stamp} IS DISTINCT FROM commit_id OR {differs} AS is_torn
                    FROM {kind.table.qualified_name} AS stored
                    LEFT JOIN recorded USING ({", ".join(kind.table.key)})
                )
                """,
            ) or (0, 0, 0, 0, 0)
        state[name] = Held(rows, int(stamps), int(weighted))
        repeated += rows - keys
        unlike += torn
    last, commits, distinct, first = row(
        con,
        "SELECT max(commit_id), count(*), count(DISTINCT commit_id), min(commit_id)"
        " FROM ops.commits",
    ) or (0, 0, 0, 0)
    (disagreeing,) = row(con, DISAGREEING) or (0,)
    return Found(last, commits, distinct, first, state, repeated, disagreeing, unlike)


DISAGREEING = """
SELECT
    (SELECT count(*) FROM core.aggregated_hours AS hours FULL JOIN (
        SELECT date_trunc('hour', minute_utc) AS hour_utc, min(commit_id) AS oldest,
            max(commit_id) AS newest, count(*) AS n
        FROM raw.power_system GROUP BY 1
    ) AS minutes USING (hour_utc)
    WHERE (oldest, newest, n) IS DISTINCT FROM (hours.commit_id, hours.commit_id, 60))
    + (SELECT count(*) FROM ml.retrain_decisions AS decisions FULL JOIN (
        SELECT issue_time_utc AS window_end_utc, min(commit_id) AS oldest,
            max(commit_id) AS newest, count(*) AS n
        FROM ml.forecasts GROUP BY 1
    ) AS forecasts USING (window_end_utc)
    WHERE (oldest, newest, n)
        IS DISTINCT FROM (decisions.commit_id, decisions.commit_id, 72))
"""
"""Hours and minutes, forecasts and decisions are written together, so they agree or are torn."""


_OPENING = threading.Lock()


@contextmanager
def opened(home: Path) -> Iterator[Connection]:
    """The published copy, as `open_published`; one thread of this process opens at a time.

    Of two that open the same file at once, DuckDB gives one a database whose scan of
    registered frames is not there yet.
    """
    with ExitStack() as stack:
        with _OPENING:
            con = stack.enter_context(open_published(home))
        yield con


class Verdict(NamedTuple):
    """What is wrong with a state, in words; all empty is right."""

    lost: tuple[str, ...] = ()
    doubled: tuple[str, ...] = ()
    torn: tuple[str, ...] = ()

    def __add__(self, other: object) -> Verdict:
        """Both together."""
        assert isinstance(other, Verdict)
        return Verdict(*(a + b for a, b in zip(self, other, strict=True)))


def judge(
    where: str, found: Found, model: Model, *, at_least: int, at_most: int, base: int
) -> Verdict:
    """Compare a database with what the journal says.

    Args:
        where: a name for the words.
        found: the database.
        model: the state of each commit.
        at_least: the newest commit that was acknowledged (or published).
        at_most: the newest commit that may be there: that one, or the one in flight.
        base: the last commit of the migrations, at which all tables are empty.
    """
    lost, doubled, torn = [], [], []
    here = found.commit_id
    if here < at_least:
        lost.append(f"{where}: commit {at_least} was acknowledged, the newest is {here}")
    if here > at_most:
        doubled.append(f"{where}: commit {here} was never begun, the newest was {at_most}")
    if found.commits != found.commits_distinct or found.keys_repeated:
        doubled.append(f"{where}: {found.keys_repeated} keys are repeated, or commits")
    elif here - found.first_commit + 1 != found.commits:
        lost.append(f"{where}: {found.commits} commits up to {here}")
    if found.disagreeing:
        torn.append(f"{where}: tables of one transaction disagree in {found.disagreeing} places")
    if found.unlike_recorded:
        torn.append(f"{where}: {found.unlike_recorded} rows are not as written")
    expected = model.states.get(here, model.empty if here <= base else None)
    for name, held in found.state.items():
        wanted = None if expected is None else expected[name]
        if held == wanted:
            continue
        said = f"{where}: {name} at commit {here} is {held}, not {wanted}"
        if wanted is not None and held.rows < wanted.rows:
            lost.append(said)
        elif wanted is not None and held.rows > wanted.rows:
            doubled.append(said)
        else:
            torn.append(said)
    return Verdict(tuple(lost), tuple(doubled), tuple(torn))


def drafts(layout: Layout) -> list[str]:
    """Names of unfinished files in a home, in order."""
    found = [path for path in layout.home.rglob("*") if path.suffix == ".tmp"]
    found += layout.state.glob("compact.duckdb*")
    return sorted(str(path.relative_to(layout.home)) for path in found)


class Checker:
    """Looks at a home between two writers.

    Args:
        home: the warehouse.
        frames: the recorded rows.
        model: of the writers' journal.
    """

    def __init__(self, home: Path, frames: Frames, model: Model) -> None:
        self._layout = Layout(home)
        self._frames = frames
        self._model = model
        self.base: int | None = None
        self.acknowledged = 0
        self.published = 0
        self.in_flight: int | None = None

    def hear(self, words: list[str]) -> None:
        """Take in a line of the journal."""
        match words[0]:
            case "intends":
                self.in_flight = int(words[1])
                self._model.intend(self.in_flight, words[2], int(words[3]))
            case "committed":
                self.acknowledged, self.in_flight = int(words[1]), None
            case "published":
                self.published = int(words[1])

    def check(self) -> Verdict:
        """What is wrong with the home; afterwards the journal is what head holds."""
        newest = self.in_flight or self.acknowledged
        verdict = self._public(self.published, newest)
        try:
            # The opening publishes what the killed writer had only committed: the next look at
            # the public copy, and the reader's, expect it there.
            with Warehouse(self._layout.home).read("a look after a kill") as con:
                head = look(con, self._frames)
        except (Co2Error, duckdb.Error) as error:
            return verdict + Verdict(torn=(f"head cannot be opened: {error}",))
        if self.base is None:
            self.base = head.commit_id
            self.acknowledged = self.published = newest = head.commit_id
        verdict += judge(
            "head",
            head,
            self._model,
            at_least=self.acknowledged,
            at_most=newest,
            base=self.base,
        )
        if self.in_flight is not None and head.commit_id < self.in_flight:
            self._model.take_back()
        self.acknowledged = self.published = head.commit_id
        self.in_flight = None
        left = drafts(self._layout)
        generations = len(list(self._layout.generations.iterdir()))
        if len(left) > 4 or generations > GENERATIONS_KEPT + 2:
            verdict += Verdict(doubled=(f"{generations} generations, drafts {left}",))
        return verdict

    def _public(self, at_least: int, at_most: int) -> Verdict:
        """What is wrong with the public copy, which must be of these commits."""
        if self.base is None:
            return Verdict()
        try:
            with opened(self._layout.home) as con:
                found = look(con, self._frames)
        except (Co2Error, duckdb.Error) as error:
            return Verdict(torn=(f"the public copy cannot be opened: {error}",))
        return judge(
            "public", found, self._model, at_least=at_least, at_most=at_most, base=self.base
        )


class Reader(threading.Thread):
    """Opens the public copy again and again; keeps what it saw and every failure."""

    def __init__(self, home: Path, frames: Frames) -> None:
        super().__init__(daemon=True)
        self._home = home
        self._frames = frames
        self._ended = threading.Event()
        self.failures: list[str] = []
        self.seen: dict[int, Found] = {}
        self.reads = 0

    def run(self) -> None:
        """Read until `end`."""
        newest = 0
        while not self._ended.wait(READ_EVERY_S):
            try:
                with opened(self._home) as con:
                    (at,) = row(con, "SELECT max(commit_id) FROM ops.commits") or (-1,)
                    if at not in self.seen:
                        self.seen[at] = look(con, self._frames)
            except Exception as error:  # whatever it is, no reader may meet it
                self.failures.append(f"{type(error).__name__}: {error}")
                continue
            self.reads += 1
            if at < newest:
                self.failures.append(f"went back from commit {newest} to {at}")
            newest = at

    def end(self) -> None:
        """Stop reading."""
        self._ended.set()
        self.join()


# Killing


class Lot:
    """Draws where the next kill falls, from what it learns of how long each phase takes."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._typical = dict.fromkeys(PHASES, 0.01)
        self._life_s = 0.3
        self.number = 0

    def window(self) -> int:
        """Where the next writer begins."""
        return self._random.randrange(WINDOWS)

    def draw(self, *, new_home: bool) -> tuple[str | None, int, float]:
        """A phase to wait for (None: the beginning), how often, and seconds after it."""
        self.number += 1
        if new_home:
            return None, 1, self._random.uniform(0, self._life_s)
        if self.number % 2:
            return None, 1, self._random.uniform(0, 1.5 * self._life_s)
        # One in twelve for each phase; a compaction is rare, and waiting for one costs ticks.
        phase = self._random.choice(PHASES if self.number % 6 == 0 else PHASES[:-1])
        return phase, self._random.choice((1, 1, 2)), self._random.uniform(0, self._typical[phase])

    def learn(self, began: float, lines: list[Line]) -> None:
        """Take in how long the phases of a life lasted."""
        marks = [line for line in lines if line.words[0] in {"phase", "published"}]
        for this, following in zip(marks, marks[1:], strict=False):
            if this.words[0] == "phase":
                name = " ".join(this.words[1:])
                lasted = following.seconds - this.seconds
                self._typical[name] += 0.1 * (lasted - self._typical[name])
        for line in marks:
            if line.words[0] == "published":
                self._life_s += 0.1 * (line.seconds - began - self._life_s)
                break


def one_life(writers: Writers, home: Path, lot: Lot, *, new_home: bool) -> tuple[str, list[Line]]:
    """Start a writer and kill it; the phase in which it died, and all that it said."""
    phase, times, after_s = lot.draw(new_home=new_home)
    began = writers.start(home, lot.window())
    lines: list[Line] = []
    deadline = began + (after_s if phase is None else PATIENCE_S)
    while (line := writers.hear(deadline - time.monotonic())) is not None:
        lines.append(line)
        if phase is not None and line.words[0] == "phase" and " ".join(line.words[1:]) == phase:
            times -= 1
            if times == 0:
                while time.monotonic() < line.seconds + after_s:
                    pass  # a phase can be shorter than a sleep
                break
        if time.monotonic() >= deadline:
            break
    lines += writers.kill()
    lot.learn(began, lines)
    phases = [" ".join(line.words[1:]) for line in lines if line.words[0] == "phase"]
    died = phases[-1] if phases else "opening"
    return ("first opening: " + died if new_home else died), lines


def measure(
    kills: int,
    seed: int,
    folder: Path,
    *,
    lanes: int = LANES,
    say: Callable[[str], None] = lambda _phase: None,
) -> dict[str, Any]:
    """Kill so many writers; what was found, as `kills.json` has it.

    Args:
        kills: how many.
        seed: of all that is drawn by lot.
        folder: an empty one, for the warehouses and the rows.
        lanes: warehouses beside each other, each with its writers, its reader, its checks.
        say: told the phase of each kill, from a thread of each lane.
    """
    rows = folder / "rows"
    rows.mkdir()
    recorded_rows(rows)
    frames = read_rows(rows)
    started = time.monotonic()
    with ThreadPoolExecutor(lanes) as pool:
        ended = list(
            pool.map(
                lambda lane: _one_lane(
                    kills // lanes + (lane < kills % lanes),
                    Lot(seed * lanes + lane),
                    frames,
                    folder / f"lane{lane}",
                    say,
                ),
                range(lanes),
            )
        )
    seconds = time.monotonic() - started
    verdicts = [verdict for lane in ended for verdict in lane.verdicts]
    failures = [failure for lane in ended for failure in lane.reader.failures]
    complaints = [word for verdict in verdicts for words in verdict for word in words]
    by_phase = sum((lane.by_phase for lane in ended), Counter[str]())
    return {
        "kills": by_phase.total(),
        "by_phase": dict(sorted(by_phase.items())),
        **{
            name: sum(bool(getattr(verdict, name)) for verdict in verdicts)
            for name in Verdict._fields
        },
        "reader_failures": len(failures),
        "seconds": round(seconds, 1),
        "kills_per_second": round(kills / seconds, 2),
        "commits": sum(lane.said["committed"] for lane in ended),
        "publications": sum(lane.said["published"] for lane in ended),
        "reads": sum(lane.reader.reads for lane in ended),
        "states_read": sum(len(lane.reader.seen) for lane in ended),
        "lanes": lanes,
        "seed": seed,
        "complaints": [*complaints, *failures][:20],
    }


class Lane(NamedTuple):
    """What came of the writers of one warehouse."""

    verdicts: list[Verdict]
    by_phase: Counter[str]
    said: Counter[str]
    reader: Reader


def _one_lane(
    kills: int, lot: Lot, frames: Frames, folder: Path, say: Callable[[str], None]
) -> Lane:
    folder.mkdir()
    rows, home = folder.parent / "rows", folder / "home"
    model = Model()
    checker = Checker(home, frames, model)
    checker.check()  # makes the home
    verdicts: list[Verdict] = []
    by_phase: Counter[str] = Counter()
    said: Counter[str] = Counter()
    with Writers(rows, folder / "errors.txt") as writers, _reading(home, frames) as reader:
        for number in range(kills):
            new_home = number % NEW_HOME_EVERY == NEW_HOME_EVERY - 1
            at = folder / "new" if new_home else home
            died, lines = one_life(writers, at, lot, new_home=new_home)
            said.update(line.words[0] for line in lines)
            by_phase[died] += 1
            if new_home:
                verdicts.append(_judge_new(at, frames, lines))
                shutil.rmtree(at)
            else:
                for line in lines:
                    checker.hear(line.words)
                verdicts.append(checker.check())
            say(died)
    verdicts += [_as_read(found, model, checker.base or 0) for found in reader.seen.values()]
    verdicts.append(_nothing_is_left(home, frames, checker))
    return Lane(verdicts, by_phase, said, reader)


@contextmanager
def _reading(home: Path, frames: Frames) -> Iterator[Reader]:
    reader = Reader(home, frames)
    reader.start()
    try:
        yield reader
    finally:
        reader.end()


def _judge_new(home: Path, frames: Frames, lines: list[Line]) -> Verdict:
    """A home whose very first writer was killed."""
    model = Model()
    checker = Checker(home, frames, model)
    for line in lines:
        checker.hear(line.words)
    commits = [int(line.words[1]) for line in lines if line.words[0] in {"intends", "committed"}]
    if commits:
        # Its migrations were done, then: the commit before its first one is the last of them.
        checker.base = commits[0] - 1
        checker.acknowledged = max(checker.acknowledged, checker.base)
    verdict = checker.check()
    with suppress(WarehouseError), opened(home) as con:
        looked = look(con, frames)
        return verdict + judge(
            "new",
            looked,
            model,
            at_least=checker.published,
            at_most=checker.acknowledged,
            base=checker.base or 0,
        )
    return verdict + Verdict(lost=("a new home was not made public at its next opening",))


def _as_read(found: Found, model: Model, base: int) -> Verdict:
    """What the reader saw, at a commit that may have been made by then."""
    at = found.commit_id
    return judge("as read", found, model, at_least=at, at_most=at, base=base)


def undisturbed(home: Path, frames: Frames, checker: Checker, window: int) -> None:
    """A window that nobody kills, written and published in this process."""
    warehouse = Warehouse(home)
    for what in TRANSACTIONS:
        with warehouse.write(what, "kills") as tx:
            checker.hear(["intends", str(tx.commit_id), what, str(window)])
            write_transaction(tx, frames, what, window)
        checker.hear(["committed", str(tx.commit_id)])
    warehouse.publish()
    checker.hear(["published", str(tx.commit_id)])


def _nothing_is_left(home: Path, frames: Frames, checker: Checker) -> Verdict:
    """After one more window that nobody disturbs there is no unfinished file."""
    undisturbed(home, frames, checker, 0)
    verdict = checker.check()
    left = [name for name in drafts(Layout(home)) if not name.startswith("state/compact")]
    generations = len(list(Layout(home).generations.iterdir()))
    if left or generations != GENERATIONS_KEPT:
        verdict += Verdict(doubled=(f"at the end: {generations} generations, drafts {left}",))
    return verdict


def main() -> int:
    """Kill, check, print, write; the exit code is 1 if anything was wrong."""
    from rich.progress import Progress

    parser = argparse.ArgumentParser(prog="python -m bench.kills", description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=RESULT)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Progress() as progress:
        task = progress.add_task("kills", total=given.kills)
        found = measure(
            given.kills,
            given.seed,
            Path(folder),
            say=lambda phase: progress.update(task, advance=1, description=f"killed in {phase:30}"),
        )
    given.json.parent.mkdir(exist_ok=True)
    given.json.write_text(json.dumps(found, indent=1) + "\n")
    wrong = found["lost"] + found["doubled"] + found["torn"] + found["reader_failures"]
    print(
        f"{found['kills']} kills in {found['seconds']} s ({found['kills_per_second']} a second):"
        f" {found['lost']} lost, {found['doubled']} doubled, {found['torn']} torn,"
        f" {found['reader_failures']} of {found['reads']} reads failed"
    )
    for complaint in found["complaints"]:
        print(f"  {complaint}")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
