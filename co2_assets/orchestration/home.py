"""What a home needs before Dagster can look at it; safe to call from several processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

from co2_assets.errors import SettingsError
from co2_assets.settings import (
    HOME_FIELDS,
    WINDOW,
    Settings,
    home_file,
    load_settings,
    window_floor,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


def ensure_home(settings: Settings) -> Settings:
    """Fix for ever what data the home holds, and return the settings with it.

    A live home begins with the newest window that has ended, so that its first tick can
    run at once; a recorded home is told its windows by whoever makes it.

    Raises:
        SettingsError: the folder cannot be made, or a recorded home lacks its windows.
    """
    if home_file(settings.home).exists():
        return load_settings(**_given(settings))
    if settings.source == "recorded" and (
        settings.first_window is None or settings.last_window is None
    ):
        raise SettingsError(
            "a recorded home needs to know its windows",
            where=f"home {settings.home}",
            found=f"first_window {settings.first_window}, last_window {settings.last_window}",
            expected="both, on 00, 06, 12 or 18 UTC",
            next_step="`co2 replay --from ... --to ...` and `co2 demo` set them",
        )
    first = settings.first_window or window_floor(datetime.now(UTC)) - WINDOW
    _write_once(
        home_file(settings.home),
        {
            "source": settings.source,
            "first_window": first.isoformat(),
            "last_window": settings.last_window.isoformat() if settings.last_window else None,
        },
    )
    return load_settings(**_given(settings))


def _given(settings: Settings) -> Mapping[str, object]:
    """The settings that do not belong to the home, to be laid over what it holds."""
    return {
        name: getattr(settings, name)
        for name in settings.model_fields_set
        if name not in HOME_FIELDS
    }


def _write_once(path: Path, content: Mapping[str, object]) -> None:
    """Write the file unless another process was faster: then its content stands."""
    # A name of its own: a draft that somebody else wrote to would change what is linked.
    draft = path.with_name(f".{path.name}.{uuid.uuid4()}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft.write_text(json.dumps(content, indent=2) + "\n")
        draft.chmod(0o600)
        os.link(draft, path)
    except FileExistsError:
        return
    except OSError as error:
        raise SettingsError(
            "cannot make the home",
            where=str(path),
            found=error.strerror or error,
            expected="a folder that can be written",
            next_step="choose another with CO2_HOME or `co2 --home`",
        ) from error
    finally:
        draft.unlink(missing_ok=True)


def prepare_home(settings: Settings) -> Settings:
    """Make a home ready for runs: its data, its DAGSTER_HOME and its instance's tables.

    Raises:
        SettingsError: the folders cannot be made.
    """
    settings = ensure_home(settings)
    target = settings.dagster_home / "dagster.yaml"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        (settings.home / "logs").mkdir(exist_ok=True)
        shipped = resources.files("co2_assets.orchestration") / "dagster.yaml"
        text = shipped.read_text()
        if not target.exists() or target.read_text() != text:
            target.write_text(text)
    except OSError as error:
        raise SettingsError(
            "cannot make the home",
            where=str(settings.home),
            found=error.strerror or error,
            expected="a folder that can be written",
            next_step="choose another with CO2_HOME or `co2 --home`",
        ) from error
    if not (settings.dagster_home / "history").exists():
        # Two processes that start at once on a fresh SQLite home can crash in its creation.
        subprocess.run(  # noqa: S603, our own command
            [Path(sys.executable).with_name("dagster"), "instance", "info"],
            env={**os.environ, "DAGSTER_HOME": str(settings.dagster_home)},
            check=True,
            capture_output=True,
        )
    return settings
