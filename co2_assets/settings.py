"""Settings of the platform, read from `CO2_*` environment variables and `home.json`.

One setting has one place here. What decides which data a home holds (source, first and
last window) is written to `$CO2_HOME/state/home.json` at first use and cannot change
afterwards: a home holds recorded or live data, never both.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AwareDatetime,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from co2_assets.errors import SettingsError

ENV_PREFIX = "CO2_"
LIVE_API_URL = "https://api.energidataservice.dk"
WINDOW = timedelta(hours=6)
"""Length of a partition: a tick every six hours."""


def window_floor(time: datetime) -> datetime:
    """The start of the six-hour window (00, 06, 12, 18 UTC) that holds `time`."""
    utc = time.astimezone(UTC)
    return utc.replace(hour=utc.hour // 6 * 6, minute=0, second=0, microsecond=0)


class Settings(BaseSettings):
    """All settings, each with its meaning; unknown ones are refused.

    Raises:
        SettingsError: by `load_settings`; the constructor itself raises pydantic's error.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENV_PREFIX, env_ignore_empty=True, extra="forbid", frozen=True
    )

    home: Path = Field(Path(".co2"), description="Folder of everything that the platform writes.")
    source: Literal["live", "recorded"] = Field(
        "live", description="Where the data come from: Energi Data Service, or recordings."
    )
    api_url: str = Field(
        "", description="Base URL of the API; empty is the live API or the recorded server."
    )
    recorded_port: int = Field(
        8377, ge=1, le=65535, description="Loopback port of the recorded server."
    )
    recorded_dir: Path | None = Field(
        None, description="Folder of recordings to serve instead of those in the package."
    )
    first_window: AwareDatetime | None = Field(
        None, description="Start of the first partition, on 00, 06, 12 or 18 UTC."
    )
    last_window: AwareDatetime | None = Field(
        None, description="End of the last partition, exclusive; empty for live data."
    )

    training_days: int = Field(730, ge=14, description="Days of history to train on.")
    feature_history_days: int = Field(
        28, ge=2, description="Days loaded before the training range, for features."
    )
    holdout_days: int = Field(28, ge=7, description="Days of the gate's holdout.")
    gate_confidence: float = Field(
        0.92,
        gt=0.5,
        lt=1.0,
        description="Confidence with which a challenger must beat the champion's MAE.",
    )
    lookback_hours: int = Field(24, ge=1, description="Hourly rows that the encoder reads.")
    horizon_hours: int = Field(24, ge=1, le=168, description="Hours ahead to forecast.")
    recipe: str = Field(
        "attention_lstm",
        description="Recipe of newly trained versions: attention_lstm, log_ridge, lightgbm"
        " (each also with `_own`: measured inputs only) or seed.",
    )
    members: int = Field(
        2,
        ge=1,
        le=20,
        description="Networks of one version, and forests, whose forecasts are averaged.",
    )
    seed: int = Field(0, ge=0, description="Random seed of the training.")

    issue_delay_minutes: int = Field(
        5,
        ge=0,
        le=60,
        description="Minutes from the issue time to the cut-off of hindcasts, backtests and"
        " trainings: what others had published by then counts.",
    )
    overlap_hours: int = Field(
        12, ge=0, description="Hours before the window that each tick fetches again."
    )
    forecast_ahead_hours: int = Field(
        48, ge=0, description="Hours after the window for which forecasts are fetched."
    )
    request_timeout_s: float = Field(60.0, gt=0, description="Time-out of one API request.")
    reply_deadline_s: float = Field(
        600.0, gt=0, description="Longest time that the body of one reply may take."
    )
    request_retries: int = Field(3, ge=0, description="Retries of a failed API request.")
    retry_after_tick_s: float = Field(
        60.0, ge=0, description="Longest Retry-After that a tick waits for."
    )
    retry_after_first_load_s: float = Field(
        600.0, ge=0, description="Longest Retry-After that a first load waits for."
    )
    lock_timeout_s: float = Field(
        120.0, gt=0, description="How long a writer waits for the warehouse."
    )

    retrain_below: float = Field(
        65.0, gt=0, lt=100, description="Pseudo-accuracy (100 - MAPE) below which to retrain."
    )
    retrain_window_days: int = Field(7, ge=1, description="Days of forecasts that rule reads.")
    retrain_min_forecasts: int = Field(14, ge=1, description="Fewest forecasts it needs.")
    retrain_skill_days: int = Field(14, ge=1, description="Days of the skill rule.")
    retrain_cooldown_days: int = Field(7, ge=0, description="Days without retraining after one.")
    retrain_max_age_days: int = Field(
        90, ge=1, description="Days without a training after which a challenger is trained."
    )
    first_training_patience_hours: int = Field(
        24,
        ge=0,
        description="Hours that a first training waits for the history of a dataset whose load"
        " fails.",
    )
    faulty_share_max: float = Field(
        0.25, ge=0, le=1, description="Share of faulty hours above which the feed is at fault."
    )

    catch_up_days: int = Field(
        14, ge=0, description="Days back for which missed ticks are asked for."
    )
    alarm_after_fallbacks: int = Field(
        4, ge=1, description="Fallback forecasts in a row after which there is an alarm."
    )
    webhook_url: SecretStr | None = Field(
        None, description="Where alarms are sent as JSON (Slack, Mattermost, Teams); empty: log."
    )

    dashboard_url: str = Field(
        "http://127.0.0.1:8501", description="Where people reach the dashboard, for links to it."
    )
    serving_url: str = Field(
        "http://127.0.0.1:8000", description="Where people reach the API, for links to it."
    )
    api_key: SecretStr | None = Field(
        None, min_length=16, description="Key that the API asks for; empty: none is needed."
    )
    api_requests_per_minute: int = Field(
        30_000, ge=0, description="Requests a minute that one client may make; 0 is no limit."
    )
    api_max_rows: int = Field(20_000, ge=1, description="Most rows of one answer of the API.")
    api_cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Origins whose pages may read the API, comma-separated; empty: none."
    )

    @field_validator("api_cors_origins", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        return (
            tuple(filter(None, map(str.strip, value.split(","))))
            if isinstance(value, str)
            else value
        )

    @field_validator("home", "recorded_dir")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser().absolute()

    @field_validator("first_window", "last_window")
    @classmethod
    def _on_a_window(cls, time: datetime | None) -> datetime | None:
        if time is not None and window_floor(time) != time:
            raise ValueError(f"{time.isoformat()} is not on 00, 06, 12 or 18 UTC")
        return None if time is None else time.astimezone(UTC)

    @model_validator(mode="after")
    def _windows_in_order(self) -> Self:
        first, last = self.first_window, self.last_window
        if first is not None and last is not None and last <= first:
            raise ValueError(
                f"last_window ({last.isoformat()}) must be after first_window ({first.isoformat()})"
            )
        return self

    @property
    def base_url(self) -> str:
        """The API's base URL: as set, or the live API, or the recorded server on loopback."""
        if self.api_url:
            return self.api_url.rstrip("/")
        if self.source == "recorded":
            return f"http://127.0.0.1:{self.recorded_port}"
        return LIVE_API_URL

    @property
    def issue_delay(self) -> timedelta:
        """From an issue time to the cut-off of a forecast that is not live."""
        return timedelta(minutes=self.issue_delay_minutes)

    @property
    def state_dir(self) -> Path:
        """Folder of the writers: head, locks, clock and home.json."""
        return self.home / "state"

    @property
    def clock_file(self) -> Path:
        """Where the recorded server keeps its virtual time."""
        return self.state_dir / "clock.json"

    @property
    def database_path(self) -> Path:
        """The published name that every reader opens."""
        return self.home / "co2.duckdb"

    @property
    def artifacts_dir(self) -> Path:
        """Folder of one folder per model version."""
        return self.home / "artifacts"

    @property
    def dagster_home(self) -> Path:
        """DAGSTER_HOME of this home."""
        return self.home / "dagster"


HOME_FIELDS = ("source", "first_window", "last_window")
"""Settings that belong to a home for ever, kept in home.json."""


def load_settings(**overrides: Any) -> Settings:
    """Settings from overrides, then the environment, then the home's home.json.

    Args:
        overrides: settings by name, stronger than the environment; None is not given.

    Raises:
        SettingsError: an unknown `CO2_*` variable, a bad value, or a setting that
            contradicts what the home was made for.
    """
    _refuse_unknown_variables()
    given = {name: value for name, value in overrides.items() if value is not None}
    settings = _validated(given)
    kept = read_home(settings.home)
    if kept is None:
        return settings
    made_for = _validated({**given, **kept})
    for name in HOME_FIELDS:
        if name in settings.model_fields_set and getattr(settings, name) != getattr(made_for, name):
            raise SettingsError(
                "a home holds one source and one range of windows for ever",
                where=f"setting {name} of home {settings.home}",
                found=getattr(settings, name),
                expected=str(getattr(made_for, name)),
                next_step=f"unset {ENV_PREFIX}{name.upper()}, or use another CO2_HOME",
            )
    return made_for


def _refuse_unknown_variables() -> None:
    """pydantic-settings never looks at a variable that it has no field for."""
    known = {f"{ENV_PREFIX}{name.upper()}" for name in Settings.model_fields}
    for variable, value in os.environ.items():
        if variable.startswith(ENV_PREFIX) and variable not in known:
            close = get_close_matches(variable, known, n=1)
            raise SettingsError(
                "unknown setting",
                where=f"environment variable {variable}",
                found=value,
                expected="one of " + ", ".join(sorted(known)),
                next_step=f"did you mean {close[0]}?" if close else "unset it",
            )


def _validated(values: Mapping[str, Any]) -> Settings:
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "settings"
        raise SettingsError(
            "bad setting",
            where=f"{name} ({ENV_PREFIX}{name.upper()})",
            found=first.get("input"),
            expected=first["msg"],
            next_step="correct it; `co2 settings` lists all of them with their meaning",
        ) from error


def home_file(home: Path) -> Path:
    """Path of the file that says what a home was made for."""
    return home / "state" / "home.json"


def read_home(home: Path) -> dict[str, Any] | None:
    """What the home was made for (keys `HOME_FIELDS`), or None when it is new.

    Raises:
        SettingsError: home.json is not readable JSON with those keys.
    """
    path = home_file(home)
    try:
        text = path.read_text()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise SettingsError("cannot read the home", where=str(path), found=error) from error
    try:
        kept = json.loads(text)
        return {name: kept[name] for name in HOME_FIELDS}
    except (ValueError, KeyError, TypeError) as error:
        raise SettingsError(
            "the home's description is damaged",
            where=str(path),
            found=text[:200],
            expected="JSON with the keys " + ", ".join(HOME_FIELDS),
            next_step="restore the file, or start in another CO2_HOME",
        ) from error


def settings_table() -> str:
    """All settings as a Markdown table: variable, default, meaning."""
    lines = ["| variable | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "", ()) else field.default
        lines.append(f"| `{ENV_PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines)
