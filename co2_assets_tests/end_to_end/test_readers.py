"""Readers of `co2.duckdb` while writers write: none fails, sees half a commit, or is waited for."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import pytest

from co2_assets.schema import DAY_AHEAD_PRICES, WIND_SOLAR_FORECASTS
from co2_assets.settings import WINDOW
from co2_assets_tests.end_to_end.wholeness import COMMITS_WHOLE, TICKS_WHOLE
from co2_assets_tests.homes import REPLAYED_UNTIL, Home
from co2_assets_tests.warehouse.filled import filled, hours

ROWS = 7
"""Rows that each small transaction writes into each of two tables."""

PAIRED = f"""
SELECT prices.n % {ROWS}, prices.n - winds.n
FROM (SELECT count(*) AS n FROM raw.day_ahead_prices WHERE area LIKE 'TEST%') AS prices,
    (SELECT count(*) AS n FROM raw.wind_solar_forecasts WHERE area LIKE 'TEST%') AS winds
"""

READER = """
import json, os, sys, time
from contextlib import contextmanager
from pathlib import Path
import duckdb

os.nice(5)  # two cores are few for four readers and a writer

how, home, queries = sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])

@contextmanager
def opened():
    if how == "platform":
        from co2_assets.warehouse.reader import open_published
        with open_published(home) as con:
            yield con
    elif how == "attach":
        with duckdb.connect() as con:
            con.execute(f"ATTACH '{home / 'co2.duckdb'}' AS co2 (READ_ONLY)")
            con.execute("USE co2")
            yield con
    else:
        with duckdb.connect(str(home / "co2.duckdb"), read_only=True) as con:
            yield con

def look(con):
    answers = [con.execute(query).fetchall() for query in queries]
    return [[repr(cell) for row in answer for cell in row] for answer in answers]

found = {"how": how, "looks": 0, "torn": [], "states": [], "slowest_s": 0.0}
(home / f"{how}.ready").touch()
held = opened() if how == "never closes" else None
con = held.__enter__() if held else None
while not (home / "stop").exists():
    started = time.monotonic()
    if con is not None:
        *whole, state = look(con)
    else:
        with opened() as fresh:
            *whole, state = look(fresh)
    found["looks"] += 1
    found["slowest_s"] = max(found["slowest_s"], time.monotonic() - started)
    if any(cell not in ("0", "False") for answer in whole for cell in answer):
        found["torn"].append(whole)
    if state not in found["states"]:
        found["states"].append(state)
print(json.dumps(found))
"""

WAYS = ("plain", "platform", "attach", "never closes")


class Readers:
    """Four processes that query a home without a pause, from `with` to its end.

    `answers` has, afterwards, what each of them found.
    """

    def __init__(self, home: Home) -> None:
        self._home = home.settings.home
        self._processes: list[subprocess.Popen[str]] = []
        self.answers: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        queries = [COMMITS_WHOLE, TICKS_WHOLE, PAIRED, "SELECT max(commit_id) FROM ops.commits"]
        for way in WAYS:
            self._processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", READER, way, str(self._home), json.dumps(queries)],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
        deadline = time.monotonic() + 60
        while not all((self._home / f"{way}.ready").exists() for way in WAYS):
            if time.monotonic() > deadline or any(p.poll() for p in self._processes):
                break
            time.sleep(0.05)
        return self

    def __exit__(self, *_error: object) -> None:
        (self._home / "stop").touch()
        failed = []
        for way, process in zip(WAYS, self._processes, strict=True):
            try:
                out, err = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
            if process.returncode:
                failed.append(f"{way}: {err}")
            else:
                self.answers.append(json.loads(out))
        assert not failed, failed


@pytest.mark.slow
def test_four_readers_never_fail_never_see_half_a_commit_and_no_run_waits_for_them(
    fresh_copy: Home,
) -> None:
    # A writer that had to wait longer than this for anybody would fail.
    home = fresh_copy.under(lock_timeout_s=0.05)
    published = [home.value("SELECT max(commit_id) FROM ops.commits")]
    with home.served(), Readers(home) as readers:
        for index in range(2):
            home.tick(REPLAYED_UNTIL + index * WINDOW)
            published.append(home.value("SELECT max(commit_id) FROM ops.commits"))
            for number in range(5):
                _small_run(home, 5 * index + number)
                published.append(home.value("SELECT max(commit_id) FROM ops.commits"))
    assert [found["how"] for found in readers.answers] == list(WAYS)
    for found in readers.answers:
        assert found["torn"] == [], found["how"]
        assert found["looks"] >= 10, found
        seen = [int(state[0]) for state in found["states"]]
        assert seen == sorted(seen), f"{found['how']} went back in time"
        assert set(seen) <= set(published), f"{found['how']} saw what was never published"
        if found["how"] == "never closes":
            assert len(seen) == 1
        else:
            assert len(seen) >= 4, found


def _small_run(home: Home, number: int) -> None:
    """Two commits, each in two tables at once, and one publication."""
    store = home.store
    for half in (0, 1):
        area = f"TEST{number}-{half}"
        with store.write("small", f"run {number}") as tx:
            tx.upsert(DAY_AHEAD_PRICES, filled(DAY_AHEAD_PRICES, time_utc=hours(ROWS), area=area))
            tx.upsert(
                WIND_SOLAR_FORECASTS,
                filled(WIND_SOLAR_FORECASTS, hour_utc=hours(ROWS), area=area),
            )
    assert store.publish() is not None


VIEWS = (
    "actuals",
    "forecast_history",
    "forecasts",
    "forecast_vs_actual",
    "accuracy",
    "scoreboard",
    "models",
    "champion",
    "retrain_ledger",
    "data_quality",
)

OPEN_ALL_WAYS = """
import json, sys
import duckdb
link, copy, views = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
found = {"version": duckdb.__version__}

