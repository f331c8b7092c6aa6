"""Asset checks: blocking only where our own work would be wrong.

What is wrong with the feed is marked in `quality`, kept out of training and of the
retrain rule, and never stops a forecast; its checks warn.

https://docs.dagster.io/guides/test/asset-checks
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta

import dagster as dg

from co2_assets.errors import ModelError
from co2_assets.forecasting.artifact import load
from co2_assets.orchestration.resources import WarehouseResource
from co2_assets.orchestration.tables import asset_key
from co2_assets.orchestration.training_runs import TRAINED_MODEL
from co2_assets.schema import (
    AGGREGATED_HOURS,
    CO2_PROGNOSIS,
    DAY_AHEAD_PRICES,
    ENGINEERED_FEATURES,
    FORECAST_EVALUATIONS,
    FORECASTS,
    POWER_SYSTEM,
    RETRAIN_DECISIONS,
    WIND_SOLAR_FORECASTS,
    Table,
)
from co2_assets.settings import Settings
from co2_assets.warehouse import registry
from co2_assets.warehouse.checks import (
    Finding,
    columns_differ,
    coverage_80,
    forecasts_not_monotone,
    hours_not_contiguous,
    hours_of_quality,
    implausible_hours,
    keys_repeated,
    minutes_missing,
    newest_age,
    unusual_inputs,
)
from co2_assets.warehouse.query import Connection

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
COVERAGE_TOLERANCE = 0.15
STALE_AFTER = timedelta(hours=7)
"""A window and an hour: data older than this at the end of a tick are late."""


SERIOUS = frozenset({"champion_loadable"})
"""Checks that are errors although they do not block."""

Look = Callable[[Connection], Finding]

Check = tuple[str, str, bool, Look]
"""Name, what it claims, whether it blocks, and the look itself."""


def build_checks(settings: Settings) -> list[dg.AssetChecksDefinition]:
    """All checks but `source_answered`, which the raw assets report themselves."""
    raw = (POWER_SYSTEM, WIND_SOLAR_FORECASTS, CO2_PROGNOSIS, DAY_AHEAD_PRICES)
    derived = {
        AGGREGATED_HOURS: _hours_checks(),
        ENGINEERED_FEATURES: [],
        FORECASTS: _forecast_checks(settings),
        FORECAST_EVALUATIONS: _coverage_checks(),
        RETRAIN_DECISIONS: _drift_checks(),
    }
    return [
        # One step for all raw tables: none of them waits for another.
        _checks(
            "raw_checks",
            {asset_key(table): _table_checks(table) for table in raw}
            | {asset_key(POWER_SYSTEM): [*_table_checks(POWER_SYSTEM), *_feed_checks()]},
        ),
        *(
            _checks(f"{table.name}_checks", {asset_key(table): [*_table_checks(table), *more]})
            for table, more in derived.items()
        ),
        _checks("model_checks", {TRAINED_MODEL: _champion_checks(settings)}),
    ]


def _checks(name: str, looks: Mapping[dg.AssetKey, Sequence[Check]]) -> dg.AssetChecksDefinition:
    """One step that runs the checks of some assets on one look at head."""

    @dg.multi_asset_check(
        name=name,
        specs=[
            dg.AssetCheckSpec(check, asset=asset, description=claim, blocking=blocking)
            for asset, checks in looks.items()
            for check, claim, blocking, _ in checks
        ],
        can_subset=True,
    )
    def step(
        context: dg.AssetCheckExecutionContext, warehouse: WarehouseResource
    ) -> Iterator[dg.AssetCheckResult]:
        asked = context.selected_asset_check_keys
        with warehouse.store.read(name) as con:
            found = [
                (asset, check, blocking, look(con))
                for asset, checks in looks.items()
                for check, _, blocking, look in checks
                if dg.AssetCheckKey(asset, check) in asked
            ]
        for asset, check, blocking, finding in found:
            yield dg.AssetCheckResult(
                check_name=check,
                asset_key=asset,
                passed=finding.count == 0,
                severity=ERROR if blocking or check in SERIOUS else WARN,
                description=finding.text,
                metadata={"count": finding.count, **finding.details},
            )

    return step


def _table_checks(table: Table) -> list[Check]:
    return [
        (
            "schema",
            "the table has the columns and types of schema.py",
            True,
            lambda con: columns_differ(con, table),
        ),
        (
            "keys_unique",
            f"one row per {', '.join(table.key)}",
            True,
            lambda con: keys_repeated(con, table),
        ),
    ]


def _feed_checks() -> list[Check]:
    return [
        (
            "minutes_missing",
            "the newest day has all its minutes",
            False,
            minutes_missing,
        ),
        (
            "fresh",
            "the newest minute is as new as the newest window that was asked for",
            False,
            lambda con: newest_age(con, STALE_AFTER),
        ),
    ]


def _hours_checks() -> list[Check]:
    return [
        (
            "hours_contiguous",
            "one row for each hour from the first to the last",
            True,
            hours_not_contiguous,
        ),
        (
            "plausible_ranges",
            "reported values of the newest week lie in plausible ranges",
            False,
            implausible_hours,
        ),
        (
            "feed_not_frozen",
            "no hour of the newest week repeats the two before it",
            False,
            lambda con: hours_of_quality(con, "frozen"),
        ),
        (
            "no_spikes",
            "no hour of the newest week leaps from the day before it",
            False,
            lambda con: hours_of_quality(con, "spike"),
        ),
    ]


def _forecast_checks(settings: Settings) -> list[Check]:
    return [
        (
            "quantiles_monotone",
            f"quantiles rise and leads 1 to {settings.horizon_hours} are all there",
            True,
            forecasts_not_monotone,
        ),
    ]


def _coverage_checks() -> list[Check]:
    return [
        (
            "coverage_80",
            "the 80 % band held about 80 % of the last 28 days",
            False,
            lambda con: coverage_80(con, COVERAGE_TOLERANCE),
        ),
    ]


def _drift_checks() -> list[Check]:
    return [
        (
            "inputs_as_in_training",
            "two weeks of inputs are as near to the champion's training as such weeks usually are",
            False,
            unusual_inputs,
        ),
    ]


def _champion_checks(settings: Settings) -> list[Check]:
    def look(con: Connection) -> Finding:
        champion = registry.newest_champion(con)
        if champion is None:
            return Finding(0, "no champion yet")
        try:
            load(settings.home / champion.artifact_path, champion.artifact_sha256)
        except ModelError as error:
            return Finding(1, str(error), {"champion": champion.model_version})
        return Finding(0, f"{champion.model_version} loads and its hash is right")

    # It does not block: a forecast is issued without the champion, and a training heals it.
    return [
        ("champion_loadable", "the champion's files are those that were registered", False, look)
    ]
