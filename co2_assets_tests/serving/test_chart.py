"""The chart is a whole HTML file, and a missing actual is a gap in it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from co2_assets.cli import main
from co2_assets.errors import WarehouseError
from co2_assets.serving.chart import figure, write_chart
from co2_assets.warehouse.store import Warehouse


def test_a_missing_actual_is_a_gap_and_not_a_zero() -> None:
    hours = pd.DataFrame(
        {
            "valid_time_utc": pd.date_range("2025-01-31T22:00", periods=2, freq="h", tz="UTC"),
            "p10_g_per_kwh": [10.0, 11.0],
            "p50_g_per_kwh": [20.0, 21.0],
            "p90_g_per_kwh": [30.0, 31.0],
            "actual_g_per_kwh": [19.0, None],
        }
    )
    actual = figure(hours).data[-1]
    assert actual.name == "actual"
    assert pd.isna(actual.y[1])
    assert actual.connectgaps is False


def test_a_home_without_forecasts_says_so(tmp_path: Path) -> None:
    Warehouse(tmp_path).publish()
    with pytest.raises(WarehouseError, match="no forecast to show"):
        write_chart(tmp_path, tmp_path / "chart.html", days=7)


def test_the_command_refuses_a_home_that_was_never_published(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["--home", str(tmp_path), "chart"])
    assert result.exit_code == WarehouseError.exit_code
    assert "no published warehouse" in result.output
