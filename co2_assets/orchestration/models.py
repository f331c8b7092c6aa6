"""Model versions by hand: promote, roll back, compare."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from co2_assets.errors import InputsMissing, ModelError
from co2_assets.forecasting.artifact import load
from co2_assets.forecasting.backtest import diebold_mariano, paired_difference
from co2_assets.forecasting.challenge import roll, six_hourly
from co2_assets.forecasting.gate import KEYS
from co2_assets.orchestration.history import history_start, read_external, read_history
from co2_assets.schema import MISSION_LEADS
from co2_assets.settings import Settings
from co2_assets.warehouse import hours as hourly
from co2_assets.warehouse import registry
from co2_assets.warehouse.registry import ModelVersion
from co2_assets.warehouse.store import Warehouse

BY_HAND = "co2 model"


def promote(
    warehouse: Warehouse, settings: Settings, name: str, *, now: datetime, reason: str
) -> ModelVersion:
    """Make a version champion from now on, after its artifact has been verified.

    Raises:
        ModelError: no such version, or its artifact is damaged; nothing changes.
    """
    with warehouse.read("a model version") as con:
        version = registry.version_named(con, name)
    load(settings.home / version.artifact_path, version.artifact_sha256)
    with warehouse.write("ml.model_aliases", BY_HAND) as tx:
        registry.promote(tx, name, valid_from=now, reason=f"by hand: {reason}")
    warehouse.publish()
    return version


def roll_back(
    warehouse: Warehouse, settings: Settings, *, now: datetime, reason: str
) -> ModelVersion:
    """Make the previous champion champion again.

    Raises:
        ModelError: there is none, or its artifact is damaged; nothing changes.
    """
    with warehouse.read("the previous champion") as con:
        previous = registry.previous_at(con, now)
    if previous is None:
        raise ModelError(
            "there is no previous champion to go back to",
            where="ml.model_aliases",
            next_step="`co2 model list` shows the versions; `co2 model promote VERSION`",
        )
    return promote(
        warehouse, settings, previous.model_version, now=now, reason=f"rollback: {reason}"
    )


@dataclass(frozen=True)
class Comparison:
    """Two versions on the hours that neither was trained on.

    Attributes:
        by_lead: `lead_hours`, `n`, `first_mae`, `second_mae`, `difference`.
        difference: MAE of the first less that of the second over leads 1 to 6, g/kWh.
        low: lower end of its 90 % interval.
        high: upper end.
        p_value: of the Diebold-Mariano test.
        start: first issue time.
        end: last issue time.
    """

    by_lead: pl.DataFrame
    difference: float
    low: float
    high: float
    p_value: float
    start: datetime
    end: datetime


def compare(
    warehouse: Warehouse, settings: Settings, first: str, second: str, *, days: int
) -> Comparison:
    """Forecast the newest hours with both versions, on the same six-hourly issue times.

    Raises:
        ModelError: no such version, a damaged artifact, or no hour that neither has seen.
    """
    with warehouse.read("versions to compare") as con:
        versions = [registry.version_named(con, name) for name in (first, second)]
        end = hourly.last_complete_hour_end(con)
        if end is None:
            raise InputsMissing("there is nothing to compare on", found="no complete hour")
        start = max(end - timedelta(days=days), *(one.train_end_utc for one in versions))
        times = six_hourly(start, end)
        if not times:
            raise ModelError(
                "there is no hour that neither version was trained on",
                where=f"{first} and {second}",
                found=f"trained to {start:%Y-%m-%dT%H}, data to {end:%Y-%m-%dT%H} UTC",
                next_step="compare again after some ticks; the gate's figures are in"
                " `co2 model show`",
            )
        since = history_start(settings, min(one.train_end_utc for one in versions))
        history = read_history(con, since, end)
        external = read_external(con, settings, since, end)
    one, other = (
        roll(load(settings.home / v.artifact_path, v.artifact_sha256), history, times, external)
        for v in versions
    )
    if _by_issue(one, other).is_empty():
        raise ModelError(
            "the versions have no forecast in common",
            where=f"{first} and {second}",
            found=f"{len(times)} issue times, none with all inputs and an actual",
            next_step="see co2.data_quality",
        )
    difference, low, high, _ = paired_difference(one, other, range(1, MISSION_LEADS + 1))
    both = _by_issue(one, other)
    _, p_value = diebold_mariano(both["one"].to_numpy(), both["other"].to_numpy(), lags=1)
    return Comparison(_by_lead(one, other), difference, low, high, p_value, times[0], times[-1])


def _joined(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    error = (pl.col("p50_g_per_kwh") - pl.col("actual_g_per_kwh")).abs()
    return one.select(*KEYS, error.alias("one")).join(
        other.select(*KEYS, error.alias("other")), on=KEYS
    )


def _by_issue(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    return (
        _joined(one, other)
        .filter(pl.col("lead_hours") <= MISSION_LEADS)
        .group_by("issue_time_utc")
        .agg(pl.col("one").mean(), pl.col("other").mean())
        .sort("issue_time_utc")
    )


def _by_lead(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    return (
        _joined(one, other)
        .group_by("lead_hours")
        .agg(
            pl.len().alias("n"),
            pl.col("one").mean().alias("first_mae"),
            pl.col("other").mean().alias("second_mae"),
        )
        .with_columns((pl.col("first_mae") - pl.col("second_mae")).alias("difference"))
        .sort("lead_hours")
    )
