"""Tables of versions and backtests for the terminal."""

from __future__ import annotations

from typing import Any

from rich.table import Table

from co2_assets.forecasting.backtest import Backtest
from co2_assets.orchestration.models import Comparison
from co2_assets.schema import MISSION_LABEL
from co2_assets.warehouse.query import Connection, rows

METRICS = (
    "mae", "rmse", "bias", "mape", "wape", "r2", "pseudo_accuracy", "pinball", "crps",
    "coverage_50", "coverage_80", "coverage_90", "skill",
)  # fmt: skip


def versions_table(con: Connection) -> Table:
    """All trained versions: what they are, how they did at the gate, what became of them."""
    table = Table(title="model versions")
    for name in ("version", "alias", "recipe", "trained to", "holdout MAE", "persistence", "gate"):
        table.add_column(name, overflow="fold", no_wrap=name != "gate")
    for row in rows(
        con,
        f"""
        SELECT versions.model_version,
            coalesce((SELECT string_agg(DISTINCT alias, ', ') FROM (
                SELECT alias, model_version FROM ml.model_aliases
                QUALIFY row_number() OVER (PARTITION BY alias ORDER BY alias_number DESC) = 1
            ) AS newest WHERE newest.model_version = versions.model_version), ''),
            recipe, strftime(train_end_utc AT TIME ZONE 'UTC', '%Y-%m-%d %H:%M'),
            (SELECT value FROM ml.model_metrics AS m WHERE m.model_version = versions.model_version
                AND predictor = 'challenger' AND metric = 'mae' AND leads = '{MISSION_LABEL}'),
            (SELECT value FROM ml.model_metrics AS m WHERE m.model_version = versions.model_version
                AND predictor = 'persistence' AND metric = 'mae' AND leads = '{MISSION_LABEL}'),
            status || ': ' || reason
        FROM ml.model_versions AS versions
        WHERE artifact_path IS NOT NULL ORDER BY versions.model_version
        """,
    ):
        table.add_row(*(_cell(value) for value in row))
    return table


def backtest_tables(found: Backtest) -> list[Table]:
    """MAE by lead with skill, and all metrics pooled."""
    models = list(found.paired)
    value = found.by_key
    by_lead = Table(title="MAE by lead, g/kWh (skill against persistence)")
    by_lead.add_column("lead, h", justify="right")
    for model in models:
        by_lead.add_column(model, justify="right")
    for lead in map(str, found.leads):
        cells = []
        for model in models:
            mae, skill = value.get((model, lead, "mae")), value.get((model, lead, "skill"))
            cells.append(f"{mae.value:.2f} ({skill.value:+.2f})" if mae and skill else "")
        by_lead.add_row(lead, *cells)
    return [by_lead, *(_pooled(found, leads) for leads in found.pooled)]


def _pooled(found: Backtest, leads: str) -> Table:
    value = found.by_key
    table = Table(title=f"leads {leads}")
    table.add_column("metric")
    for model in found.paired:
        table.add_column(model, justify="right")
    for metric in ("n", *METRICS, "dm_p_value"):
        cells = []
        for model in found.paired:
            figure = value.get((model, leads, metric))
            text = "" if figure is None else _figure(metric, figure.value)
            if figure is not None and figure.low is not None and figure.high is not None:
                text += f"\n{_figure(metric, figure.low)} to {_figure(metric, figure.high)}"
            cells.append(text)
        table.add_row(metric, *cells)
    return table


def comparison_table(found: Comparison, first: str, second: str) -> Table:
    """Two versions by lead."""
    table = Table(
        title=f"{first} against {second}, {found.start:%Y-%m-%d %H:%M} to"
        f" {found.end:%Y-%m-%d %H:%M} UTC",
        caption=f"leads 1 to 6: {found.difference:+.2f} g/kWh ({found.low:+.2f} to"
        f" {found.high:+.2f}), Diebold-Mariano p = {found.p_value:.3f};"
        f" negative: {first} is better",
    )
    for name in ("lead, h", "n", first, second, "difference"):
        table.add_column(name, justify="right")
    for row in found.by_lead.iter_rows():
        table.add_row(*(_cell(value) for value in row))
    return table


def _figure(metric: str, value: float) -> str:
    if metric == "n":
        return f"{value:.0f}"
    return (
        f"{value:.3f}"
        if metric in ("skill", "r2", "dm_p_value") or "coverage" in metric
        else (f"{value:.2f}")
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.2f}" if isinstance(value, float) else str(value)
