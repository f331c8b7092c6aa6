"""What calibration learns from, and a record of what it did."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import polars as pl

from co2_assets.forecasting.calibration import BANDS, WINDOW_DAYS, Margins, left_out
from co2_assets.schema import FORECAST_CALIBRATION, QUANTILE_COLUMNS
from co2_assets.warehouse.query import Connection, frame
from co2_assets.warehouse.store import Transaction
from co2_assets.warehouse.upsert import Counts

MARGIN_METRICS = {band: f"margin_{band}" for band in BANDS}
"""Names in `ml.model_metrics` of the margins of a version's holdout."""


def evidence(con: Connection, issue_time: datetime) -> pl.DataFrame:
    """Forecasts of trained versions of the last weeks, as the models made them.

    A version that answers for the champion is a fallback, and left out. Only actuals of
    hours that were over by the issue time are joined.

    Returns:
        A forecast frame with `model_version`, `inputs_missing` and `actual_g_per_kwh`.
    """
    return frame(
        con,
        f"""
        SELECT made.issue_time_utc, made.lead_hours, made.valid_time_utc,
            {", ".join(f"made.{name}" for name in QUANTILE_COLUMNS)},
            made.model_version, stored.inputs_missing,
            actuals.co2_g_per_kwh AS actual_g_per_kwh
        FROM {FORECAST_CALIBRATION.qualified_name} AS made
        JOIN ml.forecasts AS stored
            USING (area, issue_time_utc, model_version, lead_hours)
        JOIN main.actuals AS actuals
            ON actuals.area = made.area AND actuals.hour_utc = made.valid_time_utc
        WHERE NOT stored.is_fallback
            AND made.issue_time_utc >= $since
            AND made.valid_time_utc + INTERVAL 1 HOUR <= $issue
            AND actuals.co2_g_per_kwh IS NOT NULL
        ORDER BY ALL
        """,
        issue=issue_time,
        since=issue_time - timedelta(days=WINDOW_DAYS),
    )


def holdout_margins(con: Connection, model_version: str) -> dict[frozenset[str], Margins]:
    """Margins measured on the gate's holdout of a version, by the columns that were left out."""
    found = frame(
        con,
        "SELECT scope, CAST(leads AS INTEGER) AS lead_hours, metric, value"
        " FROM ml.model_metrics WHERE model_version = $version AND predictor = 'challenger'"
        " AND starts_with(scope, 'holdout') AND NOT contains(leads, '-')"
        " AND metric IN ('n', 'margin_50', 'margin_80', 'margin_90')"
        " ORDER BY scope, lead_hours",
        version=model_version,
    ).pivot("metric", index=["scope", "lead_hours"], values="value")
    if not set(MARGIN_METRICS.values()) <= set(found.columns):
        return {}
    return {
        left_out(scope): Margins(
            of_pattern.select(MARGIN_METRICS.values()).to_numpy().astype(np.float64),
            of_pattern["n"].to_numpy(),
            ("split",) * of_pattern.height,
        )
        for (scope,), of_pattern in found.group_by("scope", maintain_order=True)
    }


def rows(raw: pl.DataFrame, margins: Margins, model_version: str) -> pl.DataFrame:
    """Rows of `ml.forecast_calibration` but area and commit, from a forecast as it was made."""
    index = raw["lead_hours"].to_numpy() - 1
    return raw.with_columns(
        pl.lit(model_version).alias("model_version"),
        *(
            pl.Series(f"margin_{band}_log", margins.values[index, position])
            for position, band in enumerate(BANDS)
        ),
        pl.Series("scores", margins.counts[index].astype(np.int32)),
        pl.Series("method", [margins.methods[lead] for lead in index], dtype=pl.String),
    )


def store(transaction: Transaction, calibration: pl.DataFrame) -> Counts:
    """Keep the rows of one issue time; what is kept already stays as it is."""
    return transaction.upsert(FORECAST_CALIBRATION, calibration, keep_existing=True)
