"""The three jobs: a tick, the first tick, a retraining. One job, one key, one run."""

from typing import Any, TypeAlias

import dagster as dg

from co2_assets.orchestration.tables import asset_key
from co2_assets.orchestration.training_runs import FIRST_TICK_JOB, RETRAIN_JOB, TRAINED_MODEL
from co2_assets.schema import BACKTEST

AssetJob: TypeAlias = Any
"""What `define_asset_job` returns; Dagster does not export its type."""

QUIET = {"loggers": {"console": {"config": {"log_level": "WARNING"}}}}
"""Run configuration of runs in a terminal: the log is in the UI, warnings are shown."""

TICK, FIRST_TICK, RETRAIN = "tick", FIRST_TICK_JOB, RETRAIN_JOB


def build_jobs() -> dict[str, AssetJob]:
    """The jobs by name."""
    # A backtest is asked for, never part of a tick.
    everything = dg.AssetSelection.all() - dg.AssetSelection.assets(asset_key(BACKTEST))
    model = dg.AssetSelection.assets(TRAINED_MODEL)
    return {
        TICK: dg.define_asset_job(
            TICK,
            # The champion's files are looked at in every tick, trained or not.
            selection=(everything - model) | dg.AssetSelection.checks_for_assets(TRAINED_MODEL),
            description="one six-hour window: load, aggregate, forecast, score, decide",
        ),
        FIRST_TICK: dg.define_asset_job(
            FIRST_TICK,
            selection=everything,
            description="a tick with a training between features and forecasts",
        ),
        RETRAIN: dg.define_asset_job(
            RETRAIN,
            selection=model,
            description="train a challenger on the last two years and judge it at the gate",
        ),
    }
