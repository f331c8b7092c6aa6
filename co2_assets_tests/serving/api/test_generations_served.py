"""Before the first publication, while runs publish, and when a published file is broken."""

from __future__ import annotations

import shutil
import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from co2_assets.orchestration.home import ensure_home
from co2_assets.serving.api import caching
from co2_assets.settings import load_settings
from co2_assets.warehouse.store import Warehouse
from co2_assets_tests.homes import REPLAYED_UNTIL, SMALL, Home, free_port
from co2_assets_tests.serving.api.asking import DATA_ROUTES, REQUESTS, answered, client, refused

NOW = REPLAYED_UNTIL + timedelta(minutes=5)
PUBLICATIONS = 100


def stamp(home: Home, number: int) -> None:
    """Publish a generation in which every view says which one it is."""
    with home.store.write("test", f"stamp {number}") as tx:
        tx.execute(
            "UPDATE ml.forecasts SET fallback_reason = $reason, p50_g_per_kwh = $number,"
            " p05_g_per_kwh = $number, p10_g_per_kwh = $number, p25_g_per_kwh = $number,"
            " p75_g_per_kwh = $number, p90_g_per_kwh = $number, p95_g_per_kwh = $number"
            " WHERE is_served",
            reason=f"stamp {number}",
            number=float(number),
        )
        tx.execute("UPDATE ml.retrain_decisions SET reason = $reason", reason=f"stamp {number}")
    home.store.publish()


def stamps(answer: Any) -> set[str]:
    """The stamps in an answer, wherever they are."""
    if isinstance(answer, dict):
        return set().union(*map(stamps, answer.values()))
    if isinstance(answer, list):
        return set().union(*map(stamps, answer))
    return {answer} if isinstance(answer, str) and answer.startswith("stamp ") else set()


# Before the first


def test_an_api_started_before_the_first_tick_answers_once_there_is_something(
    replayed: Home, tmp_path: Path
) -> None:
    settings = load_settings(home=tmp_path / "home", **{**SMALL, "recorded_port": free_port()})
    api = client(settings, NOW)
    for request in [*REQUESTS, "/health"]:
        response = api.get(request)
        refused(response, "nothing_published")
        assert int(response.headers["retry-after"]) > 0
    assert "co2_published_generation 0.0" in api.get("/metrics").text
    assert "co2_is_stale 1.0" in api.get("/metrics").text
    assert api.get("/").status_code == 200

    shutil.copytree(replayed.settings.home, settings.home, symlinks=True)
    for request in [*REQUESTS, "/health"]:
        answered(api.get(request))


def test_an_empty_warehouse_is_no_forecast_and_no_data(tmp_path: Path) -> None:
    settings = ensure_home(
        load_settings(home=tmp_path / "home", **{**SMALL, "recorded_port": free_port()})
    )
    Warehouse(settings.home, lock_timeout_s=30).publish()
    api = client(settings, NOW)
    expected = {
        "/last-24h-emissions": "no_data",
        "/last-6h-predictions-vs-actual": "no_data",
        "/next-6h-predictions": "no_forecast",
        "/forecasts": "no_forecast",
        "/greenest-window": "no_forecast",
        "/best-model": "no_champion",
        "/explain": "no_such_forecast",
    }
    for path, query in DATA_ROUTES.items():
        response = api.get(path + query)
        if path in expected:
            refused(response, expected[path])
        else:
            versions = answered(response)
            assert {row["status"] for row in versions} <= {"baseline"}, "only /models has rows"
            assert response.json()["about"]["is_stale"] is True
            assert response.json()["about"]["issue_time_utc"] is None
            assert response.headers["co2-issue-time"] == "none"
    assert "none" in refused(api.get("/health"), "stale")["detail"]


def test_a_recorded_home_without_its_clock_says_what_to_start(fresh_copy: Home) -> None:
    fresh_copy.settings.clock_file.unlink()
    api = client(fresh_copy.settings)
    found = refused(api.get("/forecasts"), "nothing_published")
    assert "clock" in found["detail"]
    assert "co2 recorded-server" in found["next_step"]
    assert api.get("/metrics").status_code == 200


# Broken


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is no database" * 1000)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncated(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def _header_only(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(4096)


