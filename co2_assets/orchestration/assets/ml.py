"""Machine-learning assets: the model, its forecasts, their scores, the retrain decision."""

import time
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl

from co2_assets.forecasting.backtest import REFERENCE, Backtest, run_backtest
from co2_assets.forecasting.input_drift import Drift
from co2_assets.orchestration.backtesting import (
    DEFAULT_MODELS,
    known_refit,
    make_plan,
    read_dataset,
    store_backtest,
)
from co2_assets.orchestration.deciding import decide
from co2_assets.orchestration.drifting import look_for_drift
from co2_assets.orchestration.issuing import issue
from co2_assets.orchestration.living import bury_dead_runs
from co2_assets.orchestration.metadata import (
    definition_metadata,
    markdown_table,
    table_metadata,
    time_value,
)
from co2_assets.orchestration.partitions import window_end
from co2_assets.orchestration.plots import compared_plot, forecast_plot, lead_plot
from co2_assets.orchestration.resources import Clock, WarehouseResource
from co2_assets.orchestration.scoring import score_window
from co2_assets.orchestration.settling import settle_receipts
from co2_assets.orchestration.tables import OWNERS, asset_key, table_asset
from co2_assets.orchestration.training import PutOff, Trained, TrainingRequest, train
from co2_assets.orchestration.training_runs import (
    FIRST_TICK_JOB,
    PARTITION_TAG,
    TRAINED_MODEL,
    known_trainings,
)
from co2_assets.schema import (
    AGGREGATED_HOURS,
    BACKTEST,
    CO2_PROGNOSIS,
    DAY_AHEAD_PRICES,
    ENGINEERED_FEATURES,
    FORECAST_EVALUATIONS,
    FORECASTS,
    MODEL_VERSIONS,
    RETRAIN_DECISIONS,
    WIND_SOLAR_FORECASTS,
    WINDOW_RECEIPTS,
)
from co2_assets.settings import Settings
from co2_assets.warehouse import forecasts as stored
from co2_assets.warehouse import query, receipts
from co2_assets.warehouse.decisions import newest_ledger
from co2_assets.warehouse.query import Connection

SHOWN_LEADS = (1, 2, 3, 4, 5, 6, 9, 12, 15, 18, 21, 24)
"""Of the tables: more would not be shown inline."""

LEDGER_ROWS = 8
RECEIPT_ROWS, RECEIPT_HOURS = 8, 2
"""Newest receipts that are shown, of jobs of so many hours."""

SHOWN_METRICS = ("mae", "skill", "crps", "coverage_80", "bias")


class TrainConfig(dg.Config):
    """What a training is for; empty by hand."""

    decision_window_start: str = ""
    decision_window_end: str = ""


