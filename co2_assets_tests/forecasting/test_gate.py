"""The gate lets through what is shown to be better, and says by how much."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import polars as pl
import pytest

from co2_assets.forecasting.gate import FEWEST_BLOCKS, bootstrap_lower_bound, decide_gate
from co2_assets_tests.forecasting.small import HOUR, SPRING_END

DAYS = 28


def erring_by(
    scale: float, *, seed: int = 0, days: int = DAYS, horizon: int = 6, late: float = 1.0
) -> pl.DataFrame:
    """Paired forecasts whose errors have this scale; beyond lead 6 times `late`."""
    random = np.random.default_rng(seed)
    issues = [SPRING_END + 6 * HOUR * step for step in range(4 * days)]
    leads = [lead for _ in issues for lead in range(1, horizon + 1)]
    size = np.where(np.array(leads) > 6, scale * late, scale)
    return pl.DataFrame(
        {
            "issue_time_utc": [time for time in issues for _ in range(horizon)],
            "lead_hours": leads,
            "p50_g_per_kwh": 100 + size * random.normal(size=len(leads)),
            "actual_g_per_kwh": np.full(len(leads), 100.0),
        },
        schema_overrides={"lead_hours": pl.Int32, "issue_time_utc": pl.Datetime("us", "UTC")},
    )


def decide(
    challenger: pl.DataFrame, champion: pl.DataFrame | None, persistence: pl.DataFrame
) -> tuple[bool, str]:
    outcome = decide_gate(challenger, champion, persistence, confidence=0.8, seed=1)
    return outcome.promoted, outcome.reason


def test_without_a_champion_it_is_enough_to_beat_persistence() -> None:
    promoted, reason = decide(erring_by(10), None, erring_by(20, seed=1))
    assert promoted
    assert reason.startswith("there was no champion and it beats persistence: MAE ")
    assert "on 672 values of the holdout" in reason


@pytest.mark.parametrize("champion", [None, erring_by(50, seed=2)])
def test_what_does_not_beat_persistence_is_never_let_through(
    champion: pl.DataFrame | None,
) -> None:
    promoted, reason = decide(erring_by(20), champion, erring_by(10, seed=1))
    assert not promoted
    assert reason.startswith("does not beat persistence")


def test_a_clearly_better_challenger_is_promoted() -> None:
    promoted, reason = decide(erring_by(10), erring_by(15, seed=2), erring_by(20, seed=1))
    assert promoted
    assert reason.startswith("better than the champion: MAE ")
    assert "lower bound" in reason
    assert "at 80%" in reason


def test_an_equal_challenger_and_a_worse_one_are_not() -> None:
    champion, persistence = erring_by(10, seed=2), erring_by(20, seed=1)
    for challenger in (champion, erring_by(12, seed=3)):
        promoted, reason = decide(challenger, champion, persistence)
        assert not promoted
        assert reason.startswith("not shown to be better than the champion")


def test_a_lower_mae_by_chance_is_not_enough() -> None:
    """One lucky day among 28 that are a little worse."""
    champion = erring_by(0).with_columns(p50_g_per_kwh=pl.lit(110.0))
    lucky = pl.col("issue_time_utc") < SPRING_END + timedelta(days=1)
    champion = champion.with_columns(p50_g_per_kwh=pl.when(lucky).then(400.0).otherwise(110.0))
    challenger = champion.with_columns(p50_g_per_kwh=pl.when(lucky).then(100.0).otherwise(110.5))
    outcome = decide_gate(challenger, champion, erring_by(500), confidence=0.95, seed=1)
    assert outcome.figures["gain"] > 0
    assert not outcome.promoted


def test_a_champion_that_lost_to_persistence_defends_nothing() -> None:
    def missing_by(error: float | pl.Expr) -> pl.DataFrame:
        return erring_by(0).with_columns(p50_g_per_kwh=100 + error)

    # 9.9 on average against 10.2, but by turns 14.9 and 4.9: better, and not shown to be.
    odd_day = pl.col("issue_time_utc").dt.day() % 2 == 1
    by_turns = missing_by(pl.when(odd_day).then(14.9).otherwise(4.9))
    by_turns = by_turns.filter(pl.col("issue_time_utc").dt.month() == SPRING_END.month)
    outcome = decide_gate(by_turns, missing_by(10.2), missing_by(10.1), confidence=0.95, seed=1)
    assert outcome.figures["gain"] > 0 > outcome.figures["gain_lower_bound"]
    assert outcome.promoted
    assert outcome.reason.startswith("the champion no longer beats persistence: MAE ")
    against_a_better = decide_gate(
        by_turns, missing_by(10.2), missing_by(10.3), confidence=0.95, seed=1
    )
    assert not against_a_better.promoted


def test_only_what_both_forecast_is_compared() -> None:
    challenger, champion = erring_by(10), erring_by(15, seed=2)
    # The champion is spared the second half, on which the challenger is hopeless.
    half = SPRING_END + timedelta(days=DAYS / 2)
    later = pl.col("issue_time_utc") >= half
    unlucky = challenger.with_columns(
        p50_g_per_kwh=pl.when(later).then(130.0).otherwise("p50_g_per_kwh")
    )
    outcome = decide_gate(
        unlucky, champion.filter(~later), erring_by(200, seed=1), confidence=0.8, seed=1
    )
    first = challenger.filter(~later)
    expected = (first["p50_g_per_kwh"] - 100).abs().mean()
    assert outcome.promoted
    assert f"MAE {expected:.2f} g/kWh against" in outcome.reason


def test_the_gate_speaks_of_leads_1_to_6_whatever_the_horizon() -> None:
    good_early = erring_by(10, horizon=24, late=10)
    champion = erring_by(15, seed=2, horizon=24)
    persistence = erring_by(20, seed=1, horizon=24)
    outcome = decide_gate(good_early, champion, persistence, confidence=0.8, seed=1)
    assert outcome.promoted
    assert outcome.figures["n"] == 6 * 4 * DAYS


def test_a_champion_that_could_not_forecast_is_not_said_to_be_none() -> None:
    silent = erring_by(10).clear()
    outcome = decide_gate(erring_by(10), silent, erring_by(20, seed=1), confidence=0.8, seed=1)
    assert outcome.promoted
    assert outcome.reason.startswith("the champion has no forecast to compare with")
    assert "champion_mae" not in outcome.figures


def test_without_a_common_value_nothing_is_let_through() -> None:
    outcome = decide_gate(erring_by(10).clear(), None, erring_by(20), confidence=0.8, seed=1)
    assert not outcome.promoted
    assert outcome.reason == "nothing to compare: no value of the holdout was forecast"


def test_the_same_seed_decides_the_same() -> None:
    forecasts = erring_by(10), erring_by(10.2, seed=2), erring_by(20, seed=1)
    one, other = (decide_gate(*forecasts, confidence=0.8, seed=4) for _ in range(2))
    assert one == other


def test_blocks_are_weeks_when_there_are_enough_of_them_and_days_otherwise() -> None:
    # Good and bad days alternate: days look uncertain, weeks hardly differ.
    def bound(weeks: int) -> float:
        days = np.repeat(np.arange(7.0 * weeks), 4)
        return bootstrap_lower_bound(np.where(days % 2 == 0, 3.0, -1.0), days, 0.9, 0)

    assert bound(FEWEST_BLOCKS) > 0.75  # a mean of 1, weekly means of 6/7 or 8/7
    assert bound(FEWEST_BLOCKS - 1) < 0.75


def test_the_bound_lies_below_the_mean_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    days = np.repeat(np.arange(140.0), 4)
    below = [
        bootstrap_lower_bound(
            np.repeat(random.normal(1, 1, 140), 4) + random.normal(0, 1, 560), days, 0.8, seed
        )
        < 1
        for seed in range(200)
    ]
    assert 0.68 < np.mean(below) < 0.9
