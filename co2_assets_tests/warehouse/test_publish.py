from __future__ import annotations

import shutil
import stat
from pathlib import Path

import duckdb
import pytest

from co2_assets.errors import WarehouseError, WarehouseUnwritable
from co2_assets.schema import CO2_PROGNOSIS
from co2_assets.warehouse import publish
from co2_assets.warehouse.publish import GENERATIONS_KEPT, Published, read_published
from co2_assets.warehouse.query import value
from co2_assets.warehouse.reader import open_published
from co2_assets.warehouse.store import Warehouse
from co2_assets_tests.warehouse.filled import fill_home, hours, other_process

COUNT = "SELECT count(*) FROM raw.co2_prognosis"


def commit(warehouse: Warehouse, index: int) -> None:
    fill_home(warehouse, CO2_PROGNOSIS, time_utc=[hours(100)[index]])


def published_count(warehouse: Warehouse) -> int:
    with open_published(warehouse.layout.home) as con:
        return int(value(con, COUNT))


def test_a_commit_is_invisible_until_it_is_published(warehouse: Warehouse) -> None:
    commit(warehouse, 0)
    assert published_count(warehouse) == 0
    published = warehouse.publish()
    assert published is not None
    assert published == read_published(warehouse.layout)
    assert published_count(warehouse) == 1


def test_publishing_what_is_public_does_nothing(warehouse: Warehouse) -> None:
    commit(warehouse, 0)
    warehouse.publish()
    before = sorted(path.name for path in warehouse.layout.generations.iterdir())
    assert warehouse.publish() is None
    assert sorted(path.name for path in warehouse.layout.generations.iterdir()) == before


def test_three_generations_stay_and_the_link_names_the_newest(warehouse: Warehouse) -> None:
    for index in range(5):
        commit(warehouse, index)
        published = warehouse.publish()
    layout = warehouse.layout
    kept = sorted(path.name for path in layout.generations.iterdir())
    assert published is not None
    newest = published.generation
    assert kept == [f"{newest - 2:06d}", f"{newest - 1:06d}", f"{newest:06d}"]
    assert len(kept) == GENERATIONS_KEPT
    assert str(layout.public.readlink()) == f"gen/{newest:06d}/co2.duckdb"


def test_a_published_file_is_read_only_and_has_no_wal_beside_it(warehouse: Warehouse) -> None:
    commit(warehouse, 0)
    warehouse.publish()
    target = warehouse.layout.public.resolve()
    assert stat.S_IMODE(target.stat().st_mode) == 0o444
    assert [path.name for path in target.parent.iterdir()] == ["co2.duckdb"]


def test_the_writers_folder_is_private(warehouse: Warehouse) -> None:
    warehouse.publish()
    assert stat.S_IMODE(warehouse.layout.state.stat().st_mode) == 0o700
    assert stat.S_IMODE(warehouse.layout.writer_lock.stat().st_mode) == 0o600


def test_the_home_can_be_moved_since_its_link_is_relative(
    warehouse: Warehouse, tmp_path: Path
) -> None:
    commit(warehouse, 0)
    warehouse.publish()
    moved = warehouse.layout.home.rename(tmp_path / "moved")
    with open_published(moved) as con:
        assert value(con, COUNT) == 1


def test_a_reader_keeps_its_generation_after_it_was_pruned(warehouse: Warehouse) -> None:
    commit(warehouse, 0)
    warehouse.publish()
    with open_published(warehouse.layout.home) as con:
        for index in range(1, 6):
            commit(warehouse, index)
            warehouse.publish()
        assert value(con, COUNT) == 1
    assert published_count(warehouse) == 6


def test_a_damaged_record_costs_one_publication_and_no_answer(warehouse: Warehouse) -> None:
    commit(warehouse, 0)
    first = warehouse.publish()
    assert first is not None
    warehouse.layout.published_record.write_text("{half a rec")
    assert read_published(warehouse.layout) is None
    assert published_count(warehouse) == 1
    assert warehouse.publish() == Published(first.generation + 1, first.commit_id)


