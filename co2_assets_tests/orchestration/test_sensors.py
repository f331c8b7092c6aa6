"""The sensor on real events of an ephemeral instance: what it asks for, and when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from co2_assets.orchestration.build import build_definitions
from co2_assets.orchestration.sensors import DECISIONS, EVENTS_READ
from co2_assets.orchestration.training_runs import WINDOW_END_TAG
from co2_assets_tests.homes import Home

SENSOR = "retrain_on_drift"


@pytest.fixture(scope="module")
def definitions(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    return build_definitions(Home.new(tmp_path_factory.mktemp("sensor") / "home").settings)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


def decided(instance: dg.DagsterInstance, start: str, decision: str, attempt: int = 1) -> str:
    """Report the decision of a window as the asset does; returns the window's end."""
    day, hour = start.split("T")
    end = f"{day}T{int(hour[:2]) + 6:02d}:00:00+00:00"
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            asset_key=DECISIONS,
            partition=start,
            metadata={
                "window start": f"{start}:00+00:00",
                "window end": end,
                "decision": decision,
                "reason": "the reason in words",
                "attempt": attempt,
            },
        )
    )
    return end


def evaluate(
    definitions: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None
) -> dg.SensorExecutionData:
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, definitions=definitions, sensor_name=SENSOR
    ) as context:
        return definitions.resolve_sensor_def(SENSOR).evaluate_tick(context)


def test_without_a_decision_it_waits(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    outcome = evaluate(definitions, instance, None)
    assert (outcome.run_requests or [], outcome.cursor) == ([], None)
    assert outcome.skip_message == "no window has been decided on yet"


def test_a_decision_to_keep_is_skipped_with_its_reason_and_moves_the_cursor(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    end = decided(instance, "2025-01-20T00:00", "keep")
    outcome = evaluate(definitions, instance, None)
    assert not outcome.run_requests
    assert outcome.cursor == end
    assert "the reason in words" in (outcome.skip_message or "")


def test_a_decision_to_retrain_requests_one_training_of_that_window(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    end = decided(instance, "2025-01-20T00:00", "retrain")
    outcome = evaluate(definitions, instance, None)
    (request,) = outcome.run_requests or []
    assert request.run_key == f"retrain:{end}:1"
    assert request.tags[WINDOW_END_TAG] == end
    assert request.run_config == {
        "ops": {
            "ml__trained_model": {
                "config": {
                    "decision_window_start": "2025-01-20T00:00:00+00:00",
                    "decision_window_end": end,
                }
            }
        }
    }
    assert outcome.cursor == end


def test_the_requested_configuration_is_one_that_the_job_accepts(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    decided(instance, "2025-01-20T00:00", "retrain")
    (request,) = evaluate(definitions, instance, None).run_requests or []
    assert dg.validate_run_config(definitions.resolve_job_def("retrain"), request.run_config)


def test_a_decision_is_acted_on_once(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    decided(instance, "2025-01-20T00:00", "retrain")
    first = evaluate(definitions, instance, None)
    again = evaluate(definitions, instance, first.cursor)
    assert not again.run_requests
    assert "is done with" in (again.skip_message or "")


def test_a_backfilled_window_older_than_the_cursor_trains_nothing(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    end = decided(instance, "2025-01-20T12:00", "keep")
    cursor = evaluate(definitions, instance, None).cursor
    assert cursor == end
    decided(instance, "2025-01-20T00:00", "retrain")
    assert not evaluate(definitions, instance, cursor).run_requests


def test_of_several_new_decisions_the_newest_window_counts_in_whatever_order_they_came(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    newest = decided(instance, "2025-01-20T12:00", "keep")
    decided(instance, "2025-01-20T00:00", "retrain")
    outcome = evaluate(definitions, instance, None)
    assert not outcome.run_requests
    assert outcome.cursor == newest


def test_a_second_try_has_a_run_key_of_its_own(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    decided(instance, "2025-01-20T00:00", "retrain")
    first = evaluate(definitions, instance, None)
    decided(instance, "2025-01-20T06:00", "retrain", attempt=2)
    second = evaluate(definitions, instance, first.cursor)
    keys = [request.run_key or "" for out in (first, second) for request in out.run_requests or []]
    assert [key.rsplit(":", 1)[1] for key in keys] == ["1", "2"]
    assert len(set(keys)) == 2


def test_the_newest_window_counts_after_more_backfilled_events_than_are_read(
    definitions: dg.Definitions, instance: dg.DagsterInstance
) -> None:
    for number in range(EVENTS_READ + 1):
        decided(instance, f"2025-01-{number % 9 + 1:02d}T00:00", "keep")
    decided(instance, "2025-01-20T00:00", "retrain")
    (request,) = evaluate(definitions, instance, None).run_requests or []
    assert "2025-01-20T06:00" in (request.run_key or "")


def test_the_sensor_runs_by_default_every_minute_and_its_job_is_retrain(
    definitions: dg.Definitions, tmp_path: Path
) -> None:
    sensor = definitions.resolve_sensor_def(SENSOR)
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 60
    assert sensor.job_name == "retrain"
