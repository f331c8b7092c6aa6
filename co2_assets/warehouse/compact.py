"""Rewriting head without its free blocks, which neither VACUUM nor CHECKPOINT gives back."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager

from co2_assets.errors import WarehouseInvalid
from co2_assets.warehouse.layout import Layout
from co2_assets.warehouse.query import Connection, row, value

FREE_SHARE = 1 / 3
SMALLEST_BLOCKS = 256
"""Below 64 MB a rewrite gains nothing that anybody would notice."""


def needs_compaction(con: Connection) -> bool:
    """Whether a third of the blocks of the connection's database are free."""
    sizes = row(con, "SELECT total_blocks, free_blocks FROM pragma_database_size()")
    total, free = sizes or (0, 0)
    return bool(total > SMALLEST_BLOCKS and free >= total * FREE_SHARE)


def compact_head(
    layout: Layout,
    connection: Callable[[], AbstractContextManager[Connection]],
    storage_version: str,
) -> None:
    """Copy head to a new file and swap it in; head must be closed, the lock held.

    A crash at any point leaves either the old or the new file, both whole.

    Raises:
        WarehouseInvalid: the copy does not have the tables' rows; head stays.
    """
    draft = layout.state / "compact.duckdb"
    draft.unlink(missing_ok=True)
    with connection() as con:
        name = value(con, "SELECT current_database()")
        con.execute(
            f"ATTACH '{_quoted(str(draft))}' AS compact (STORAGE_VERSION '{storage_version}')"
        )
        con.execute(f'COPY FROM DATABASE "{name}" TO compact')
        before, after = _row_counts(con, name), _row_counts(con, "compact")
        con.execute("DETACH compact")
    if before != after:
        draft.unlink()
        raise WarehouseInvalid(
            "compaction lost rows and was given up",
            where=str(layout.head),
            found=after,
            expected=str(before),
        )
    descriptor = os.open(draft, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.replace(layout.head)


def _row_counts(con: Connection, database: str) -> dict[str, int]:
    tables = con.execute(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = $name",
        {"name": database},
    ).fetchall()
    return {
        f"{schema}.{table}": value(con, f'SELECT count(*) FROM "{database}"."{schema}"."{table}"')
        for schema, table in sorted(tables)
    }


def _quoted(text: str) -> str:
    return text.replace("'", "''")
