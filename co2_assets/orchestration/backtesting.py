"""A backtest over the stored hours: what is read, what is kept of it."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from co2_assets.errors import InputsMissing, SettingsError
from co2_assets.forecasting.backtest import REFERENCE, REFITS, Backtest, Plan, Refit
from co2_assets.forecasting.registry import Shape
from co2_assets.orchestration.history import read_external, read_history
from co2_assets.schema import BACKTEST
from co2_assets.settings import Settings
from co2_assets.warehouse import hours as hourly
from co2_assets.warehouse.query import Connection
from co2_assets.warehouse.store import Transaction

DEFAULT_MODELS = ("persistence", "climatology", "energinet", "log_ridge", "attention_lstm")
DEFAULT_DAYS = 56


def make_plan(
    con: Connection,
    settings: Settings,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    every: timedelta = timedelta(hours=6),
    models: tuple[str, ...] = DEFAULT_MODELS,
    refit: Refit = "monthly",
) -> Plan:
    """A plan with what is not given filled in: the newest eight weeks that are stored.

    Raises:
        InputsMissing: nothing is stored.
    """
    last = end or hourly.last_complete_hour_end(con)
    if last is None:
        raise InputsMissing(
            "there is nothing to backtest on",
            where="core.aggregated_hours",
            found="no complete hour",
            expected="hours before and after the issue times",
            next_step="run a tick first",
        )
    return Plan(
        start=start or last - timedelta(days=DEFAULT_DAYS),
        end=last,
        models=models,
        every=every,
        refit=refit,
        training_days=settings.training_days,
        shape=Shape(
            settings.lookback_hours, settings.horizon_hours, settings.seed, settings.members
        ),
    )


def read_dataset(
    con: Connection, settings: Settings, plan: Plan
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The stored history and external inputs that a plan needs.

    Raises:
        InputsMissing: nothing is stored there.
    """
    first = plan.start - timedelta(days=plan.training_days + settings.feature_history_days)
    end = plan.end + timedelta(hours=settings.horizon_hours)
    history = read_history(con, first, end)
    if history.is_empty():
        raise InputsMissing(
            "there is nothing to backtest on",
            where=f"{first:%Y-%m-%dT%H} to {end:%Y-%m-%dT%H} UTC",
            found="no hours",
            expected="hours before and after the issue times",
            next_step="run a tick first, or choose other times",
        )
    return history, read_external(con, settings, first, plan.end)


def known_refit(text: str) -> Refit:
    """The way of refitting that a text names.

    Raises:
        SettingsError: it names none.
    """
    for refit in REFITS:
        if text == refit:
            return refit
    raise SettingsError(
        "unknown way of refitting", where="refit", found=text, expected=" or ".join(REFITS)
    )


def store_backtest(transaction: Transaction, found: Backtest, run_id: str) -> None:
    """Make `ml.backtest` the figures of this backtest."""
    transaction.execute(f"DELETE FROM {BACKTEST.qualified_name}")
    times = found.paired[REFERENCE]["issue_time_utc"]
    transaction.upsert(
        BACKTEST,
        pl.DataFrame([asdict(figure) for figure in found.figures]).with_columns(
            pl.lit(times.min()).alias("first_issue_utc"),
            pl.lit(times.max()).alias("last_issue_utc"),
            pl.lit(found.plan.refit).alias("refit"),
            pl.lit(run_id).alias("dagster_run_id"),
        ),
    )


def as_json(found: Backtest) -> dict[str, Any]:
    """The plan and all figures as plain values."""
    plan = found.plan
    return {
        "from": plan.start.isoformat(),
        "to": plan.end.isoformat(),
        "every_hours": plan.every / timedelta(hours=1),
        "refit": plan.refit,
        "training_days": plan.training_days,
        # JSON has no NaN: what cannot be said is null.
        "figures": [
            asdict(figure) | ({} if math.isfinite(figure.value) else {"value": None})
            for figure in found.figures
        ],
    }
