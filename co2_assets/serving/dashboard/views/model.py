"""Which model serves, what it was made from, how it did at the gate, and those before it."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import streamlit as st

from co2_assets.schema import MISSION_LABEL
from co2_assets.serving import contract
from co2_assets.serving.dashboard import figures, parts
from co2_assets.serving.dashboard.data import Source
from co2_assets.serving.dashboard.figures import look
from co2_assets.serving.dashboard.tables import Shown
from co2_assets.serving.dashboard.times import Zone

HOLDOUT_COLUMNS = (
    Shown("predictor", "forecast by", say=lambda name: look(name).title),
    Shown("n", "values", ",.0f"),
    Shown("mae", "mean error, g/kWh", ".1f"),
    Shown("rmse", "RMSE, g/kWh", ".1f"),
    Shown("bias", "bias, g/kWh", "+.1f"),
    Shown("mape", "MAPE, %", ".1f"),
    Shown("crps", "CRPS, g/kWh", ".1f"),
    Shown("coverage_80", "within the 80 % band, share", ".2f"),
)
LEAD_COLUMNS = (
    Shown("predictor", "forecast by", say=lambda name: look(name).title),
    Shown("lead_hours", "hours ahead"),
    Shown("mae", "mean error, g/kWh", ".1f"),
)
VERSION_COLUMNS = (
    Shown("model_version", "version"),
    Shown("recipe", "recipe"),
    Shown("status", "at registration"),
    Shown("created_utc", "made", dated=True),
    Shown("train_start_utc", "trained from", dated=True),
    Shown("train_end_utc", "trained to", dated=True),
    Shown("reason", "the gate's words", wide=True),
)


def show(source: Source) -> None:
    """The page."""
    st.title("The model that serves")
    champion = source.read(contract.champion)
    if champion is None:
        st.info(
            "There is no champion yet. Until one is trained, forecasts are damped climatology and"
            " marked as a fallback; the sensor or `co2 tick` trains the first."
        )
    else:
        _card(champion, source.zone)
        _holdout(champion, source.zone)
    versions = source.read(contract.models).filter(pl.col("status") != "baseline")
    if not versions.is_empty():
        st.header("All versions")
        parts.table(versions, VERSION_COLUMNS, source.zone, "Versions, the newest first")
        parts.download(versions, VERSION_COLUMNS, source.zone, "co2-models")


def _card(champion: dict[str, Any], zone: Zone) -> None:
    def span(name: str) -> str:
        start, end = champion[f"{name}_start_utc"], champion[f"{name}_end_utc"]
        known = start is not None and end is not None
        return f"{zone.moment(start)} to {zone.moment(end)}" if known else "none"

    st.header(f"{champion['model_version']}: {champion['recipe']}")
    parts.facts(
        (
            ("Serves from", zone.moment(champion["valid_from_utc"])),
            ("Why it serves", champion["reason"]),
            ("Trained on", span("train")),
            ("Judged on (holdout)", span("holdout")),
            ("Random seed", str(champion["seed"])),
            ("Artifact", f"{champion['artifact_path']}, SHA-256 {champion['artifact_sha256']}"),
            ("Training data", f"fingerprint {champion['data_fingerprint']}"),
        )
    )
    settings: dict[str, Any] = json.loads(champion["hyperparameters"])
    features: list[str] = json.loads(champion["features"])
    with st.expander(f"{len(settings)} settings of the training"):
        parts.facts([(name, str(value)) for name, value in settings.items()])
    with st.expander(f"{len(features)} inputs"):
        st.text(", ".join(features))


def _holdout(champion: dict[str, Any], zone: Zone) -> None:
    metrics = holdout(champion["metrics"])
    pooled = metrics.filter(pl.col("leads") == MISSION_LABEL)
    if pooled.is_empty():
        return
    st.header("At the gate")
    st.markdown(
        "Before it may serve, a version is compared with the one that serves and with simple"
        " forecasts, on hours that none of them was trained on."
    )
    parts.table(
        pooled, HOLDOUT_COLUMNS, zone, f"Figures on the holdout, {MISSION_LABEL} hours ahead"
    )
    by_lead = metrics.drop_nulls("lead_hours").sort("predictor", "lead_hours")
    parts.chart(
        figures.error_by_lead(by_lead),
        "Mean absolute error on the holdout by hours ahead, in grams per kWh",
        by_lead,
        LEAD_COLUMNS,
        zone,
        f"co2-holdout-{champion['model_version']}",
    )


def holdout(metrics: str | None) -> pl.DataFrame:
    """The gate's figures from a version's `metrics`.

    Args:
        metrics: JSON, keys scope/predictor/leads/metric.

    Returns:
        One row per predictor and group of leads: predictor, leads, lead_hours (null where
        leads are pooled) and the metrics, null where there is none.
    """
    names = [column.name for column in HOLDOUT_COLUMNS[1:]]
    found: dict[tuple[str, str], dict[str, float | None]] = {}
    for key, value in json.loads(metrics or "{}").items():
        scope, predictor, leads, metric = key.split("/")
        if scope == "holdout" and metric in names:
            found.setdefault((predictor, leads), {})[metric] = value
    schema: dict[str, Any] = {
        "predictor": pl.String, "leads": pl.String, "lead_hours": pl.Int64,
        **dict.fromkeys(names, pl.Float64),
    }  # fmt: skip
    return pl.DataFrame(
        [
            {
                "predictor": predictor,
                "leads": leads,
                "lead_hours": int(leads) if leads.isdigit() else None,
                **values,
            }
            for (predictor, leads), values in found.items()
        ],
        schema=schema,
    ).sort("lead_hours", "mae", nulls_last=True)
