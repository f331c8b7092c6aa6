"""Speed of what a tick and a training do, beside peers in the same run, with spread."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import torch

from bench import training
from bench.accuracy import CHAMPION, SHAPE, TEST_START, TRAIN_START
from co2_assets.forecasting.artifact import load, save
from co2_assets.forecasting.forecaster import Forecaster
from co2_assets.forecasting.inputs import Inputs, TrainingSet, read_training_set
from co2_assets.forecasting.registry import RECIPES, Fit, Shape
from co2_assets.replay.dataset import Dataset
from co2_assets.schema import AGGREGATED_HOURS, VALUE_COLUMNS
from co2_assets.transform.features import engineer
from co2_assets.transform.quality import assess
from co2_assets.warehouse.store import Warehouse

RUNS = 7
TRAININGS = 3

Rows = list[dict[str, Any]]


def measure(dataset: Dataset, say: Callable[[str], None]) -> Rows:
    """Rows of what, unit, median, low, high (the fastest and slowest of the runs)."""
    rows: Rows = []

    def keep(what: str, run: Callable[[], object], runs: int = RUNS, *, warm: bool = True) -> None:
        row = _timed(what, run, runs, warm=warm)
        rows.append(row)
        say(f"  {what}: {row['median']:.1f} ms ({row['low']:.1f} to {row['high']:.1f})")

    trained, champion = _champion_alone(dataset)
    rows += trained
    for row in trained:
        say(f"  {row['what']}: {row['median']:.0f} {row['unit']}")
    models: dict[str, Forecaster] = {CHAMPION: champion}
    two_years = dataset.history["hour_utc"][-1] + timedelta(hours=1)
    start = two_years - timedelta(days=730)
    for name, shape, runs in _trainings():
        job = Fit(dataset.history, dataset.external, start, two_years, shape)

        def train(name: str = name, job: Fit = job) -> None:
            models[name] = RECIPES[name].fit(job)

        what = f"training of {name}, 2 years, {shape.members} seeds, {shape.horizon_hours} leads"
        keep(what, train, runs, warm=False)
    issue = two_years
    for name, model in models.items():
        keep(
            f"one forecast of {name}, features included",
            lambda model=model: model.predict(  # type: ignore[misc]
                dataset.history, [issue], dataset.external
            ),
        )
    rows += _aged(dataset, keep, issue)
    _artifact(champion, keep)
    _epochs(dataset, keep)
    hours = _hours(dataset.history)
    keep("quality and features of 2 years of hours", lambda: engineer(assess(hours)))
    for what, run in _warehouse(hours):
        keep(what, run)
    return rows


def _champion_alone(dataset: Dataset) -> tuple[Rows, Forecaster]:
    """Training of the default recipe in processes of its own: time, memory, and the version."""
    shape = f"{SHAPE.members} seeds, {SHAPE.horizon_hours} leads"
    with tempfile.TemporaryDirectory() as kept:
        folder = Path(kept)
        dataset.history.write_ipc(folder / training.HISTORY)
        dataset.external.write_ipc(folder / training.EXTERNAL)
        found: list[dict[str, Any]] = []
        for _ in range(TRAININGS):
            shutil.rmtree(folder / training.VERSION, ignore_errors=True)
            said = subprocess.run(
                [sys.executable, "-m", "bench.training", str(folder)],
                check=True,
                capture_output=True,
                text=True,
            )
            found.append(json.loads(said.stdout.splitlines()[-1]))
        if len({one["sha256"] for one in found}) != 1:
            raise AssertionError(f"trainings with one seed differ: {found}")
        model = load(folder / training.VERSION, found[0]["sha256"])
    what = f"training of {CHAMPION}, 2 years, {shape}"
    return [
        _row(what, "ms", [one["ms"] for one in found]),
        _row(
            f"peak memory of it, in a process of its own, {shape}",
            "MB",
            [one["mb"] for one in found],
        ),
    ], model


def _trainings() -> list[tuple[str, Shape, int]]:
    """Peers, and how often each is trained: the predecessor's recipe takes minutes."""
    return [
        ("log_ridge", SHAPE, TRAININGS),
        ("lightgbm", SHAPE._replace(horizon_hours=6, members=1), TRAININGS),
        ("seed", SHAPE._replace(horizon_hours=6, members=1), 1),
    ]


def _aged(dataset: Dataset, keep: Callable[[str, Callable[[], object]], None], issue: Any) -> Rows:
    """A forecast of a version that was trained a month ago has a month to learn on the way."""
    trained_to = issue - timedelta(days=30)
    model = RECIPES[CHAMPION].fit(
        Fit(
            dataset.history,
            dataset.external,
            trained_to - timedelta(days=300),
            trained_to,
            SHAPE._replace(members=1),
        )
    )
    keep(
        "one forecast, trained 30 days before",
        lambda: model.predict(dataset.history, [issue], dataset.external),
    )
    return []


def _artifact(model: Forecaster, keep: Callable[[str, Callable[[], object]], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sha256 = save(model, Path(folder) / "v0001", {})
        keep("loading a version, hash verified", lambda: load(Path(folder) / "v0001", sha256))


class _Windows(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """One window at a time: what a DataLoader asks for."""

    def __init__(self, inputs: Inputs) -> None:
        self.encoder, self.leads = torch.from_numpy(inputs.encoder), torch.from_numpy(inputs.leads)

    def __len__(self) -> int:
        return len(self.encoder)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        return self.encoder[index], self.leads[index]


def _epochs(dataset: Dataset, keep: Callable[[str, Callable[[], object]], None]) -> None:
    """The batches of one epoch, by index and by a DataLoader."""
    windows_of: TrainingSet = read_training_set(
        dataset.history,
        TRAIN_START,
        TEST_START,
        lookback_hours=SHAPE.lookback_hours,
        horizon_hours=SHAPE.horizon_hours,
        external=dataset.external,
    )
    windows = _Windows(windows_of.inputs)
    loader = torch.utils.data.DataLoader(windows, batch_size=256, shuffle=True)

    def by_index() -> None:
        for chosen in torch.split(torch.randperm(len(windows)), 256):
            windows.encoder[chosen], windows.leads[chosen]

    keep("batches of one epoch, by index", by_index)
    keep("batches of one epoch, by a DataLoader", lambda: sum(1 for _ in loader))


def _hours(history: pl.DataFrame) -> pl.DataFrame:
    imputed = history.select("hour_utc", pl.col("^.*_imputed_.*$")).rename(
        lambda name: name.replace("_imputed", "")
    )
    return imputed.select("hour_utc", *VALUE_COLUMNS).with_columns(
        minutes_seen=pl.lit(60, pl.Int32)
    )


def _warehouse(hours: pl.DataFrame) -> Iterator[tuple[str, Callable[[], object]]]:
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

        yield "commit of 24 hours among 2 years", commit
        yield "commit and publication of them", commit_and_publish


def _timed(what: str, run: Callable[[], object], runs: int, *, warm: bool = True) -> dict[str, Any]:
    if warm:
        run()
    took = []
    for _ in range(runs):
        started = time.perf_counter()
        run()
        took.append(1000 * (time.perf_counter() - started))
    return _row(what, "ms", took)


def _row(what: str, unit: str, found: list[float]) -> dict[str, Any]:
    return {
        "what": what,
        "unit": unit,
        "median": statistics.median(found),
        "low": min(found),
        "high": max(found),
    }
