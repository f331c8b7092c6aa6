"""What the gate's holdout says of a model's advice: the prior until receipts are enough."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from co2_assets.forecasting.advice_calibration import (
    DEFAULTS,
    ON_DEFAULTS,
    UNCALIBRATED,
    Calibrations,
    fit,
    from_rows,
    rows,
)
from co2_assets.forecasting.calibration import calibrate, margins_of
from co2_assets.forecasting.receipts import recommend_jobs, settle
from co2_assets.schema import AREA

PREFIX = "advice"
FIGURES = ("chance_shift", "saving_factor", "calibration_n")


def holdout_receipts(paired: pl.DataFrame) -> pl.DataFrame:
    """What the jobs would have been told at each issue time of a holdout, and what came of it.

    Args:
        paired: a forecast frame with `actual_g_per_kwh`, as the model made it. Its bands are
            calibrated by their own margins first, as those of the version will be.

    Returns:
        Settled rows like those of `ml.window_receipts`, maybe none.
    """
    horizon = int(paired["lead_hours"].max() or 0)  # type: ignore[arg-type]
    calibrated = calibrate(paired, margins_of(paired, horizon, "split")).with_columns(
        pl.lit(AREA).alias("area"),
        pl.lit("challenger").alias("model_version"),
        pl.lit(False).alias("is_hindcast"),
        pl.lit(False).alias("is_fallback"),
    )
    hours = {
        hour: (actual, "ok")
        for hour, actual in paired.select("valid_time_utc", "actual_g_per_kwh").iter_rows()
    }
    found = [
        {**receipt, **settle(receipt, hours)._asdict()}
        for forecast in calibrated.partition_by("issue_time_utc", maintain_order=True)
        for receipt in recommend_jobs(forecast, forecast["issue_time_utc"][0], UNCALIBRATED)
    ]
    return pl.DataFrame([receipt for receipt in found if receipt["is_settled"]])


def advice_metrics(paired: pl.DataFrame) -> list[dict[str, Any]]:
    """The calibrations that a challenger's holdout speaks for, as rows of `ml.model_metrics`.

    Args:
        paired: see `holdout_receipts`.
    """
    receipts = holdout_receipts(paired)
    if receipts.is_empty():
        return []
    return [
        {
            "scope": "holdout",
            "predictor": "challenger",
            "leads": f"1-{row['within_hours']}",
            "metric": f"{PREFIX}_{figure}_{row['duration_hours']}h_within_{row['within_hours']}h",
            "value": float(row[figure]),
        }
        for row in rows(fit(receipts, DEFAULTS, ON_DEFAULTS, "holdout"))
        if row["calibrated_on"] == "holdout"
        for figure in FIGURES
    ]


def holdout_calibrations(metrics: Mapping[str, float]) -> Calibrations:
    """The prior of a version: what its `advice_metrics` say, else `DEFAULTS`, job by job.

    Args:
        metrics: values of the version's holdout by metric, maybe without any of advice.
    """
    found: list[dict[str, Any]] = []
    for duration, within in DEFAULTS:
        values = [metrics.get(f"{PREFIX}_{name}_{duration}h_within_{within}h") for name in FIGURES]
        if None not in values:
            found.append(
                {
                    "duration_hours": duration,
                    "within_hours": within,
                    "calibrated_on": "holdout",
                    **dict(zip(FIGURES, values, strict=True)),
                }
            )
    return {**DEFAULTS, **from_rows(found)}
