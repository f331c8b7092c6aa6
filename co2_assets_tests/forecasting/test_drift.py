"""The retrain rule, branch by branch: what forbids a training, then what asks for one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2_assets.forecasting.drift import (
    RetrainDecision,
    RetrainEvidence,
    RetrainRule,
    decide_retrain,
    unusable,
)
from co2_assets_tests.forecasting.small import HOUR

END = datetime(2025, 1, 20, tzinfo=UTC)
RULE = RetrainRule()
HEALTHY = RetrainEvidence(
    window_start=END - 6 * HOUR,
    window_end=END,
    pseudo_accuracy=80.0,
    n_forecasts=28,
    n_values=168,
    skill=0.2,
    faulty_share=0.0,
    newest_hours_faulty=False,
    champion="v0001",
    last_training_end=END - timedelta(days=30),
)

evidences = st.builds(
    RetrainEvidence,
    window_start=st.just(END - 6 * HOUR),
    window_end=st.just(END),
    pseudo_accuracy=st.none() | st.floats(-200, 100),
    n_forecasts=st.integers(0, 40),
    n_values=st.integers(0, 240),
    skill=st.none() | st.floats(-2, 1),
    faulty_share=st.floats(0, 1),
    newest_hours_faulty=st.booleans(),
    champion=st.none() | st.just("v0001"),
    last_training_end=st.none() | st.integers(0, 3000).map(lambda hours: END - hours * HOUR),
    in_flight_run_id=st.none() | st.just("run-1"),
    champion_problem=st.none() | st.just("champion v0001 is unusable: damaged"),
    inputs_awaited=st.just(()) | st.just(("raw.day_ahead_prices",)),
    inputs_healed=st.just(()) | st.just(("price_dk1_eur_per_mwh",)),
    failed_attempts=st.integers(0, 5),
    last_failure_utc=st.none() | st.integers(0, 60).map(lambda hours: END - hours * HOUR),
)


def decide(**changed: object) -> RetrainDecision:
    return decide_retrain(replace(HEALTHY, **changed), RULE)  # type: ignore[arg-type]


def test_a_healthy_champion_is_kept() -> None:
    decision = decide()
    assert (decision.decision, decision.rule) == ("keep", "healthy")
    assert decision.reason == (
        "pseudo-accuracy 80.0 % over 28 forecasts (168 values) is at least 65 %"
    )


def test_pseudo_accuracy_below_the_threshold_retrains_and_at_it_does_not() -> None:
    decision = decide(pseudo_accuracy=64.9)
    assert (decision.decision, decision.rule) == ("retrain", "pseudo_accuracy")
    assert decision.reason.endswith("pseudo-accuracy 64.9 % over 28 forecasts (168 values)"
                                    " is below 65 %")  # fmt: skip
    assert decide(pseudo_accuracy=65.0).decision == "keep"


def test_negative_skill_retrains_and_none_at_all_does_not() -> None:
    decision = decide(skill=-0.01)
    assert (decision.decision, decision.rule) == ("retrain", "skill")
    assert "-0.01 against persistence" in decision.reason
    assert decide(skill=0.0).decision == "keep"
    assert decide(skill=None).rule == "healthy"


@pytest.mark.parametrize("changed", [{"n_forecasts": 13}, {"pseudo_accuracy": None}])
def test_one_bad_forecast_does_not_retrain(changed: dict[str, object]) -> None:
    """The predecessor retrained 500 times on single six-hour evaluations."""
    bad = {"pseudo_accuracy": 10.0, "skill": -1.0, **changed}
    decision = decide(**bad)
    assert (decision.decision, decision.rule) == ("keep", "too_few_forecasts")
    assert "14 are needed" in decision.reason


@pytest.mark.parametrize("trained", [None, END - HOUR])
def test_no_champion_asks_for_a_training_whatever_the_cooldown(trained: datetime | None) -> None:
    decision = decide(champion=None, last_training_end=trained, n_forecasts=0, pseudo_accuracy=None)
    assert (decision.decision, decision.rule) == ("retrain", "no_champion")


def test_a_first_training_waits_for_a_history_that_may_still_come() -> None:
    decision = decide(champion=None, inputs_awaited=("raw.day_ahead_prices",))
    assert (decision.decision, decision.rule) == ("keep", "inputs_awaited")
    assert "waits for raw.day_ahead_prices" in decision.reason
    assert decide(inputs_awaited=("raw.day_ahead_prices",)).rule == "healthy"


def test_a_champion_that_cannot_forecast_is_replaced_at_once_and_the_reason_is_the_forecasts() -> (
    None
):
    problem = unusable("v0001", "a file is damaged")
    for changed in ({}, {"n_forecasts": 0}, {"last_training_end": END - HOUR}):
        decision = decide(champion_problem=problem, **changed)
        assert (decision.decision, decision.rule) == ("retrain", "champion_unusable")
        assert decision.reason == problem


def test_a_training_without_inputs_is_repeated_once_their_history_is_there() -> None:
    decision = decide(inputs_healed=("price_dk1_eur_per_mwh",), last_training_end=END - HOUR)
    assert (decision.decision, decision.rule) == ("retrain", "inputs_healed")
    assert "price_dk1_eur_per_mwh" in decision.reason


@pytest.mark.parametrize("changed", [{}, {"n_forecasts": 0}])
def test_after_ninety_days_without_a_training_a_challenger_is_trained(
    changed: dict[str, object],
) -> None:
    """Also where too few forecasts are scored to say how good the champion is."""
    old, young = END - timedelta(days=90), END - timedelta(days=90) + HOUR
    assert decide(last_training_end=old, **changed).rule == "champion_old"
    assert decide(last_training_end=old, **changed).decision == "retrain"
    assert decide(last_training_end=young, **changed).decision == "keep"


@pytest.mark.parametrize("champion", [None, "v0001"])
def test_a_feed_at_fault_trains_nothing_with_a_champion_or_without(champion: str | None) -> None:
    for changed, said in (
        ({"newest_hours_faulty": True}, "newest 3 hours"),
        ({"faulty_share": 0.26}, "26% of the hours are not complete and ok, more than 25%"),
    ):
        decision = decide(champion=champion, pseudo_accuracy=10.0, **changed)
        assert (decision.decision, decision.rule) == ("keep", "feed_at_fault")
        assert said in decision.reason
    assert decide(faulty_share=0.25).rule == "healthy"


def test_a_training_under_way_is_not_asked_for_again() -> None:
    decision = decide(in_flight_run_id="abc", pseudo_accuracy=10.0)
    assert (decision.decision, decision.rule) == ("keep", "in_flight")
    assert "run abc" in decision.reason


def test_the_cooldown_ends_to_the_hour() -> None:
    trained = END - timedelta(days=7)
    assert decide(pseudo_accuracy=10.0, last_training_end=trained).decision == "retrain"
    cooling = decide(pseudo_accuracy=10.0, last_training_end=trained + HOUR)
    assert (cooling.decision, cooling.rule) == ("keep", "cooldown")
    assert cooling.cooldown_until == END + HOUR
    assert "2025-01-20T01:00" in cooling.reason
    assert decide(last_training_end=None).cooldown_until is None


@pytest.mark.parametrize(
    ("failed", "hours_ago", "decided", "rule"),
    [
        (1, 5, "keep", "back_off"),
        (1, 6, "retrain", "pseudo_accuracy"),
        (2, 23, "keep", "back_off"),
        (2, 24, "retrain", "pseudo_accuracy"),
        (3, 167, "keep", "back_off"),
        (3, 168, "retrain", "pseudo_accuracy"),
        (30, 167, "keep", "back_off"),
        (30, 168, "retrain", "pseudo_accuracy"),
    ],
)
def test_a_failed_training_is_tried_after_6_hours_then_24_then_each_week_for_ever(
    failed: int, hours_ago: int, decided: str, rule: str
) -> None:
    decision = decide(
        pseudo_accuracy=10.0, failed_attempts=failed, last_failure_utc=END - hours_ago * HOUR
    )
    assert (decision.decision, decision.rule) == (decided, rule)
    assert decision.attempt == failed + 1
    if rule == "back_off":
        assert ("failed once" if failed == 1 else f"failed {failed} times") in decision.reason
        assert "by hand" in decision.reason


@given(evidences)
def test_nothing_retrains_that_is_forbidden(evidence: RetrainEvidence) -> None:
    decision = decide_retrain(evidence, RULE)
    assert decision.reason
    if decision.decision == "retrain":
        assert evidence.in_flight_run_id is None
        assert not evidence.newest_hours_faulty
        assert evidence.faulty_share <= RULE.faulty_share_max
        if decision.rule in ("pseudo_accuracy", "skill", "champion_old"):
            assert decision.cooldown_until is None or decision.cooldown_until <= END
        if decision.rule in ("pseudo_accuracy", "skill"):
            assert evidence.n_forecasts >= RULE.min_forecasts
            assert evidence.pseudo_accuracy is not None
            assert evidence.pseudo_accuracy < RULE.below or (evidence.skill or 0) < 0


@given(evidences)
def test_every_decision_has_one_of_the_documented_rules(
    evidence: RetrainEvidence,
) -> None:
    decision = decide_retrain(evidence, RULE)
    causes = {
        "retrain": {
            "no_champion", "champion_unusable", "inputs_healed", "pseudo_accuracy", "skill",
            "champion_old",
        },
        "keep": {
            "in_flight", "feed_at_fault", "back_off", "inputs_awaited", "cooldown",
            "too_few_forecasts", "healthy",
        },
    }  # fmt: skip
    assert decision.rule in causes[decision.decision]


@given(evidences, st.floats(0, 50))
def test_a_worse_forecast_never_speaks_against_a_retraining(
    evidence: RetrainEvidence, worse: float
) -> None:
    if evidence.pseudo_accuracy is None:
        return
    worsened = replace(evidence, pseudo_accuracy=evidence.pseudo_accuracy - worse)
    if decide_retrain(evidence, RULE).decision == "retrain":
        assert decide_retrain(worsened, RULE).decision == "retrain"