def ask(con):
    return [
        con.execute(f"SELECT count(*) FROM {prefix}{view}").fetchone()[0]
        for prefix in ("co2.", "", "co2.main.") for view in views
    ]

for name, path in (("link", link), ("copy", copy)):
    con = duckdb.connect(path, read_only=True)
    found[name] = ask(con)
    con.close()
con = duckdb.connect()
con.execute(f"ATTACH '{link}' (READ_ONLY)")
found["attached"] = [con.execute(f"SELECT count(*) FROM co2.{v}").fetchone()[0] for v in views]
con.execute("USE co2")
found["used"] = ask(con)
print(json.dumps(found))
"""

OLD_DUCKDB = "1.5.5"


@pytest.fixture(scope="session")
def old_duckdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """DuckDB 1.5.5 in a folder of its own: the shell and packages that people still have."""
    folder = tmp_path_factory.mktemp("duckdb")
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary", ":all:",
        "--disable-pip-version-check", "--no-input", "--retries", "0", "--timeout", "20",
        "--target", str(folder), f"duckdb=={OLD_DUCKDB}",
    ]  # fmt: skip
    installed = subprocess.run(command, capture_output=True, text=True)
    if installed.returncode:
        reason = (
            f"DuckDB {OLD_DUCKDB} cannot be had:"
            f" {installed.stderr.strip().splitlines()[-1:]}; to see it run: {' '.join(command)}"
        )
        if os.environ.get("REQUIRE_ALL"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


def _opened_all_ways(home: Home, tmp_path: Path, packages: Path | None) -> dict[str, object]:
    copy = tmp_path / "elsewhere" / "co2.duckdb"
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(home.settings.home / "co2.duckdb", copy)
    environment = {**os.environ, **({"PYTHONPATH": str(packages)} if packages else {})}
    answer = subprocess.run(
        [
            sys.executable,
            "-c",
            OPEN_ALL_WAYS,
            str(home.settings.home / "co2.duckdb"),
            str(copy),
            json.dumps(VIEWS),
        ],
        capture_output=True,
        text=True,
        env=environment,
    )
    assert answer.returncode == 0, answer.stderr
    found: dict[str, object] = json.loads(answer.stdout)
    return found


def _expected(home: Home) -> list[int]:
    return [home.value(f"SELECT count(*) FROM main.{view}") for view in VIEWS]


def test_the_link_a_copy_and_an_attached_file_answer_alike_in_this_duckdb(
    replayed: Home, tmp_path: Path
) -> None:
    found = _opened_all_ways(replayed, tmp_path, None)
    counts = _expected(replayed)
    assert counts[0] > 700
    assert {name: found[name] for name in ("link", "copy", "used")} == dict.fromkeys(
        ("link", "copy", "used"), counts * 3
    )
    assert found["attached"] == counts


def test_the_link_a_copy_and_an_attached_file_answer_alike_in_duckdb_1_5(
    replayed: Home, tmp_path: Path, old_duckdb: Path
) -> None:
    found = _opened_all_ways(replayed, tmp_path, old_duckdb)
    counts = _expected(replayed)
    assert found["version"] == OLD_DUCKDB
    assert [found[name] for name in ("link", "copy", "used")] == [counts * 3] * 3
    assert found["attached"] == counts
