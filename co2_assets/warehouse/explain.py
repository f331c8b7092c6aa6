"""From one forecast value back to what it was made from, read from the published copy."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from co2_assets.errors import WarehouseError
from co2_assets.warehouse.query import Connection, frame, rows
from co2_assets.warehouse.reader import open_published

FEATURES = (
    "hour_utc", "co2_g_per_kwh", "co2_imputed_g_per_kwh", "quality", "minutes_seen",
)  # fmt: skip


def explain(home: Path, valid_time: datetime, issue_time: datetime | None) -> dict[str, Any]:
    """Everything about one served forecast value of a home; see `read_explanation`."""
    with open_published(home) as con:
        return read_explanation(con, valid_time, issue_time)


def read_explanation(
    con: Connection, valid_time: datetime, issue_time: datetime | None
) -> dict[str, Any]:
    """Everything about one served forecast value, by name; times are UTC.

    Args:
        con: connection to a published copy.
        valid_time: the hour that was forecast.
        issue_time: which forecast of it; the newest by default.

    Raises:
        WarehouseError: there is no such forecast; says which there are.
    """
    origin = _origin(con, valid_time, issue_time)
    until = origin["issue_time_utc"]
    return origin | {
        "hours": frame(
            con,
            f"SELECT {', '.join(FEATURES)} FROM main.actuals"
            " WHERE hour_utc < $until AND hour_utc >= $until - INTERVAL 24 HOUR"
            " ORDER BY hour_utc",
            until=until,
        ).to_dicts(),
        "loads": frame(
            con,
            "SELECT etl_run_id, dataset, status, started_at_utc, rows_read, url,"
            " response_sha256, dagster_run_id FROM ops.etl_runs"
            " WHERE list_contains($ids, etl_run_id) ORDER BY started_at_utc",
            ids=origin["etl_run_ids"] or [],
        ).to_dicts(),
    }


def _origin(con: Connection, valid_time: datetime, issue_time: datetime | None) -> dict[str, Any]:
    """One row of `main.forecast_origin`.

    The view goes over all minutes, whatever is asked of it; this reads those of one day.
    """
    found = frame(con, MADE, valid=valid_time, issue=issue_time)
    if found.is_empty():
        raise WarehouseError(
            "there is no such forecast",
            where="main.forecast_origin",
            found=f"valid time {valid_time:%Y-%m-%dT%H:%M}"
            + (f", issue time {issue_time:%Y-%m-%dT%H:%M}" if issue_time else ""),
            expected=_known(con, valid_time),
            next_step="`co2 sql 'SELECT * FROM forecasts'` lists the newest ones",
        )
    made = found.row(0, named=True)
    inputs = frame(con, INPUTS, until=made["issue_time_utc"]).row(0, named=True)
    actual = made.pop("actual_g_per_kwh")
    return made | inputs | {"actual_g_per_kwh": actual}


MADE = """
SELECT
    made.area, made.issue_time_utc, made.valid_time_utc, made.lead_hours, made.model_version,
    made.p10_g_per_kwh, made.p50_g_per_kwh, made.p90_g_per_kwh,
    made.is_served, made.is_hindcast, made.is_fallback, made.fallback_reason,
    made.inputs_missing, made.cutoff_utc, made.issued_at_utc, made.dagster_run_id,
    version.recipe, version.train_start_utc, version.train_end_utc,
    version.artifact_sha256, version.data_fingerprint,
    version.dagster_run_id AS training_run_id,
    actuals.co2_g_per_kwh AS actual_g_per_kwh
FROM ml.forecasts AS made
LEFT JOIN ml.model_versions AS version USING (model_version)
LEFT JOIN main.actuals AS actuals
    ON actuals.area = made.area AND actuals.hour_utc = made.valid_time_utc
WHERE made.is_served AND made.valid_time_utc = $valid
    AND ($issue IS NULL OR made.issue_time_utc = $issue)
