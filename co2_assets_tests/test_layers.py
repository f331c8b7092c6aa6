"""The arrows between the packages hold, and the contracts would notice if they did not."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check the contracts of `folder`'s pyproject.toml against the package beside it."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_import_follows_the_arrows() -> None:
    found = lint_imports(REPOSITORY)
    assert found.returncode == 0, found.stdout + found.stderr
    assert " kept, 0 broken" in found.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("transform/hourly.py", "import duckdb"),
        ("forecasting/metrics.py", "import dagster"),
        ("transform/quality.py", "import co2_assets.forecasting.metrics"),
        ("warehouse/store.py", "import co2_assets.source.client"),
        ("source/client.py", "import co2_assets.orchestration.build"),
        ("orchestration/build.py", "import co2_assets.cli"),
    ],
)
def test_an_import_against_the_arrows_is_noticed(module: str, line: str, tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    shutil.copytree(
        REPOSITORY / "co2_assets",
        tmp_path / "co2_assets",
        ignore=shutil.ignore_patterns("recorded", "__pycache__", "dagster.yaml"),
    )
    source = tmp_path / "co2_assets" / module
    source.write_text(source.read_text() + f"\n{line}\n")
    found = lint_imports(tmp_path)
    assert found.returncode == 1, found.stdout + found.stderr
    assert " 1 broken" in found.stdout
    assert line.removeprefix("import ") in found.stdout
