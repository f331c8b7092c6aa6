"""The short form of `make kills`, and that its checker sees what a kill could have done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from bench import kills
from co2_assets.warehouse.layout import Layout
from co2_assets.warehouse.store import Warehouse

KILLS = 40


@pytest.mark.slow
def test_forty_kills_of_a_writer_lose_double_and_tear_nothing(tmp_path: Path) -> None:
    found = kills.measure(KILLS, 20250118, tmp_path)
    wrong = {name: found[name] for name in ("lost", "doubled", "torn", "reader_failures")}
    assert wrong == {"lost": 0, "doubled": 0, "torn": 0, "reader_failures": 0}, found["complaints"]
    assert found["kills"] == KILLS
    assert sum(found["by_phase"].values()) == KILLS
    assert {"opening", "write"} < set(found["by_phase"])
    assert found["commits"] > 0
    assert found["states_read"] > 1


# That the checker can fail


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> kills.Frames:
    folder = tmp_path_factory.mktemp("rows")
    kills.recorded_rows(folder)
    return kills.read_rows(folder)


class Written:
    """A home with two windows and their journal; `older` is head as it was after the first."""

    def __init__(self, folder: Path, frames: kills.Frames) -> None:
        self.home, self.older = folder / "home", folder / "older.duckdb"
        self.layout = Layout(self.home)
        self._frames = frames
        self.checker = kills.Checker(self.home, frames, kills.Model())
        assert self.checker.check() == kills.Verdict()
        kills.undisturbed(self.home, frames, self.checker, 3)
        shutil.copyfile(self.layout.head, self.older)
        kills.undisturbed(self.home, frames, self.checker, 4)

    def change_head(self, sql: str) -> None:
        with duckdb.connect(str(self.layout.head)) as con:
            con.execute(sql)


@pytest.fixture
def written(tmp_path: Path, frames: kills.Frames) -> Written:
    return Written(tmp_path, frames)


def test_a_whole_state_has_nothing_wrong(written: Written) -> None:
    assert written.checker.check() == kills.Verdict()
    assert written.checker.check() == kills.Verdict()


def lose_a_commit(written: Written) -> None:
    shutil.copyfile(written.older, written.layout.head)


def lose_a_minute(written: Written) -> None:
    written.change_head(
        "DELETE FROM raw.power_system WHERE minute_utc ="
        " (SELECT max(minute_utc) FROM raw.power_system)"
    )


def publish_what_is_older(written: Written) -> None:
    public = written.layout.public.resolve()
    public.unlink()
    shutil.copyfile(written.older, public)


def double_a_row(written: Written) -> None:
    # The primary key refuses the very same row: its double is a window that nobody wrote.
    written.change_head(
        "INSERT INTO ml.retrain_decisions SELECT * REPLACE ("
        "window_start_utc + INTERVAL 6 HOUR AS window_start_utc) FROM ml.retrain_decisions"
        " ORDER BY window_start_utc DESC LIMIT 1"
    )


def commit_what_was_never_begun(written: Written) -> None:
    with Warehouse(written.home).write("nobody's", "kills") as tx:
        tx.execute("UPDATE ops.watermarks SET commit_id = 0")
        tx.rows_written = 1


def tear_a_transaction(written: Written) -> None:
    written.change_head(
        "UPDATE raw.power_system SET commit_id = commit_id - 2, imbalance_dk1_mw ="
        " imbalance_dk1_mw - 2 WHERE minute_utc = (SELECT max(minute_utc) FROM raw.power_system)"
    )


def tear_a_row(written: Written) -> None:
    written.change_head(
        "UPDATE ml.forecasts SET p50_g_per_kwh = p50_g_per_kwh + 1 WHERE lead_hours = 7"
    )


def tear_the_public_copy(written: Written) -> None:
    public = written.layout.public.resolve()
    whole = public.read_bytes()
    public.unlink()
    public.write_bytes(whole[: len(whole) // 2])


def tear_head(written: Written) -> None:
    whole = written.layout.head.read_bytes()
    written.layout.head.write_bytes(bytes(8192) + whole[8192:])


def leave_drafts(written: Written) -> None:
    for number in range(5):
        (written.layout.generations / f".{number:06d}.tmp").mkdir()


@pytest.mark.parametrize(
    ("harm", "kind"),
    [
        (lose_a_commit, "lost"),
        (lose_a_minute, "lost"),
        (publish_what_is_older, "lost"),
        (double_a_row, "doubled"),
        (commit_what_was_never_begun, "doubled"),
        (leave_drafts, "doubled"),
        (tear_a_transaction, "torn"),
        (tear_a_row, "torn"),
        (tear_the_public_copy, "torn"),
        (tear_head, "torn"),
    ],
)
def test_what_was_harmed_by_hand_is_counted(
    written: Written, harm: Callable[[Written], None], kind: str
) -> None:
    harm(written)
    verdict = written.checker.check()
    assert getattr(verdict, kind), verdict


def test_a_reader_that_cannot_open_the_public_copy_is_counted(
    written: Written, frames: kills.Frames
) -> None:
    reader = kills.Reader(written.home, frames)
    reader.start()
    try:
        deadline = time.monotonic() + 20
        while not reader.reads and time.monotonic() < deadline:
            time.sleep(0.01)
        assert (reader.reads > 0, reader.failures) == (True, [])
        written.layout.public.unlink()
        while not reader.failures and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        reader.end()
    assert reader.failures
