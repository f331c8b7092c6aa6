"""A locked warehouse, a foreign process, a full disk, a read-only home: one clear error each."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from co2_assets.cli import main
from co2_assets.errors import WarehouseUnwritable
from co2_assets.replay.machine import tick_time
from co2_assets.schema import CO2_PROGNOSIS
from co2_assets.settings import HOME_FIELDS
from co2_assets.warehouse import publish
from co2_assets.warehouse.query import value
from co2_assets.warehouse.reader import open_published
from co2_assets.warehouse.store import Warehouse
from co2_assets_tests.end_to_end.wholeness import COMMITS_WHOLE, TICKS_WHOLE
from co2_assets_tests.equality import tables_differ
from co2_assets_tests.homes import REPLAYED_UNTIL, Home
from co2_assets_tests.warehouse.filled import filled, hours, leftovers, other_process

HOLD_LOCK = """
import sys, time
from pathlib import Path
from co2_assets.warehouse.lock import exclusive
with exclusive(Path(sys.argv[1]), timeout_s=5, holder="a backup by hand"):
    print("ready", flush=True)
    time.sleep(600)
"""

HOLD_HEAD = """
import sys, time
import duckdb
con = duckdb.connect(sys.argv[1])
print("ready", flush=True)
time.sleep(600)
"""

COMMANDS = (
    ("tick", "--window", f"{REPLAYED_UNTIL:%Y-%m-%dT%H:%M}"),
    ("fetch", "PowerSystemRightNow", "--window", f"{REPLAYED_UNTIL:%Y-%m-%dT%H:%M}"),
    ("publish",),
    ("compact",),
)
NAMES = [command[0] for command in COMMANDS]


def co2(home: Path, *arguments: str, **environment: str) -> Result:
    """One command on a home, with its errors apart."""
    kept = os.environ.get("DAGSTER_HOME")
    try:
        return CliRunner(env={"CO2_LOCK_TIMEOUT_S": "0.2", **environment}).invoke(
            main, ["--home", str(home), *arguments]
        )
    finally:
        os.environ.pop("DAGSTER_HOME", None)
        if kept is not None:
            os.environ["DAGSTER_HOME"] = kept


def data_of(home: Path) -> dict[str, bytes]:
    """The files that hold data: what a refused command must not change."""
    return {
        name: content
        for name, content in leftovers(home).items()
        if name.startswith(("gen/", "artifacts/")) or name.endswith(("head.duckdb", ".json"))
    }


def says_one_error(result: Result, *parts: str) -> None:
    assert result.exit_code == 4, result.output
    assert result.stderr.count("error:") == 1
    assert "Traceback" not in result.output
    for label in ("where:", "found:", "expected:", "next:", *parts):
        assert label in result.stderr, result.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_a_locked_warehouse_names_its_holder_and_stays_as_it_was(
    fresh_copy: Home, command: tuple[str, ...]
) -> None:
    home = fresh_copy.settings.home
    with fresh_copy.served(), other_process(HOLD_LOCK, home / "state" / "writer.lock") as pid:
        before = data_of(home)
        result = co2(home, *command)
        assert data_of(home) == before
    says_one_error(result, "another writer holds", f"process {pid}, a backup by hand")


@pytest.mark.parametrize("command", COMMANDS, ids=NAMES)
def test_a_foreign_process_on_the_private_file_is_named_and_nothing_changes(
    fresh_copy: Home, command: tuple[str, ...]
) -> None:
    home = fresh_copy.settings.home
    with fresh_copy.served(), other_process(HOLD_HEAD, home / "state" / "head.duckdb") as pid:
        before = data_of(home)
        result = co2(home, *command)
        assert data_of(home) == before
    says_one_error(result, "private file open", str(pid), "readers open")


FillDisk = Callable[[], AbstractContextManager[None]]
MEGABYTE = 1 << 20


@pytest.fixture(params=["small disk", "file size limit"])
def filling(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Path, FillDisk]]:
    """A folder for a home, and a way to leave no space for it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if request.param == "file size limit":
        yield folder, lambda: _limited(folder)
        return
    with mounted("tmpfs", folder, "size=64m"):
        yield folder, lambda: _filled_up(folder)


