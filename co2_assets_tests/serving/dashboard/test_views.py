"""What the pages make of the rows that they read, on recorded findings and figures."""

from __future__ import annotations

import polars as pl

from co2_assets.serving import contract
from co2_assets.serving.dashboard.views.decisions import by_hour
from co2_assets.serving.dashboard.views.model import holdout
from co2_assets.warehouse.reader import open_published
from co2_assets_tests.homes import Home, utc


def test_the_columns_of_a_frozen_hour_are_one_finding(replayed: Home) -> None:
    with open_published(replayed.settings.home) as con:
        findings = contract.data_quality(con, utc("2025-01-03T00:00"), utc("2025-01-04T00:00"))
    assert len(findings) > findings["hour_utc"].n_unique()
    hours = by_hour(findings)
    assert len(hours) == findings["hour_utc"].n_unique()
    newest = hours.row(0, named=True)
    assert (
        newest["columns"].split(", ")
        == findings.filter(pl.col("hour_utc") == newest["hour_utc"])["column_name"].to_list()
    )


def test_the_gates_figures_are_those_of_the_metrics_table(replayed: Home) -> None:
    metrics = holdout(replayed.value("SELECT metrics FROM champion"))
    for leads in ("1-6", "1", "24"):
        mae = replayed.value(
            "SELECT value FROM ml.model_metrics WHERE model_version = 'v0001' AND metric = 'mae'"
            " AND predictor = 'challenger' AND leads = $leads",
            leads=leads,
        )
        row = metrics.filter((pl.col("predictor") == "challenger") & (pl.col("leads") == leads))
        assert row["mae"].item() == mae


def test_a_version_without_figures_has_none() -> None:
    assert holdout(None).is_empty()
