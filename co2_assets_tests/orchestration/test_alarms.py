"""Alarms over real HTTP: what a webhook is sent, and what happens when it does not answer."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from co2_assets.orchestration import alarms
from co2_assets.orchestration.alarms import Alarm, failed_run, freshness_alarm, raise_alarm
from co2_assets.settings import WINDOW, Settings, load_settings
from co2_assets_tests.homes import REPLAYED_UNTIL, Home, free_port, utc

ALARM = Alarm("stale", "old: forecast: 9.0 hours old", "co2 status", "home /data")


class Hook:
    """A webhook that keeps what it is sent, and answers as it is told."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.answers: list[int] = []
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                hook.received.append(json.loads(self.rfile.read(length)))
                self.send_response(hook.answers.pop(0) if hook.answers else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook/secret"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


def settings(folder: Path, url: str | None) -> Settings:
    return load_settings(home=folder, webhook_url=url)


def test_an_alarm_is_logged_and_sent_with_what_to_do_next(
    hook: Hook, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        assert raise_alarm(settings(tmp_path, hook.url), ALARM)
    assert hook.received == [
        {
            "kind": "stale",
            "text": "co2_assets: old: forecast: 9.0 hours old. Next: co2 status",
            "next_step": "co2 status",
            "where": "home /data",
        }
    ]
    assert "old: forecast: 9.0 hours old; next: co2 status (home /data)" in caplog.text


def test_a_webhook_that_stumbles_is_tried_again(
    hook: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarms, "RETRIES", alarms.RETRIES.new(backoff_factor=0))
    hook.answers = [503, 500]
    assert raise_alarm(settings(tmp_path, hook.url), ALARM)
    assert len(hook.received) == 3


@pytest.mark.parametrize("answers", [[404], [503] * 4])
def test_a_webhook_that_refuses_stops_nothing_and_its_address_stays_secret(
    answers: list[int],
    hook: Hook,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(alarms, "RETRIES", alarms.RETRIES.new(backoff_factor=0))
    hook.answers = list(answers)
    with caplog.at_level(logging.ERROR):
        assert not raise_alarm(settings(tmp_path, hook.url), ALARM)
    assert "the webhook took no alarm" in caplog.text
    assert "secret" not in caplog.text


def test_nobody_at_the_address_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarms, "RETRIES", alarms.RETRIES.new(backoff_factor=0))
    assert not raise_alarm(settings(tmp_path, f"http://127.0.0.1:{free_port()}/"), ALARM)


def test_without_a_webhook_the_log_is_enough(tmp_path: Path) -> None:
    assert raise_alarm(settings(tmp_path, None), ALARM)


def test_the_address_is_not_shown_among_the_settings(tmp_path: Path) -> None:
    assert "secret" not in str(settings(tmp_path, "https://hooks.example/secret").webhook_url)


# A failed run


@dg.op
def breaks() -> None:
    try:
        raise ValueError("the disk is full; next: free some")
    except ValueError as error:
        raise RuntimeError("wrapped") from error


@dg.job(name="tick")
def broken_job() -> None:
    breaks()


def test_a_failed_run_is_told_by_job_window_step_and_innermost_cause() -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        result = broken_job.execute_in_process(
            instance=instance,
            raise_on_error=False,
            tags={"dagster/partition": "2025-01-20T00:00"},
        )
        context = dg.build_run_status_sensor_context(
            sensor_name="report_failed_runs",
            dagster_event=result.get_run_failure_event(),
            dagster_instance=instance,
            dagster_run=result.dagster_run,
        ).for_run_failure()
        alarm = failed_run(context)
    assert alarm.kind == "run_failed"
    assert alarm.text.startswith("tick 2025-01-20T00:00 failed at breaks: ")
    assert "the disk is full; next: free some" in alarm.text
    assert result.run_id in alarm.where


# Old data


def watch(
    settings: Settings, cursor: str | None, instance: dg.DagsterInstance
) -> dg.SensorExecutionData:
    with dg.build_sensor_context(instance=instance, cursor=cursor) as context:
        return freshness_alarm(settings).evaluate_tick(context)


def test_old_data_raise_one_alarm_and_one_when_they_are_fresh_again(
    replayed: Home, hook: Hook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The home is a replay's; it is looked at as if it were live, at chosen times."""
    live = replayed.settings.model_copy(
        update={"source": "live", "webhook_url": settings(Path(), hook.url).webhook_url}
    )
    newest = replayed.value("SELECT max(issue_time_utc) FROM forecast_history")
    now = [newest]
    monkeypatch.setattr(alarms, "platform_now", lambda *_: now[0])
    with dg.DagsterInstance.ephemeral() as instance:
        fresh = watch(live, None, instance)
        now[0] = utc("2025-01-21T00:00")
        old = watch(live, fresh.cursor, instance)
        still = watch(live, old.cursor, instance)
        now[0] = newest
        again = watch(live, old.cursor, instance)
    assert (fresh.skip_message, still.cursor) == ("all is fresh", old.cursor)
    assert [one["kind"] for one in hook.received] == ["stale", "fresh_again"]
    assert "hours old" in hook.received[0]["text"]
    assert again.cursor == "[]"


@pytest.mark.parametrize(("fallbacks", "alarms_raised"), [(3, 0), (4, 1)])
def test_fallback_after_fallback_is_one_alarm(
    fallbacks: int,
    alarms_raised: int,
    fresh_copy: Home,
    hook: Hook,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with fresh_copy.store.write("test", "test") as tx:
        tx.execute(
            "UPDATE ml.forecasts SET is_fallback = true WHERE is_served AND issue_time_utc > $time",
            time=REPLAYED_UNTIL - fallbacks * WINDOW,
        )
    fresh_copy.store.publish()
    live = fresh_copy.settings.model_copy(
        update={"source": "live", "webhook_url": settings(Path(), hook.url).webhook_url}
    )
    monkeypatch.setattr(alarms, "platform_now", lambda *_: REPLAYED_UNTIL)
    with dg.DagsterInstance.ephemeral() as instance:
        first = watch(live, None, instance)
        watch(live, first.cursor, instance)
    assert len(hook.received) == alarms_raised
    if alarms_raised:
        assert "the newest 4 forecasts are not the champion's" in hook.received[0]["text"]


def test_a_home_without_a_warehouse_is_an_alarm_too(hook: Hook, tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        watch(settings(tmp_path, hook.url), None, instance)
    assert "no published warehouse" in hook.received[0]["text"]


def test_recorded_data_do_not_age(replayed: Home) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        assert watch(replayed.settings, None, instance).skip_message == "recorded data do not age"
