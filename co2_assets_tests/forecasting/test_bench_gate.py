"""The benchmark of the gate draws whole blocks and judges by the gate's own rule."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest

from bench import gate
from bench.gate import ERAS, MEASURES, Pair, autoregressive, blocks, pair_of, promoted, simulated


@pytest.fixture(scope="module")
def recorded() -> pl.DataFrame:
    return pl.read_parquet(gate.RECORD).filter(every_hours=6)


def pair(gain: float = 0.0, *, later: float = 1.0, days: int = 28) -> Pair:
    counts = np.full(days, 24.0)
    champion = 10 * counts
    return Pair([champion] * 3, [champion * (1 - gain), champion * later, champion], [counts] * 3)


def test_days_are_drawn_in_blocks() -> None:
    drawn = blocks(100, 28, 500, 14, np.random.default_rng(0))
    assert drawn.shape == (500, 28)
    steps = np.diff(drawn, axis=1)
    assert (np.delete(steps, 13, axis=1) == 1).all()
    assert (steps[:, 13] != 1).mean() > 0.9
    assert (drawn.min(), drawn.max()) == (0, 99)
    assert blocks(100, 7, 5, 14, np.random.default_rng(0)).shape == (5, 7)


def test_losses_are_scaled_to_be_equal_in_every_measure(recorded: pl.DataFrame) -> None:
    era, models = next(iter(ERAS.items()))
    made = pair_of(recorded.filter(era=era), models[0].name, models[-1].name)
    assert len(made.counts) == len(MEASURES)
    for champion, challenger, counts in zip(*made, strict=True):
        assert champion.sum() == pytest.approx(challenger.sum())
        assert len(champion) == len(counts) > 400
        assert not np.allclose(champion, challenger)


def test_a_guard_keeps_a_better_challenger_out() -> None:
    every = np.arange(28)
    assert promoted(pair(0.1), every, 0.0)
    assert promoted(pair(), every, 0.1)
    assert not promoted(pair(), every, 0.0)
    assert not promoted(pair(0.1, later=1.1), every, 0.0)


def test_rates_come_with_what_the_noise_allows() -> None:
    row = {"scenario": "known"}
    equal, five, ten = simulated([autoregressive(0.2)], 28, row, block_days=28, trials=1000)
    assert equal["correlation"] == pytest.approx(0.2, abs=0.02)
    assert equal["noise_percent"] == pytest.approx(20, abs=0.1)
    assert equal["noise_allows"] == pytest.approx(equal["promoted"], abs=0.002)
    assert equal["promoted"] < five["promoted"] < ten["promoted"]
    assert five["promoted"] <= five["noise_allows"] + 3 * five["standard_error"]


def test_the_results_that_are_kept_hold_the_promise_of_one_in_ten() -> None:
    rows = json.loads((gate.RESULTS / "gate.json").read_text())
    equal = [row for row in rows if row["gain_percent"] == 0]
    assert {row["days"] for row in equal} == set(gate.DAYS)
    for row in equal:
        assert row["promoted"] <= 0.1, row
    refits = [
        row["promoted"]
        for row in rows
        if row["scenario"].startswith("refits") and (row["gain_percent"], row["days"]) == (5, 28)
    ]
    assert min(refits) > 0.6
