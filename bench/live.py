"""Forecasts as real ticks make them, beside a backtest of the same issue times.

    python -m bench.live            (make bench-live)

A replay of three recorded months, window by window, through the real job: each tick loads what
had been published by then, and forecasts. Then a backtest of the same issue times over what was
stored. Both must say the same, or one of them knows what the other does not. A second replay has
CO2EmisProg end for good after a month: its forecasts are degraded, and go on learning. About 45
minutes on two cores. Results go to bench/results/live.json, live_degraded.json and live.md.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from co2_assets.forecasting.backtest import run_backtest
from co2_assets.forecasting.evaluate import by_leads
from co2_assets.orchestration.backtesting import make_plan, read_dataset
from co2_assets.orchestration.home import ensure_home
from co2_assets.processes import free_port
from co2_assets.replay.faults import FaultPlan
from co2_assets.replay.machine import replay
from co2_assets.schema import QUANTILE_COLUMNS
from co2_assets.settings import WINDOW, Settings, load_settings
from co2_assets.warehouse.query import frame
from co2_assets.warehouse.reader import open_published

RESULTS = Path(__file__).parent / "results"
START, END = datetime(2024, 11, 1, tzinfo=UTC), datetime(2025, 1, 31, tzinfo=UTC)
"""First window, and the end of the last."""

ENDS = datetime(2024, 12, 1, tzinfo=UTC)
"""From then on CO2EmisProg answers 404 in the second replay."""

SETTLED = timedelta(days=30)
"""So long after the end of a dataset the bands must hold again."""

LEADS = ("1-6", "7-24", "1-24")
CHAMPION = "attention_lstm"

Rows = list[dict[str, Any]]
Say = Callable[[str], None]


def main() -> None:
    """Replay twice, compare, print, write."""
    started = time.monotonic()

    def say(line: str) -> None:
        print(f"  {time.monotonic() - started:6.0f} s  {line}", flush=True)

    RESULTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        whole = replayed(Path(folder) / "whole", say)
        rows = compared(whole, say)
        gone = {"kind": "status_404", "dataset": "CO2EmisProg", "active_from": ENDS.isoformat()}
        degraded = states(replayed(Path(folder) / "gone", say, gone))
    (RESULTS / "live.json").write_text(json.dumps(rows, indent=1) + "\n")
    (RESULTS / "live_degraded.json").write_text(json.dumps(degraded, indent=1) + "\n")
    page = markdown(rows, degraded)
    (RESULTS / "live.md").write_text(page)
    print(page)


def replayed(folder: Path, say: Say, *faults: dict[str, Any]) -> Settings:
    """A home of default settings in which the real ticks of the three months were run."""
    settings = ensure_home(
        load_settings(
            home=folder,
            source="recorded",
            first_window=START,
            last_window=END,
            recorded_port=free_port(),
            request_retries=0,
        )
    )
    plan = FaultPlan.of({"faults": list(faults)}) if faults else None

    def told(line: str) -> None:
        if "T00:00" in line or not line.startswith("tick"):
            say(f"{folder.name}: {line}")

    replay(settings, start=START, end=END, faults=plan, say=told)
    return settings


def compared(settings: Settings, say: Say) -> Rows:
    """MAE of the served forecasts and of a backtest of their issue times, by hour of issue.

    Returns:
        Rows of `hour_of_issue` (UTC, or "all"), `leads`, `mae_tick`, `mae_backtest`,
        `largest_difference` (of two medians, g/kWh) and `n`, on the values that both have.
    """
    with open_published(settings.home) as con:
        ticks = frame(
            con,
            f"SELECT issue_time_utc, lead_hours, actual_g_per_kwh, {', '.join(QUANTILE_COLUMNS)}"
            " FROM co2.forecast_vs_actual WHERE is_served AND NOT is_hindcast"
            " AND NOT is_fallback AND actual_g_per_kwh IS NOT NULL",
        )
        issued = ticks["issue_time_utc"]
        plan = make_plan(
            con,
            settings,
            start=issued.min(),  # type: ignore[arg-type]
            end=issued.max() + timedelta(hours=1),  # type: ignore[operator, arg-type]
            every=WINDOW,
            models=(settings.recipe,),
            refit="never",
        )
        data = read_dataset(con, settings, plan)
    backtest = run_backtest(*data, plan, say).paired[settings.recipe]
    both = ticks.join(
        backtest.select("issue_time_utc", "lead_hours", backtest="p50_g_per_kwh"),
        on=["issue_time_utc", "lead_hours"],
    ).with_columns(
        tick_error=(pl.col("p50_g_per_kwh") - pl.col("actual_g_per_kwh")).abs(),
        backtest_error=(pl.col("backtest") - pl.col("actual_g_per_kwh")).abs(),
        difference=(pl.col("backtest") - pl.col("p50_g_per_kwh")).abs(),
        hour=pl.col("issue_time_utc").dt.hour(),
    )
    hours = sorted(both["hour"].unique())
    return [
        {
            "hour_of_issue": name,
            "leads": leads,
            "mae_tick": round(float(rows["tick_error"].mean()), 4),  # type: ignore[arg-type]
            "mae_backtest": round(float(rows["backtest_error"].mean()), 4),  # type: ignore[arg-type]
            "largest_difference": round(float(rows["difference"].max()), 6),  # type: ignore[arg-type]
            "n": rows.height,
        }
        for name, part in [
            *((f"{hour:02d}", both.filter(hour=hour)) for hour in hours),
            ("all", both),
        ]
        for leads, rows in by_leads(part)
        if "-" in leads
    ]


def states(settings: Settings) -> dict[str, Any]:
    """What became of the forecasts and of the retrain rule once a dataset had ended."""
    settled = ENDS + SETTLED
    with open_published(settings.home) as con:
        issues = frame(
            con,
            "SELECT issue_time_utc >= $ends AS is_after, any_value(inputs_missing) AS missing,"
            " any_value(is_fallback) AS is_fallback FROM co2.forecast_history"
            " WHERE is_served GROUP BY issue_time_utc, is_after ORDER BY 1",
            ends=ENDS + timedelta(days=1),
        )
        held = frame(
            con,
            "SELECT issue_time_utc >= $settled AS is_settled, count(*) AS n,"
            " avg(CAST(hit_80 AS INTEGER)) AS coverage_80,"
            " avg(absolute_error_g_per_kwh) AS mae FROM ml.forecast_evaluations"
            " WHERE is_served AND issue_time_utc >= $ends GROUP BY ALL ORDER BY 1",
            settled=settled,
            ends=ENDS + timedelta(days=1),
        )
        rules = frame(
            con,
            "SELECT rule, decision, count(*) AS ticks FROM co2.retrain_ledger"
            " WHERE window_end_utc >= $settled GROUP BY ALL ORDER BY 1",
            settled=settled,
        )
    after = issues.filter("is_after")
    return {
        "dataset": "CO2EmisProg",
        "ends_utc": ENDS.isoformat(),
        "issue_times_after": after.height,
        "degraded": after["missing"].is_not_null().sum(),
        "fallbacks": int(after["is_fallback"].sum()),
        "inputs_missing": after["missing"].drop_nulls().unique().sort().to_list(),
        "bands": [
            {"from": "30 days after" if row["is_settled"] else "1 day after", **row}
            for row in held.to_dicts()
        ],
        "decisions_from_30_days_after": rules.to_dicts(),
    }


def markdown(rows: Rows, degraded: dict[str, Any]) -> str:
    """All tables for a reader."""
    by = {(row["hour_of_issue"], row["leads"]): row for row in rows}
    hours = list(dict.fromkeys(row["hour_of_issue"] for row in rows))
    return "\n".join(
        [
            "# Results of `make bench-live`",
            "",
            f"Real ticks of {START:%Y-%m-%d} to {END:%Y-%m-%d}, every six hours, of the default"
            " recipe as the platform trains it; beside them a backtest of the same issue times"
            " over what the ticks had stored, fitted once. MAE of the median in g/kWh, by the hour"
            " of issue (UTC): tomorrow's wind and sun are published in the evening, so the ticks"
            " of 06 and 12 cannot know them. A version that is 90 days old is challenged: what a"
            " new champion said in the last ticks, the backtest has not. Data: Energinet"
            " (energidataservice.dk), CC BY 4.0.",
            "",
            "| issued at | leads | ticks | backtest | largest difference of two medians | n |",
            "|---|---|---:|---:|---:|---:|",
            *(
                f"| {hour} | {leads} | {row['mae_tick']:.2f} | {row['mae_backtest']:.2f}"
                f" | {row['largest_difference']:.2g} | {row['n']} |"
                for hour in hours
                for leads in LEADS
                if (row := by.get((hour, leads)))
            ),
            "",
            "## A dataset that ends for good",
            "",
            f"The same months, CO2EmisProg answering 404 from {ENDS:%Y-%m-%d} on. Of"
            f" {degraded['issue_times_after']} forecasts from a day after, {degraded['degraded']}"
            f" are degraded and {degraded['fallbacks']} fallbacks.",
            "",
            "| issued | values | in the 80 % band | MAE |",
            "|---|---:|---:|---:|",
            *(
                f"| from {band['from']} | {band['n']} | {100 * band['coverage_80']:.1f} %"
                f" | {band['mae']:.1f} |"
                for band in degraded["bands"]
            ),
            "",
            "Retrain rule from 30 days after: "
            + ", ".join(
                f"`{rule['rule']}` in {rule['ticks']} ticks"
                for rule in degraded["decisions_from_30_days_after"]
            )
            + ".",
            "",
        ]
    )


if __name__ == "__main__":
    main()
