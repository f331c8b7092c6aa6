"""From an asset in Dagster's UI to the page of the dashboard, the API and the docs that show it."""

from collections.abc import Sequence

import dagster as dg

from co2_assets.orchestration.training_runs import TRAINED_MODEL
from co2_assets.schema import (
    AGGREGATED_HOURS,
    BACKTEST,
    CO2_PROGNOSIS,
    DAY_AHEAD_PRICES,
    ENGINEERED_FEATURES,
    FORECAST_EVALUATIONS,
    FORECASTS,
    MODEL_VERSIONS,
    POWER_SYSTEM,
    RETRAIN_DECISIONS,
    WIND_SOLAR_FORECASTS,
    WINDOW_RECEIPTS,
)
from co2_assets.settings import Settings

_DATA = ("decisions", "data-quality")

SHOWN_ON: dict[str, tuple[str, str]] = {
    POWER_SYSTEM.qualified_name: _DATA,
    WIND_SOLAR_FORECASTS.qualified_name: _DATA,
    CO2_PROGNOSIS.qualified_name: _DATA,
    DAY_AHEAD_PRICES.qualified_name: _DATA,
    AGGREGATED_HOURS.qualified_name: ("", "last-24h-emissions"),
    ENGINEERED_FEATURES.qualified_name: ("model", "best-model"),
    MODEL_VERSIONS.qualified_name: ("model", "models"),
    FORECASTS.qualified_name: ("", "forecasts"),
    FORECAST_EVALUATIONS.qualified_name: ("accuracy", "accuracy"),
    RETRAIN_DECISIONS.qualified_name: ("decisions", "retrain-ledger"),
    BACKTEST.qualified_name: ("accuracy", "scoreboard"),
    WINDOW_RECEIPTS.qualified_name: ("decisions", "window-receipts"),
}
"""Page of the dashboard (its first one has no path) and route of the API, by table."""


def with_links(
    assets: Sequence[dg.AssetsDefinition], settings: Settings
) -> Sequence[dg.AssetsDefinition]:
    """The same assets, with links to whoever shows them to people."""
    return list(
        dg.map_asset_specs(
            lambda spec: spec.merge_attributes(metadata=_links(spec.key, settings)), assets
        )
    )


def _links(key: dg.AssetKey, settings: Settings) -> dict[str, dg.MetadataValue]:
    table = _table_of(key)
    page, route = SHOWN_ON[table]
    return {
        "dashboard": dg.MetadataValue.url(f"{settings.dashboard_url}/{page}"),
        "API": dg.MetadataValue.url(f"{settings.serving_url}/{route}"),
        "documentation": dg.MetadataValue.path(f"docs/warehouse.md#{table.replace('.', '')}"),
    }


def _table_of(key: dg.AssetKey) -> str:
    return MODEL_VERSIONS.qualified_name if key == TRAINED_MODEL else ".".join(key.path)
