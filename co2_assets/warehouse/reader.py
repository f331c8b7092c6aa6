"""Opening what is public: always the newest generation, never head, never waiting."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from co2_assets.errors import WarehouseError
from co2_assets.warehouse.layout import Layout
from co2_assets.warehouse.query import Connection

ATTEMPTS = 5
"""A generation may be pruned between looking up its name and opening it; the next is there."""


@contextmanager
def open_published(home: Path) -> Iterator[Connection]:
    """The published copy, read-only; its catalog is `co2`.

    Raises:
        WarehouseError: nothing has been published in this home.
    """
    public = Layout(home).public
    con = _open(public)
    try:
        con.execute("SET TimeZone = 'UTC'")
        yield con
    finally:
        con.close()


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