def ml_assets(
    settings: Settings, partitions: dg.TimeWindowPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """The six machine-learning assets."""
    return [
        _trained_model(settings),
        _forecasts(settings, partitions),
        _forecast_evaluations(partitions),
        _window_receipts(partitions),
        _retrain_decisions(settings, partitions),
        _backtest(settings),
    ]


class BacktestConfig(dg.Config):
    """What is compared; empty times are the newest eight weeks that are stored."""

    start: str = ""
    end: str = ""
    every_hours: int = 6
    models: list[str] = list(DEFAULT_MODELS)
    refit: str = "monthly"


def _trained_model(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        key=TRAINED_MODEL,
        deps=[asset_key(AGGREGATED_HOURS), asset_key(ENGINEERED_FEATURES)],
        description="a model version, trained, judged at the gate against champion and baselines,"
        " and registered with its artifact; tables ml.model_versions, ml.model_metrics,"
        " ml.model_aliases",
        group_name="ml",
        owners=OWNERS,
        kinds={"duckdb", "pytorch"},
        code_version="1",
        metadata=definition_metadata(MODEL_VERSIONS),
    )
    def trained_model(
        context: dg.AssetExecutionContext,
        config: TrainConfig,
        warehouse: WarehouseResource,
        clock: Clock,
    ) -> dg.MaterializeResult:
        request = TrainingRequest(
            now=_training_now(context, config),
            run_id=context.run.run_id,
            created_at=clock.now_utc(),
            decision_window_start=_time(config.decision_window_start),
            waits=context.run.job_name == FIRST_TICK_JOB,
        )
        trained = train(warehouse.store, settings, request, context.log.info)
        return dg.MaterializeResult(metadata=_training_metadata(trained))

    return trained_model


def _training_now(context: dg.AssetExecutionContext, config: TrainConfig) -> datetime | None:
    """End of the data a training may use: the window's, the decision's, or what is stored."""
    if config.decision_window_end:
        return _time(config.decision_window_end)
    if key := context.run.tags.get(PARTITION_TAG):
        return window_end(key)
    return None


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if text else None


def _training_metadata(trained: Trained | PutOff) -> dict[str, object]:
    if isinstance(trained, PutOff):
        return {"put off": f"waits for the history of {', '.join(trained.datasets)}"}
    challenge = trained.challenge
    metrics = pl.DataFrame(challenge.metrics)
    mae = (
        metrics.filter(metric="mae")
        if "metric" in metrics.columns
        else pl.DataFrame(schema={"predictor": pl.String, "leads": pl.String, "value": pl.Float64})
    )
    table = [
        {"leads, h": leads, **dict(rows.select("predictor", "value").iter_rows())}
        for (leads,), rows in mae.group_by(["leads"], maintain_order=True)
        if not leads.isdigit() or int(leads) in SHOWN_LEADS
    ]
    by_lead = mae.filter(~pl.col("leads").str.contains("-")).with_columns(
        lead_hours=pl.col("leads").cast(pl.Int32)
    )
    return {
        "model version": trained.model_version,
        "promoted": challenge.outcome.promoted,
        "gate": challenge.outcome.reason,
        "trained from": time_value(challenge.train_start),
        "trained to": time_value(challenge.train_end),
        "holdout from": time_value(challenge.holdout_start),
        "holdout to": time_value(challenge.holdout_end),
        "training seconds": round(challenge.training_seconds, 1),
        "data fingerprint": challenge.data_fingerprint,
        "hyperparameters": dg.MetadataValue.json(challenge.hyperparameters),
        "MAE on the holdout, g/kWh": markdown_table(table),
        **(
            {"plot": dg.MetadataValue.md(lead_plot(by_lead, "MAE on the holdout"))}
            if by_lead.height
            else {}
        ),
    }


def _forecasts(
    settings: Settings, partitions: dg.TimeWindowPartitionsDefinition
) -> dg.AssetsDefinition:
    @dg.asset(
        **table_asset(FORECASTS, "pytorch"),
        partitions_def=partitions,
        deps=[
            asset_key(AGGREGATED_HOURS),
            asset_key(ENGINEERED_FEATURES),
            TRAINED_MODEL,
            asset_key(WIND_SOLAR_FORECASTS),
            asset_key(CO2_PROGNOSIS),
            asset_key(DAY_AHEAD_PRICES),
        ],
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=timedelta(hours=13), warn_window=timedelta(hours=7)
        ),
    )
    def forecasts(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, clock: Clock
    ) -> dg.MaterializeResult:
        issue_time = context.partition_time_window.end
        started = time.monotonic()
        issued = issue(
            warehouse.store,
            settings,
            issue_time=issue_time,
            now=clock.now_utc(),
            run_id=context.run.run_id,
        )
        seconds = time.monotonic() - started
        with warehouse.store.read("report ml.forecasts") as con:
            metadata = table_metadata(con, FORECASTS, "issue_time_utc")
            served = stored.read_issue(con, issue_time).filter(pl.col("is_served"))
            before = _actuals_before(con, issue_time)
        return dg.MaterializeResult(
            metadata={
                **metadata,
                "status": issued.status,
                "inputs missing": ", ".join(issued.inputs_missing),
                "rows new": issued.rows_new,
                "issue time": time_value(issue_time),
                "seconds": round(seconds, 2),
                **_served_metadata(served, before, issue_time, issued.reason),
            }
        )

    return forecasts


def _actuals_before(con: Connection, issue_time: datetime) -> pl.DataFrame:
    return query.frame(
        con,
        "SELECT hour_utc, co2_g_per_kwh FROM main.actuals"
        " WHERE hour_utc >= $issue - to_hours(24) AND hour_utc < $issue ORDER BY hour_utc",
        issue=issue_time,
    )


def _served_metadata(
    served: pl.DataFrame, before: pl.DataFrame, issue_time: datetime, reason: str | None
) -> dict[str, object]:
    if served.is_empty():
        return {"reason": reason or ""}
    first = served.row(0, named=True)
    shown = served.select(
        pl.col("lead_hours").alias("lead, h"),
        pl.col("valid_time_utc").dt.strftime("%m-%d %H:%M").alias("valid time, UTC"),
        *(
            pl.col(f"{name}_g_per_kwh").round(1).cast(pl.String).alias(f"{name}, g/kWh")
            for name in ("p10", "p50", "p90")
        ),
    )
    return {
        "model version": first["model_version"],
        "hindcast": first["is_hindcast"],
        "fallback": first["is_fallback"],
        "fallback reason": first["fallback_reason"] or "",
        "forecast": markdown_table(shown.to_dicts()),
        "plot": dg.MetadataValue.md(forecast_plot(served, before, issue_time)),
    }


