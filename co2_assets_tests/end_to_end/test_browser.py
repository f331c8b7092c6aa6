"""A real browser on a real `dagster dev`: what a person sees and clicks.

`SCREENSHOTS_DIR` names a folder for the screenshots. Where no browser is found the tests
are skipped; `REQUIRE_BROWSER=1` makes that a failure.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, Locator, Page, expect

from co2_assets.orchestration.home import prepare_home
from co2_assets.orchestration.launch import dagster_service
from co2_assets.processes import start, stop_group
from co2_assets.settings import HOME_FIELDS, Settings
from co2_assets_tests.end_to_end.browser import find_browser, launched, screenshots_folder
from co2_assets_tests.homes import REPLAYED_UNTIL, Home, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE_S = 60.0
RUN_PATIENCE_S = 180.0
"""A training on two busy cores takes a minute."""

ASSETS = {
    "raw": ("power_system", "wind_solar_forecasts", "co2_prognosis", "day_ahead_prices"),
    "core": ("aggregated_hours", "engineered_features"),
    "ml": (
        "trained_model",
        "forecasts",
        "forecast_evaluations",
        "window_receipts",
        "retrain_decisions",
        "backtest",
    ),
}
PARTITION = "2025-01-19T12:00"
"""A window that the prepared home has replayed."""


# The browser itself


def test_no_browser_is_a_skip_that_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("REQUIRE_BROWSER", raising=False)
    with pytest.raises(pytest.skip.Exception, match="sudo apt-get install chromium"):
        find_browser()


def test_no_browser_fails_where_one_is_required(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match="sudo apt-get install chromium"):
        find_browser()


# The platform beside it


@dataclass(frozen=True)
class Running:
    """A `dagster dev` with its recorded server, on a home in which two days were replayed."""

    url: str
    settings: Settings

    def ask(self, query: str) -> dict[str, Any]:
        """One GraphQL query's data."""
        reply = requests.post(f"{self.url}/graphql", json={"query": query}, timeout=PATIENCE_S)
        reply.raise_for_status()
        answer: dict[str, Any] = reply.json()
        assert "errors" not in answer, answer
        return answer["data"]

    def is_ready(self) -> bool:
        """Whether the UI answers and has loaded the definitions."""
        try:
            entries = self.ask(
                "{ workspaceOrError { ... on Workspace { locationEntries {"
                " locationOrLoadError { __typename } } } } }"
            )["workspaceOrError"]["locationEntries"]
        except requests.RequestException:
            return False
        loaded = [(entry["locationOrLoadError"] or {}).get("__typename") for entry in entries]
        assert "PythonError" not in loaded, entries
        return loaded == ["RepositoryLocation"]


def variables(settings: Settings) -> dict[str, str]:
    """The environment under which another process has the same settings."""
    return {
        f"CO2_{name.upper()}": str(getattr(settings, name))
        for name in settings.model_fields_set
        if name not in (*HOME_FIELDS, "home")
    }


@pytest.fixture(scope="module")
def running(replayed: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = replayed.copy(tmp_path_factory.mktemp("browser") / "home")
    home.clean_tick(REPLAYED_UNTIL)
    with home.store.write("test", "test") as tx:
        # As if it were older: then there are days on which a challenger can be judged.
        tx.execute(
            "UPDATE ml.model_versions SET train_end_utc = train_end_utc - INTERVAL 14 DAY"
            " WHERE model_version = 'v0001'"
        )
    home.store.publish()
    settings = prepare_home(home.settings)
    port = free_port()
    with ExitStack() as stack:
        monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
        for name, value in variables(settings).items():
            monkeypatch.setenv(name, value)
        server = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("co2")),
                "--home",
                str(settings.home),
                "recorded-server",
            ],
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        stack.callback(stop_group, server)
        dagster = start(dagster_service(settings, port))
        stack.callback(stop_group, dagster)
        found = Running(f"http://127.0.0.1:{port}", settings)
        deadline = time.monotonic() + 2 * PATIENCE_S
        while not found.is_ready():
            log = (settings.home / "logs" / "dagster.log").read_text()
            assert dagster.poll() is None, log
            assert time.monotonic() < deadline, log
            time.sleep(0.5)
        yield found


# What a person sees and clicks


@pytest.fixture(scope="module")
def browser_path() -> str:
    return find_browser()


