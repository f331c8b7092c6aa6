"""Reading from a DuckDB connection, in the forms that both DuckDB 1.5 and 2 have."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import duckdb
import polars as pl

Connection = duckdb.DuckDBPyConnection


def frame(con: Connection, sql: str, **params: Any) -> pl.DataFrame:
    """The rows of a query as a polars frame; times are UTC."""
    rows: pl.DataFrame = con.sql(sql, params=params or None).pl()
    return rows


def rows(con: Connection, sql: str, **params: Any) -> list[tuple[Any, ...]]:
    """The rows of a query as tuples."""
    return con.execute(sql, params or None).fetchall()


def row(con: Connection, sql: str, **params: Any) -> tuple[Any, ...] | None:
    """The first row of a query, or None."""
    found = rows(con, sql, **params)
    return found[0] if found else None


def value(con: Connection, sql: str, **params: Any) -> Any:
    """The first value of the first row of a query, or None without rows."""
    found = row(con, sql, **params)
    return None if found is None else found[0]


def listed(names: str | None) -> tuple[str, ...]:
    """Names that a column holds comma-separated."""
    return tuple(names.split(", ")) if names else ()


@contextmanager
def registered(con: Connection, name: str, incoming: pl.DataFrame) -> Iterator[None]:
    """A frame under a name that SQL can use, within the block."""
    con.register(name, incoming)
    try:
        yield
    except BaseException:
        # An aborted transaction refuses this too; what went wrong is raised, not this.
        with suppress(duckdb.Error):
            con.unregister(name)
        raise
    con.unregister(name)
