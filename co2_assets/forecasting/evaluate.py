"""Scoring forecasts against what followed; rolling-origin evaluation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import numpy as np
import polars as pl

from co2_assets.forecasting import metrics
from co2_assets.forecasting.forecaster import Forecaster
from co2_assets.schema import CO2_COLUMN, FORECAST_EVALUATIONS, QUANTILE_COLUMNS, lead_groups

METRICS = ("n", "mae", "rmse", "bias", "mape", "wape", "crps", "coverage_80")


def score(paired: pl.DataFrame) -> pl.DataFrame:
    """One row of `ml.forecast_evaluations` for each forecast value with its actual.

    Args:
        paired: keys, `lead_hours`, the quantiles, the flags, `actual_g_per_kwh`, and the
            baselines' medians, as `warehouse.forecasts.read_to_score` returns them.

    Returns:
        The columns of the table but `commit_id`.
    """
    quantiles = paired.select(QUANTILE_COLUMNS).to_numpy().astype(np.float64)
    actual = paired["actual_g_per_kwh"].to_numpy().astype(np.float64)
    error = pl.col("p50_g_per_kwh") - pl.col("actual_g_per_kwh")

    def within(low: str, high: str) -> pl.Expr:
        return pl.col("actual_g_per_kwh").is_between(f"{low}_g_per_kwh", f"{high}_g_per_kwh")

    scored = paired.with_columns(
        error_g_per_kwh=error,
        absolute_error_g_per_kwh=error.abs(),
        percentage_error=pl.when(pl.col("actual_g_per_kwh") > 0).then(
            100 * error.abs() / pl.col("actual_g_per_kwh")
        ),
        pinball_g_per_kwh=pl.Series(metrics.pinball(quantiles, actual), dtype=pl.Float64),
        hit_50=within("p25", "p75"),
        hit_80=within("p10", "p90"),
        hit_90=within("p05", "p95"),
    )
    return scored.select(name for name in FORECAST_EVALUATIONS.column_names if name != "commit_id")


def rolling_origin(
    forecaster: Forecaster,
    history: pl.DataFrame,
    issue_times: Sequence[datetime],
    external: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Forecasts of all issue times, each from its own past, paired with what followed.

    Returns:
        A forecast frame with `actual_g_per_kwh`; rows without an actual are left out.
    """
    forecasts = forecaster.predict(history, issue_times, external)
    actuals = history.select(
        pl.col("hour_utc").alias("valid_time_utc"), pl.col(CO2_COLUMN).alias("actual_g_per_kwh")
    ).drop_nulls()
    return forecasts.join(actuals, on="valid_time_utc", how="inner").sort(
        "issue_time_utc", "lead_hours"
    )


def summarise(paired: pl.DataFrame) -> list[dict[str, float | int | str]]:
    """The figures of `METRICS` by lead and pooled.

    Args:
        paired: from `rolling_origin`.

    Returns:
        Rows of `leads` (see `schema.lead_groups`), `metric`, `value`.
    """
    return [
        {"leads": label, "metric": name, "value": value}
        for label, part in by_leads(paired)
        for name, value in _figures(part).items()
    ]


def by_leads(paired: pl.DataFrame) -> Iterator[tuple[str, pl.DataFrame]]:
    """The rows of each group of leads that has any, with its label; see `schema.lead_groups`."""
    for label, (first, last) in lead_groups(int(paired["lead_hours"].max() or 0)).items():  # type: ignore[arg-type]
        part = paired.filter(pl.col("lead_hours").is_between(first, last))
        if part.height:
            yield label, part


def _figures(paired: pl.DataFrame) -> dict[str, float]:
    quantiles = paired.select(QUANTILE_COLUMNS).to_numpy().astype(np.float64)
    actual = paired["actual_g_per_kwh"].to_numpy().astype(np.float64)
    error = paired["p50_g_per_kwh"].to_numpy().astype(np.float64) - actual
    low, high = quantiles[:, 1], quantiles[:, 5]
    values = (
        float(len(actual)),
        metrics.mae(error),
        metrics.rmse(error),
        metrics.bias(error),
        metrics.mape(error, actual),
        metrics.wape(error, actual),
        metrics.crps(quantiles, actual),
        metrics.coverage(low, high, actual),
    )
    return dict(zip(METRICS, values, strict=True))
