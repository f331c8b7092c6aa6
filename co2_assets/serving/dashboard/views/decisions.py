"""What was wrong with the data, and what the platform decided."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import streamlit as st

from co2_assets.serving import contract
from co2_assets.serving.dashboard import data, parts
from co2_assets.serving.dashboard.data import Source
from co2_assets.serving.dashboard.parts import Card
from co2_assets.serving.dashboard.tables import Shown, number
from co2_assets.serving.dashboard.times import DAY
from co2_assets.serving.dashboard.words import in_zone
from co2_assets.warehouse.receipts import captured, newest_receipts

DAYS = (7, 30, 90)
LEDGER_ROWS = 28
"""A week of ticks."""

FINDING_COLUMNS = (
    Shown("hour_utc", "hour"),
    Shown("kind", "finding", say=lambda kind: kind.replace("_", " ")),
    Shown("columns", "columns", wide=True),
    Shown("values", "found", wide=True),
    Shown("expected", "expected", wide=True),
    Shown("dataset", "dataset"),
)
LEDGER_COLUMNS = (
    Shown("window_end_utc", "issue time"),
    Shown("decision", "decision"),
    Shown("reason", "reason", wide=True),
    Shown("rule", "rule"),
    Shown("pseudo_accuracy", "pseudo-accuracy, %", ".1f"),
    Shown("n_forecasts", "forecasts"),
    Shown("skill", "better than persistence, share", ".2f"),
    Shown("champion", "champion"),
    Shown("gate_outcome", "what came of it", wide=True),
)
CAPTURED_COLUMNS = (
    Shown("duration_hours", "job, h"),
    Shown("within_hours", "done within, h"),
    Shown("n", "settled"),
    Shown("captured_percent", "of the best saving, %", ".0f"),
    Shown("saved", "mean saving, g/kWh", ".1f"),
    Shown("best", "best mean saving, g/kWh", ".1f"),
    Shown("regret", "mean regret, g/kWh", ".1f"),
)
RECEIPT_HOURS, RECEIPT_ROWS = 2, 28
RECEIPT_COLUMNS = (
    Shown("issue_time_utc", "issue time"),
    Shown("within_hours", "done within, h"),
    Shown("recommended_start_utc", "told to start"),
    Shown("expected_saving_g_per_kwh", "expected saving, g/kWh", ".0f"),
    Shown("chance_beats_now", "chance to beat now, %", say=lambda share: f"{100 * share:.0f}"),
    Shown("realised_saving_g_per_kwh", "realised saving, g/kWh", ".0f"),
    Shown("regret_g_per_kwh", "regret, g/kWh", ".0f"),
)
DRIFT_COLUMNS = (
    Shown("column_name", "input"),
    Shown("psi", "PSI", ".2f"),
    Shown("usual_psi", "largest usual PSI", ".2f"),
    Shown("is_unusual", "unusual"),
    Shown("n_hours", "hours"),
)


def show(source: Source) -> None:
    """The page."""
    st.title("Data and decisions")
    end = source.about.data_until_utc
    if end is None:
        st.info("No data yet, so nothing to judge and nothing to decide.")
        return
    _quality(source, end)
    _ledger(source)
    _receipts(source)
    _drift(source)


def _quality(source: Source, end: datetime) -> None:
    st.header("Data quality")
    days = st.segmented_control(
        "Period", DAYS, default=30, required=True, key="quality-days", persist_state="session",
        format_func=lambda days: f"{days} days",
    )  # fmt: skip
    start = end - days * DAY
    hours = source.read(contract.actuals, start, end)
    known = hours["co2_g_per_kwh"].count()
    found = by_hour(source.read(contract.data_quality, start, end))
    expected = (end - start) // (DAY / 24)
    parts.cards(
        (
            Card(
                "Hours complete and ok", number(100 * known / expected, ".1f"), "%",
                (f"{known} of {expected} hours; the others are gaps, never zeros",),
            ),
            Card("Findings", str(len(found)), "", (_kinds(found),)),
        )
    )  # fmt: skip
    if found.is_empty():
        st.success("Nothing was found wrong in this period.")
        return
    parts.table(found, FINDING_COLUMNS, source.zone, "Findings, the newest first")
    parts.download(found, FINDING_COLUMNS, source.zone, "co2-data-quality")


def by_hour(findings: pl.DataFrame) -> pl.DataFrame:
    """One row per hour, dataset and kind, with its columns and values side by side."""
    return (
        findings.group_by("hour_utc", "dataset", "kind", maintain_order=True)
        .agg(
            columns=pl.col("column_name").drop_nulls().str.join(", "),
            values=pl.col("value").drop_nulls().str.join(", "),
            expected=pl.col("expected").drop_nulls().unique(maintain_order=True).str.join("; "),
        )
        .with_columns(
            pl.when(pl.col(name) != "").then(pl.col(name)).alias(name)
            for name in ("columns", "values", "expected")
        )
    )


def _kinds(found: pl.DataFrame) -> str:
    counts = found["kind"].value_counts(sort=True)
    said = [f"{count} {kind.replace('_', ' ')}" for kind, count in counts.iter_rows()]
    return ", ".join(said) or "none in this period"


def _ledger(source: Source) -> None:
    st.header("Retrain ledger")
    st.markdown(
        "At every tick the platform asks whether the model must be trained again, and writes down"
        " the evidence, the rule and the reason, also when it decides to keep it."
    )
    ledger = source.read(contract.retrain_ledger, LEDGER_ROWS)
    if ledger.is_empty():
        st.info("No tick has decided yet.")
        return
    said = ledger.with_columns(
        pl.Series(
            "reason",
            [in_zone(reason or "", source.zone) for reason in ledger["reason"]],
            dtype=pl.String,
        )
    )
    caption = f"The newest {len(said)} decisions, the newest first"
    parts.table(said, LEDGER_COLUMNS, source.zone, caption)
    parts.download(said, LEDGER_COLUMNS, source.zone, "co2-retrain-ledger")


def _receipts(source: Source) -> None:
    st.header("Receipts of the greenest window")
    if not source.read(data.has_receipts):
        st.info("This copy of the warehouse is older than its receipts; the next tick adds them.")
        return
    st.markdown(
        "At every issue time some jobs are told when to run. Later, when every hour is measured,"
        " each is told what that saved against running at once, and how much more the best hours"
        " would have saved (regret)."
    )
    kept = source.read(captured)
    if kept.is_empty():
        st.info("No recommendation has been settled yet: that takes a day of measured hours.")
        return
    parts.table(kept, CAPTURED_COLUMNS, source.zone, "What was captured so far, by job")
    parts.download(kept, CAPTURED_COLUMNS, source.zone, "co2-receipts-by-job")
    newest = source.read(newest_receipts, RECEIPT_HOURS, RECEIPT_ROWS)
    caption = f"The newest receipts of jobs of {RECEIPT_HOURS} hours, the newest first"
    parts.table(newest, RECEIPT_COLUMNS, source.zone, caption)
    parts.download(newest, RECEIPT_COLUMNS, source.zone, "co2-receipts")


def _drift(source: Source) -> None:
    st.header("Input drift")
    drift = source.read(contract.input_drift)
    if drift.is_empty():
        st.info("Inputs are compared once a day with those that the champion was trained on.")
        return
    st.markdown(
        "How far the newest two weeks of each input lie from the champion's training"
        " (population stability index, PSI). Information only: retraining is decided by errors."
    )
    when = source.zone.moment(drift["window_start_utc"][0])
    caption = f"Inputs as of {when}, against the training of {drift['model_version'][0]}"
    parts.table(drift, DRIFT_COLUMNS, source.zone, caption)
    parts.download(drift, DRIFT_COLUMNS, source.zone, "co2-input-drift")