@pytest.fixture(scope="module")
def chromium(
    browser_path: str,
    running: Running,  # first, since a tick cannot run beside Playwright's event loop
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Browser]:
    with launched(browser_path, tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    opened = chromium.new_page(viewport={"width": 1600, "height": 1000}, timezone_id="UTC")
    opened.set_default_timeout(PATIENCE_S * 1000)
    expect.set_options(timeout=PATIENCE_S * 1000)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return screenshots_folder(tmp_path_factory.mktemp("screenshots"))


@pytest.mark.browser
def test_the_lineage_runs_from_power_system_to_forecast_evaluations(
    page: Page, running: Running, screenshots: Path
) -> None:
    page.set_viewport_size({"width": 2300, "height": 1900})
    page.goto(f"{running.url}/asset-groups")
    page.get_by_role("button", name="Hide navigation").click()
    for group in ASSETS:
        node(page, group).wait_for()
    page.keyboard.press("Alt+e")  # expand all groups
    page.wait_for_url("**expanded=*")
    page.reload()  # which fits what is expanded into the window
    for names in ASSETS.values():
        for name in names:
            node(page, name).wait_for()
    page.wait_for_timeout(2000)  # for the picture alone: it glides to where it will stand
    page.screenshot(path=screenshots / "lineage.png")
    assert is_upstream(running, "raw/power_system", "ml/forecast_evaluations")


@pytest.mark.browser
def test_one_partition_is_materialized_by_clicking(
    page: Page, running: Running, screenshots: Path
) -> None:
    page.goto(f"{running.url}/assets/raw/power_system")
    page.get_by_role("button", name="Materialize").click()
    chosen = page.get_by_placeholder("ex: ")
    chosen.fill(PARTITION)
    chosen.press("Enter")
    page.get_by_role("button", name="Launch 1 run").click()
    run_id = see_run_succeed(page, screenshots / "partition_run.png")

    page.goto(f"{running.url}/assets/raw/power_system?view=partitions&partition={PARTITION}")
    expect(page.get_by_role("link", name=run_id[:8])).to_be_visible()
    expect(metadata_row(page, "status")).to_contain_text("ok")
    # The window and its overlap of 12 hours came over HTTP, and were stored already.
    expect(metadata_row(page, "rows read")).to_contain_text("1080")
    expect(metadata_row(page, "rows unchanged")).to_contain_text("1080")
    page.screenshot(path=screenshots / "partition.png")
    see_plot(page, screenshots / "partition_plot.png")


@pytest.mark.browser
def test_an_unpartitioned_asset_is_materialized_by_clicking(
    page: Page, running: Running, screenshots: Path
) -> None:
    page.goto(f"{running.url}/assets/ml/trained_model")
    page.get_by_role("button", name="Materialize").click()
    run_id = see_run_succeed(page, screenshots / "training_run.png")

    page.goto(f"{running.url}/assets/ml/trained_model?view=events")
    expect(page.get_by_role("link", name=run_id[:8])).to_be_visible()
    expect(metadata_row(page, "model version")).to_contain_text("v0002")
    expect(metadata_row(page, "gate")).to_contain_text("g/kWh")
    expect(metadata_row(page, "MAE on the holdout, g/kWh")).to_contain_text("persistence")
    page.screenshot(path=screenshots / "training.png")
    see_plot(page, screenshots / "training_plot.png")


@pytest.mark.browser
def test_the_forecasts_page_shows_metadata_and_a_plot(
    page: Page, running: Running, screenshots: Path
) -> None:
    page.goto(f"{running.url}/assets/ml/forecasts")
    expect(page.get_by_text("p50_g_per_kwh", exact=True)).to_be_visible()
    expect(page.get_by_text("50 % quantile [g/kWh]")).to_be_visible()
    page.screenshot(path=screenshots / "forecasts.png")

    page.goto(f"{running.url}/assets/ml/forecasts?view=partitions&partition={PARTITION}")
    expect(metadata_row(page, "model version")).to_contain_text("v0001")
    expect(metadata_row(page, "issue time")).to_contain_text("Jan 19, 2025, 6:00:00 PM UTC")
    table = metadata_row(page, "forecast")
    for lead in range(24):
        expect(table).to_contain_text(f"01-{19 + (18 + lead) // 24} {(18 + lead) % 24:02d}:00")
    see_plot(page, screenshots / "forecast.png")


def node(page: Page, name: str) -> Locator:
    """A group or asset in the lineage graph."""
    return page.locator(f'svg [data-tooltip="{name}"]').first


def edges(running: Running) -> dict[tuple[str, str], None]:
    """The lineage as the UI knows it: pairs of upstream and downstream asset."""
    nodes = running.ask("{ assetNodes { assetKey { path } dependencyKeys { path } } }")
    return {
        ("/".join(upstream["path"]), "/".join(one["assetKey"]["path"])): None
        for one in nodes["assetNodes"]
        for upstream in one["dependencyKeys"]
    }


def is_upstream(running: Running, first: str, last: str) -> bool:
    """Whether a way leads from one asset to another."""
    reached, found = {first}, edges(running)
    for _ in found:
        reached |= {down for up, down in found if up in reached}
    return last in reached


def see_run_succeed(page: Page, screenshot: Path) -> str:
    """Follow the note of a launched run to its page, and wait for its end; the run's id."""
    expect(page.get_by_text("Launched run")).to_be_visible()
    page.get_by_role("link", name="View", exact=True).click()
    page.wait_for_url("**/runs/*")
    outcome = page.get_by_text(re.compile("^(Success|Failure|Canceled)$")).first
    outcome.wait_for(timeout=RUN_PATIENCE_S * 1000)
    page.screenshot(path=screenshot)
    assert outcome.inner_text() == "Success"
    return page.url.split("/runs/")[1].split("?")[0]


def metadata_row(page: Page, name: str) -> Locator:
    """The row of one metadata entry."""
    return page.locator("tr", has=page.locator("td", has_text=re.compile(f"^{re.escape(name)}$")))


def see_plot(page: Page, screenshot: Path) -> None:
    """Open the picture of the shown materialization; it must really be drawn."""
    metadata_row(page, "plot").get_by_text("[Show Markdown]").click()
    picture = page.locator('img[src^="data:image/png;base64,"]')
    expect(picture).to_be_visible()
    width = picture.evaluate("image => image.decode().then(() => image.naturalWidth)")
    page.screenshot(path=screenshot)
    assert width > 400
