"""A real browser on the real dashboard: every page, two sizes, recorded, stale and no data.

`SCREENSHOTS_DIR` names a folder for the screenshots. Where no browser is found the tests
are skipped; `REQUIRE_BROWSER=1` makes that a failure.
"""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
import requests
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from co2_assets.processes import Service, start, stop_group
from co2_assets.serving.dashboard.launch import command
from co2_assets.settings import load_settings
from co2_assets_tests.end_to_end.browser import find_browser, launched, screenshots_folder
from co2_assets_tests.homes import Home, free_port

pytestmark = [pytest.mark.slow, pytest.mark.browser, pytest.mark.timeout(600)]

PATIENCE_S = 60.0
SIZES = {"desktop": (1440, 900), "phone": (390, 844)}
PAGES = {
    "Now": ("", "How green is Danish power?"),
    "Forecast against actual": ("against-actual", "Forecast against actual"),
    "Accuracy": ("accuracy", "How far can the forecast be trusted?"),
    "Model": ("model", "The model that serves"),
    "Data and decisions": ("decisions", "Data and decisions"),
}
MARKS = {
    "recorded": ("RECORDED DATA", "UP TO DATE"),
    "stale": ("RECORDED DATA", "STALE: measured hours: 72.1 hours old; forecast: 72.1 hours old"),
    "empty": ("NO DATA YET",),
}
NOWHERE = {"timezone_id": "America/New_York"}
"""The reader's own zone: it must not matter."""


# A dashboard to look at


@contextmanager
def served(home: Path) -> Iterator[str]:
    """The dashboard of a home; its address."""
    port = free_port()
    log = home / "logs" / "dashboard.log"
    line = tuple(command(load_settings(home=home), port))
    process = start(Service("dashboard", line, {"CO2_HOME": str(home)}, log))
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE_S
        while not is_up(url):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield url
    finally:
        stop_group(process)


def is_up(url: str) -> bool:
    try:
        return requests.get(f"{url}/_stcore/health", timeout=PATIENCE_S).ok
    except requests.ConnectionError:
        return False


def set_clock(home: Home, later: timedelta) -> None:
    kept = json.loads(home.settings.clock_file.read_text())
    moved = datetime.fromisoformat(kept["now_utc"]) + later
    home.settings.clock_file.write_text(json.dumps({**kept, "now_utc": moved.isoformat()}))


