"""The retrain rule: a pure function from evidence to a decision with its reason.

One six-hour evaluation alone falls below 65 % on a healthy model in 14 % of ticks, which
is how the predecessor came to 500 retrainings; seven days do in 0.7 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

RETRAIN: Literal["retrain"] = "retrain"
KEEP: Literal["keep"] = "keep"

NO_CHAMPION = "no champion: there is no trained version to serve"


def unusable(version: str, problem: str) -> str:
    """Why a champion does not answer, for the forecast and for the decision alike."""
    return f"champion {version} is unusable: {problem}"


Decision = Literal["retrain", "keep"]
Found = tuple[Decision, str, str]
"""Decision, rule and reason."""


@dataclass(frozen=True)
class RetrainEvidence:
    """What is known at the end of a window.

    Attributes:
        window_start: UTC.
        window_end: UTC; "now".
        pseudo_accuracy: 100 - MAPE in per cent over the rule's days, or None.
        n_forecasts: issue times in it.
        n_values: values in it.
        skill: 1 - MAE / MAE of persistence, or None.
        faulty_share: share of hours that are not complete and ok.
        newest_hours_faulty: none of the newest three hours is.
        champion: model version, or None.
        champion_problem: why it could not be loaded or could not forecast in this window;
            None where it could, or where measured hours were missing.
        inputs_awaited: datasets whose history failed to load and may still come; a first
            training waits for them.
        inputs_healed: external columns that the last training had to do without, and whose
            history is there now.
        last_training_end: end of the last successful training, promoted or not.
        in_flight_run_id: a training that is queued or runs, or None.
        failed_attempts: failed trainings since the last success.
        last_failure_utc: when the newest of them failed.
    """

    window_start: datetime
    window_end: datetime
    pseudo_accuracy: float | None
    n_forecasts: int
    n_values: int
    skill: float | None
    faulty_share: float
    newest_hours_faulty: bool
    champion: str | None = None
    champion_problem: str | None = None
    inputs_awaited: tuple[str, ...] = ()
    inputs_healed: tuple[str, ...] = ()
    last_training_end: datetime | None = None
    in_flight_run_id: str | None = None
    failed_attempts: int = 0
    last_failure_utc: datetime | None = None


@dataclass(frozen=True)
class RetrainRule:
    """Parameters of the rule.

    A failed training is tried again after each of `backoff_hours` in turn, and then after the
    last of them each time.
    """

    below: float = 65.0
    min_forecasts: int = 14
    cooldown_days: int = 7
    max_age_days: int = 90
    faulty_share_max: float = 0.25
    backoff_hours: tuple[int, ...] = (6, 24, 168)


@dataclass(frozen=True)
class RetrainDecision:
    """What was decided, by which rule, and why, in words."""

    decision: Decision
    rule: str
    reason: str
    attempt: int
    cooldown_until: datetime | None


def decide_retrain(evidence: RetrainEvidence, rule: RetrainRule) -> RetrainDecision:
    """Decide, in this order: what forbids a training, what needs one, what asks for one.

    A training under way, a feed at fault and failures that are not to be tried again yet
    forbid. No champion, one that is unusable, and one that was trained without inputs that
    are there now need a training at once. After the cooldown, pseudo-accuracy below the
    threshold over enough forecasts, negative skill, and age ask for one.
    """
    cooldown_until = _cooldown_until(evidence, rule)

    def decided(decision: Decision, name: str, reason: str) -> RetrainDecision:
        return RetrainDecision(decision, name, reason, evidence.failed_attempts + 1, cooldown_until)

    for found in (
        _forbidden(evidence, rule),
        _needed(evidence),
        _cooling_down(evidence, cooldown_until),
    ):
        if found is not None:
            return decided(*found)
    return decided(*_asked_for(evidence, rule))


def _cooldown_until(evidence: RetrainEvidence, rule: RetrainRule) -> datetime | None:
    if evidence.last_training_end is None:
        return None
    return evidence.last_training_end + timedelta(days=rule.cooldown_days)


def _forbidden(evidence: RetrainEvidence, rule: RetrainRule) -> Found | None:
    """What forbids a training, or None."""
    if evidence.in_flight_run_id is not None:
        return KEEP, "in_flight", f"a training is under way: run {evidence.in_flight_run_id}"
    if evidence.newest_hours_faulty:
        return (
            KEEP,
            "feed_at_fault",
            "the newest 3 hours are not complete and ok: the feed is at fault",
        )
    if evidence.faulty_share > rule.faulty_share_max:
        return (
            KEEP,
            "feed_at_fault",
            f"{evidence.faulty_share:.0%} of the hours are not complete and ok, more than"
            f" {rule.faulty_share_max:.0%}: the feed is at fault",
        )
    return _backing_off(evidence, rule)


def _backing_off(evidence: RetrainEvidence, rule: RetrainRule) -> Found | None:
    attempts = evidence.failed_attempts
    if attempts == 0 or evidence.last_failure_utc is None:
        return None
    wait = timedelta(hours=rule.backoff_hours[min(attempts, len(rule.backoff_hours)) - 1])
    again = evidence.last_failure_utc + wait
    if evidence.window_end >= again:
        return None
    times = "once" if attempts == 1 else f"{attempts} times in a row"
    return (
        KEEP,
        "back_off",
        f"training failed {times}: see the failed runs; again from {again:%Y-%m-%dT%H:%M}, or"
        " materialize ml/trained_model by hand",
    )


def _needed(evidence: RetrainEvidence) -> Found | None:
    """What needs a training at once, whatever the last one was."""
    if evidence.champion is None:
        if evidence.inputs_awaited:
            waits_for = ", ".join(evidence.inputs_awaited)
            return KEEP, "inputs_awaited", f"{NO_CHAMPION}; a first training waits for {waits_for}"
        return RETRAIN, "no_champion", NO_CHAMPION
    if evidence.champion_problem is not None:
        return RETRAIN, "champion_unusable", evidence.champion_problem
    if evidence.inputs_healed:
        return (
            RETRAIN,
            "inputs_healed",
            f"the last training had to do without {', '.join(evidence.inputs_healed)}; their"
            " history is there now",
        )
    return None


def _cooling_down(evidence: RetrainEvidence, cooldown_until: datetime | None) -> Found | None:
    if cooldown_until is None or evidence.window_end >= cooldown_until:
        return None
    return (
        KEEP,
        "cooldown",
        f"cooldown after the last training until {cooldown_until:%Y-%m-%dT%H:%M}",
    )


def _asked_for(evidence: RetrainEvidence, rule: RetrainRule) -> Found:
    enough = evidence.n_forecasts >= rule.min_forecasts
    accuracy, said = evidence.pseudo_accuracy, ""
    if enough and accuracy is not None:
        said = (
            f"pseudo-accuracy {accuracy:.1f} % over {evidence.n_forecasts} forecasts"
            f" ({evidence.n_values} values)"
        )
        if accuracy < rule.below:
            return RETRAIN, "pseudo_accuracy", f"{said} is below {rule.below:g} %"
        if evidence.skill is not None and evidence.skill < 0:
            return RETRAIN, "skill", f"skill {evidence.skill:.2f} against persistence is negative"
    trained = evidence.last_training_end
    if trained is not None and evidence.window_end - trained >= timedelta(days=rule.max_age_days):
        return (
            RETRAIN,
            "champion_old",
            f"the last training used data to {trained:%Y-%m-%d}, {rule.max_age_days} days ago or"
            " more: a challenger is trained, and the gate decides",
        )
    if said:
        return KEEP, "healthy", f"{said} is at least {rule.below:g} %"
    return (
        KEEP,
        "too_few_forecasts",
        f"{evidence.n_forecasts} live forecasts scored, {rule.min_forecasts} are needed",
    )
