"""From a forecast value back to minutes and runs, on the prepared home's two real days."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner

from co2_assets.cli import main
from co2_assets.errors import WarehouseError
from co2_assets.warehouse.explain import describe, explain
from co2_assets_tests.homes import REPLAYED_UNTIL, Home, utc

VALID = REPLAYED_UNTIL - timedelta(hours=3)


@pytest.fixture(scope="module")
def origin(replayed: Home) -> dict[str, Any]:
    return explain(replayed.settings.home, VALID, None)


def test_the_newest_served_forecast_of_the_hour_is_explained(
    replayed: Home, origin: dict[str, Any]
) -> None:
    expected = replayed.row(
        "SELECT issue_time_utc, lead_hours, model_version, p50_g_per_kwh FROM forecasts"
        " WHERE valid_time_utc = $valid",
        valid=VALID,
    )
    names = ("issue_time_utc", "lead_hours", "model_version", "p50_g_per_kwh")
    assert tuple(origin[name] for name in names) == expected


def test_its_version_names_its_training(replayed: Home, origin: dict[str, Any]) -> None:
    expected = replayed.row(
        "SELECT train_start_utc, train_end_utc, artifact_sha256, dagster_run_id"
        " FROM ml.model_versions WHERE model_version = $version",
        version=origin["model_version"],
    )
    names = ("train_start_utc", "train_end_utc", "artifact_sha256", "training_run_id")
    assert tuple(origin[name] for name in names) == expected
    assert origin["train_end_utc"] <= origin["issue_time_utc"]


def test_its_hours_are_the_day_before_the_issue_time_and_their_minutes_are_counted(
    replayed: Home, origin: dict[str, Any]
) -> None:
    issue = origin["issue_time_utc"]
    assert origin["feature_hours"] == len(origin["hours"]) == 24
    assert origin["last_feature_hour_utc"] == issue - timedelta(hours=1)
    stored, first, last = replayed.row(
        "SELECT count(*), min(fetched_at_utc), max(fetched_at_utc) FROM raw.power_system"
        " WHERE minute_utc >= $issue - to_hours(24) AND minute_utc < $issue",
        issue=issue,
    )
    assert (origin["raw_minutes"], origin["first_fetched_utc"], origin["last_fetched_utc"]) == (
        stored,
        first,
        last,
    )


def test_its_minutes_name_the_loads_and_the_loads_their_runs(
    replayed: Home, origin: dict[str, Any]
) -> None:
    assert origin["etl_run_ids"] == sorted(load["etl_run_id"] for load in origin["loads"])
    assert {load["dataset"] for load in origin["loads"]} == {"PowerSystemRightNow"}
    runs = {run for (run,) in replayed.rows("SELECT DISTINCT dagster_run_id FROM ops.etl_runs")}
    assert {load["dagster_run_id"] for load in origin["loads"]} <= runs
    assert origin["dagster_run_id"] in runs


def test_an_older_forecast_of_the_same_hour_is_another(
    replayed: Home, origin: dict[str, Any]
) -> None:
    older = origin["issue_time_utc"] - timedelta(hours=6)
    found = explain(replayed.settings.home, VALID, older)
    assert (found["issue_time_utc"], found["lead_hours"]) == (older, origin["lead_hours"] + 6)


def test_an_hour_that_was_not_forecast_is_refused_with_those_that_were(replayed: Home) -> None:
    with pytest.raises(WarehouseError, match=r"an hour from 2025-01-18T06:00 to "):
        explain(replayed.settings.home, utc("2020-01-01T00:00"), None)
    with pytest.raises(WarehouseError, match=r"an issue time of .*2025-01-19T18:00"):
        explain(replayed.settings.home, VALID, utc("2025-01-01T00:00"))


def test_in_words_it_names_every_link_of_the_chain(origin: dict[str, Any]) -> None:
    said = describe(origin)
    for part in (
        f"{origin['p50_g_per_kwh']:.1f} g/kWh",
        "live forecast, lead",
        origin["model_version"],
        origin["training_run_id"],
        "24 hours",
        "1440, fetched",
        origin["etl_run_ids"][0],
        origin["dagster_run_id"],
    ):
        assert part in said


def test_the_command_says_it_in_words_and_in_json(replayed: Home, origin: dict[str, Any]) -> None:
    call = [
        "--home",
        str(replayed.settings.home),
        "explain",
        "--valid-time",
        f"{VALID:%Y-%m-%dT%H}",
    ]
    words = CliRunner().invoke(main, call)
    assert (words.exit_code, words.output.strip()) == (0, describe(origin))
    machine = json.loads(CliRunner().invoke(main, [*call, "--json"]).output)
    assert machine["model_version"] == origin["model_version"]
    assert len(machine["hours"]) == 24


def test_the_command_refuses_what_is_no_hour(replayed: Home) -> None:
    call = ["--home", str(replayed.settings.home), "explain", "--valid-time"]
    for text in ("yesterday", "2025-01-19T18:30"):
        refused = CliRunner().invoke(main, [*call, text])
        assert refused.exit_code == 2
        assert repr(text) in refused.output
