"""docs/integrations.md: its blocks run against a real API, or are read as their program would."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jinja2
import pytest
import requests
import yaml
from prometheus_client.parser import text_string_to_metric_families

from co2_assets_tests.homes import REPLAYED_UNTIL, Home
from co2_assets_tests.serving.api.asking import client, listening, sql, text

PAGE = (Path(__file__).parents[1] / "docs" / "integrations.md").read_text()
USUAL = "http://127.0.0.1:8000"
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def address(replayed: Home) -> Iterator[str]:
    with listening(replayed.settings) as port:
        yield f"http://127.0.0.1:{port}"


def blocks(heading: str, language: str) -> list[str]:
    """The blocks of one language under one heading."""
    (section,) = re.findall(rf"(?ms)^## {heading}\n(.*?)(?=^## |\Z)", PAGE)
    found: list[str] = re.findall(rf"(?ms)^```{language}\n(.*?)^```", section)
    assert found, f"no {language} under {heading}"
    return found


def block(heading: str, language: str) -> str:
    (found,) = blocks(heading, language)
    return found


def newest(home: Home) -> list[dict[str, Any]]:
    """The newest forecast, by lead."""
    return sql(
        home,
        "SELECT * FROM co2.forecast_history WHERE is_served AND issue_time_utc ="
        " (SELECT max(issue_time_utc) FROM co2.forecast_history) ORDER BY lead_hours",
    )


def test_every_block_is_known_here() -> None:
    assert re.findall(r"(?m)^## (.*)$|^```(\w+)$", PAGE) == [
        ("Python", ""), ("", "python"),
        ("pandas and polars", ""), ("", "python"),
        ("Shell and cron", ""), ("", "sh"), ("", "sh"),
        ("Home Assistant", ""), ("", "yaml"),
        ("evcc", ""), ("", "yaml"),
        ("CATS", ""), ("", "python"), ("", "sh"),
        ("Carbon Aware SDK", ""), ("", "sh"), ("", "ini"),
        ("Prometheus", ""), ("", "yaml"), ("", "yaml"),
        ("Grafana", ""), ("", "json"),
    ]  # fmt: skip


# Python


def test_the_client_prints_the_forecast(
    address: str, replayed: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    found: dict[str, Any] = {}
    exec(block("Python", "python").replace(USUAL, address), found)  # our own text
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "issued 00:00 UTC"
    rows = newest(replayed)
    assert lines[1:7] == [
        f"{row['valid_time_utc'][11:16]}  {row['p50_g_per_kwh']:.0f} g/kWh" for row in rows[:6]
    ]
    assert re.fullmatch(r"begin at \d\d:00, save -?\d+ %", lines[7])
    assert found["frame"].height == len(rows)


def test_pandas_and_polars_read_the_published_copy(replayed: Home, tmp_path: Path) -> None:
    copy = shutil.copy(replayed.settings.database_path, tmp_path / "co2.duckdb")
    found: dict[str, Any] = {}
    code = block("pandas and polars", "python")
    exec(code.replace(".demo/co2.duckdb", str(copy)), found)  # our own text
    (row,) = sql(
        replayed,
        "SELECT avg(abs(p50_g_per_kwh - actual_g_per_kwh)) AS mae, count(*) AS n"
        " FROM co2.forecast_vs_actual WHERE is_served AND NOT is_hindcast AND lead_hours = 1",
    )
    assert found["mae_by_lead"][1] == pytest.approx(row["mae"])
    polars = found["polars_frame"]
    assert (polars["lead_hours"] == 1).sum() == row["n"]
    assert polars.schema["valid_time_utc"].time_zone == "UTC"
    assert str(found["pandas_frame"].valid_time_utc.dt.tz) == "UTC"


# Shell


def shell(
    script: str, *arguments: str, folder: Path, address: str, now: datetime = REPLAYED_UNTIL
) -> subprocess.CompletedProcess[str]:
    """Run a script with a clock that stands at `now`, and a sleep that only says how long."""
    tools = folder / "bin"
    tools.mkdir(exist_ok=True)
    for name, text_ in {
        "date": f'case "$*" in "+%s"|"-d now +%s") echo {int(now.timestamp())};;'
        f' *) exec {shutil.which("date")} "$@";; esac',
        "sleep": 'echo "slept $1"',
    }.items():
        (tools / name).write_text(f"#!/bin/sh\n{text_}\n")
        (tools / name).chmod(0o755)
    return subprocess.run(
        ["sh", "-c", script.replace(USUAL, address), "at-greenest", *arguments],
        cwd=folder,
        env={"PATH": f"{tools}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_curl_shows_the_greenest_window(address: str, tmp_path: Path) -> None:
    commands = blocks("Shell and cron", "sh")[0].splitlines()
    (curl,) = (line for line in commands if line.startswith("curl"))
    found = shell(curl, folder=tmp_path, address=address)
    assert found.stdout.startswith("start_utc,end_utc,"), found.stderr


def test_a_job_waits_for_the_greenest_hours(address: str, tmp_path: Path) -> None:
    script = blocks("Shell and cron", "sh")[1]
    window = requests.get(f"{address}/greenest-window?duration=2", timeout=10).json()["data"]
    start = datetime.fromisoformat(window["start_utc"])
    found = shell(script, "2", "echo", "the job", folder=tmp_path, address=address)
    slept = f"slept {int((start - REPLAYED_UNTIL).total_seconds())}\n" * (start > REPLAYED_UNTIL)
    assert found.stdout == f"{slept}the job\n", found.stderr
    late = shell(script, "2", "echo", "x", folder=tmp_path, address=address, now=start - HOUR)
    assert late.stdout == "slept 3600\nx\n", late.stderr


@pytest.mark.parametrize("hours", ["2", "99"])
def test_a_job_without_good_advice_runs_at_once(
    fresh_copy: Home, tmp_path: Path, hours: str
) -> None:
    if hours == "2":
        clock = {"now_utc": (REPLAYED_UNTIL + 9 * HOUR).isoformat()}
        fresh_copy.settings.clock_file.write_text(json.dumps(clock))
    script = blocks("Shell and cron", "sh")[1]
    with listening(fresh_copy.settings) as port:
        address = f"http://127.0.0.1:{port}"
        found = shell(script, hours, "echo", "the job", folder=tmp_path, address=address)
    assert found.stdout == "the job\n", found.stderr
    assert "The requested URL returned error" in found.stderr


# Home Assistant


def rest_sensors() -> list[tuple[str, dict[str, Any]]]:
    config = yaml.safe_load(block("Home Assistant", "yaml"))
    assert set(config) == {"rest"}
    return [(one["resource"], sensor) for one in config["rest"] for sensor in one["sensor"]]


def rendered(template: str, answer: object) -> str:
    """A template as Home Assistant renders it on an answer."""
    return jinja2.Environment().from_string(template).render(value_json=answer)  # noqa: S701


def attributes(sensor: dict[str, Any], answer: Any) -> dict[str, Any]:
    """What `json_attributes_path` leads to, of that what is named."""
    for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", sensor["json_attributes_path"]):
        answer = answer[name or int(index)]
    return {name: answer[name] for name in sensor["json_attributes"]}


def test_home_assistant_shows_the_current_hour_and_the_greenest_start(
    address: str, replayed: Home
) -> None:
    (one, now), (other, greenest) = rest_sensors()
    answer = requests.get(one.replace(USUAL, address), timeout=10).json()
    row = newest(replayed)[0]
    assert float(rendered(now["value_template"], answer)) == round(row["p50_g_per_kwh"], 1)
    assert rendered(now["availability"], answer) == "True"
    assert attributes(now, answer) == {name: row[name] for name in now["json_attributes"]}
    assert now["unit_of_measurement"] == answer["about"]["unit"]
    answer = requests.get(other.replace(USUAL, address), timeout=10).json()
    start = datetime.fromisoformat(rendered(greenest["value_template"], answer))
    assert start.tzinfo is not None
    assert text(start) in {row["valid_time_utc"] for row in newest(replayed)}
    assert rendered(greenest["availability"], answer) == "True"
    assert attributes(greenest, answer)["end_utc"] == text(start + 2 * HOUR)


@pytest.mark.parametrize(("resource", "sensor"), rest_sensors(), ids=["now", "greenest"])
def test_home_assistant_makes_a_stale_or_lacking_number_unavailable(
    replayed: Home, resource: str, sensor: dict[str, Any]
) -> None:
    path = resource.removeprefix(USUAL)
    stale = client(replayed.settings, REPLAYED_UNTIL + 9 * HOUR).get(path).json()
    assert stale["about"]["is_stale"]
    assert rendered(sensor["availability"], stale) == "False"
    none_left = client(replayed.settings, REPLAYED_UNTIL + 30 * HOUR).get(path).json()
    refused = client(replayed.settings).get(path.split("?")[0] + "?nonsense=1").json()
    for answer in (none_left, refused):
        assert rendered(sensor["availability"], answer) == "False"
        assert rendered(sensor["value_template"], answer) == "None"


# evcc


def test_evcc_reads_an_array_of_rates(address: str, replayed: Home) -> None:
    tariff = yaml.safe_load(block("evcc", "yaml"))["tariffs"]["co2"]
    assert (tariff["type"], tariff["forecast"]["source"]) == ("custom", "http")
    uri = tariff["forecast"]["uri"].replace(USUAL, address)
    rates = requests.get(uri, timeout=10).json()
    assert [(rate["start"], rate["value"]) for rate in rates] == [
        (row["valid_time_utc"], row["p50_g_per_kwh"]) for row in newest(replayed)
    ]
    for rate in rates:
        start, end = (datetime.fromisoformat(rate[name]) for name in ("start", "end"))
        assert start.tzinfo is not None
        assert end - start == HOUR


# CATS


def british(address: str, code: str) -> list[tuple[datetime, float]]:
    """What CATS asks the base URL of the block for, and how it reads the answer."""
    (base,) = re.findall(r'BASE_URL = "(.*)"', code)
    url = f"{base.replace(USUAL, address)}/regional/intensity/2025-01-20T00:01Z/fw48h/postcode/DK"
    return [
        (datetime.strptime(half["from"], "%Y-%m-%dT%H:%MZ"), half["intensity"]["forecast"])  # noqa: DTZ007, as CATS does
        for half in requests.get(url, timeout=10).json()["data"]["data"]
    ]


def test_cats_reads_half_hours(address: str, replayed: Home) -> None:
    code = block("CATS", "python")
    ast.parse(code)
    halves = british(address, code)
    assert [value for _, value in halves[::2]] == [row["p50_g_per_kwh"] for row in newest(replayed)]
    assert {later[0] - one[0] for one, later in zip(halves, halves[1:], strict=False)} == {HOUR / 2}


@pytest.mark.skipif(find_spec("cats") is None, reason="CATS is not installed")
def test_cats_itself_reads_them(address: str, tmp_path: Path) -> None:
    code = block("CATS", "python").replace(USUAL, address)
    (tmp_path / "cats_dk.py").write_text(code)
    options = ["--api", "co2_assets", "--location", "DK", "--duration", "120", "--window", "600"]
    (tmp_path / "at_the_time_of_the_recordings.py").write_text(
        f"""
