"""`co2` on bad input: one clear message, its exit code, and nothing changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner, Result

from co2_assets.cli import main
from co2_assets.orchestration.launch import Ports
from co2_assets.settings import Settings
from co2_assets_tests.homes import FIRST, SMALL, Home, free_port
from co2_assets_tests.replay.serving import shipped


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Small homes, impatient requests, and nothing of the caller's Dagster."""
    for name, value in {**SMALL, "request_timeout_s": 2.0}.items():
        monkeypatch.setenv(f"CO2_{name.upper()}", str(value))
    monkeypatch.setenv("DAGSTER_HOME", "")
    monkeypatch.delenv("DAGSTER_HOME")
    yield


def co2(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["--home", str(home), *arguments])


def refused(result: Result, code: int, *said: str) -> None:
    """The command ended with this code and one message with all of these words."""
    assert result.exit_code == code, result.output
    assert result.output.count("error: ") == 1
    assert "Traceback" not in result.output
    for words in said:
        assert words in result.output


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_an_unknown_dataset_lists_those_there_are(tmp_path: Path) -> None:
    refused(
        co2(tmp_path / "home", "fetch", "PowerSystem"),
        2,
        "unknown dataset",
        "argument DATASET",
        "PowerSystem",
        "Forecasts_Hour",
    )
    assert not (tmp_path / "home").exists()


def test_an_unreachable_api_exits_with_3_and_stores_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CO2_API_URL", f"http://127.0.0.1:{free_port()}")
    home = tmp_path / "home"
    refused(
        co2(home, "fetch", "PowerSystemRightNow"),
        3,
        "no answer from the API",
        "dataset PowerSystemRightNow",
        "within 2 s",
        "next tick",
    )
    answer = co2(home, "sql", "SELECT count(*) AS n FROM raw.power_system", "--format", "json")
    assert json.loads(answer.output) == [{"n": 0}]
    told = co2(home, "sql", "SELECT dataset, status FROM ops.etl_runs", "--format", "json")
    assert json.loads(told.output) == [
        {"dataset": "PowerSystemRightNow", "status": "source_failed"}
    ]


def test_an_unknown_variable_exits_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CO2_TRAINING_DAY", "30")
    refused(co2(tmp_path / "home", "status"), 2, "CO2_TRAINING_DAY", "CO2_TRAINING_DAYS?")
    assert not (tmp_path / "home").exists()


def test_a_bad_setting_exits_with_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CO2_TRAINING_DAYS", "7")
    refused(co2(tmp_path / "home", "init"), 2, "bad setting", "CO2_TRAINING_DAYS", "found:    7")
    assert not (tmp_path / "home").exists()


def test_a_setting_against_the_home_exits_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home.new(tmp_path / "home").settings.home
    before = files(home)
    monkeypatch.setenv("CO2_SOURCE", "live")
    refused(co2(home, "tick"), 2, "setting source", "recorded", "another CO2_HOME")
    assert files(home) == before


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        ("column", 5, ("file power_system_hourly_test.parquet", "column SolarPower")),
        ("duplicate", 5, ("file power_system_hourly_test.parquet", "row 49", "each key once")),
        ("none", 5, ("recordings", "power_system_hourly")),
    ],
)
def test_a_malformed_recording_is_named_and_no_home_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str, code: int, said: tuple[str, ...]
) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    hours = pl.DataFrame(
        {
            "HourUTC": pl.datetime_range(
                pl.datetime(2025, 1, 1), pl.datetime(2025, 1, 3), "1h", eager=True
            ),
            **{
                name: 100.0
                for name in shipped().power_system.columns
                if name not in ("HourUTC", "HourDK")
            },
        }
    )
    spoiled = {
        "column": hours.drop("SolarPower", strict=False),
        "duplicate": pl.concat([hours, hours.head(1)]),
    }
    if spoil in spoiled:
        spoiled[spoil].write_parquet(folder / "power_system_hourly_test.parquet")
    monkeypatch.setenv("CO2_RECORDED_DIR", str(folder))
    window = ("--from", "2025-01-01T12:00", "--to", "2025-01-02T00:00")
    refused(co2(tmp_path / "home", "replay", *window), code, *said)
    assert not (tmp_path / "home").exists()


def test_an_unknown_fault_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("faults:\n  - kind: earthquake\n")
    window = ("--from", "2025-01-18", "--to", "2025-01-19", "--faults", str(plan))
    refused(co2(tmp_path / "home", "replay", *window), 5, str(plan), "earthquake")
    assert not (tmp_path / "home").exists()


def test_a_time_that_is_no_window_is_refused(tmp_path: Path) -> None:
    result = co2(tmp_path / "home", "replay", "--from", "2025-01-18T03:00", "--to", "2025-01-19")
    assert result.exit_code == 2
    assert "not on 00, 06, 12 or 18 UTC" in result.output