def _overwritten(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        for place in range(size // 4, size, size // 40):
            file.seek(place)
            file.write(b"\x5a" * 512)


UNREADABLE = [_garbage, _empty, _header_only, _truncated]


def publish_broken(home: Home, damage: Callable[[Path], None]) -> int:
    """A new generation whose file is damaged, made public as a run makes it; its number."""
    newest = home.settings.database_path.resolve()
    number = int(newest.parent.name) + 1
    folder = newest.parents[1] / f"{number:06d}"
    folder.mkdir()
    broken = Path(shutil.copyfile(newest, folder / newest.name))
    damage(broken)
    link = home.settings.home / "link.tmp"
    link.symlink_to(Path("gen") / folder.name / newest.name)
    link.replace(home.settings.database_path)
    return number


@pytest.mark.parametrize("damage", UNREADABLE)
def test_a_damaged_generation_leaves_the_last_good_one_in_service_with_a_note(
    fresh_copy: Home, damage: Callable[[Path], None]
) -> None:
    api = client(fresh_copy.settings)
    before = {request: api.get(request) for request in REQUESTS}
    good = before["/models"].json()["about"]["generation"]
    number = publish_broken(fresh_copy, damage)
    for request in REQUESTS:
        response = api.get(request)
        assert answered(response) == answered(before[request])
        about = response.json()["about"]
        assert about["generation"] == good
        assert any(f"{number:06d} was published but cannot be read" in n for n in about["notes"])
    stamp(fresh_copy, 1)
    after = api.get("/forecasts")
    assert stamps(answered(after)) == {"stamp 1"}
    assert after.json()["about"]["notes"] == []


@pytest.mark.parametrize("damage", UNREADABLE)
def test_a_damaged_generation_alone_is_a_clear_503(
    fresh_copy: Home, damage: Callable[[Path], None]
) -> None:
    publish_broken(fresh_copy, damage)
    api = client(fresh_copy.settings)
    for request in [*REQUESTS, "/health"]:
        response = api.get(request)
        assert refused(response, "nothing_published")["next_step"]
        assert int(response.headers["retry-after"]) > 0
    assert api.get("/metrics").status_code == 200


def _short_of_its_end(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 300_000)


@pytest.mark.parametrize("damage", [_short_of_its_end, _overwritten])
def test_damage_that_opening_does_not_find_never_becomes_a_wrong_number(
    fresh_copy: Home, damage: Callable[[Path], None]
) -> None:
    api = client(fresh_copy.settings)
    right = {request: answered(api.get(request)) for request in REQUESTS}
    publish_broken(fresh_copy, damage)
    for request in REQUESTS:
        response = api.get(request)
        if response.status_code == 200:
            assert answered(response) == right[request]
        else:
            assert response.status_code == 503
            refused(response, response.json()["code"])


def test_a_generation_that_is_removed_while_it_is_open_goes_on_until_the_next(
    fresh_copy: Home,
) -> None:
    api = client(fresh_copy.settings)
    first = answered(api.get("/forecasts"))
    newest = fresh_copy.settings.database_path.resolve().parent
    shutil.rmtree(newest)
    assert answered(api.get("/forecasts?leads=24")) == first
    stamp(fresh_copy, 1)
    assert stamps(answered(api.get("/forecasts"))) == {"stamp 1"}


def test_a_link_to_nowhere_is_a_clear_503(fresh_copy: Home) -> None:
    shutil.rmtree(fresh_copy.settings.database_path.resolve().parent)
    response = client(fresh_copy.settings).get("/forecasts")
    assert response.status_code == 503
    refused(response, response.json()["code"])


# While a writer publishes


@pytest.mark.slow
def test_each_answer_is_of_one_generation_while_a_hundred_are_published(
    fresh_copy: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # answers may be two seconds behind, as they are for real
    stamp(fresh_copy, 0)
    api = client(fresh_copy.settings)
    offset = api.get("/forecasts").json()["about"]["generation"]
    done = threading.Event()
    failed: list[BaseException] = []

    def publish() -> None:
        try:
            for number in range(1, PUBLICATIONS + 1):
                stamp(fresh_copy, number)
        except BaseException as error:
            failed.append(error)
        finally:
            done.set()

    writer = threading.Thread(target=publish)
    writer.start()
    seen: dict[str, list[int]] = defaultdict(list)
    while not done.is_set():
        for request in (
            "/forecasts",
            "/next-6h-predictions",
            "/retrain-ledger",
            "/forecasts?leads=2",
        ):
            response = api.get(request)
            data = answered(response)
            generation = response.json()["about"]["generation"]
            number = generation - offset
            assert stamps(response.json()) == {f"stamp {number}"}, "two generations in one answer"
            if request != "/retrain-ledger":
                assert {row["p50_g_per_kwh"] for row in data} == {float(number)}
            seen[request].append(number)
    writer.join()
    assert failed == []
    for numbers in seen.values():
        assert numbers == sorted(numbers), "it went back in time"
        assert len(set(numbers)) > 5, "too few generations were seen while they were published"
    monkeypatch.setattr(caching, "BEHIND_S", 0.0)
    assert stamps(answered(api.get("/forecasts"))) == {f"stamp {PUBLICATIONS}"}
