"""Settings: unknown and bad ones are refused with what, where, found, expected and next step."""

from __future__ import annotations

from pathlib import Path

import pytest

from co2_assets.errors import SettingsError
from co2_assets.settings import LIVE_API_URL, Settings, load_settings, window_floor
from co2_assets_tests.homes import utc


def test_an_unknown_variable_is_refused_and_the_likely_one_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CO2_TRAINING_DAY", "30")
    with pytest.raises(SettingsError) as refused:
        load_settings()
    message = str(refused.value)
    assert "CO2_TRAINING_DAY" in message
    assert "found: 30" in message
    assert "did you mean CO2_TRAINING_DAYS?" in message


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("CO2_TRAINING_DAYS", "13", "greater than or equal to 14"),
        ("CO2_TRAINING_DAYS", "many", "valid integer"),
        ("CO2_SOURCE", "guessed", "'live' or 'recorded'"),
        ("CO2_FIRST_WINDOW", "2025-01-18T03:00:00Z", "not on 00, 06, 12 or 18 UTC"),
        ("CO2_FIRST_WINDOW", "2025-01-18T00:00:00", "timezone"),
        ("CO2_RETRAIN_BELOW", "100", "less than 100"),
        ("CO2_RECORDED_PORT", "0", "greater than or equal to 1"),
        ("CO2_REQUEST_TIMEOUT_S", "-1", "greater than 0"),
    ],
)
def test_a_bad_value_is_refused_with_its_variable_and_what_would_be_right(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as refused:
        load_settings()
    message = str(refused.value)
    assert variable in message
    assert value.removesuffix("Z") in message
    assert expected in message
    assert "co2 settings" in message


def test_windows_in_the_wrong_order_are_refused_with_both_values() -> None:
    with pytest.raises(SettingsError, match="2025-01-18") as refused:
        load_settings(first_window=utc("2025-01-19T00:00"), last_window=utc("2025-01-18T00:00"))
    assert "2025-01-19" in str(refused.value)


def test_an_override_is_stronger_than_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CO2_TRAINING_DAYS", "100")
    assert load_settings().training_days == 100
    assert load_settings(training_days=50).training_days == 50


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CO2_TRAINING_DAYS", "")
    assert load_settings().training_days == 730


def test_the_source_decides_whom_to_ask(tmp_path: Path) -> None:
    assert load_settings(home=tmp_path).base_url == LIVE_API_URL
    recorded = load_settings(home=tmp_path, source="recorded", recorded_port=1234)
    assert recorded.base_url == "http://127.0.0.1:1234"
    assert load_settings(home=tmp_path, api_url="http://x.test/").base_url == "http://x.test"


def test_a_home_is_absolute_whatever_the_current_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings(home=Path("here")).home == tmp_path / "here"


def test_every_setting_says_what_it_means() -> None:
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    ("time", "window"),
    [
        ("2025-01-18T00:00", "2025-01-18T00:00"),
        ("2025-01-18T05:59", "2025-01-18T00:00"),
        ("2025-01-18T23:59", "2025-01-18T18:00"),
    ],
)
def test_a_time_belongs_to_the_window_that_holds_it(time: str, window: str) -> None:
    assert window_floor(utc(time)) == utc(window)