def _forecast_evaluations(partitions: dg.TimeWindowPartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        **table_asset(FORECAST_EVALUATIONS, "polars"),
        partitions_def=partitions,
        # The forecasts that are valid in a window were issued before it.
        deps=[
            dg.AssetDep(
                asset_key(FORECASTS),
                partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-4, end_offset=0),
            ),
            asset_key(AGGREGATED_HOURS),
        ],
    )
    def forecast_evaluations(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> dg.MaterializeResult:
        window = context.partition_time_window
        with warehouse.store.write(FORECAST_EVALUATIONS.qualified_name, context.run.run_id) as tx:
            counts, scored = score_window(tx, (window.start, window.end))
            metadata = table_metadata(tx.con, FORECAST_EVALUATIONS, "valid_time_utc")
            accuracy = stored.live_accuracy(tx.con, window.end - timedelta(days=7), window.end)
            compared = _served_against_actual(tx.con, window.end)
        return dg.MaterializeResult(
            metadata={
                **metadata,
                "rows new": counts.new,
                "rows revised": counts.revised,
                "rows unchanged": counts.unchanged,
                "windows scored": dg.MetadataValue.json([t.isoformat() for t in scored]),
                "live accuracy of 7 days, g/kWh": markdown_table(
                    accuracy.filter(pl.col("lead_hours").is_in(SHOWN_LEADS)).to_dicts()
                ),
                "plot": dg.MetadataValue.md(compared_plot(compared)),
            }
        )

    return forecast_evaluations


def _served_against_actual(con: Connection, end: datetime) -> pl.DataFrame:
    return query.frame(
        con,
        """
        SELECT made.valid_time_utc, actuals.co2_g_per_kwh AS actual,
            made.p10_g_per_kwh AS p10, made.p50_g_per_kwh AS p50, made.p90_g_per_kwh AS p90
        FROM main.forecasts AS made
        LEFT JOIN main.actuals AS actuals ON actuals.hour_utc = made.valid_time_utc
        WHERE made.valid_time_utc >= $end - to_days(7) AND made.valid_time_utc < $end
        ORDER BY made.valid_time_utc
        """,
        end=end,
    )


def _window_receipts(partitions: dg.TimeWindowPartitionsDefinition) -> dg.AssetsDefinition:
    @dg.asset(
        **table_asset(WINDOW_RECEIPTS, "polars"),
        partitions_def=partitions,
        # What is settled in a window was recommended up to a day before, or at its end.
        deps=[
            dg.AssetDep(
                asset_key(FORECASTS),
                partition_mapping=dg.TimeWindowPartitionMapping(start_offset=-4, end_offset=0),
            ),
            asset_key(AGGREGATED_HOURS),
        ],
    )
    def window_receipts(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> dg.MaterializeResult:
        with warehouse.store.write(WINDOW_RECEIPTS.qualified_name, context.run.run_id) as tx:
            counts = settle_receipts(tx)
            metadata = table_metadata(tx.con, WINDOW_RECEIPTS, "issue_time_utc")
            captured = receipts.captured(tx.con)
            newest = receipts.newest_receipts(tx.con, RECEIPT_HOURS, RECEIPT_ROWS)
        return dg.MaterializeResult(
            metadata={
                **metadata,
                "rows new": counts.new,
                "rows revised": counts.revised,
                "rows unchanged": counts.unchanged,
                "captured of the best saving so far": markdown_table(_captured_table(captured)),
                f"newest receipts of {RECEIPT_HOURS}-hour jobs": markdown_table(
                    _receipt_table(newest)
                ),
            }
        )

    return window_receipts


def _captured_table(captured: pl.DataFrame) -> list[dict[str, object]]:
    return captured.select(
        pl.format("{} h within {}", "duration_hours", "within_hours").alias("job"),
        "n",
        pl.col("captured_percent").alias("captured, %"),
        pl.col("saved").alias("saved, g/kWh"),
        pl.col("regret").alias("regret, g/kWh"),
    ).to_dicts()


def _receipt_table(newest: pl.DataFrame) -> list[dict[str, object]]:
    return newest.select(
        pl.col("issue_time_utc").dt.strftime("%m-%d %H").alias("issued, UTC"),
        pl.col("within_hours").alias("within, h"),
        pl.col("recommended_start_utc").dt.strftime("%m-%d %H").alias("start"),
        pl.col("expected_saving_g_per_kwh").alias("expected, g/kWh"),
        pl.col("chance_beats_now").alias("chance"),
        pl.col("realised_saving_g_per_kwh").alias("realised"),
        pl.col("regret_g_per_kwh").alias("regret"),
    ).to_dicts()


def _retrain_decisions(
    settings: Settings, partitions: dg.TimeWindowPartitionsDefinition
) -> dg.AssetsDefinition:
    @dg.asset(
        **table_asset(RETRAIN_DECISIONS),
        partitions_def=partitions,
        deps=[asset_key(FORECAST_EVALUATIONS)],
    )
    def retrain_decisions(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, clock: Clock
    ) -> dg.MaterializeResult:
        window = context.partition_time_window
        bury_dead_runs(context.instance, settings.state_dir)
        trainings = known_trainings(context.instance, except_run=context.run.run_id)
        now = clock.now_utc()
        with warehouse.store.write(RETRAIN_DECISIONS.qualified_name, context.run.run_id) as tx:
            row = decide(
                tx,
                settings,
                (window.start, window.end),
                training_runs=trainings,
                now=now,
                run_id=context.run.run_id,
            )
            drift = look_for_drift(tx, (window.start, window.end))
            metadata = table_metadata(tx.con, RETRAIN_DECISIONS, "window_start_utc")
            ledger = newest_ledger(tx.con, window.start, LEDGER_ROWS)
        return dg.MaterializeResult(
            metadata={
                **metadata,
                "window start": row["window_start_utc"].isoformat(),
                "window end": row["window_end_utc"].isoformat(),
                "decision": row["decision"],
                "rule": row["rule"],
                "reason": row["reason"],
                "attempt": row["attempt"],
                "pseudo-accuracy, %": _rounded(row["pseudo_accuracy"]),
                "forecasts": row["n_forecasts"],
                "skill against persistence": _rounded(row["skill"]),
                "faulty share of hours": row["faulty_share"],
                "champion": row["champion"],
                "champion problem": row["champion_problem"],
                "cooldown until": time_value(row["cooldown_until_utc"]),
                "ledger": markdown_table(ledger),
                **({"input drift": markdown_table(_drift_table(drift))} if drift else {}),
            }
        )

    return retrain_decisions


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _drift_table(found: list[Drift]) -> list[dict[str, object]]:
    return [
        {
            "input": one.column,
            "PSI": one.psi,
            "usual up to": one.usual,
            "unusual": "yes" if one.is_unusual else "",
        }
        for one in found
    ]


def _backtest(settings: Settings) -> dg.AssetsDefinition:
    @dg.asset(
        **table_asset(BACKTEST, "pytorch"),
        deps=[
            asset_key(AGGREGATED_HOURS),
            asset_key(ENGINEERED_FEATURES),
            asset_key(WIND_SOLAR_FORECASTS),
            asset_key(CO2_PROGNOSIS),
            asset_key(DAY_AHEAD_PRICES),
        ],
    )
    def backtest(
        context: dg.AssetExecutionContext, config: BacktestConfig, warehouse: WarehouseResource
    ) -> dg.MaterializeResult:
        with warehouse.store.read("a backtest") as con:
            plan = make_plan(
                con,
                settings,
                start=_time(config.start),
                end=_time(config.end),
                every=timedelta(hours=config.every_hours),
                models=tuple(config.models),
                refit=known_refit(config.refit),
            )
            data = read_dataset(con, settings, plan)
        # Head is free again: ticks go on while models are fitted.
        found = run_backtest(*data, plan, context.log.info)
        with warehouse.store.write(BACKTEST.qualified_name, context.run.run_id) as tx:
            store_backtest(tx, found, context.run.run_id)
        return dg.MaterializeResult(metadata=_backtest_metadata(found))

    return backtest


def _backtest_metadata(found: Backtest) -> dict[str, object]:
    times = found.paired[REFERENCE]["issue_time_utc"]
    pooled = [
        {
            "model": model,
            **{metric: found.value(model, found.pooled[0], metric) for metric in SHOWN_METRICS},
        }
        for model in found.paired
    ]
    by_lead = [
        {"lead, h": lead, **{model: found.value(model, str(lead), "mae") for model in found.paired}}
        for lead in found.leads
        if lead in SHOWN_LEADS
        and all((model, str(lead), "mae") in found.by_key for model in found.paired)
    ]
    plotted = pl.DataFrame(
        [
            {"predictor": figure.model, "lead_hours": int(figure.leads), "value": figure.value}
            for figure in found.figures
            if figure.metric == "mae" and figure.leads.isdigit()
        ]
    )
    return {
        "first issue time": time_value(times.min()),
        "last issue time": time_value(times.max()),
        "issue times": times.n_unique(),
        "refit": found.plan.refit,
        f"leads {found.pooled[0]}": markdown_table(pooled),
        "MAE by lead, g/kWh": markdown_table(by_lead),
        "plot": dg.MetadataValue.md(lead_plot(plotted, "MAE of the backtest")),
    }
