"""Services beside each other: one that dies is told, the main one ends all, none is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from co2_assets.processes import Service, serve_until_stopped, start, stop_group
from co2_assets_tests.warehouse.filled import eventually

SLEEPS = "import time; time.sleep(600)"
HAS_A_CHILD = (
    "import subprocess, sys, time;"
    f" child = subprocess.Popen([sys.executable, '-c', {SLEEPS!r}]);"
    " print(child.pid, flush=True); time.sleep(600)"
)
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('on', flush=True); time.sleep(600)"  # noqa: E501


def service(folder: Path, name: str, code: str, **environment: str) -> Service:
    return Service(name, (sys.executable, "-c", code), environment, folder / "logs" / f"{name}.log")


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


def children() -> list[psutil.Process]:
    return [one for one in psutil.Process().children(recursive=True) if one.is_running()]


def test_the_main_service_ends_the_others_and_its_exit_code_is_told(tmp_path: Path) -> None:
    before = children()
    ended = serve_until_stopped(
        service(tmp_path, "main", "raise SystemExit(7)"),
        [service(tmp_path, "beside", SLEEPS)],
        lambda _line: None,
    )
    assert ended == 7
    assert children() == before


def test_one_that_ends_by_itself_is_told_with_its_log_and_the_others_go_on(tmp_path: Path) -> None:
    said: list[str] = []

    def stop_when_told() -> None:
        assert eventually(lambda: any("ended by itself" in line for line in said))
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop_when_told)
    stopper.start()
    ended = serve_until_stopped(
        service(tmp_path, "main", SLEEPS),
        [service(tmp_path, "beside", "raise SystemExit('no port')")],
        said.append,
    )
    stopper.join()
    assert ended is None, "it was told to stop"
    (line,) = (line for line in said if "ended by itself" in line)
    assert line.startswith("beside ended by itself")
    assert str(tmp_path / "logs" / "beside.log") in line
    assert "no port" in (tmp_path / "logs" / "beside.log").read_text()


def test_every_address_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    main = service(tmp_path, "main", "pass")._replace(url="http://127.0.0.1:1")
    serve_until_stopped(main, [], said.append)
    assert said == ["main: http://127.0.0.1:1", "Ctrl-C ends it"]


def test_a_service_has_its_variables_besides_ours(tmp_path: Path) -> None:
    code = "import os; print(os.environ['MINE'], os.environ['PATH'])"
    process = start(service(tmp_path, "one", code, MINE="yes"))
    process.wait(30)
    assert (tmp_path / "logs" / "one.log").read_text().split() == ["yes", os.environ["PATH"]]


def test_stopping_ends_what_the_service_began(tmp_path: Path) -> None:
    process = start(service(tmp_path, "parent", HAS_A_CHILD))
    log = tmp_path / "logs" / "parent.log"
    assert eventually(lambda: log.read_text().strip())
    child = psutil.Process(int(log.read_text()))
    stop_group(process)
    assert process.poll() is not None
    assert eventually(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE)


def test_one_that_will_not_be_asked_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("co2_assets.processes.STOP_WITHIN_S", 0.5)
    process: subprocess.Popen[bytes] = start(service(tmp_path, "stubborn", STUBBORN))
    assert eventually(lambda: (tmp_path / "logs" / "stubborn.log").read_text().strip())
    stop_group(process)
    assert process.returncode == -signal.SIGKILL
