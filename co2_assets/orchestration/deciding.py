"""The retrain decision of a window: evidence read, rule applied, ledger written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from co2_assets.forecasting.drift import RetrainEvidence, RetrainRule, decide_retrain
from co2_assets.orchestration.training import awaited_inputs, healed_inputs
from co2_assets.settings import Settings
from co2_assets.warehouse import decisions, forecasts, registry
from co2_assets.warehouse.store import Transaction


@dataclass(frozen=True)
class TrainingRuns:
    """What Dagster's run storage knows of trainings at the time of a decision."""

    in_flight_run_id: str | None = None
    failed_attempts: int = 0
    last_failure_utc: datetime | None = None


def decide(
    tx: Transaction,
    settings: Settings,
    window: tuple[datetime, datetime],
    *,
    training_runs: TrainingRuns,
    now: datetime,
    run_id: str,
) -> dict[str, Any]:
    """Take the decision of a window, or find the one that was taken.

    Returns:
        The row of `ml.retrain_decisions`.
    """
    start, end = window
    standing = decisions.read_decision(tx.con, start)
    if standing is not None:
        return standing
    live = decisions.live_evidence(
        tx.con,
        end,
        accuracy_days=settings.retrain_window_days,
        skill_days=settings.retrain_skill_days,
    )
    champion = registry.champion_at(tx.con, end)
    last = registry.last_training(tx.con, end)
    evidence = RetrainEvidence(
        window_start=start,
        window_end=end,
        **live._asdict(),
        champion=champion.model_version if champion else None,
        champion_problem=forecasts.champion_problem(tx.con, end),
        inputs_awaited=() if champion else awaited_inputs(tx.con, settings, end),
        inputs_healed=healed_inputs(tx.con, end),
        last_training_end=last.end if last else None,
        in_flight_run_id=training_runs.in_flight_run_id,
        failed_attempts=training_runs.failed_attempts,
        last_failure_utc=training_runs.last_failure_utc,
    )
    decision = decide_retrain(evidence, retrain_rule(settings))
    row = {
        "window_start_utc": start,
        "window_end_utc": end,
        "decision": decision.decision,
        "rule": decision.rule,
        "reason": decision.reason,
        **live._asdict(),
        "champion": evidence.champion,
        "champion_problem": evidence.champion_problem,
        "inputs_awaited": ", ".join(evidence.inputs_awaited) or None,
        "inputs_healed": ", ".join(evidence.inputs_healed) or None,
        "cooldown_until_utc": decision.cooldown_until,
        "attempt": decision.attempt,
        "in_flight_run_id": training_runs.in_flight_run_id,
        "decided_at_utc": now,
        "dagster_run_id": run_id,
    }
    decisions.store_decision(tx, row)
    return row


def retrain_rule(settings: Settings) -> RetrainRule:
    """The rule's parameters from the settings."""
    return RetrainRule(
        below=settings.retrain_below,
        min_forecasts=settings.retrain_min_forecasts,
        cooldown_days=settings.retrain_cooldown_days,
        max_age_days=settings.retrain_max_age_days,
        faulty_share_max=settings.faulty_share_max,
    )
