from __future__ import annotations

import pytest

from co2_assets.errors import WarehouseInvalid
from co2_assets.schema import CO2_PROGNOSIS, TABLES
from co2_assets.warehouse import compact, store
from co2_assets.warehouse.checks import columns_differ
from co2_assets.warehouse.compact import needs_compaction
from co2_assets.warehouse.query import Connection, rows, value
from co2_assets.warehouse.reader import open_published
from co2_assets.warehouse.store import Warehouse
from co2_assets_tests.warehouse.filled import fill_home, hours, leftovers, stored

MANY = 40_000


@pytest.fixture
def hollow(warehouse: Warehouse) -> Warehouse:
    """A warehouse that held far more rows than it has."""
    names = [f"run {index * 7919 % MANY}" for index in range(MANY)]
    fill_home(warehouse, CO2_PROGNOSIS, time_utc=hours(MANY), etl_run_id=names)
    with warehouse.write("delete", "run") as tx:
        tx.execute("DELETE FROM raw.co2_prognosis WHERE time_utc >= $t", t=hours(11)[10])
    return warehouse


def shape(con: Connection) -> list[list[tuple[object, ...]]]:
    """Rows, keys and views of a database."""
    return [
        *(stored(con, table) for table in TABLES),
        rows(
            con,
            "SELECT schema_name, table_name, constraint_column_names FROM duckdb_constraints()"
            " WHERE constraint_type = 'PRIMARY KEY' ORDER BY ALL",
        ),
        rows(con, "SELECT view_name, sql FROM duckdb_views() WHERE NOT internal ORDER BY ALL"),
        rows(con, "SELECT schema_name FROM duckdb_schemas() ORDER BY ALL"),
    ]


def test_compaction_keeps_rows_keys_and_views_and_gives_space_back(hollow: Warehouse) -> None:
    with hollow.read("before") as con:
        before = shape(con)
    size_before, size_after = hollow.compact()
    assert size_after < size_before / 2
    with hollow.read("after") as con:
        assert shape(con) == before
        assert [columns_differ(con, table).count for table in TABLES] == [0] * len(TABLES)
        for view in ("actuals", "forecasts", "models", "data_quality"):
            value(con, f"SELECT count(*) FROM main.{view}")
    assert hollow.publish() is not None
    with open_published(hollow.layout.home) as con:
        assert len(stored(con, CO2_PROGNOSIS)) == 10


def test_writing_goes_on_after_compaction_and_keys_still_hold(hollow: Warehouse) -> None:
    hollow.compact()
    fill_home(hollow, CO2_PROGNOSIS, time_utc=hours(12))
    with hollow.read("after") as con:
        assert len(stored(con, CO2_PROGNOSIS)) == 12
        assert value(con, "SELECT count(*) - count(DISTINCT commit_id) FROM ops.commits") == 0


def test_publishing_compacts_when_a_third_of_the_blocks_are_free(
    hollow: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = hollow.layout.head.stat().st_size
    hollow.publish()
    assert hollow.layout.head.stat().st_size >= size / 2  # too small to be worth it
    monkeypatch.setattr(compact, "SMALLEST_BLOCKS", 4)
    with hollow.read("look") as con:
        assert needs_compaction(con)
    fill_home(hollow, CO2_PROGNOSIS, time_utc=hours(12))
    hollow.publish()
    assert hollow.layout.head.stat().st_size < size / 2
    with hollow.read("look") as con:
        assert not needs_compaction(con)
    with open_published(hollow.layout.home) as con:
        assert len(stored(con, CO2_PROGNOSIS)) == 12


def test_a_copy_that_lost_rows_is_given_up(
    hollow: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    with hollow.read("before") as con:
        before = shape(con)
    counts = iter([{"raw.x": 2}, {"raw.x": 1}])
    monkeypatch.setattr(compact, "_row_counts", lambda _con, _name: next(counts))
    with pytest.raises(WarehouseInvalid, match="lost rows"):
        hollow.compact()
    assert not (hollow.layout.state / "compact.duckdb").exists()
    with hollow.read("after") as con:
        assert shape(con) == before


def test_what_a_killed_compaction_left_behind_is_in_nobodys_way(hollow: Warehouse) -> None:
    (hollow.layout.state / "compact.duckdb").write_bytes(b"half a file")
    hollow.compact()
    assert not [name for name in leftovers(hollow.layout.state) if "compact" in name]


def test_head_keeps_the_storage_version_that_older_duckdb_reads(hollow: Warehouse) -> None:
    def version(con: Connection) -> str:
        return str(
            value(
                con,
                "SELECT tags['storage_version'] FROM duckdb_databases()"
                " WHERE database_name = current_database()",
            )
        )

    with hollow.read("before") as con:
        before = version(con)
    assert before.startswith(store.STORAGE_VERSION)
    hollow.compact()
    with hollow.read("after") as con:
        assert version(con) == before
