from __future__ import annotations

import pytest

from co2_assets_tests.homes import Home
from co2_assets_tests.serving.api.asking import Client, client


@pytest.fixture(scope="session")
def api(replayed: Home) -> Client:
    """The API of the prepared home: recorded data, two minutes after its last tick."""
    return client(replayed.settings)