ORDER BY made.issue_time_utc DESC LIMIT 1
"""

INPUTS = """
WITH features AS (
    SELECT hour_utc FROM core.engineered_features
    WHERE hour_utc < $until AND hour_utc >= $until - INTERVAL 24 HOUR
),
minutes AS (
    SELECT fetched_at_utc, etl_run_id
    FROM raw.power_system
    WHERE minute_utc < $until AND minute_utc >= $until - INTERVAL 24 HOUR
        AND date_trunc('hour', minute_utc) IN (FROM features)
)
SELECT
    (SELECT count(*) FROM features) AS feature_hours,
    (SELECT min(hour_utc) FROM features) AS first_feature_hour_utc,
    (SELECT max(hour_utc) FROM features) AS last_feature_hour_utc,
    count(*) AS raw_minutes,
    min(fetched_at_utc) AS first_fetched_utc,
    max(fetched_at_utc) AS last_fetched_utc,
    list_sort(list(DISTINCT etl_run_id)) AS etl_run_ids
FROM minutes
"""


def _known(con: Connection, valid_time: datetime) -> str:
    issues = rows(
        con,
        "SELECT DISTINCT issue_time_utc FROM main.forecast_history"
        " WHERE is_served AND valid_time_utc = $valid ORDER BY 1",
        valid=valid_time,
    )
    if issues:
        return "an issue time of " + ", ".join(f"{time:%Y-%m-%dT%H:%M}" for (time,) in issues)
    ((first, last),) = rows(
        con, "SELECT min(valid_time_utc), max(valid_time_utc) FROM main.forecasts"
    )
    if first is None:
        return "a home with a forecast: none was issued yet"
    return f"an hour from {first:%Y-%m-%dT%H:%M} to {last:%Y-%m-%dT%H:%M}"


def describe(origin: dict[str, Any]) -> str:
    """The explanation as lines for a person."""
    value = f"{origin['p50_g_per_kwh']:.1f} g/kWh (80 % band {origin['p10_g_per_kwh']:.1f} to"
    value += f" {origin['p90_g_per_kwh']:.1f})"
    actual = origin["actual_g_per_kwh"]
    kind = "hindcast" if origin["is_hindcast"] else "live forecast"
    lines = [
        ("forecast", f"{value} for the hour {origin['valid_time_utc']:%Y-%m-%d %H:%M} UTC"),
        ("made", f"{kind}, lead {origin['lead_hours']} h, issue time"
                 f" {origin['issue_time_utc']:%Y-%m-%d %H:%M}, stored"
                 f" {origin['issued_at_utc']:%Y-%m-%d %H:%M:%S}"),
        ("fallback", origin["fallback_reason"] if origin["is_fallback"] else "no"),
        ("cut-off", f"what others had published by {_time(origin['cutoff_utc'])} counted"),
        ("missing", origin["inputs_missing"] or "no input from others"),
        ("actual", "not known" if actual is None else f"{actual:.1f} g/kWh"),
        ("model", _model(origin)),
        ("features", f"{origin['feature_hours']} hours,"
                     f" {_time(origin['first_feature_hour_utc'])} to"
                     f" {_time(origin['last_feature_hour_utc'])}"),
        ("minutes", f"{origin['raw_minutes']}, fetched {_time(origin['first_fetched_utc'])} to"
                    f" {_time(origin['last_fetched_utc'])}"),
        *(("load", f"{load['etl_run_id']}: {load['rows_read']} rows of {load['dataset']},"
                   f" {load['url']}") for load in origin["loads"]),
        ("Dagster run", origin["dagster_run_id"]),
    ]  # fmt: skip
    return "\n".join(f"{name:<12}{text}" for name, text in lines)


def _model(origin: dict[str, Any]) -> str:
    if origin["train_start_utc"] is None:
        return f"{origin['model_version']}, a baseline"
    return (
        f"{origin['model_version']} ({origin['recipe']}), trained on"
        f" {origin['train_start_utc']:%Y-%m-%d} to {origin['train_end_utc']:%Y-%m-%d} in run"
        f" {origin['training_run_id']}, artifact {origin['artifact_sha256'][:12]}"
    )


def _time(time: datetime | None) -> str:
    return "none" if time is None else f"{time:%Y-%m-%d %H:%M}"
