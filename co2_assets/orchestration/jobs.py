"""The three jobs: a tick, the first tick, a retraining. One job, one key, one run."""

import dagster as dg

from co2_assets.orchestration.assets.ml import TRAINED_MODEL
from co2_assets.orchestration.training_runs import RETRAIN_JOB

TICK, FIRST_TICK, RETRAIN = "tick", "first_tick", RETRAIN_JOB


def build_jobs(
    partitions: dg.TimeWindowPartitionsDefinition,
) -> dict[str, dg.UnresolvedAssetJobDefinition]:
    """The jobs by name."""
    everything = dg.AssetSelection.all()
    model = dg.AssetSelection.assets(TRAINED_MODEL)
    return {
        TICK: dg.define_asset_job(
            TICK,
            selection=everything - model,
            partitions_def=partitions,
            description="one six-hour window: load, aggregate, forecast, score, decide",
        ),
        FIRST_TICK: dg.define_asset_job(
            FIRST_TICK,
            selection=everything,
            partitions_def=partitions,
            description="a tick with a training between features and forecasts",
        ),
        RETRAIN: dg.define_asset_job(
            RETRAIN,
            selection=model,
            description="train a challenger on the last two years and judge it at the gate",
        ),
    }
