"""The published copy for a server that stays up: one open DuckDB instance per generation.

A run publishes a new file under a new name and swings the symlink `co2.duckdb`. Each read
follows the symlink; where it names another file than the open one, that is opened and the old
one is closed when its last reader has left. A reader thus sees one generation from begin to
end. A generation that cannot be opened leaves the last good one in service, with a note.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import duckdb

from co2_assets.errors import WarehouseError
from co2_assets.warehouse.layout import Layout
from co2_assets.warehouse.migrate import pending
from co2_assets.warehouse.query import Connection

INSTANCE = ("SET threads = 2", "SET memory_limit = '512MB'")
"""Of one open generation: queries of a few ms, beside runs that train. Set after opening: a file
that a process opens twice must be opened in the same way."""

ATTEMPTS = 5
"""A generation may be pruned between looking up its name and opening it; the next is there."""

TRY_AGAIN_S = 10.0
"""A file that could not be opened may have been so for a passing reason."""


class Reading(NamedTuple):
    """One generation while it is read.

    Attributes:
        con: a connection of this reader alone, read-only.
        generation: its number.
        notes: what a reader of the numbers must know, such as a newer, unreadable generation.
    """

    con: Connection
    generation: int
    notes: tuple[str, ...]


class _Unreadable(NamedTuple):
    path: Path
    why: str
    tried_at: float


@dataclass
class _Open:
    path: Path
    instance: Connection
    readers: int = field(default=0)

    @property
    def generation(self) -> int:
        return int(self.path.parent.name)


class Generations:
    """The published copies of one home, for any number of threads."""

    def __init__(self, home: Path) -> None:
        self._public = Layout(home).public
        self._lock = threading.Lock()
        self._current: _Open | None = None
        self._unreadable: _Unreadable | None = None

    def newest(self) -> int | None:
        """Number of the newest generation, without opening it; None before the first."""
        try:
            return int(self._public.readlink().parent.name)
        except (OSError, ValueError):
            return None

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """A connection to the newest readable generation.

        Raises:
            WarehouseError: nothing is published, or nothing published can be read.
        """
        with self._lock:
            used = self._newest_readable()
            used.readers += 1
            notes = self._notes(used)
            con = used.instance.cursor()
        try:
            con.execute("SET TimeZone = 'UTC'")
            yield Reading(con, used.generation, notes)
        finally:
            con.close()
            with self._lock:
                used.readers -= 1
                self._close_if_left(used)

    def close(self) -> None:
        """Close what is open, once its last reader has left."""
        with self._lock:
            used, self._current = self._current, None
            if used is not None:
                self._close_if_left(used)

    def _newest_readable(self) -> _Open:
        for _ in range(ATTEMPTS):
            path = self._public.resolve() if self._public.is_symlink() else None
            if path is None or (self._current is not None and path == self._current.path):
                break
            if self._gave_up_on(path):
                break
            try:
                opened = _Open(path, _open(path))
            except (duckdb.Error, OSError, WarehouseError) as error:
                self._unreadable = _Unreadable(path, str(error), time.monotonic())
                continue  # pruned meanwhile, and the symlink names the next one; or damaged
            former, self._current, self._unreadable = self._current, opened, None
            if former is not None:
                self._close_if_left(former)
        if self._current is None:
            raise self._nothing()
        return self._current

    def _gave_up_on(self, path: Path) -> bool:
        failed = self._unreadable
        return (
            failed is not None
            and failed.path == path
            and time.monotonic() - failed.tried_at < TRY_AGAIN_S
        )

    def _close_if_left(self, used: _Open) -> None:
        if used is not self._current and used.readers == 0:
            used.instance.close()

    def _notes(self, used: _Open) -> tuple[str, ...]:
        if self._unreadable is None or self._unreadable.path == used.path:
            return ()
        newer = self._unreadable.path.parent.name
        return (
            f"generation {newer} was published but cannot be read;"
            f" these numbers are of generation {used.generation}",
        )

    def _nothing(self) -> WarehouseError:
        if self._unreadable is None:
            return WarehouseError(
                "there is no published warehouse",
                where=str(self._public),
                found="no such file",
                expected="a home that has run",
                next_step="`co2 demo` or `co2 run` makes one; `co2 --home` names another",
            )
        return WarehouseError(
            "the published warehouse cannot be read",
            where=str(self._unreadable.path),
            found=self._unreadable.why,
            expected="a DuckDB file",
            next_step="the next tick publishes a new one; `co2 publish` does it now",
        )


def _open(path: Path) -> Connection:
    """The file, read-only, once it is whole and answers: a torn file can open and then fail."""
    instance = duckdb.connect(str(path), read_only=True)
    try:
        for setting in INSTANCE:
            instance.execute(setting)
        _refuse_cut(instance, path)
        instance.execute("SELECT count(*) FROM ops.commits").fetchone()
        if pending(instance):
            raise OSError("not one that this version can read: `co2 publish` brings it up to date")
    except (duckdb.Error, OSError, WarehouseError):
        instance.close()
        raise
    return instance


def _refuse_cut(instance: Connection, path: Path) -> None:
    """A file that lost its end opens, and fails only where a lost block is read.

    Free blocks may be cut off; those in use must all be there.
    """
    (needed,) = instance.execute(
        "SELECT block_size * used_blocks FROM pragma_database_size()"
    ).fetchone() or (0,)
    if path.stat().st_size < needed:
        raise OSError(f"the file has {path.stat().st_size} bytes, its blocks need {needed}")
