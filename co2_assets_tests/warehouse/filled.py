"""Rows of any table, filled with plain values where a test does not care, and a head in memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from co2_assets.schema import Table
from co2_assets.warehouse.query import Connection, rows
from co2_assets.warehouse.raw import polars_schema
from co2_assets.warehouse.store import Transaction, Warehouse

NOW = datetime(2025, 1, 20, 6, 2, tzinfo=UTC)
T0 = datetime(2025, 1, 20, tzinfo=UTC)
HOUR = timedelta(hours=1)

PLAIN: dict[str, Any] = {
    "VARCHAR": "x",
    "JSON": "{}",
    "BIGINT": 1,
    "INTEGER": 1,
    "DOUBLE": 100.0,
    "BOOLEAN": False,
    "TIMESTAMPTZ": T0,
    "TIMESTAMP": T0.replace(tzinfo=None),
}


def hours(count: int, start: datetime = T0) -> list[datetime]:
    return [start + index * HOUR for index in range(count)]


def filled(table: Table, **columns: Any) -> pl.DataFrame:
    """Rows of a table: the columns given, the rest null or plain; a list sets the height."""
    height = max((len(v) for v in columns.values() if isinstance(v, list)), default=1)
    data = {}
    for column in table.columns:
        if column.name != "commit_id":
            plain = None if column.nullable else PLAIN[column.sql_type]
            value = columns.get(column.name, plain)
            data[column.name] = value if isinstance(value, list) else [value] * height
    unknown = set(columns) - set(data)
    assert not unknown, unknown
    return pl.DataFrame(data, schema=polars_schema(table))


def put(con: Connection, table: Table, *, commit: int = 1, **columns: Any) -> None:
    """Upsert rows that `filled` makes, as if by a commit of that number."""
    Transaction(con, commit).upsert(table, filled(table, **columns))


def stored(con: Connection, table: Table, *columns: str) -> list[tuple[Any, ...]]:
    """Rows of a table in the order of its key."""
    return rows(
        con,
        f"SELECT {', '.join(columns or table.column_names)} FROM {table.qualified_name}"
        f" ORDER BY {', '.join(table.key)}",
    )


def fill_home(warehouse: Warehouse, table: Table, step: str = "test", **columns: Any) -> None:
    """One commit with these rows."""
    with warehouse.write(step, "run") as tx:
        tx.upsert(table, filled(table, **columns))


def leftovers(folder: Path) -> dict[str, bytes]:
    """Every file under a folder with its content: what must not change."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def other_process(code: str, *arguments: Sequence[str] | str | Path) -> Iterator[int]:
    """Another process that runs `code` up to its `print`, and is killed in the end.

    It must print one line when it is ready, and then live on by itself.
    """
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready", "the other process failed"
        yield process.pid
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if process.stdout:
            process.stdout.close()


def eventually(holds: Any, within_s: float = 10.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.01)
    return bool(holds())