@pytest.fixture(scope="module")
def chromium(replayed: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    del replayed  # made first, since a tick cannot run beside Playwright's event loop
    with launched(find_browser(), tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture(scope="module", params=list(MARKS))
def shown(
    request: pytest.FixtureRequest, replayed: Home, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """What kind of data a dashboard shows, and its address."""
    folder = tmp_path_factory.mktemp(request.param) / "home"
    if request.param != "empty":
        home = replayed.copy(folder)
        set_clock(home, timedelta(days=3 if request.param == "stale" else 0))
    with served(folder) as url:
        yield request.param, url


@pytest.fixture(scope="module")
def moving(replayed: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Home, str]]:
    """A home that a test may write in, and the address of its dashboard."""
    home = replayed.copy(tmp_path_factory.mktemp("moving") / "home")
    with served(home.settings.home) as url:
        yield home, url


@pytest.fixture
def page(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, height = SIZES[getattr(request, "param", "desktop")]
    opened = chromium.new_page(viewport={"width": width, "height": height}, **NOWHERE)
    opened.set_default_timeout(PATIENCE_S * 1000)
    expect.set_options(timeout=PATIENCE_S * 1000)
    yield opened
    opened.close()


# Every page, as a person sees it


@pytest.mark.parametrize("page", list(SIZES), indirect=True)
def test_every_page_is_readable_and_accessible_on_every_screen(
    shown: tuple[str, str], page: Page, tmp_path_factory: pytest.TempPathFactory
) -> None:
    state, url = shown
    assert page.viewport_size is not None
    is_phone = page.viewport_size["width"] == SIZES["phone"][0]
    folder = screenshots_folder(tmp_path_factory.mktemp("screenshots"))
    page.goto(url)
    for name, (path, title) in PAGES.items():
        if is_phone:  # by its links; else each page is opened by its address
            page.get_by_role("link", name=name, exact=True).click()
        else:
            page.goto(f"{url}/{path}")
        expected = "Nothing to show yet" if state == "empty" else title
        expect(page.get_by_role("heading", level=1)).to_have_text(expected)
        settle(page)
        banner = page.locator(".co2-banner")
        for mark in MARKS[state]:
            expect(banner).to_contain_text(mark)
        assert page.get_by_test_id("stException").count() == 0
        assert "could not be shown" not in page.inner_text("body")
        assert "Traceback" not in page.inner_text("body")
        assert "CC BY 4.0" in page.inner_text(".co2-footer")
        assert sideways(page) == 0
        page.screenshot(path=folder / f"dashboard-{state}-{'phone' if is_phone else 'desktop'}-"
                        f"{path or 'now'}.png")  # fmt: skip
        assert faults(page) == []


def test_the_numbers_on_the_screen_are_those_of_the_warehouse(
    page: Page, moving: tuple[Home, str]
) -> None:
    home, url = moving
    now, low, high = home.row(
        "SELECT p50_g_per_kwh, p10_g_per_kwh, p90_g_per_kwh FROM forecasts"
        " WHERE valid_time_utc = '2025-01-20T00:00:00Z'"
    )
    mae, n = home.row(
        "SELECT sum(mae * n) / sum(n), sum(n) FROM scoreboard"
        " WHERE predictor = 'champion' AND lead_hours <= 6"
    )
    page.goto(url)
    expect(card(page, "Now")).to_contain_text(f"{now:.0f} g/kWh")
    expect(card(page, "Now")).to_contain_text(f"80 % sure: {low:.0f} to {high:.0f} g/kWh")
    expect(card(page, "How far to trust it")).to_contain_text(f"±{mae:.0f} g/kWh")
    expect(card(page, "How far to trust it")).to_contain_text(f"({n} hours)")

    page.get_by_role("link", name="Accuracy", exact=True).click()
    row = page.get_by_role("region", name="Scoreboard of January 2025").get_by_role(
        "row", name=re.compile("^what was served")
    )
    expect(row).to_contain_text(f"{mae:.1f}")


def test_utc_holds_over_pages_and_is_given_up_as_easily(
    page: Page, moving: tuple[Home, str]
) -> None:
    page.goto(moving[1])
    banner = page.locator(".co2-banner")
    expect(banner).to_contain_text("Data until Mon 20 Jan 2025, 01:00 CET")
    toggle(page, "UTC")
    expect(banner).to_contain_text("Data until Mon 20 Jan 2025, 00:00 UTC")
    page.get_by_role("link", name="Accuracy", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(PAGES["Accuracy"][1])
    expect(banner).to_contain_text("00:00 UTC")
    toggle(page, "UTC")
    expect(banner).to_contain_text("01:00 CET")


def test_the_picker_is_reached_and_used_by_keyboard_alone(
    page: Page, moving: tuple[Home, str]
) -> None:
    page.goto(moving[1])
    expect(card(page, "Greenest 2 hours to come")).to_be_visible()
    settle(page)
    focused = ""
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.evaluate("document.activeElement.getAttribute('aria-label') ?? ''")
        if "The job takes" in focused:
            break
    assert "The job takes" in focused
    page.keyboard.type("3 hours")
    page.keyboard.press("Enter")
    expect(card(page, "Greenest 3 hours to come")).to_be_visible()


def test_the_file_has_the_rows_that_are_shown(page: Page, moving: tuple[Home, str]) -> None:
    home, url = moving
    page.goto(url)
    settle(page)
    page.get_by_text("The same as a table").click()
    table = page.get_by_role("region", name=re.compile("^CO2 emission of Danish electricity"))
    expect(table.locator("tbody tr")).to_have_count(48)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download co2-outlook.csv").click()
    saved = pl.read_csv(io.BytesIO(Path(download.value.path()).read_bytes()))
    measured = home.rows(
        "SELECT co2_g_per_kwh FROM actuals WHERE hour_utc >= '2025-01-19T00:00:00Z'"
        " ORDER BY hour_utc"
    )
    forecast = home.rows(
        "SELECT p50_g_per_kwh FROM forecasts WHERE issue_time_utc = '2025-01-20T00:00:00Z'"
        " ORDER BY lead_hours"
    )
    values = saved["co2_g_per_kwh"].to_list()
    assert values == pytest.approx([value for (value,) in (*measured, *forecast)])
    assert saved["hour_local"][0] == "2025-01-19T01:00:00+01:00"


def test_a_new_generation_is_shown_by_itself_and_keeps_what_was_picked(
    page: Page, moving: tuple[Home, str]
) -> None:
    home, url = moving
    page.goto(url)
    settle(page)
    pick(page, "It must be done", "by today 07:00")
    expect(page.get_by_test_id("stAlert")).to_contain_text("Run it today")
    with home.store.write("test", "test") as transaction:
        transaction.execute(
            "UPDATE ml.forecasts SET is_fallback = true, fallback_reason = 'without prices'"
            " WHERE is_served"
        )
    home.store.publish()
    set_clock(home, timedelta(hours=1))
    expect(page.locator(".co2-banner")).to_contain_text("FALLBACK FORECAST: without prices")
    expect(page.locator(".co2-banner")).to_contain_text("02:05 CET")
    expect(card(page, "Now")).to_contain_text("forecast for 02:00–03:00")
    expect(page.get_by_role("combobox", name="It must be done")).to_have_value("by today 07:00")


# Parts


def card(page: Page, title: str) -> Locator:
    return page.locator(".co2-card", has=page.get_by_role("heading", name=title, exact=True))


def toggle(page: Page, name: str) -> None:
    page.get_by_test_id("stCheckbox").filter(has_text=name).locator("label").first.click()


def pick(page: Page, name: str, option: str) -> None:
    box = page.get_by_role("combobox", name=name)
    box.click()
    box.fill(option)
    box.press("Enter")


def settle(page: Page) -> None:
    """Wait for the script to have run, and for every chart to be drawn."""
    page.locator(".co2-footer").wait_for()
    page.locator('[data-testid="stApp"][data-test-script-state="notRunning"]').wait_for()
    expect(page.get_by_test_id("stSkeleton")).to_have_count(0)
    charts = page.get_by_test_id("stPlotlyChart").count()
    expect(page.locator(".js-plotly-plot")).to_have_count(charts)


def sideways(page: Page) -> int:
    """Pixels by which the page is wider than the screen."""
    return int(
        page.evaluate(
            "Math.max(...[document.documentElement,"
            " document.querySelector('[data-testid=stMain]')]"
            ".map(part => part.scrollWidth - part.clientWidth))"
        )
    )


def faults(page: Page) -> list[str]:
    """Serious and critical violations that axe-core finds, with the elements at fault."""
    found = Axe().run(page).response["violations"]
    return [
        f"{one['id']}: {[node['html'] for node in one['nodes']]}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
