"""A fresh `dagster dev -w workspace.yaml`, started from elsewhere: schedule and sensor run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from co2_assets_tests.homes import free_port

pytestmark = pytest.mark.timeout(600)

REPOSITORY = Path(__file__).parents[2]
START_WITHIN_S, STOP_WITHIN_S = 240.0, 60.0


def _default_signals() -> None:
    # Where SIGINT is ignored, as in a shell's background job, dagster dev ignores SIGTERM too.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Dev:
    """A running `dagster dev`."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.log = folder / "dev.log"
        (folder / "elsewhere").mkdir()
        (folder / "dagster").mkdir()
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("CO2_")
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    Path(sys.executable).with_name("dagster"),
                    "dev",
                    *("-w", REPOSITORY / "workspace.yaml"),
                    *("-h", "127.0.0.1", "-p", str(self.port)),
                ],
                cwd=folder / "elsewhere",
                env={
                    **inherited,
                    "CO2_HOME": str(folder / "home"),
                    "DAGSTER_HOME": str(folder / "dagster"),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_default_signals,
            )

    def ask(self, query: str) -> dict[str, Any]:
        reply = requests.post(
            f"http://127.0.0.1:{self.port}/graphql", json={"query": query}, timeout=30
        )
        reply.raise_for_status()
        answer = reply.json()
        assert "errors" not in answer, answer
        data: dict[str, Any] = answer["data"]
        return data

    def wait(self) -> None:
        """Until it answers and the daemon has taken up schedule and sensor."""
        deadline = time.monotonic() + START_WITHIN_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            try:
                if self.ask("{ instance { daemonHealth { allDaemonStatuses { healthy } } } }"):
                    return
            except requests.RequestException:
                time.sleep(0.5)
        raise AssertionError(self.log.read_text())

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_WITHIN_S)


@pytest.fixture(scope="module")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    running = Dev(tmp_path_factory.mktemp("dev"))
    try:
        running.wait()
        yield running
    finally:
        with suppress(ProcessLookupError):
            os.killpg(running.process.pid, signal.SIGKILL)
        running.process.wait()


SELECTOR = '{repositoryLocationName: "co2_assets", repositoryName: "__repository__", %s}'


def test_the_schedule_is_running_and_its_next_ticks_are_at_00_06_12_and_18_utc(dev: Dev) -> None:
    selector = SELECTOR % 'scheduleName: "every_six_hours"'
    before = datetime.now(UTC)
    schedule = dev.ask(
        "{ scheduleOrError(scheduleSelector: "
        + selector
        + ") { __typename ... on Schedule { pipelineName cronSchedule executionTimezone"
        " scheduleState { status } futureTicks(limit: 4) { results { timestamp } } } } }"
    )["scheduleOrError"]
    assert schedule["__typename"] == "Schedule", schedule
    assert schedule["scheduleState"]["status"] == "RUNNING"
    assert (schedule["pipelineName"], schedule["executionTimezone"]) == ("tick", "UTC")
    ticks = [
        datetime.fromtimestamp(tick["timestamp"], UTC)
        for tick in schedule["futureTicks"]["results"]
    ]
    assert {tick.hour for tick in ticks} == {0, 6, 12, 18}
    assert all((tick.minute, tick.second) == (0, 0) for tick in ticks)
    assert before - timedelta(minutes=1) < ticks[0] <= before + timedelta(hours=6, minutes=1)


def test_the_sensor_is_running(dev: Dev) -> None:
    selector = SELECTOR % 'sensorName: "retrain_on_drift"'
    sensor = dev.ask(
        "{ sensorOrError(sensorSelector: "
        + selector
        + ") { __typename ... on Sensor { minIntervalSeconds targets { pipelineName }"
        " sensorState { status } } } }"
    )["sensorOrError"]
    assert sensor["__typename"] == "Sensor", sensor
    assert sensor["sensorState"]["status"] == "RUNNING"
    assert sensor["targets"] == [{"pipelineName": "retrain"}]


def test_the_twelve_assets_of_the_lineage_are_there(dev: Dev) -> None:
    nodes = dev.ask("{ assetNodes { assetKey { path } groupName } }")["assetNodes"]
    found = {"/".join(node["assetKey"]["path"]): node["groupName"] for node in nodes}
    assert found == {
        **dict.fromkeys(
            (
                "raw/power_system",
                "raw/wind_solar_forecasts",
                "raw/co2_prognosis",
                "raw/day_ahead_prices",
            ),
            "raw",
        ),
        **dict.fromkeys(("core/aggregated_hours", "core/engineered_features"), "core"),
        **dict.fromkeys(
            (
                "ml/trained_model",
                "ml/forecasts",
                "ml/forecast_evaluations",
                "ml/window_receipts",
                "ml/retrain_decisions",
                "ml/backtest",
            ),
            "ml",
        ),
    }


def test_sigterm_ends_it_and_every_process_that_it_started(dev: Dev) -> None:
    assert dev.stop() == 0, dev.log.read_text()
    deadline = time.monotonic() + STOP_WITHIN_S
    while time.monotonic() < deadline:
        try:
            os.killpg(dev.process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.2)
    raise AssertionError("a process of dagster dev lives on")
