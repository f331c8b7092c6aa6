from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest

from co2_assets.errors import WarehouseBusy, WarehouseInvalid
from co2_assets.schema import CO2_PROGNOSIS, COMMITS, COVERAGE
from co2_assets.warehouse.query import Connection, rows, value
from co2_assets.warehouse.store import HEAD_CONFIG, Warehouse
from co2_assets_tests.warehouse.filled import (
    NOW,
    fill_home,
    filled,
    hours,
    leftovers,
    other_process,
    stored,
)


def commits(con: Connection) -> list[tuple[object, ...]]:
    return rows(
        con,
        "SELECT commit_id, step, run_id, rows_written, committed_at_utc FROM ops.commits"
        " WHERE run_id <> 'migration' ORDER BY 1",
    )


def test_a_transaction_is_one_row_of_the_commit_log_with_its_time_and_run(
    warehouse: Warehouse,
) -> None:
    with warehouse.write("load", "run-1") as tx:
        tx.upsert(CO2_PROGNOSIS, filled(CO2_PROGNOSIS, time_utc=hours(3)))
        tx.upsert(COVERAGE, filled(COVERAGE, dataset=["a", "b"]))
        number = tx.commit_id
    with warehouse.read("a look") as con:
        assert commits(con) == [(number, "load", "run-1", 5, NOW)]
        assert {row[0] for row in stored(con, CO2_PROGNOSIS, "commit_id")} == {number}
        assert {row[0] for row in stored(con, COVERAGE, "commit_id")} == {number}


def test_commits_are_numbered_without_a_gap(warehouse: Warehouse) -> None:
    for index in range(4):
        fill_home(warehouse, CO2_PROGNOSIS, time_utc=[hours(9)[index]])
        with pytest.raises(RuntimeError), warehouse.write("fails", "run"):
            raise RuntimeError
    with warehouse.read("a look") as con:
        numbers = [row[0] for row in stored(con, COMMITS, "commit_id")]
    assert numbers == list(range(len(numbers)))


def test_a_block_that_raises_leaves_nothing_of_all_its_tables(warehouse: Warehouse) -> None:
    fill_home(warehouse, CO2_PROGNOSIS, time_utc=[hours(1)[0]])
    with pytest.raises(RuntimeError, match="half-way"), warehouse.write("load", "run") as tx:
        tx.upsert(CO2_PROGNOSIS, filled(CO2_PROGNOSIS, time_utc=hours(3)))
        tx.upsert(COVERAGE, filled(COVERAGE))
        raise RuntimeError("half-way")
    with warehouse.read("a look") as con:
        assert len(stored(con, CO2_PROGNOSIS)) == 1
        assert stored(con, COVERAGE) == []
        assert len(commits(con)) == 1


def test_a_block_that_writes_nothing_leaves_no_commit(warehouse: Warehouse) -> None:
    fill_home(warehouse, CO2_PROGNOSIS)
    fill_home(warehouse, CO2_PROGNOSIS)
    with warehouse.write("nothing", "run") as tx:
        assert tx.execute("DELETE FROM ops.coverage") == 0
    with warehouse.read("a look") as con:
        assert len(commits(con)) == 1


def test_rows_that_are_refused_roll_back_the_whole_block(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseInvalid), warehouse.write("load", "run") as tx:
        tx.upsert(COVERAGE, filled(COVERAGE))
        tx.upsert(CO2_PROGNOSIS, filled(CO2_PROGNOSIS, time_utc=[hours(1)[0]] * 2))
    with warehouse.read("a look") as con:
        assert stored(con, COVERAGE) == []


def test_head_is_closed_after_each_block_also_after_an_error(warehouse: Warehouse) -> None:
    fill_home(warehouse, CO2_PROGNOSIS)
    with pytest.raises(RuntimeError), warehouse.write("fails", "run"):
        raise RuntimeError
    with duckdb.connect(str(warehouse.layout.head), config=HEAD_CONFIG) as con:
        assert value(con, "SELECT count(*) FROM raw.co2_prognosis") == 1


def test_times_come_back_as_utc(warehouse: Warehouse) -> None:
    time = datetime(2025, 1, 20, 23, tzinfo=UTC)
    fill_home(warehouse, CO2_PROGNOSIS, time_utc=[time])
    with warehouse.read("a look") as con:
        ((found,),) = stored(con, CO2_PROGNOSIS, "time_utc")
    assert found == time
    assert found.utcoffset().total_seconds() == 0


FOREIGN = """
import sys, time
import duckdb
con = duckdb.connect(sys.argv[1])
print("ready", flush=True)
time.sleep(600)
"""

WRITER = """
import sys, time
from pathlib import Path
from co2_assets.warehouse.store import Warehouse
with Warehouse(Path(sys.argv[1])).read("a slow report"):
    print("ready", flush=True)
    time.sleep(600)
"""


def test_a_foreign_process_that_holds_head_open_is_named_and_nothing_changes(
    warehouse: Warehouse,
) -> None:
    fill_home(warehouse, CO2_PROGNOSIS)
    warehouse.publish()
    before = leftovers(warehouse.layout.home / "gen")
    with other_process(FOREIGN, warehouse.layout.head) as pid:
        for act in (
            lambda: fill_home(warehouse, CO2_PROGNOSIS, time_utc=hours(2)),
            warehouse.publish,
            warehouse.compact,
        ):
            with pytest.raises(WarehouseBusy, match="private file open") as busy:
                act()
            assert busy.value.where == str(warehouse.layout.head)
            assert str(pid) in str(busy.value.found)
            assert str(warehouse.layout.public) in str(busy.value.next_step)
    assert leftovers(warehouse.layout.home / "gen") == before
    fill_home(warehouse, CO2_PROGNOSIS, time_utc=hours(2))


def test_a_second_writer_is_told_who_the_first_is(warehouse: Warehouse) -> None:
    fill_home(warehouse, CO2_PROGNOSIS)
    with other_process(WRITER, warehouse.layout.home) as pid:
        with pytest.raises(WarehouseBusy) as busy:
            fill_home(warehouse, CO2_PROGNOSIS, time_utc=hours(2))
        assert busy.value.found == f"process {pid}, a slow report"
        assert busy.value.exit_code == 4
    with warehouse.read("a look") as con:
        assert len(stored(con, CO2_PROGNOSIS)) == 1


def test_a_head_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    warehouse = Warehouse(tmp_path)
    warehouse.layout.create()
    warehouse.layout.head.write_bytes(b"this is not a database" * 1000)
    with pytest.raises(WarehouseInvalid, match="no database") as error, warehouse.read("a look"):
        pass
    assert "restore it" in str(error.value.next_step)
    assert warehouse.layout.head.read_bytes() == b"this is not a database" * 1000
