"""Trainings out of the ordinary: for an old window, beside a champion that cannot be loaded."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from co2_assets.forecasting import challenge
from co2_assets.forecasting.gate import GateOutcome
from co2_assets.orchestration.training import Trained, TrainingRequest, train
from co2_assets.warehouse import registry
from co2_assets_tests.homes import FIRST, REPLAYED_UNTIL, Home
from co2_assets_tests.orchestration.test_models import damage


def trained(home: Home, now: datetime | None) -> Trained:
    """A training by hand of one small network."""
    made = train(
        home.store,
        home.under(members=1, horizon_hours=6).settings,
        TrainingRequest(now=now, run_id="by hand", created_at=REPLAYED_UNTIL),
        lambda _line: None,
    )
    assert isinstance(made, Trained)
    return made


def test_a_training_for_an_old_window_never_takes_over_from_a_newer_champion(
    fresh_copy: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(challenge, "decide_gate", lambda *_, **__: GateOutcome(True, "it won"))
    made = trained(fresh_copy, FIRST)
    assert made.model_version == "v0002"
    with fresh_copy.store.read("test") as con:
        champion, before = registry.newest_champion(con), registry.champion_at(con, FIRST)
        ((status, reason),) = con.execute(
            "SELECT status, reason FROM ml.model_versions WHERE model_version = 'v0002'"
        ).fetchall()
    assert champion is not None and champion.model_version == "v0001"
    assert before is None
    assert (status, reason) == (
        "outdated",
        "it won; a newer promotion stands, from 2025-01-18T06:00 UTC",
    )


def test_beside_a_champion_that_cannot_be_loaded_a_training_by_hand_has_its_whole_holdout(
    fresh_copy: Home,
) -> None:
    """The champion was trained two days before: it would leave nothing to compare on."""
    damage(fresh_copy, "v0001")
    made = trained(fresh_copy, None)
    held = made.challenge.holdout_end - made.challenge.holdout_start
    assert held >= timedelta(days=7)
    assert "nothing to compare on" not in made.challenge.outcome.reason
    assert made.challenge.outcome.figures["n"] > 0
    assert "champion_mae" not in made.challenge.outcome.figures
