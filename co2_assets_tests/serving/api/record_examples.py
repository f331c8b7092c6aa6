"""Record the answers that OpenAPI and /docs show, from the API over a finished demo.

python -m co2_assets_tests.serving.api.record_examples [HOME]

Long lists are cut, so that an example shows the shape and true numbers, and fits a screen.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from co2_assets.serving.api import app
from co2_assets.settings import load_settings
from co2_assets_tests.serving.api.asking import client

ROWS = 2
NAMES = 4
"""Entries of a long object, such as the metrics of a model."""

EXAMPLES = Path(app.__file__).with_name("examples.json")


def cut(value: Any) -> Any:
    """The beginning of each long list and of each long object that is not a row."""
    if isinstance(value, list):
        return [cut(one) for one in value[:ROWS]]
    if isinstance(value, dict):
        return {name: cut(one) for name, one in value.items()}
    return value


def shortened(name: str, value: Any) -> Any:
    """Metrics and hyperparameters are objects of many entries."""
    if isinstance(value, dict):
        entries = [*value.items()]
        if name in ("metrics", "hyperparameters"):
            entries = entries[:NAMES]
        return {key: shortened(key, one) for key, one in entries}
    if isinstance(value, list):
        return [shortened(name, one) for one in value]
    return value


def main() -> None:
    """Ask every route its example request."""
    home = Path(sys.argv[1] if len(sys.argv) > 1 else ".demo")
    api = client(load_settings(home=home))
    found = {}
    for path, methods in api.app.openapi()["paths"].items():
        operation = methods["get"]
        response = api.get(path + operation.get("x-example-query", ""))
        if response.headers["content-type"] == "application/json":
            response.raise_for_status()
            found[operation["operationId"]] = shortened("", cut(response.json()))
    EXAMPLES.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    sys.stdout.write(f"{len(found)} examples in {EXAMPLES}\n")


if __name__ == "__main__":
    main()
