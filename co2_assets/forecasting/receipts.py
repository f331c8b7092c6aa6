"""A receipt for every recommendation: what it promised, and what came of it.

At each issue time the same jobs are recommended a start, as somebody would have been who
asked then. Once all hours in which the job could have run are measured, the receipt is
settled: the saving that was realised against running at once, the best there was, and the
regret between both. Expected and realised saving are kept apart. What the forecast preferred
before calibration, and what came of that, is kept beside: later calibrations learn from it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from co2_assets.errors import WindowDoesNotFit
from co2_assets.forecasting.advice_calibration import JOBS, Calibrations
from co2_assets.forecasting.greenest import HOUR, WindowRequest, recommend, window_means


class Settled(NamedTuple):
    """The columns of `ml.window_receipts` that tell what came of it; all null until settled."""

    is_settled: bool = False
    unsettled_reason: str | None = None
    realised_saving_g_per_kwh: float | None = None
    preferred_saving_g_per_kwh: float | None = None
    best_start_utc: datetime | None = None
    best_saving_g_per_kwh: float | None = None
    regret_g_per_kwh: float | None = None


def recommend_jobs(
    forecast: pl.DataFrame, issue_time: datetime, calibrations: Calibrations
) -> list[dict[str, Any]]:
    """What each of `JOBS` is told to do at an issue time; none that the forecast has no room for.

    Args:
        forecast: the served forecast of the issue time, rows of `ml.forecasts`.
        issue_time: its.
        calibrations: of chance and saving, as known at the issue time.

    Returns:
        The columns of `ml.window_receipts` up to the flags, as rows.
    """
    first = forecast.row(0, named=True)
    known = {name: first[name] for name in ("area", "model_version", "is_hindcast", "is_fallback")}
    receipts = []
    for duration, within in JOBS:
        try:
            found = recommend(
                forecast,
                WindowRequest(duration, deadline=issue_time + within * HOUR),
                issue_time,
                calibrations,
            )
        except WindowDoesNotFit:
            continue  # a shorter horizon, or hours without a forecast
        receipts.append(
            {
                **known,
                "issue_time_utc": issue_time,
                "duration_hours": duration,
                "within_hours": within,
                "recommended_start_utc": found.start_utc,
                "expected_g_per_kwh": found.expected_g_per_kwh,
                "expected_saving_g_per_kwh": found.expected_saving_g_per_kwh,
                "chance_beats_now": found.chance_beats_now,
                "quantile": found.quantile,
                "preferred_start_utc": found.preferred_start_utc,
                "raw_saving_g_per_kwh": found.raw_saving_g_per_kwh,
                "raw_chance_beats_now": found.raw_chance_beats_now,
            }
        )
    return receipts


def settle(receipt: dict[str, Any], hours: dict[datetime, tuple[float | None, str]]) -> Settled:
    """What came of a recommendation, or why that is not known.

    Args:
        receipt: a row of `recommend_jobs`.
        hours: CO2 (null unless complete and ok) and quality of each hour that is stored.
    """
    issue_time, duration = receipt["issue_time_utc"], receipt["duration_hours"]
    needed = [issue_time + HOUR * hour for hour in range(receipt["within_hours"])]
    for hour in needed:
        co2, quality = hours.get(hour, (None, None))
        if co2 is None and quality is not None:
            return Settled(unsettled_reason=f"{hour:%Y-%m-%dT%H} UTC is {quality}")
    if any(hour not in hours for hour in needed):
        return Settled(
            unsettled_reason=f"waits for the hours until {needed[-1] + HOUR:%Y-%m-%dT%H} UTC"
        )
    means = window_means(np.array([hours[hour][0] for hour in needed]), duration)
    chosen, preferred = (
        (receipt[start] - issue_time) // HOUR
        for start in ("recommended_start_utc", "preferred_start_utc")
    )
    best = int(means.argmin())
    return Settled(
        is_settled=True,
        realised_saving_g_per_kwh=float(means[0] - means[chosen]),
        preferred_saving_g_per_kwh=float(means[0] - means[preferred]),
        best_start_utc=needed[best],
        best_saving_g_per_kwh=float(means[0] - means[best]),
        regret_g_per_kwh=float(means[chosen] - means[best]),
    )
