"""The small store: `write` one transaction, `read` head, `publish` for everybody else.

A commit is: the writer's lock, open head, ONE transaction, close. Publishing is a second
act under the same lock, once per run. Readers never touch head.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from co2_assets.errors import (
    WarehouseBusy,
    WarehouseError,
    WarehouseInvalid,
    WarehouseUnwritable,
)
from co2_assets.schema import Table
from co2_assets.warehouse.compact import compact_head, needs_compaction
from co2_assets.warehouse.layout import Layout
from co2_assets.warehouse.lock import SharedMark, exclusive
from co2_assets.warehouse.migrate import migrate
from co2_assets.warehouse.publish import Published, publish_copy, read_published
from co2_assets.warehouse.query import Connection, value
from co2_assets.warehouse.upsert import Counts, upsert

STORAGE_VERSION = "v1.5.0"
"""Files are written so that DuckDB 1.5 opens them too: its shell and extensions lag behind."""

HEAD_CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "storage_compatibility_version": STORAGE_VERSION
}

Connect = Callable[[Path], AbstractContextManager[Connection]]


def connect_head(path: Path) -> AbstractContextManager[Connection]:
    """Open head read-write in this process."""
    return duckdb.connect(str(path), config=HEAD_CONFIG)


class Transaction:
    """One open transaction on head; `commit_id` marks every row that it writes."""

    def __init__(self, con: Connection, commit_id: int) -> None:
        self.con = con
        self.commit_id = commit_id
        self.rows_written = 0

    def upsert(
        self,
        table: Table,
        rows: pl.DataFrame,
        *,
        keep_existing: bool = False,
        newest_by: str | None = None,
    ) -> Counts:
        """Merge rows into a table by its key, stamped with this commit; see `upsert`."""
        if "commit_id" in table.column_names:
            rows = rows.with_columns(pl.lit(self.commit_id, pl.Int64).alias("commit_id"))
        counts = upsert(self.con, table, rows, keep_existing=keep_existing, newest_by=newest_by)
        self.rows_written += counts.written
        return counts

    def execute(self, sql: str, **params: Any) -> int:
        """Run one statement that changes rows; returns how many it changed."""
        changed = self.con.execute(sql, params or None).fetchall()
        count = int(changed[0][0]) if changed else 0
        self.rows_written += count
        return count


class Warehouse:
    """The warehouse of one home.

    Args:
        home: the folder, `CO2_HOME`.
        lock_timeout_s: how long a writer waits for another one.
        now: the platform's clock, for `ops.commits`.
        connect: opens head; replaceable so that a configured resource can do it.
    """

    def __init__(
        self,
        home: Path,
        *,
        lock_timeout_s: float = 120.0,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        connect: Connect = connect_head,
    ) -> None:
        self.layout = Layout(home)
        self._lock_timeout_s = lock_timeout_s
        self._now = now
        self._connect = connect
        self._behind = SharedMark(self.layout.runs_lock)
        self._opened_before = False

    @contextmanager
    def write(self, step: str, run_id: str) -> Iterator[Transaction]:
        """One transaction on head: committed when the block ends, rolled back if it raises.

        A block that wrote nothing leaves no commit.

        Raises:
            WarehouseBusy: another writer did not end in time; names it.
            WarehouseUnwritable: the disk is full or read-only; nothing was written.
        """
        with self._head(step) as con:
            con.begin()
            try:
                transaction = Transaction(con, 1 + _last_commit(con))
                yield transaction
                if transaction.rows_written:
                    con.execute(
                        "INSERT INTO ops.commits VALUES ($id, $step, $run, $rows, $now)",
                        {
                            "id": transaction.commit_id,
                            "step": step,
                            "run": run_id,
                            "rows": transaction.rows_written,
                            "now": self._now(),
                        },
                    )
                    self._behind.set()
            except BaseException:
                with suppress(duckdb.Error):  # what went wrong is raised below, not this
                    con.rollback()
                raise
            con.commit()

    @contextmanager
    def read(self, purpose: str) -> Iterator[Connection]:
        """Head for reading, with all commits so far; held as briefly as a commit."""
        with self._head(purpose) as con:
            yield con

    def publish(self) -> Published | None:
        """Make all commits public; returns what is public, None if it was already."""
        at_opening = None if self._opened_before else self._open_first_time()
        with self._locked("publishing"):
            with self._connection() as con:
                commit_id = _last_commit(con)
                con.execute("CHECKPOINT")
                compact = needs_compaction(con)
            if compact:
                compact_head(self.layout, self._connection, STORAGE_VERSION)
            published = read_published(self.layout)
            if published and published.commit_id == commit_id and self.layout.public.exists():
                self._behind.clear()
                return at_opening
            published = publish_copy(self.layout, commit_id)
            self._behind.clear()
            return published

    def compact(self) -> tuple[int, int]:
        """Rewrite head without its free blocks; returns its size before and after, bytes."""
        if not self._opened_before:
            self._open_first_time()
        with self._locked("compaction"):
            with self._connection() as con:
                con.execute("CHECKPOINT")
            before = self.layout.head.stat().st_size
            compact_head(self.layout, self._connection, STORAGE_VERSION)
            return before, self.layout.head.stat().st_size

    @contextmanager
    def _head(self, purpose: str) -> Iterator[Connection]:
        if not self._opened_before:
            self._open_first_time()
        with self._locked(purpose), self._connection() as con:
            yield con

    def _open_first_time(self) -> Published | None:
        """Migrate, and publish what a killed run committed without publishing.

        Returns:
            What this made public, or None.
        """
        made_public = None
        with self._locked("opening"):
            with self._connection() as con:
                migrate(con, self._now)
                commit_id = _last_commit(con)
                con.execute("CHECKPOINT")
            published = read_published(self.layout)
            is_behind = published is None or published.commit_id != commit_id
            if is_behind and not self._behind.is_set and not self._behind.others():
                made_public = publish_copy(self.layout, commit_id)
        self._opened_before = True
        return made_public

    @contextmanager
    def _locked(self, purpose: str) -> Iterator[None]:
        with _as_warehouse_errors(self.layout):
            self.layout.create()
            with exclusive(self.layout.writer_lock, timeout_s=self._lock_timeout_s, holder=purpose):
                yield

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with self._connect(self.layout.head) as con:
            try:
                con.execute("SET TimeZone = 'UTC'")
                yield con
            finally:
                con.close()


def _last_commit(con: Connection) -> int:
    return int(value(con, "SELECT coalesce(max(commit_id), 0) FROM ops.commits"))


@contextmanager
def _as_warehouse_errors(layout: Layout) -> Iterator[None]:
    """Turn what DuckDB and the system say about files into errors a person can act on."""
    try:
        yield
    except (duckdb.IOException, duckdb.FatalException) as error:
        raise _file_error(layout, str(error)) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM):
            raise _file_error(layout, str(error)) from error
        raise


def _file_error(layout: Layout, text: str) -> WarehouseError:
    first_line = text.strip().splitlines()[0]
    if "not a valid DuckDB database" in text:
        return WarehouseInvalid(
            "the warehouse's private file is no database",
            where=str(layout.head),
            found=first_line,
            expected="a DuckDB file",
            next_step=f"restore it: copy {layout.public.resolve()} over it, or a backup of it",
        )
    if "Could not set lock" in text:
        return WarehouseBusy(
            "another process has the warehouse's private file open",
            where=str(layout.head),
            found=first_line,
            expected="that only the platform opens it",
            next_step=f"close that process; readers open {layout.public}",
        )
    return WarehouseUnwritable(
        "the warehouse cannot be written",
        where=str(layout.home),
        found=first_line,
        expected="free disk space and a writable folder",
        next_step="free space or mend the rights, then run again; stored data are as they were",
    )
