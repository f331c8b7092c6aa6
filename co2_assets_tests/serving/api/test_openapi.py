"""The OpenAPI document: complete, true, and kept by every route under generated requests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, TypeAdapter

from co2_assets.serving.api.problems import CODES
from co2_assets.serving.api.routes.documented import examples
from co2_assets.settings import Settings
from co2_assets_tests.homes import Home
from co2_assets_tests.serving.api.asking import DATA_ROUTES, KEY, Client, client, listening, under
from co2_assets_tests.serving.api.test_routes import MODELS

EXAMPLES_A_ROUTE = 40

# Requests that fit the document one parameter at a time, and yet make no sense together or
# now: a span that ends before it starts, two parameters that exclude each other, a window
# beyond the forecast. They must be refused, and are elsewhere tested to be. And nonsense may
# be too long to be looked at.
CONFIGURATION = """
[checks]
negative_data_rejection.expected-statuses = ["404", "406", "414", "422"]
[[operations]]
include-path-regex = "^/(accuracy|data-quality|forecasts|greenest-window)$"
checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "422"]
"""


def hammered(settings: Settings, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """What schemathesis says of the API with all its checks, over real HTTP."""
    (folder / "schemathesis.toml").write_text(CONFIGURATION)
    with listening(settings) as port:
        return subprocess.run(
            [
                str(Path(sys.executable).with_name("schemathesis")),
                "--config-file=schemathesis.toml",
                "run",
                f"http://127.0.0.1:{port}/openapi.json",
                "--checks=all",
                "--phases=examples,coverage,fuzzing",
                "--mode=all",
                f"--max-examples={EXAMPLES_A_ROUTE}",
                "--generation-deterministic",
                "--no-color",
                *options,
            ],
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=240,
        )


@pytest.mark.slow
def test_generated_requests_find_no_fault_and_no_breach_of_the_document(
    replayed: Home, tmp_path: Path
) -> None:
    """No 5xx; statuses, types, headers and bodies as documented; no undocumented method."""
    found = hammered(under(replayed, api_requests_per_minute=0), tmp_path)
    assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]
    assert f"Tested: {len(DATA_ROUTES) + 3}" in found.stdout
    (generated,) = re.findall(r"([0-9]+) generated", found.stdout)
    assert int(generated) > 500


@pytest.mark.slow
def test_generated_requests_find_no_way_around_the_key(replayed: Home, tmp_path: Path) -> None:
    settings = under(replayed, api_requests_per_minute=0, api_key=SecretStr(KEY))
    found = hammered(settings, tmp_path, f"--header=X-API-Key: {KEY}", "--max-examples=5")
    assert found.returncode == 0, found.stdout[-8000:] + found.stderr[-2000:]


@pytest.fixture(scope="module")
def document(api: Client) -> dict[str, Any]:
    found: dict[str, Any] = api.get("/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(path, methods["get"]) for path, methods in document["paths"].items()]


def test_every_route_is_described_and_only_get(document: dict[str, Any]) -> None:
    assert set(document["paths"]) == {*DATA_ROUTES, "/", "/health", "/metrics"}
    for path, methods in document["paths"].items():
        assert set(methods) == {"get"}
        operation = methods["get"]
        assert operation["summary"] and operation["description"]
        assert operation["operationId"] == (path[1:].replace("-", "_") or "index")
        assert len(operation["tags"]) == 1
        for kind, content in operation["responses"]["200"]["content"].items():
            assert "schema" in content, f"{path}: nothing is promised of {kind}"


def test_every_parameter_has_a_meaning_and_an_example(document: dict[str, Any]) -> None:
    for path, operation in operations(document):
        for parameter in operation.get("parameters", []):
            assert parameter["description"], (path, parameter["name"])
            if parameter["name"] != "format":
                assert parameter["examples"], (path, parameter["name"])


def test_every_route_documents_its_problems_in_the_one_shape(document: dict[str, Any]) -> None:
    for path, operation in operations(document):
        statuses = {status for status in operation["responses"] if status[0] in "45"}
        assert {"422", "429"} <= statuses, path
        for status in statuses:
            content = operation["responses"][status]["content"]
            assert content == {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            }
    assert document["components"]["schemas"]["Problem"]["properties"]["code"]["enum"] == [*CODES]
    assert "HTTPValidationError" not in document["components"]["schemas"]


@pytest.mark.parametrize("path", DATA_ROUTES)
def test_every_example_is_a_recorded_answer_that_fits_its_model(
    document: dict[str, Any], path: str
) -> None:
    content = document["paths"][path]["get"]["responses"]["200"]["content"]
    example = content["application/json"]["example"]
    assert example["data"], "an example without data shows nothing"
    TypeAdapter(MODELS[path]).validate_json(json.dumps(example))
    assert example["about"]["source"] == "recorded"


def test_examples_are_of_routes_that_exist(document: dict[str, Any]) -> None:
    assert set(examples()) <= {one["operationId"] for _, one in operations(document)}


def test_the_page_for_people_needs_nothing_from_elsewhere(
    api: Client, document: dict[str, Any]
) -> None:
    page = api.get("/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    for forbidden in ("<script", "<link", "<img", "@import", "url("):
        assert forbidden not in page.text
    for path, operation in operations(document):
        assert f"GET {path}</h3>" in page.text
        for parameter in operation.get("parameters", []):
            assert f"<code>{parameter['name']}</code>" in page.text
        asked = path + operation["x-example-query"] if "x-example-query" in operation else path
        assert asked.replace("&", "&amp;") in page.text
    for column in ("coverage_80", "chance_beats_now", "worth_g_per_kwh", "raw_minutes"):
        assert f"<td><code>{column}</code></td>" in page.text


def test_the_page_says_when_a_key_is_needed(replayed: Home, api: Client) -> None:
    locked = client(under(replayed, api_key=SecretStr(KEY)))
    assert "X-API-Key" in locked.get("/docs").text
    assert "X-API-Key" not in api.get("/docs").text
