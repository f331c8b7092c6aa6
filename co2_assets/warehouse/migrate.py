"""Numbered SQL files bring a database to the schema of this version.

Each migration is recorded in the transaction that applies it. The views are one file
that is applied again whenever its text changes, recorded as number 0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime
from importlib import resources
from typing import NamedTuple

from co2_assets.errors import WarehouseInvalid
from co2_assets.warehouse.query import Connection, rows, value

VIEWS_NUMBER = 0


class Migration(NamedTuple):
    """One SQL file: its number, name and text."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Hash of the text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """The numbered files in order, then the views."""
    package = resources.files("co2_assets.warehouse")
    numbered = sorted(
        Migration(int(file.name[:4]), file.name, file.read_text())
        for file in (package / "migrations").iterdir()
        if file.name.endswith(".sql")
    )
    return [*numbered, Migration(VIEWS_NUMBER, "views.sql", (package / "views.sql").read_text())]


def applied(con: Connection) -> dict[int, str]:
    """Number to hash of what this database has had; empty for a new one."""
    if not value(
        con,
        "SELECT count(*) FROM duckdb_tables()"
        " WHERE schema_name = 'ops' AND table_name = 'schema_migrations'",
    ):
        return {}
    return dict(rows(con, "SELECT number, sha256 FROM ops.schema_migrations"))


def pending(con: Connection) -> list[Migration]:
    """What `migrate` would apply; reads only.

    Raises:
        WarehouseInvalid: the database is newer than this version of the package.
    """
    done = applied(con)
    known = migrations()
    if unknown := set(done) - {migration.number for migration in known}:
        raise WarehouseInvalid(
            "the warehouse was written by a newer version",
            where="ops.schema_migrations",
            found=f"migration {max(unknown)}",
            expected=f"at most {max(migration.number for migration in known)}",
            next_step="install the newer co2_assets again",
        )
    return [
        migration
        for migration in known
        if migration.number not in done
        or (migration.number == VIEWS_NUMBER and done[VIEWS_NUMBER] != migration.sha256)
    ]


def migrate(con: Connection, now: Callable[[], datetime]) -> int:
    """Apply what is pending, each in a transaction of its own; returns how many."""
    todo = pending(con)
    for migration in todo:
        con.begin()
        try:
            con.execute(migration.sql)
            con.execute(
                "INSERT OR REPLACE INTO ops.schema_migrations VALUES ($number, $name, $sha, $now)",
                {
                    "number": migration.number,
                    "name": migration.name,
                    "sha": migration.sha256,
                    "now": now(),
                },
            )
            con.execute(
                "INSERT INTO ops.commits SELECT coalesce(max(commit_id) + 1, 0), $step,"
                " 'migration', 0, $now FROM ops.commits",
                {"step": migration.name, "now": now()},
            )
        except BaseException:
            con.rollback()
            raise
        con.commit()
    return len(todo)