@contextmanager
def mounted(kind: str, folder: Path, options: str) -> Iterator[None]:
    """A file system of its own, where this process may mount one."""
    mount = ["mount", "-t", kind, "-o", options, "co2-test", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no command `mount`")
    if done.returncode:
        pytest.skip(f"may not mount ({done.stderr.strip()}); as root: {' '.join(mount)}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def _filled_up(folder: Path) -> Iterator[None]:
    ballast = folder / "ballast"
    with ballast.open("wb") as file:
        try:
            while True:
                file.write(bytes(64 * 1024))
                file.flush()
        except OSError:
            pass
    os.truncate(ballast, ballast.stat().st_size // 65536 * 65536 - 65536)
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def _limited(folder: Path) -> Iterator[None]:
    head = folder / "home" / "state" / "head.duckdb"
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (head.stat().st_size - 4096, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)


MANY = filled(
    CO2_PROGNOSIS,
    time_utc=hours(400_000),
    etl_run_id=[f"run {index * 7919 % 400_009}" for index in range(400_000)],
)
COUNT = "SELECT count(*) FROM raw.co2_prognosis"


def test_a_disk_that_is_full_during_a_commit_loses_nothing_and_adds_nothing(
    filling: tuple[Path, FillDisk],
) -> None:
    folder, full = filling
    warehouse = Warehouse(folder / "home")
    with warehouse.write("before", "run") as tx:
        tx.upsert(CO2_PROGNOSIS, filled(CO2_PROGNOSIS, time_utc=hours(5)))
    warehouse.publish()
    with (
        full(),
        pytest.raises(WarehouseUnwritable) as error,
        warehouse.write("too much", "run") as tx,
    ):
        tx.upsert(CO2_PROGNOSIS, MANY)
    assert "free" in str(error.value)
    assert "as they were" in str(error.value)
    with warehouse.read("a look") as con:
        assert value(con, COUNT) == 5
    with open_published(folder / "home") as con:
        assert value(con, COUNT) == 5
    with warehouse.write("after", "run") as tx:
        tx.upsert(CO2_PROGNOSIS, filled(CO2_PROGNOSIS, time_utc=hours(9)))
    warehouse.publish()
    with open_published(folder / "home") as con:
        assert value(con, COUNT) == 9


def test_a_disk_that_is_full_during_publishing_keeps_commits_and_the_old_copy(
    filling: tuple[Path, FillDisk],
) -> None:
    folder, full = filling
    warehouse = Warehouse(folder / "home")
    with warehouse.write("before", "run") as tx:
        tx.upsert(CO2_PROGNOSIS, MANY[:20_000])
    warehouse.publish()
    with warehouse.write("more", "run") as tx:
        tx.upsert(CO2_PROGNOSIS, MANY[:20_005])
    before = leftovers(folder / "home" / "gen")
    with full(), pytest.raises(WarehouseUnwritable) as error:
        warehouse.publish()
    assert "next run publishes" in str(error.value)
    assert leftovers(folder / "home" / "gen") == before
    with open_published(folder / "home") as con:
        assert value(con, COUNT) == 20_000
    assert warehouse.publish() is not None
    with open_published(folder / "home") as con:
        assert value(con, COUNT) == 20_005


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder, unwritable: for root by a read-only mount of itself, else by its rights."""
    if os.geteuid() == 0:
        for options in (["--bind", str(folder)], ["-o", "remount,ro,bind"]):
            done = subprocess.run(["mount", *options, str(folder)], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"root may write everywhere, and may not mount: {done.stderr.strip()}")
        try:
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        return
    changed = [folder, *(path for path in folder.rglob("*") if not path.is_symlink())]
    modes = [path.stat().st_mode for path in changed]
    for path in reversed(changed):
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in zip(changed, modes, strict=True):
            path.chmod(mode)


def test_a_read_only_home_refuses_writers_and_still_answers_readers(fresh_copy: Home) -> None:
    home = fresh_copy.settings.home
    before = data_of(home)
    with fresh_copy.served():
        pass
    with read_only(home):
        for command in (("publish",), ("compact",), COMMANDS[0]):
            says_one_error(co2(home, *command), "cannot be written", "mend the rights")
        count = co2(home, "sql", "SELECT count(*) AS n FROM co2.actuals", "--format", "csv")
        assert count.exit_code == 0, count.output
        status = co2(home, "status", "--json")
        assert status.exit_code == 0, status.output
    assert count.stdout.split() == ["n", str(fresh_copy.value("SELECT count(*) FROM actuals"))]
    assert data_of(home) == {**before, "state/clock.json": data_of(home)["state/clock.json"]}


# What a tick meets, and the tick after it


def tick(home: Home) -> Result:
    """`co2 tick` of the next window, under the settings of the home."""
    given = home.settings.model_fields_set - {*HOME_FIELDS, "home", "lock_timeout_s"}
    environment = {f"CO2_{name.upper()}": str(getattr(home.settings, name)) for name in given}
    return co2(home.settings.home, *COMMANDS[0], **environment)


@contextmanager
def _locked(home: Path) -> Iterator[None]:
    with other_process(HOLD_LOCK, home / "state" / "writer.lock"):
        yield


@contextmanager
def _held_open(home: Path) -> Iterator[None]:
    with other_process(HOLD_HEAD, home / "state" / "head.duckdb"):
        yield


@contextmanager
def _full(home: Path) -> Iterator[None]:
    """No file may grow beyond half of head's size: Dagster's small files may be written."""
    kept = resource.getrlimit(resource.RLIMIT_FSIZE)
    head = home / "state" / "head.duckdb"
    resource.setrlimit(resource.RLIMIT_FSIZE, (head.stat().st_size // 2, kept[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, kept)


@contextmanager
def _full_when_publishing(_home: Path) -> Iterator[None]:
    """All commits are made, and there is no space left for their copy."""

    def refuse(_source: Path, target: Path) -> None:
        Path(target).write_bytes(bytes(4096))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(publish.shutil, "copyfile", refuse)
        yield


Trouble = Callable[[Path], AbstractContextManager[None]]
REFUSING: dict[str, Trouble] = {
    "another writer": _locked,
    "a foreign process": _held_open,
    "a read-only home": read_only,
}
HIDING: dict[str, Trouble] = {
    "head cannot grow": _full,
    "no space for the copy": _full_when_publishing,
}
"""The commits are made, in head or its log, and cannot be published."""


@pytest.fixture(scope="module")
def undisturbed(replayed: Home, tmp_path_factory: pytest.TempPathFactory) -> Home:
    """The prepared home after its next tick, which nothing disturbed."""
    home = replayed.copy(tmp_path_factory.mktemp("undisturbed") / "home")
    home.clean_tick(REPLAYED_UNTIL)
    return home


@pytest.mark.slow
@pytest.mark.parametrize("trouble", REFUSING.values(), ids=REFUSING)
def test_the_tick_after_one_that_was_refused_is_as_if_there_had_been_none(
    trouble: Trouble, fresh_copy: Home, undisturbed: Home
) -> None:
    public = fresh_copy.row(STATE)
    with fresh_copy.served(until=tick_time(fresh_copy.settings, REPLAYED_UNTIL)):
        with trouble(fresh_copy.settings.home):
            says_one_error(tick(fresh_copy))
            assert fresh_copy.row(STATE) == public
        clean = tick(fresh_copy)
        assert clean.exit_code == 0, clean.output
    is_whole_and_like(undisturbed, fresh_copy)


@pytest.mark.slow
@pytest.mark.parametrize("trouble", HIDING.values(), ids=HIDING)
def test_what_a_full_disk_kept_from_readers_is_theirs_after_the_next_tick(
    trouble: Trouble, fresh_copy: Home, undisturbed: Home
) -> None:
    public = fresh_copy.row(STATE)
    with fresh_copy.served(until=tick_time(fresh_copy.settings, REPLAYED_UNTIL)):
        with trouble(fresh_copy.settings.home):
            said = tick(fresh_copy).output
            assert "WarehouseUnwritable" in said or "error:" in said, said
            assert "free" in said, said
            assert fresh_copy.row(STATE) == public
        clean = tick(fresh_copy)
        assert clean.exit_code == 0, clean.output
    is_whole_and_like(undisturbed, fresh_copy)


def is_whole_and_like(undisturbed: Home, home: Home) -> None:
    assert tables_differ(undisturbed.settings.home, home.settings.home) == []
    commits_missing, rows_without_commit, _ = home.row(COMMITS_WHOLE)
    assert (commits_missing, rows_without_commit) == (0, False)
    assert home.row(TICKS_WHOLE) == (0, 0, False)
    assert [path for path in home.settings.home.rglob("*") if path.suffix == ".tmp"] == []


STATE = """
SELECT (SELECT max(commit_id) FROM ops.commits), (SELECT count(*) FROM raw.power_system),
    (SELECT count(*) FROM ml.forecasts), (SELECT count(*) FROM ml.retrain_decisions)
"""
"""What readers see: in trouble it must stay as it was."""


@pytest.mark.slow
def test_a_disk_without_a_byte_left_refuses_a_tick_and_the_next_is_clean(
    replayed: Home, undisturbed: Home, tmp_path: Path
) -> None:
    """Dagster's own files lie on it too."""
    size = sum(path.stat().st_size for path in replayed.settings.home.rglob("*") if path.is_file())
    disk = tmp_path / "disk"
    disk.mkdir()
    with mounted("tmpfs", disk, f"size={size + 64 * MEGABYTE}"):
        copy = replayed.copy(disk / "home")
        public = copy.row(STATE)
        with copy.served(until=tick_time(copy.settings, REPLAYED_UNTIL)):
            with _filled_up(disk):
                refused = tick(copy)
                assert refused.exit_code != 0, refused.output
                assert copy.row(STATE) == public
            clean = tick(copy)
            assert clean.exit_code == 0, clean.output
        is_whole_and_like(undisturbed, copy)


def test_a_home_that_cannot_be_made_is_refused_with_exit_code_2(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    result = co2(tmp_path / "file" / "home", "init")
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output


def test_init_makes_an_empty_warehouse_that_readers_can_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CO2_FIRST_WINDOW", "2025-01-18T00:00:00Z")
    result = co2(tmp_path / "home", "init")
    assert result.exit_code == 0, result.output
    with open_published(tmp_path / "home") as con:
        assert value(con, "SELECT count(*) FROM main.actuals") == 0