import datetime, sys, types, cats.cli, cats_dk

class Then(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls(2025, 1, 20, 0, 2, tzinfo=datetime.timezone.utc)

cats.cli.datetime = types.SimpleNamespace(**{{**vars(datetime), "datetime": Then}})
sys.exit(cats.cli.main({options + ["--format", "json"]}))
"""
    )
    found = subprocess.run(
        [sys.executable, "at_the_time_of_the_recordings.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr
    best = json.loads(found.stdout)["valueOptimal"]
    values = [value for _, value in british(address, code)]
    assert min(values) <= best["value"] <= max(values)
    assert best["start"].startswith("2025-01-20T")


# Carbon Aware SDK


def test_the_sdk_gets_a_whole_file(address: str, replayed: Home, tmp_path: Path) -> None:
    found = shell(block("Carbon Aware SDK", "sh"), folder=tmp_path, address=address)
    assert found.returncode == 0, found.stderr
    settings = dict(line.split("=") for line in block("Carbon Aware SDK", "ini").splitlines())
    name = settings["DataSources__Configurations__Json__DataFileLocation"]
    emissions = json.loads((tmp_path / name).read_text())["Emissions"]
    assert [one["Rating"] for one in emissions] == [
        row["p50_g_per_kwh"] for row in newest(replayed)
    ]
    for one in emissions:
        assert datetime.fromisoformat(one["Time"]).tzinfo is not None
        assert re.fullmatch(r"\d\d:\d\d:\d\d", one["Duration"])
    (location,) = re.findall(r'\{"dk": (\{.*?\})\}', PAGE)
    assert {json.loads(location)["Name"]} == {one["Location"] for one in emissions}


def test_a_failed_fetch_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "co2-dk.json").write_text("old")
    nobody = "http://127.0.0.1:9"
    found = shell(block("Carbon Aware SDK", "sh"), folder=tmp_path, address=nobody)
    assert found.returncode != 0
    assert (tmp_path / "co2-dk.json").read_text() == "old"


# Prometheus and Grafana


@pytest.fixture(scope="module")
def metrics(address: str) -> dict[str, list[dict[str, str]]]:
    """The labels of every series of /metrics, by name; one answer of status 500 is made up."""
    requests.get(f"{address}/forecasts", timeout=10)
    found: dict[str, list[dict[str, str]]] = {}
    text_ = requests.get(f"{address}/metrics", timeout=10).text
    for family in text_string_to_metric_families(text_):
        for sample in family.samples:
            found.setdefault(sample.name, []).append(sample.labels)
    return found


def test_prometheus_scrapes_the_route_of_the_metrics(address: str) -> None:
    scrape, _ = (yaml.safe_load(one) for one in blocks("Prometheus", "yaml"))
    (job,) = scrape["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    assert f"http://{target}" == USUAL
    path = job.get("metrics_path", "/metrics")
    assert "co2_is_stale 0.0" in requests.get(address + path, timeout=10).text


def expressions() -> list[str]:
    _, rules = (yaml.safe_load(one) for one in blocks("Prometheus", "yaml"))
    dashboard = json.loads(block("Grafana", "json"))
    return [
        *(rule["expr"] for group in rules["groups"] for rule in group["rules"]),
        *(target["expr"] for panel in dashboard["panels"] for target in panel["targets"]),
    ]


@pytest.mark.parametrize("expression", expressions())
def test_every_series_of_an_expression_is_in_the_metrics(
    metrics: dict[str, list[dict[str, str]]], expression: str
) -> None:
    selectors = re.findall(r"(co2_\w+)(?:\{(.*?)\})?", expression)
    assert selectors
    for name, matchers in selectors:
        assert name in metrics, name
        wanted = re.findall(r'(\w+)(=~?)"(.*?)"', matchers)
        assert {label for label, _, _ in wanted} <= set(metrics[name][0])
        if name.startswith("co2_api_"):
            continue  # no request failed here
        assert any(
            all(
                bool(re.fullmatch(value, labels[label])) if kind == "=~" else labels[label] == value
                for label, kind, value in wanted
            )
            for labels in metrics[name]
        )


def test_the_dashboard_can_be_imported() -> None:
    dashboard = json.loads(block("Grafana", "json"))
    (source,) = dashboard["__inputs"]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)
    for panel in dashboard["panels"]:
        assert panel["datasource"]["uid"] == f"${{{source['name']}}}"
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
