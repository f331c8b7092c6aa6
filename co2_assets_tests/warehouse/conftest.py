from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from co2_assets.warehouse.migrate import migrate
from co2_assets.warehouse.query import Connection
from co2_assets.warehouse.store import Warehouse
from co2_assets_tests.warehouse.filled import NOW


@pytest.fixture
def con() -> Iterator[Connection]:
    """A migrated database in memory, empty."""
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        migrate(con, lambda: NOW)
        yield con


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """The warehouse of a home that nobody has written in, with a short patience."""
    return Warehouse(tmp_path / "home", lock_timeout_s=0.2, now=lambda: NOW)
