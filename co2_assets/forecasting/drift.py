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
    last_training_end: datetime | None = None
    in_flight_run_id: str | None = None
    failed_attempts: int = 0
    last_failure_utc: datetime | None = None


@dataclass(frozen=True)
class RetrainRule:
    """Parameters of the rule; a failed training is tried again after each of `backoff_hours`."""

    below: float = 65.0
    min_forecasts: int = 14
    cooldown_days: int = 7
    faulty_share_max: float = 0.25
    backoff_hours: tuple[int, ...] = (6, 24)


@dataclass(frozen=True)
class RetrainDecision:
    """What was decided, by which rule, and why, in words."""

    decision: Literal["retrain", "keep"]
    rule: str
    reason: str
    attempt: int
    cooldown_until: datetime | None


def decide_retrain(evidence: RetrainEvidence, rule: RetrainRule) -> RetrainDecision:
    """Decide, in this order: what forbids a training, then what asks for one.

    A training under way, a feed at fault, failures that are not to be tried again yet,
    and the cooldown forbid. No champion, pseudo-accuracy below the threshold over enough
    forecasts, and negative skill ask for it.
    """
    cooldown_until = _cooldown_until(evidence, rule)

    def decided(decision: Literal["retrain", "keep"], name: str, reason: str) -> RetrainDecision:
        return RetrainDecision(decision, name, reason, evidence.failed_attempts + 1, cooldown_until)

    forbidden = _forbidden(evidence, rule, cooldown_until)
    if forbidden is not None:
        return decided(KEEP, *forbidden)
    if evidence.champion is None:
        return decided(RETRAIN, "no_champion", "no champion: there is no trained version to serve")
    return decided(*_asked_for(evidence, rule))


def _cooldown_until(evidence: RetrainEvidence, rule: RetrainRule) -> datetime | None:
    if evidence.last_training_end is None:
        return None
    return evidence.last_training_end + timedelta(days=rule.cooldown_days)


def _forbidden(
    evidence: RetrainEvidence, rule: RetrainRule, cooldown_until: datetime | None
) -> tuple[str, str] | None:
    """Rule and reason of what forbids a training, or None."""
    if evidence.in_flight_run_id is not None:
        return "in_flight", f"a training is under way: run {evidence.in_flight_run_id}"
    if evidence.newest_hours_faulty:
        return "feed_at_fault", "the newest 3 hours are not complete and ok: the feed is at fault"
    if evidence.faulty_share > rule.faulty_share_max:
        return (
            "feed_at_fault",
            f"{evidence.faulty_share:.0%} of the hours are not complete and ok, more than"
            f" {rule.faulty_share_max:.0%}: the feed is at fault",
        )
    failed = _backing_off(evidence, rule)
    if failed is not None:
        return failed
    if cooldown_until is not None and evidence.window_end < cooldown_until:
        return "cooldown", f"cooldown after the last training until {cooldown_until:%Y-%m-%dT%H:%M}"
    return None


def _backing_off(evidence: RetrainEvidence, rule: RetrainRule) -> tuple[str, str] | None:
    attempts = evidence.failed_attempts
    if attempts == 0:
        return None
    if attempts > len(rule.backoff_hours):
        return (
            "failed",
            f"training failed {attempts} times: see the runs of job retrain; materialize"
            " ml/trained_model by hand when the cause is mended",
        )
    wait = timedelta(hours=rule.backoff_hours[attempts - 1])
    again = (evidence.last_failure_utc or evidence.window_end) + wait
    if evidence.window_end < again:
        return "back_off", f"training failed {attempts} times; again from {again:%Y-%m-%dT%H:%M}"
    return None


def _asked_for(
    evidence: RetrainEvidence, rule: RetrainRule
) -> tuple[Literal["retrain", "keep"], str, str]:
    enough = evidence.n_forecasts >= rule.min_forecasts
    accuracy = evidence.pseudo_accuracy
    if not enough or accuracy is None:
        return (
            KEEP,
            "too_few_forecasts",
            f"{evidence.n_forecasts} live forecasts scored, {rule.min_forecasts} are needed",
        )
    said = (
        f"pseudo-accuracy {accuracy:.1f} % over {evidence.n_forecasts} forecasts"
        f" ({evidence.n_values} values)"
    )
    if accuracy < rule.below:
        return RETRAIN, "pseudo_accuracy", f"{said} is below {rule.below:g} %"
    if evidence.skill is not None and evidence.skill < 0:
        return RETRAIN, "skill", f"skill {evidence.skill:.2f} against persistence is negative"
    return KEEP, "healthy", f"{said} is at least {rule.below:g} %"
