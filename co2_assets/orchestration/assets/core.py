"""Core assets: hourly means with their quality, and the encoder inputs made from them."""

from datetime import timedelta

import dagster as dg

from co2_assets.orchestration.metadata import table_metadata, time_value
from co2_assets.orchestration.plots import hours_plot, series_plot
from co2_assets.orchestration.refreshing import refresh_features, refresh_hours
from co2_assets.orchestration.resources import WarehouseResource
from co2_assets.orchestration.tables import asset_key, table_asset
from co2_assets.schema import (
    AGGREGATED_HOURS,
    CO2_COLUMN,
    ENGINEERED_FEATURES,
    FEATURE_COLUMNS,
    IMPUTED_COLUMNS,
    POWER_SYSTEM,
    VALUE_COLUMNS,
    cleaned,
    imputed,
)
from co2_assets.warehouse import hours as hourly
from co2_assets.warehouse import raw

PLOT_DAYS = timedelta(days=3)


def core_assets(partitions: dg.TimeWindowPartitionsDefinition) -> list[dg.AssetsDefinition]:
    """The two core assets."""

    @dg.asset(
        **table_asset(AGGREGATED_HOURS, "polars", **{"dagster/column_lineage": _hours_lineage()}),
        deps=[asset_key(POWER_SYSTEM)],
        partitions_def=partitions,
    )
    def aggregated_hours(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> dg.MaterializeResult:
        with warehouse.store.write(AGGREGATED_HOURS.qualified_name, context.run.run_id) as tx:
            counts, span = refresh_hours(tx)
            end = context.partition_time_window.end
            shown = hourly.read_hours(tx.con, end - PLOT_DAYS, end)
            qualities = dict(
                tx.con.execute(
                    "SELECT quality, count(*) FROM core.aggregated_hours GROUP BY 1 ORDER BY 1"
                ).fetchall()
            )
            metadata = table_metadata(tx.con, AGGREGATED_HOURS, "hour_utc")
        return dg.MaterializeResult(
            metadata={
                **metadata,
                **_span_metadata(span),
                "rows new": counts.new,
                "rows revised": counts.revised,
                "rows unchanged": counts.unchanged,
                "hours by quality": dg.MetadataValue.json(qualities),
                "plot": dg.MetadataValue.md(hours_plot(shown)),
            }
        )

    @dg.asset(
        **table_asset(
            ENGINEERED_FEATURES, "polars", **{"dagster/column_lineage": _features_lineage()}
        ),
        deps=[aggregated_hours],
        partitions_def=partitions,
    )
    def engineered_features(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource
    ) -> dg.MaterializeResult:
        with warehouse.store.write(ENGINEERED_FEATURES.qualified_name, context.run.run_id) as tx:
            counts, span = refresh_features(tx)
            end = context.partition_time_window.end
            shown = hourly.read_features(tx.con, end - PLOT_DAYS, end)
            metadata = table_metadata(tx.con, ENGINEERED_FEATURES, "hour_utc")
        return dg.MaterializeResult(
            metadata={
                **metadata,
                **_span_metadata(span),
                "rows new": counts.new,
                "rows revised": counts.revised,
                "rows unchanged": counts.unchanged,
                "inputs": len(FEATURE_COLUMNS),
                "plot": dg.MetadataValue.md(
                    series_plot(
                        shown,
                        "hour_utc",
                        {
                            "co2_imputed_g_per_kwh": "CO2",
                            "co2_rolling_mean_6h_g_per_kwh": "mean of 6 h",
                            "co2_rolling_mean_12h_g_per_kwh": "mean of 12 h",
                        },
                        "g/kWh",
                    )
                ),
            }
        )

    return [aggregated_hours, engineered_features]


def _span_metadata(span: raw.Span | None) -> dict[str, object]:
    start, end = span or (None, None)
    return {"recomputed from": time_value(start), "recomputed to": time_value(end)}


def _hours_lineage() -> dg.TableColumnLineage:
    minutes = asset_key(POWER_SYSTEM)
    return dg.TableColumnLineage(
        {
            twin(name): [dg.TableColumnDep(asset_key=minutes, column_name=name)]
            for name in VALUE_COLUMNS
            for twin in (str, cleaned, imputed)
        }
    )


def _features_lineage() -> dg.TableColumnLineage:
    table = asset_key(AGGREGATED_HOURS)
    return dg.TableColumnLineage(
        {
            name: [
                dg.TableColumnDep(
                    asset_key=table,
                    column_name=name if name in IMPUTED_COLUMNS else imputed(CO2_COLUMN),
                )
            ]
            for name in FEATURE_COLUMNS
        }
    )
