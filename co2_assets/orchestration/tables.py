"""What every asset that is a table says of itself in Dagster's UI."""

from typing import Any

import dagster as dg

from co2_assets.orchestration.metadata import definition_metadata
from co2_assets.schema import Table

OWNERS = ["team:co2-platform"]


def asset_key(table: Table) -> dg.AssetKey:
    """The asset of a table: lineage and SQL speak one language."""
    return dg.AssetKey([table.schema, table.name])


def table_asset(table: Table, *kinds: str, **metadata: Any) -> dict[str, Any]:
    """Options of the asset of a table.

    Args:
        table: its key, group and description.
        kinds: besides `duckdb`.
        metadata: added to what the schema says.
    """
    return {
        "key": asset_key(table),
        "description": table.meaning,
        "group_name": table.schema,
        "owners": OWNERS,
        "kinds": {"duckdb", *kinds},
        "code_version": "1",
        "metadata": {**definition_metadata(table), **metadata},
    }
