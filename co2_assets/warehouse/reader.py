"""Opening what is public: always the newest generation, never head.

Reading never waits, but for once: what an earlier version published is brought up to date
before it is read, since the views are the contract of this version.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from co2_assets.errors import WarehouseError
from co2_assets.warehouse.layout import Layout
from co2_assets.warehouse.migrate import pending
from co2_assets.warehouse.query import Connection
from co2_assets.warehouse.store import Warehouse

WAIT_S = 30.0
"""For the writer that may have head open while a home is brought up to date."""

ATTEMPTS = 5
"""A generation may be pruned between looking up its name and opening it; the next is there."""


@contextmanager
def open_published(home: Path) -> Iterator[Connection]:
    """The published copy, read-only; its catalog is `co2`.

    Raises:
        WarehouseError: nothing has been published in this home, or it is of another version
            and cannot be brought up to date.
    """
    public = Layout(home).public
    con = _open(public)
    if pending(con):
        con.close()
        bring_up_to_date(home)
        con = _open(public)
    try:
        con.execute("SET TimeZone = 'UTC'")
        yield con
    finally:
        con.close()


def bring_up_to_date(home: Path) -> None:
    """Migrate a home of an earlier version and publish it; a new or current home stays as it is.

    Raises:
        WarehouseError: it is of a newer version, or cannot be written now.
    """
    layout = Layout(home)
    if not layout.head.exists() or not layout.public.exists():
        return
    con = _open(layout.public)
    try:
        is_current = not pending(con)
    finally:
        con.close()
    if not is_current:
        Warehouse(home, lock_timeout_s=WAIT_S).publish()


def _open(public: Path) -> Connection:
    for _ in range(ATTEMPTS):
        if not public.exists():
            break
        try:
            return duckdb.connect(str(public.resolve()), read_only=True)
        except duckdb.IOException:
            if public.resolve().exists():
                raise
    raise WarehouseError(
        "there is no published warehouse",
        where=str(public),
        found="no such file",
        expected="a home that has run",
        next_step="`co2 demo` or `co2 run` makes one; `co2 --home` names another",
    )
