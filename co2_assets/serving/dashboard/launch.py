"""How the dashboard is started: one command line, and no configuration file."""

from __future__ import annotations

import sys
from pathlib import Path

from co2_assets.settings import Settings

ADDRESS = "127.0.0.1"
SCRIPT = Path(__file__).with_name("app.py")

OPTIONS = {
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "minimal",
    # A text that stands alone in app.py is a comment, and not to be shown.
    "runner.magicEnabled": "false",
    # What goes wrong is said in words by app.py; a traceback belongs into the log.
    "client.showErrorDetails": "none",
    "client.showErrorLinks": "false",
    "theme.base": "light",
    "theme.primaryColor": "#0072B2",
    "theme.linkColor": "#005a8d",
    "theme.textColor": "#1a1a1a",
    "theme.baseRadius": "small",
}


def command(settings: Settings, port: int, address: str = ADDRESS) -> list[str]:
    """The command that serves the dashboard; `CO2_HOME` in its environment names the home.

    Args:
        settings: of the home to show.
        port: on which to listen.
        address: on which to listen; loopback unless told otherwise.
    """
    del settings  # a home comes by the environment, since Streamlit owns the command line
    options = {**OPTIONS, "server.address": address, "server.port": str(port)}
    flags = [f"--{name}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "streamlit", "run", str(SCRIPT), *flags]
