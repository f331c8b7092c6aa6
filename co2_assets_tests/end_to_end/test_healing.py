"""What would end forecasts or learning heals in the next ticks, and no hand is needed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from co2_assets.replay.faults import FaultPlan
from co2_assets.replay.machine import replay
from co2_assets.schema import EXTERNAL_GROUPS
from co2_assets.settings import WINDOW
from co2_assets_tests.homes import FIRST, LAST, Home

pytestmark = pytest.mark.timeout(600)

SMALL_MODEL = {"members": 1, "horizon_hours": 6, "training_days": 28}
"""A small model of little history: what is shown is what becomes of it, not how good it is."""

VERSIONS = (
    "SELECT model_version, inputs_missing FROM ml.model_versions WHERE artifact_path IS NOT NULL"
    " ORDER BY 1"
)
SILENT = ("Forecasts_Hour", "Elspotprices")


def run(home: Home, ticks: int, *faults: dict[str, Any]) -> list[str]:
    """Go on with so many ticks of the real job, the sensor acting after each; the trainings."""
    done = home.rows("SELECT window_start_utc FROM ml.retrain_decisions") if ticked(home) else []
    start = FIRST + len(done) * WINDOW
    plan = FaultPlan.of({"faults": list(faults)}) if faults else None
    report = replay(
        home.settings, start=start, end=start + ticks * WINDOW, faults=plan, say=lambda _line: None
    )
    return report.trainings


def ticked(home: Home) -> bool:
    return home.store.layout.public.exists()


def decisions(home: Home) -> list[tuple[str, str]]:
    return home.rows("SELECT decision, rule FROM ml.retrain_decisions ORDER BY window_start_utc")


def served(home: Home) -> list[tuple[str, bool, str | None, str | None]]:
    """Version and state of each served forecast, oldest first."""
    return home.rows(
        "SELECT model_version, is_fallback, fallback_kind, inputs_missing FROM ml.forecasts"
        " WHERE is_served AND lead_hours = 1 ORDER BY issue_time_utc"
    )


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Home]:
    monkeypatch.setenv("DAGSTER_HOME", "")  # put back when the test is over
    return lambda **given: Home.new(tmp_path / "home", last=LAST, **{**SMALL_MODEL, **given})


def test_a_damaged_champion_is_said_replaced_and_forgotten_within_two_ticks(
    small: Callable[..., Home],
) -> None:
    home = small()
    run(home, 2)
    weights = home.settings.artifacts_dir / "v0001" / "weights.safetensors"
    noise = np.random.default_rng(0)
    save_file(
        {name: noise.normal(size=value.shape) for name, value in load_file(weights).items()},
        weights,
    )
    trainings = run(home, 1)
    assert len(trainings) == 1
    assert served(home)[-1] == ("climatology", True, "champion_unusable", None)
    (said, reason), (problem,) = (
        home.row("SELECT fallback_reason, fallback_reason FROM ml.forecasts WHERE is_fallback"
                 " AND lead_hours = 1"),
        home.row("SELECT reason FROM ml.retrain_decisions WHERE rule = 'champion_unusable'"),
    )  # fmt: skip
    assert said == reason == problem
    assert "not those that were registered" in problem
    run(home, 1)
    assert served(home)[-1] == ("v0002", False, None, None)
    assert decisions(home)[-2:] == [("retrain", "champion_unusable"), ("keep", "cooldown")]


def failing(dataset: str, until: str) -> dict[str, Any]:
    return {"kind": "status_500", "dataset": dataset, "active_to": until}


def test_a_first_training_waits_while_the_history_of_a_dataset_may_still_come(
    small: Callable[..., Home],
) -> None:
    """Answers of 500 in the first tick alone must not choose the model of months."""
    home = small()
    until = f"{FIRST + WINDOW:%Y-%m-%dT%H}:30:00Z"
    run(home, 1, *(failing(dataset, until) for dataset in SILENT))
    assert home.rows(VERSIONS) == []
    assert served(home) == [("climatology", True, "no_champion", None)]
    assert decisions(home) == [("keep", "inputs_awaited")]
    run(home, 1)
    assert served(home)[-1] == ("v0001", False, None, None)
    assert home.rows(VERSIONS) == [("v0001", None)]


def test_a_training_that_could_not_wait_is_marked_and_repeated_once_the_history_has_come(
    small: Callable[..., Home],
) -> None:
    home = small(first_training_patience_hours=0, training_days=84)
    until = f"{FIRST + WINDOW:%Y-%m-%dT%H}:30:00Z"
    run(home, 1, *(failing(dataset, until) for dataset in SILENT))
    lacking = ", ".join(EXTERNAL_GROUPS["wind_solar"] + EXTERNAL_GROUPS["prices"])
    assert home.rows(VERSIONS) == [("v0001", lacking)]
    trainings = run(home, 2)
    assert len(trainings) == 1
    assert ("retrain", "inputs_healed") in decisions(home)
    assert home.rows(VERSIONS) == [("v0001", lacking), ("v0002", None)]
    # The champion had seen the whole holdout, and does not defend.
    assert served(home)[-1][:2] == ("v0002", False)
    said = home.value("SELECT reason FROM ml.model_versions WHERE model_version = 'v0002'")
    assert said.endswith(f"; v0001 had to do without {lacking}: no defender")
