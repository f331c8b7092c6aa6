"""Raw assets: what Energi Data Service published, merged by primary key.

A source that fails does not fail the tick: the asset materializes with
`status: source_failed`, its check `source_answered` turns red, and the run goes on.
"""

from datetime import timedelta

import dagster as dg

from co2_assets.orchestration.loading import Loader, LoadReport
from co2_assets.orchestration.metadata import table_metadata
from co2_assets.orchestration.plots import hours_plot, series_plot
from co2_assets.orchestration.resources import Clock, WarehouseResource
from co2_assets.orchestration.tables import asset_key, table_asset
from co2_assets.schema import (
    CO2_PROGNOSIS,
    DAY_AHEAD_PRICES,
    POWER_SYSTEM,
    VALUE_COLUMNS,
    WIND_SOLAR_FORECASTS,
    Table,
)
from co2_assets.settings import Settings
from co2_assets.warehouse import query
from co2_assets.warehouse.query import Connection

PLOT_DAYS = 3


def raw_assets(
    settings: Settings, partitions: dg.TimeWindowPartitionsDefinition
) -> list[dg.AssetsDefinition]:
    """The four raw assets."""
    return [
        _raw_asset(table, time_column, settings, partitions)
        for table, time_column in (
            (POWER_SYSTEM, "minute_utc"),
            (WIND_SOLAR_FORECASTS, "hour_utc"),
            (CO2_PROGNOSIS, "time_utc"),
            (DAY_AHEAD_PRICES, "time_utc"),
        )
    ]


def source_check_name() -> str:
    """Name of the check that is red when a raw asset's source failed."""
    return "source_answered"


def _raw_asset(
    table: Table,
    time_column: str,
    settings: Settings,
    partitions: dg.TimeWindowPartitionsDefinition,
) -> dg.AssetsDefinition:
    @dg.asset(
        **table_asset(table, "python"),
        partitions_def=partitions,
        check_specs=[
            dg.AssetCheckSpec(
                source_check_name(),
                asset=asset_key(table),
                description="the API answered, and what it answered keeps its contract",
            )
        ],
        freshness_policy=dg.FreshnessPolicy.time_window(
            fail_window=timedelta(hours=24), warn_window=timedelta(hours=12)
        ),
    )
    def raw_asset(
        context: dg.AssetExecutionContext, warehouse: WarehouseResource, clock: Clock
    ) -> dg.MaterializeResult:
        window = context.partition_time_window
        report = Loader(
            warehouse.store, settings, clock.now_utc, context.run.run_id, context.log.info
        ).load(table, (window.start, window.end))
        with warehouse.store.read(f"report {table.qualified_name}") as con:
            metadata = table_metadata(con, table, time_column)
            plot = _plot(con, table, window.end)
        return dg.MaterializeResult(
            metadata={**metadata, **_report_metadata(report), "plot": dg.MetadataValue.md(plot)},
            check_results=[_source_check(report)],
        )

    return raw_asset


def _report_metadata(report: LoadReport) -> dict[str, object]:
    return {
        "status": report.status,
        "rows read": report.rows_read,
        "rows new": report.rows_new,
        "rows revised": report.rows_revised,
        "rows unchanged": report.rows_unchanged,
        "rows rejected": report.rows_rejected,
        "bytes read": report.bytes_read,
        "requests": dg.MetadataValue.json(report.urls),
        "unknown columns": dg.MetadataValue.json(list(report.unknown_columns)),
        "source": "Energinet (energidataservice.dk), CC BY 4.0",
    }


def _source_check(report: LoadReport) -> dg.AssetCheckResult:
    error = report.error
    return dg.AssetCheckResult(
        check_name=source_check_name(),
        passed=error is None,
        severity=dg.AssetCheckSeverity.ERROR,
        description=str(error) if error else "answered",
        metadata={}
        if error is None
        else {
            "dataset": error.dataset,
            "field": error.field or "",
            "row": -1 if error.row is None else error.row,
            "found": error.found or "",
            "expected": error.expected or "",
            "next step": error.next_step or "",
        },
    )


def _plot(con: Connection, table: Table, end: object) -> str:
    """The last days of the table up to the window's end, by hour."""
    if table is POWER_SYSTEM:
        means = ", ".join(f"avg({name}) AS {name}" for name in VALUE_COLUMNS)
        hours = query.frame(
            con,
            f"SELECT date_trunc('hour', minute_utc) AS hour_utc, {means} FROM raw.power_system"
            " WHERE minute_utc >= $end - to_days($days) AND minute_utc < $end"
            " GROUP BY 1 ORDER BY 1",
            end=end,
            days=PLOT_DAYS,
        )
        return hours_plot(hours)
    select, columns, unit = _SERIES[table.name]
    series = query.frame(
        con,
        f"SELECT {table.key[0]} AS time_utc, {select} FROM {table.qualified_name}"
        f" WHERE {table.key[0]} >= $end - to_days($days) GROUP BY 1 ORDER BY 1",
        end=end,
        days=PLOT_DAYS,
    )
    return series_plot(series, "time_utc", columns, unit)


_SERIES = {
    WIND_SOLAR_FORECASTS.name: (
        "sum(forecast_mw) FILTER (forecast_type = 'offshore_wind' AND kind = 'day_ahead')"
        " AS offshore,"
        " sum(forecast_mw) FILTER (forecast_type = 'onshore_wind' AND kind = 'day_ahead')"
        " AS onshore,"
        " sum(forecast_mw) FILTER (forecast_type = 'solar' AND kind = 'day_ahead') AS solar",
        {"offshore": "offshore wind", "onshore": "onshore wind", "solar": "solar"},
        "day-ahead forecast, MW",
    ),
    CO2_PROGNOSIS.name: (
        "arg_max(co2_g_per_kwh, vintage) FILTER (area = 'DK1') AS dk1,"
        " arg_max(co2_g_per_kwh, vintage) FILTER (area = 'DK2') AS dk2",
        {"dk1": "DK1", "dk2": "DK2"},
        "newest vintage, g/kWh",
    ),
    DAY_AHEAD_PRICES.name: (
        "max(price_eur_per_mwh) FILTER (area = 'DK1') AS dk1,"
        " max(price_eur_per_mwh) FILTER (area = 'DK2') AS dk2",
        {"dk1": "DK1", "dk2": "DK2"},
        "EUR/MWh",
    ),
}
"""What the plot of a forecast table shows: aggregates, their labels, their unit."""
