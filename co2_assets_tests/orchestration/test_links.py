"""A person who only opens Dagster's UI finds the dashboard, the API and the docs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from co2_assets.orchestration.build import build_definitions
from co2_assets.orchestration.launch import Ports, dagster_service
from co2_assets.orchestration.links import SHOWN_ON
from co2_assets.serving.api.app import create_app
from co2_assets_tests.homes import Home

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    home = Home.new(
        tmp_path_factory.mktemp("linked") / "home",
        dashboard_url="http://dash.example",
        serving_url="http://api.example",
    )
    graph = build_definitions(home.settings).resolve_asset_graph()
    return {
        node.key.to_user_string(): {
            name: str(node.metadata[name].value) for name in ("dashboard", "API", "documentation")
        }
        for node in graph.asset_nodes
    }


def test_every_asset_has_its_links(linked: dict[str, dict[str, str]]) -> None:
    assert len(linked) == len(SHOWN_ON)
    for links in linked.values():
        assert links["dashboard"].startswith("http://dash.example/")
        assert links["API"].startswith("http://api.example/")


def test_the_pages_and_routes_exist(linked: dict[str, dict[str, str]], tmp_path: Path) -> None:
    script = (REPOSITORY / "co2_assets/serving/dashboard/app.py").read_text()
    first, *others = re.findall(r'^    \("([a-z-]+)", "', script, re.MULTILINE)
    assert first == "now"
    pages = {"", *others}
    routes = set(create_app(Home.new(tmp_path / "home").settings).openapi()["paths"])
    for links in linked.values():
        assert links["dashboard"].rsplit("/", 1)[1] in pages
        assert "/" + links["API"].rsplit("/", 1)[1] in routes


def test_the_documentation_has_the_heading(linked: dict[str, dict[str, str]]) -> None:
    for links in linked.values():
        page, heading = links["documentation"].split("#")
        headings = re.findall(r"^#+ (.+)$", (REPOSITORY / page).read_text(), re.MULTILINE)
        assert heading in {text.replace(".", "") for text in headings}


def test_links_follow_the_ports(fresh_copy: Home) -> None:
    from co2_assets.orchestration.launch import _reached_at

    assert _reached_at(Ports()) == {}
    shown = fresh_copy.settings.model_copy(
        update=_reached_at(Ports(dagster=3001, api=8002, dashboard=None))
    )
    environment = dagster_service(shown, 3001).environment
    assert environment["CO2_SERVING_URL"] == "http://127.0.0.1:8002"
    assert environment["CO2_DASHBOARD_URL"] == "http://127.0.0.1:8501"
