from __future__ import annotations

import pytest

from co2_assets.serving.api import caching
from co2_assets_tests.homes import Home
from co2_assets_tests.serving.api.asking import Client, client


@pytest.fixture(scope="session")
def api(replayed: Home) -> Client:
    """The API of the prepared home: recorded data, two minutes after its last tick."""
    return client(replayed.settings)


@pytest.fixture(autouse=True)
def _never_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test asks one upon the other, and means what is published now."""
    monkeypatch.setattr(caching, "BEHIND_S", 0.0)
