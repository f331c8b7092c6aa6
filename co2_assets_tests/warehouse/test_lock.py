from __future__ import annotations

import time
from pathlib import Path

import pytest

from co2_assets.errors import WarehouseBusy
from co2_assets.warehouse.lock import SharedMark, exclusive
from co2_assets_tests.warehouse.filled import eventually, other_process

HOLD = """
import sys, time
from pathlib import Path
from co2_assets.warehouse.lock import exclusive
with exclusive(Path(sys.argv[1]), timeout_s=5, holder="a long training"):
    print("ready", flush=True)
    time.sleep(600)
"""

MARK = """
import sys, time
from pathlib import Path
from co2_assets.warehouse.lock import SharedMark
mark = SharedMark(Path(sys.argv[1]))
mark.set()
print("ready", flush=True)
time.sleep(600)
"""


def test_waiting_in_vain_names_the_holder_and_what_it_does(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    with other_process(HOLD, path) as pid:
        started = time.monotonic()
        with pytest.raises(WarehouseBusy) as busy, exclusive(path, timeout_s=0.1, holder="me"):
            pytest.fail("the lock was taken twice")
        assert 0.1 <= time.monotonic() - started < 5
    assert busy.value.found == f"process {pid}, a long training"
    assert busy.value.where == str(path)
    assert "nothing was written" in str(busy.value.next_step)


def test_the_kernel_frees_the_lock_of_a_killed_holder(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    with other_process(HOLD, path):
        pass
    with exclusive(path, timeout_s=5, holder="me"):
        assert "me" in path.read_text()


def test_a_lock_is_free_again_after_an_error_inside(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    with pytest.raises(RuntimeError, match="inside"), exclusive(path, timeout_s=1, holder="me"):
        raise RuntimeError("inside")
    with exclusive(path, timeout_s=0, holder="me again"):
        pass


def test_a_lock_that_is_freed_while_we_wait_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    brief = HOLD.replace("time.sleep(600)", "time.sleep(0.3)")
    with other_process(brief, path), exclusive(path, timeout_s=10, holder="me"):
        pass


def test_a_mark_is_seen_by_others_until_its_process_dies(tmp_path: Path) -> None:
    path = tmp_path / "runs.lock"
    mine = SharedMark(path)
    assert not mine.others()
    with other_process(MARK, path), other_process(MARK, path):
        assert mine.others()
    assert eventually(lambda: not mine.others())


def test_a_mark_can_be_set_twice_and_cleared_once(tmp_path: Path) -> None:
    mark = SharedMark(tmp_path / "runs.lock")
    mark.set()
    mark.set()
    assert mark.is_set
    mark.clear()
    assert not mark.is_set
    mark.clear()
    assert not SharedMark(tmp_path / "runs.lock").others()
