"""The command line that serves the dashboard."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit import config

from co2_assets.serving.dashboard.launch import OPTIONS, SCRIPT, command
from co2_assets.settings import load_settings


def test_it_listens_on_loopback_unless_told_otherwise(tmp_path: Path) -> None:
    settings = load_settings(home=tmp_path)
    line = command(settings, 8511)
    assert "--server.address=127.0.0.1" in line
    assert "--server.port=8511" in line
    assert "--server.address=0.0.0.0" in command(settings, 8511, "0.0.0.0")


def test_it_reports_to_nobody_and_shows_no_traceback() -> None:
    assert OPTIONS["browser.gatherUsageStats"] == "false"
    assert OPTIONS["client.showErrorDetails"] == "none"


@pytest.mark.parametrize("name", list(OPTIONS))
def test_every_option_is_one_that_streamlit_has(name: str) -> None:
    assert config.get_option(name) is not Ellipsis  # raises for an unknown one


def test_the_script_is_there_and_no_folder_beside_it_is_taken_for_pages() -> None:
    assert SCRIPT.is_file()
    assert not SCRIPT.with_name("pages").exists(), "Streamlit would run its files without app.py"
