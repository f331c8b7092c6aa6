"""Speed of what a tick and a training do, with medians and spread."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from bench.accuracy import SHAPE, TEST_START, TRAIN_START
from co2_assets.forecasting.baselines import fit_climatology, fit_persistence
from co2_assets.forecasting.registry import RECIPES
from co2_assets.schema import AGGREGATED_HOURS, VALUE_COLUMNS
from co2_assets.transform.features import engineer
from co2_assets.transform.quality import assess
from co2_assets.warehouse.store import Warehouse

RUNS = 7


def measure(history: pl.DataFrame, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Rows of what, unit, median, low, high (the fastest and slowest of seven runs)."""
    issue = history["hour_utc"][-1] + timedelta(hours=1)
    model = RECIPES["attention_lstm"].fit(history, TEST_START, issue, SHAPE, None)
    hours = _hours(history)
    rows = [
        _timed("one forecast of attention_lstm", lambda: model.predict(history, [issue])),
        _timed(
            "fit of persistence on 18 months",
            lambda: fit_persistence(history, TRAIN_START, TEST_START, 6),
        ),
        _timed(
            "fit of climatology on 18 months",
            lambda: fit_climatology(history, TRAIN_START, TEST_START, 6),
        ),
        _timed("quality and features of 2 years of hours", lambda: engineer(assess(hours))),
        *_warehouse(hours),
    ]
    for row in rows:
        say(f"  {row['what']}: {row['median']:.1f} ms ({row['low']:.1f} to {row['high']:.1f})")
    return rows


def _hours(history: pl.DataFrame) -> pl.DataFrame:
    names = {f"{name}": name for name in VALUE_COLUMNS}
    imputed = history.select("hour_utc", pl.col("^.*_imputed_.*$")).rename(
        lambda name: name.replace("_imputed", "")
    )
    return imputed.select("hour_utc", *names).with_columns(minutes_seen=pl.lit(60, pl.Int32))


def _warehouse(hours: pl.DataFrame) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        warehouse = Warehouse(Path(folder))
        assessed = assess(hours)
        with warehouse.write("all hours", "bench") as tx:
            tx.upsert(AGGREGATED_HOURS, assessed)
        changing = iter(range(1_000_000))

        def commit() -> None:
            rows = assessed.tail(24).with_columns(solar_mw=pl.lit(float(next(changing))))
            with warehouse.write("24 hours", "bench") as tx:
                tx.upsert(AGGREGATED_HOURS, rows)

        def commit_and_publish() -> None:
            commit()
            warehouse.publish()

        return [
            _timed("commit of 24 hours among 2 years", commit),
            _timed("commit and publication of them", commit_and_publish),
        ]


def _timed(what: str, run: Callable[[], object]) -> dict[str, Any]:
    run()
    took = []
    for _ in range(RUNS):
        started = time.perf_counter()
        run()
        took.append(1000 * (time.perf_counter() - started))
    return {
        "what": what,
        "unit": "ms",
        "median": statistics.median(took),
        "low": min(took),
        "high": max(took),
    }
