"""A real browser: which one, how it is started, and where its screenshots go."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_browser() -> str:
    """Path of an installed Chromium; without one the test is skipped, or fails."""
    for name in BROWSERS:
        if path := shutil.which(name):
            return path
    reason = f"no browser found ({', '.join(BROWSERS)}): sudo apt-get install chromium"
    if os.environ.get("REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def launched(path: str, profiles: Path) -> Iterator[Browser]:
    """A headless Chromium whose profiles lie below a folder."""
    with pytest.MonkeyPatch.context() as monkeypatch, sync_playwright() as playwright:
        monkeypatch.setenv("TMPDIR", str(profiles))
        browser = playwright.chromium.launch(
            executable_path=path, headless=True, args=list(ARGUMENTS)
        )
        yield browser
        browser.close()


def screenshots_folder(otherwise: Path) -> Path:
    """`SCREENSHOTS_DIR`, or another folder, made if need be."""
    given = os.environ.get("SCREENSHOTS_DIR")
    folder = Path(given) if given else otherwise
    folder.mkdir(parents=True, exist_ok=True)
    return folder