@pytest.mark.parametrize("step", ["copyfile", "rename", "_swing", "_replace_text"])
def test_a_publication_that_fails_leaves_the_old_one_and_the_next_heals(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    commit(warehouse, 0)
    warehouse.publish()
    commit(warehouse, 1)
    no_space = OSError(28, "No space left on device")

    def fail(*_args: object, **_options: object) -> None:
        raise no_space

    with monkeypatch.context() as patched:
        if step == "copyfile":
            patched.setattr(publish.shutil, "copyfile", fail)
        elif step == "rename":
            patched.setattr(publish.Path, "rename", fail)
        else:
            patched.setattr(publish, step, fail)
        with pytest.raises(WarehouseUnwritable) as unwritable:
            warehouse.publish()
    assert "No space left" in str(unwritable.value)
    assert "next run publishes" in str(unwritable.value.next_step)
    # The link swings before the record is written: only then the new one may be public.
    assert published_count(warehouse) == (2 if step == "_replace_text" else 1)
    assert not [path for path in warehouse.layout.generations.iterdir() if path.suffix == ".tmp"]
    again = Warehouse(warehouse.layout.home)
    assert again.publish() is not None
    assert published_count(again) == 2


RUN_WITH_A_COMMIT = """
import sys, time
from pathlib import Path
from co2_assets.schema import CO2_PROGNOSIS
from co2_assets.warehouse.store import Warehouse
from co2_assets_tests.warehouse.filled import fill_home, hours
fill_home(Warehouse(Path(sys.argv[1])), CO2_PROGNOSIS, time_utc=[hours(9)[8]])
print("ready", flush=True)
time.sleep(600)
"""


def test_what_a_killed_run_left_unpublished_is_published_at_the_next_opening(
    warehouse: Warehouse,
) -> None:
    warehouse.publish()
    with other_process(RUN_WITH_A_COMMIT, warehouse.layout.home):
        pass
    assert published_count(warehouse) == 0
    with Warehouse(warehouse.layout.home).read("a look") as con:
        assert value(con, COUNT) == 1
    assert published_count(warehouse) == 1


def test_the_commits_of_a_run_under_way_are_not_published_for_it(warehouse: Warehouse) -> None:
    warehouse.publish()
    with other_process(RUN_WITH_A_COMMIT, warehouse.layout.home):
        with Warehouse(warehouse.layout.home).read("a look") as con:
            assert value(con, COUNT) == 1
        assert published_count(warehouse) == 0


def test_the_space_that_a_killed_publication_took_is_given_back(warehouse: Warehouse) -> None:
    commit(warehouse, 0)
    warehouse.publish()
    draft = warehouse.layout.generations / ".000099.tmp"
    draft.mkdir()
    (draft / "co2.duckdb").write_bytes(b"half")
    commit(warehouse, 1)
    warehouse.publish()
    assert not draft.exists()


def test_opening_a_home_that_never_ran_says_what_to_do(tmp_path: Path) -> None:
    with (
        pytest.raises(WarehouseError, match="no published warehouse") as error,
        open_published(tmp_path),
    ):
        pass
    assert error.value.where == str(tmp_path / "co2.duckdb")
    assert "co2 run" in str(error.value.next_step)
    assert not list(tmp_path.iterdir())


def test_a_published_copy_refuses_every_write(warehouse: Warehouse) -> None:
    commit(warehouse, 0)
    warehouse.publish()
    with open_published(warehouse.layout.home) as con:
        for statement in (
            "DELETE FROM raw.co2_prognosis",
            "CREATE TABLE main.mine (a INTEGER)",
            "DROP VIEW main.actuals",
        ):
            with pytest.raises(duckdb.InvalidInputException, match="read-only"):
                con.execute(statement)


def test_a_number_is_never_given_twice_even_if_the_newest_folder_was_deleted(
    warehouse: Warehouse,
) -> None:
    commit(warehouse, 0)
    first = warehouse.publish()
    assert first is not None
    shutil.rmtree(warehouse.layout.generation(first.generation))
    commit(warehouse, 1)
    second = warehouse.publish()
    assert second is not None
    assert second.generation == first.generation + 1
