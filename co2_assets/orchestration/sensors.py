"""The sensor that acts on the retrain decision; the decision itself is a pure function.

It reads event metadata, never DuckDB, and acts once on each window, the newest one only:
materializing an old window again must not train anything.

https://docs.dagster.io/guides/automate/sensors
"""

import dagster as dg

from co2_assets.orchestration.jobs import AssetJob
from co2_assets.orchestration.training_runs import TRAINED_MODEL, WINDOW_END_TAG

DECISIONS = dg.AssetKey(["ml", "retrain_decisions"])
EVENTS_READ = 20
INTERVAL_S = 60


def retrain_sensor(retrain: AssetJob) -> dg.SensorDefinition:
    """Requests `retrain` when the newest decision says so; RUNNING by default."""

    @dg.sensor(
        name="retrain_on_drift",
        job=retrain,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="requests a training when the newest retrain decision asks for one",
    )
    def retrain_on_drift(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        newest = newest_decision(context.instance)
        if newest is None:
            return dg.SkipReason("no window has been decided on yet")
        window_end = newest["window end"]
        if context.cursor and window_end <= context.cursor:
            return dg.SkipReason(f"the decision of the window that ends {window_end} is done with")
        if newest["decision"] != "retrain":
            return dg.SensorResult(
                skip_reason=dg.SkipReason(f"keep the champion: {newest['reason']}"),
                cursor=window_end,
            )
        return dg.SensorResult(run_requests=[_request(newest)], cursor=window_end)

    return retrain_on_drift


def newest_decision(instance: dg.DagsterInstance) -> dict[str, object] | None:
    """Metadata of the decision with the latest window end among the newest events."""
    records = instance.fetch_materializations(DECISIONS, limit=EVENTS_READ).records
    decisions = [
        {name: value.value for name, value in record.asset_materialization.metadata.items()}
        for record in records
        if record.asset_materialization is not None
    ]
    return max(decisions, key=lambda decision: str(decision["window end"]), default=None)


def _request(decision: dict[str, object]) -> dg.RunRequest:
    return dg.RunRequest(
        # The attempt is in the key: Dagster remembers a key for ever, and a second try of
        # a failed training is a new request.
        run_key=f"retrain:{decision['window end']}:{decision['attempt']}",
        run_config={
            "ops": {
                TRAINED_MODEL.to_python_identifier(): {
                    "config": {
                        "decision_window_start": decision["window start"],
                        "decision_window_end": decision["window end"],
                    }
                }
            }
        },
        tags={WINDOW_END_TAG: str(decision["window end"])},
    )
