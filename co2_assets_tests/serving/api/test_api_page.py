"""docs/api.md says what the API does: its tables are the code's, its examples are run."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from co2_assets.serving.api import guards
from co2_assets.serving.api.app import create_app
from co2_assets.serving.api.models import AboutAnswer
from co2_assets.serving.api.problems import CODES, Problem
from co2_assets.settings import Settings
from co2_assets_tests.serving.api.asking import Client, answered, refused, table

PAGE = Path(__file__).parents[3] / "docs" / "api.md"


def tables() -> dict[str, str]:
    """The generated tables, by the name between their marks."""
    document = create_app(Settings()).openapi()
    about = AboutAnswer.model_json_schema()["properties"]
    return {
        "about": _table(
            ("field", "meaning"),
            [(f"`{name}`", field["description"]) for name, field in about.items()],
        ),
        "routes": _table(
            ("route", "answers", "parameters", "example"),
            [
                (
                    f"`{path}`",
                    operation["summary"],
                    ", ".join(
                        f"`{one['name']}`"
                        for one in operation.get("parameters", [])
                        if one["name"] != "format"
                    ),
                    f"`{path}{operation.get('x-example-query', '')}`",
                )
                for path, methods in document["paths"].items()
                for operation in methods.values()
            ],
        ),
        "errors": _table(
            ("code", "status", "meaning"),
            [(f"`{name}`", str(code.status), code.meaning) for name, code in CODES.items()],
        ),
    }


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


@pytest.fixture(scope="module")
def page() -> str:
    return PAGE.read_text()


@pytest.mark.parametrize("name", ["about", "routes", "errors"])
def test_the_tables_are_those_of_the_code(page: str, name: str) -> None:
    said = page.split(f"<!-- {name}: begin -->\n")[1].split(f"\n<!-- {name}: end -->")[0]
    assert said == tables()[name], f"put this between the marks:\n{tables()[name]}"


def test_every_example_request_has_an_answer_with_data(page: str, api: Client) -> None:
    routes = page.split("<!-- routes: begin -->")[1].split("<!-- routes: end -->")[0]
    asked = re.findall(r"\| `(/[^`]*)` \|$", routes, re.MULTILINE)
    assert len(asked) == 16
    for address in asked:
        if address.startswith("/explain"):
            address = address.replace("2025-01-31", "2025-01-19")  # the prepared home ends before
        response = api.get(address)
        assert response.status_code == 200, address
        if address not in ("/", "/metrics"):
            answered(response)


def test_every_curl_line_works(page: str, api: Client) -> None:
    commands = [
        shlex.split(line)
        for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("curl")
    ]
    assert len(commands) >= 3
    for _curl, url in commands:
        parts = urlsplit(url)
        response = api.get(f"{parts.path}?{parts.query}" if parts.query else parts.path)
        if "format=csv" in parts.query:
            assert table(response)
        else:
            assert answered(response)


def test_the_shown_shapes_are_real(page: str, api: Client) -> None:
    answer, problem = (
        json.loads(block) for block in re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    )
    assert set(answer) == {"about", "data"}
    assert set(answer["about"]) <= set(api.get("/forecasts").json()["about"])
    Problem.model_validate(problem)
    assert refused(api.get("/forecasts?lead=2"), "unknown_parameter") == problem


def test_every_metric_that_is_named_is_there(page: str, api: Client) -> None:
    named = set(re.findall(r"`(co2_[a-z_]+)`", page.split("## Prometheus")[1]))
    assert len(named) >= 8
    text = api.get("/metrics").text
    for name in named:
        assert re.search(rf"(?m)^{name}(_bucket)?[ {{]", text), name


def test_the_limits_are_those_of_the_code(page: str) -> None:
    fields = Settings.model_fields
    assert f"{fields['api_requests_per_minute'].default:,} by default" in page
    assert f"{fields['api_max_rows'].default:,} by default" in page
    assert f"over {guards.LARGEST_BODY_BYTES // 1024} KiB 413" in page
    assert f"up to {guards.LONGEST_ADDRESS_BYTES // 1024} KiB" in page
    assert f"{guards.BODY_WITHIN_S:.0f} s to arrive" in page
    for path in guards.OPEN_PATHS:
        assert f"`{path}`" in page
