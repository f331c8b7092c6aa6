"""A home is made once, for one source and one range of windows, and says no to others."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from co2_assets.errors import SettingsError
from co2_assets.orchestration.home import ensure_home, prepare_home
from co2_assets.settings import Settings, home_file, load_settings, read_home, window_floor
from co2_assets_tests.homes import FIRST, LAST, utc


def made(folder: Path, **given: object) -> Settings:
    return ensure_home(load_settings(home=folder, **given))


def recorded(folder: Path, **given: object) -> Settings:
    return made(
        folder, **{"source": "recorded", "first_window": FIRST, "last_window": LAST, **given}
    )


def test_a_home_remembers_its_source_and_windows(tmp_path: Path) -> None:
    recorded(tmp_path / "home")
    settings = load_settings(home=tmp_path / "home")
    assert (settings.source, settings.first_window, settings.last_window) == (
        "recorded",
        FIRST,
        LAST,
    )


def test_a_live_home_begins_with_the_newest_window_that_has_ended(tmp_path: Path) -> None:
    before = window_floor(datetime.now(UTC)) - timedelta(hours=6)
    settings = made(tmp_path / "home")
    after = window_floor(datetime.now(UTC)) - timedelta(hours=6)
    assert settings.source == "live"
    assert settings.last_window is None
    assert settings.first_window in (before, after)


def test_home_json_is_written_once_and_never_changed(tmp_path: Path) -> None:
    made(tmp_path / "home", first_window=utc("2025-01-18T00:00"))
    kept = home_file(tmp_path / "home").read_text()
    ensure_home(load_settings(home=tmp_path / "home"))
    assert home_file(tmp_path / "home").read_text() == kept
    assert json.loads(kept)["first_window"] == "2025-01-18T00:00:00+00:00"


def test_processes_that_make_a_home_at_once_agree_on_it(tmp_path: Path) -> None:
    wanted = [utc("2025-01-18T00:00") + index * timedelta(hours=6) for index in range(8)]
    drafts = [load_settings(home=tmp_path / "home", first_window=first) for first in wanted]
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(_made_or_refused, drafts))
    kept = read_home(tmp_path / "home")
    assert kept is not None
    agreed = {outcome for outcome in outcomes if outcome is not None}
    assert agreed == {datetime.fromisoformat(kept["first_window"])}


def _made_or_refused(settings: Settings) -> datetime | None:
    try:
        return ensure_home(settings).first_window
    except SettingsError:
        return None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("source", "live"),
        ("first_window", utc("2025-01-19T00:00")),
        ("last_window", utc("2025-01-30T00:00")),
    ],
)
def test_a_setting_that_contradicts_the_home_is_refused_and_changes_nothing(
    tmp_path: Path, name: str, value: object
) -> None:
    recorded(tmp_path / "home")
    kept = home_file(tmp_path / "home").read_text()
    with pytest.raises(SettingsError) as refused:
        recorded(tmp_path / "home", **{name: value})
    assert f"setting {name}" in str(refused.value)
    assert "another CO2_HOME" in str(refused.value)
    assert home_file(tmp_path / "home").read_text() == kept


def test_the_same_settings_again_are_no_contradiction(tmp_path: Path) -> None:
    assert recorded(tmp_path / "home") == recorded(tmp_path / "home")


def test_settings_that_belong_to_no_home_may_change(tmp_path: Path) -> None:
    recorded(tmp_path / "home", training_days=30)
    settings = recorded(tmp_path / "home", training_days=60)
    assert settings.training_days == 60


@pytest.mark.parametrize("lacking", ["first_window", "last_window"])
def test_a_recorded_home_without_its_windows_is_refused(tmp_path: Path, lacking: str) -> None:
    with pytest.raises(SettingsError, match="needs to know its windows"):
        recorded(tmp_path / "home", **{lacking: None})
    assert not (tmp_path / "home").exists()


def test_a_damaged_home_json_is_named_and_not_replaced(tmp_path: Path) -> None:
    recorded(tmp_path / "home")
    home_file(tmp_path / "home").write_text('{"source": "recorded"')
    with pytest.raises(SettingsError, match="damaged") as refused:
        load_settings(home=tmp_path / "home")
    assert str(home_file(tmp_path / "home")) in str(refused.value)
    assert home_file(tmp_path / "home").read_text() == '{"source": "recorded"'


def test_a_home_that_cannot_be_made_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match=r"cannot (make|read) the home") as refused:
        recorded(tmp_path / "file" / "home")
    assert str(tmp_path / "file") in str(refused.value)


def test_preparing_a_home_makes_a_dagster_home_of_its_own(tmp_path: Path) -> None:
    settings = prepare_home(recorded(tmp_path / "home"))
    assert (settings.dagster_home / "dagster.yaml").read_text().count("max_concurrent_runs: 1") == 1
    assert (settings.dagster_home / "history").is_dir()
    assert settings.dagster_home.is_relative_to(tmp_path / "home")