def test_windows_of_another_home_are_refused(tmp_path: Path) -> None:
    home = Home.new(tmp_path / "home").settings.home
    refused(
        co2(home, "replay", "--from", "2025-01-10", "--to", "2025-01-11"),
        2,
        "not those of this home",
        "2025-01-18T00:00",
    )


def test_status_and_sql_of_a_home_that_never_ran_say_what_makes_one(tmp_path: Path) -> None:
    for command in (("status",), ("sql", "SELECT 1")):
        refused(co2(tmp_path / "home", *command), 4, "no published warehouse", "co2 demo")


def test_a_query_that_duckdb_refuses_is_shown_with_its_message(replayed: Home) -> None:
    refused(co2(replayed.settings.home, "sql", "SELECT nothing FROM nowhere"), 4, "nowhere")


def test_sql_cannot_write(replayed: Home) -> None:
    refused(co2(replayed.settings.home, "sql", "DELETE FROM ml.forecasts"), 4, "read-only")


def test_sql_answers_as_json_and_csv(replayed: Home) -> None:
    query = "SELECT min(hour_utc) AS first, count(*) AS n FROM co2.actuals"
    answer = co2(replayed.settings.home, "sql", query, "--format", "json")
    assert json.loads(answer.output) == [{"first": "2024-12-17T00:00:00+00:00", "n": 816}]
    lines = co2(replayed.settings.home, "sql", query, "--format", "csv").output.split()
    assert lines[0] == "first,n"


def test_a_demo_never_begins_anew_over_live_data(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert co2(home, "init").exit_code == 0
    before = files(home)
    refused(co2(home, "demo", "--no-serve", "--fresh"), 2, "only a recorded home", "live")
    refused(co2(home, "demo", "--no-serve"), 2, "home of its own", "live data")
    assert files(home) == before


def test_the_settings_are_listed_with_value_and_meaning(tmp_path: Path) -> None:
    result = co2(tmp_path / "home", "settings")
    assert result.exit_code == 0
    for name, field in Settings.model_fields.items():
        assert f"CO2_{name.upper()}" in result.output
        assert (field.description or "") in result.output


def test_fetch_stores_one_dataset_and_publishes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Home.new(tmp_path / "home", training_days=14)
    monkeypatch.setenv("CO2_TRAINING_DAYS", "14")
    monkeypatch.setenv("CO2_REQUEST_TIMEOUT_S", "20")
    monkeypatch.setenv("CO2_RECORDED_PORT", str(home.settings.recorded_port))
    with home.served():
        result = co2(home.settings.home, "fetch", "Elspotprices", "--window", f"{FIRST:%Y-%m-%d}")
    assert result.exit_code == 0, result.output
    assert home.value("SELECT count(*) FROM co2.raw.day_ahead_prices") > 16 * 24 * 6
    assert home.value("SELECT count(*) FROM co2.raw.power_system") == 0


def test_the_greenest_window_is_said_in_words_and_as_json(replayed: Home) -> None:
    home = replayed.settings.home
    said = co2(home, "greenest", "--duration", "2")
    assert said.exit_code == 0, said.output
    assert "g/kWh" in said.output and "the forecast ends" in said.output
    found = json.loads(co2(home, "greenest", "--duration", "2", "--json").output)
    assert len(found["hours"]) == 2
    saving = found["expected_saving_g_per_kwh"]
    assert found["expected_g_per_kwh"] == pytest.approx(found["now_g_per_kwh"] - saving)
    assert f"expected {found['expected_g_per_kwh']:.0f} g/kWh" in said.output
    cautious = json.loads(
        co2(home, "greenest", "--duration", "2", "--quantile", "0.9", "--json").output
    )
    assert (found["quantile"], cautious["quantile"]) == (0.75, 0.9)


def test_a_window_that_does_not_fit_is_refused_with_the_reason(replayed: Home) -> None:
    refused(
        co2(replayed.settings.home, "greenest", "--duration", "48"), 7, "duration", "horizon end"
    )


@pytest.mark.parametrize("verb", ["api", "dashboard"])
def test_a_face_that_is_not_installed_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    refused(co2(tmp_path / "home", verb), 2, "pip install 'co2_assets[serve]'")


def test_ports_of_0_leave_a_face_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Ports] = []
    monkeypatch.setattr(
        "co2_assets.orchestration.launch.serve", lambda _settings, ports, _say: asked.append(ports)
    )
    co2(tmp_path / "home", "ui", "--api-port", "0", "--port", "3001")
    assert asked == [Ports(dagster=3001, api=None, dashboard=8501)]
