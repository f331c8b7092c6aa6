"""The advice of the platform's default rule, hour by hour, as it would have been given.

Every issue time has a forecast of its own. Receipts are kept of the six-hourly ticks, as the
platform keeps them, and each hour is advised by the calibration of the newest tick: by receipts
whose last hour had passed by then, and before there are any by the holdout of a model that was
trained for the gate.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from bench.decision_replay import Replay, at_starts, lowest_starts
from co2_assets.forecasting.advice_calibration import (
    EVEN_CHANCE,
    JOBS,
    ON_HOLDOUT,
    Calibrations,
    fit,
    known_receipts,
    usual_quantile,
)
from co2_assets.forecasting.forecaster import Floats
from co2_assets.forecasting.greenest import MEDIAN, Hours, odds_of, window_means
from co2_assets.schema import QUANTILES

TICK_HOURS = 6

BINS = (0.0, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
"""Ends of the chances that are counted together; none is said below one half."""

Rows = list[dict[str, Any]]


class Advice(NamedTuple):
    """What a job was told at each issue time, and what came of it: arrays of one length.

    Attributes:
        preferred: start that the forecast preferred, hours from now.
        recommended: the same, or 0 where it was not worth waiting.
        raw_saving, saving: said of the preferred start, before and after calibration.
        raw_chance, chance: likewise.
        preferred_saved, saved: what came, of the preferred and of the recommended start.
        best: the most that could have been saved.
    """

    preferred: Hours
    recommended: Hours
    raw_saving: Floats
    saving: Floats
    raw_chance: Floats
    chance: Floats
    preferred_saved: Floats
    saved: Floats
    best: Floats


def advise(replayed: Replay, model: str, prior: Calibrations) -> dict[tuple[int, int], Advice]:
    """The advice of one model's forecasts to every job, calibrated as it goes."""
    raw = {job: _raw(replayed, model, job) for job in JOBS}
    receipts = pl.concat([_receipts(replayed, job, advice) for job, advice in raw.items()])
    ticks = replayed.hours // TICK_HOURS * TICK_HOURS
    chance = {job: np.empty(len(ticks)) for job in JOBS}
    saving = {job: np.empty(len(ticks)) for job in JOBS}
    for tick in np.unique(ticks):
        known = known_receipts(receipts, datetime.fromtimestamp(int(tick) * 3600, UTC))
        calibrations = fit(known, prior, ON_HOLDOUT, "receipts")
        for row in np.flatnonzero(ticks == tick):
            for job, advice in raw.items():
                chance[job][row] = calibrations[job].chance(float(advice.raw_chance[row]))
                saving[job][row] = calibrations[job].saving(float(advice.raw_saving[row]))
    return {
        job: _decided(replayed, job, advice, chance[job], saving[job])
        for job, advice in raw.items()
    }


def _raw(replayed: Replay, model: str, job: tuple[int, int]) -> Advice:
    duration, within = job
    quantiles = replayed.quantiles[model]
    deciding = quantiles[:, :within, QUANTILES.index(usual_quantile(within))]
    starts = lowest_starts(deciding, duration)
    medians = window_means(quantiles[:, :within, MEDIAN], duration)
    at_once = np.arange(duration)
    chance = np.array(
        [
            odds_of(quantiles[row], start + at_once, at_once).chance_beats_now if start else 0.0
            for row, start in enumerate(starts.tolist())
        ]
    )
    actual = window_means(replayed.actual[:, :within], duration)
    said = medians[:, 0] - at_starts(medians, starts)
    came = actual[:, 0] - at_starts(actual, starts)
    best = actual[:, 0] - actual.min(axis=1)
    return Advice(starts, starts, said, said, chance, chance, came, came, best)


def _decided(
    replayed: Replay, job: tuple[int, int], raw: Advice, chance: Floats, saving: Floats
) -> Advice:
    """With the calibrated figures, and running at once where these do not speak for waiting."""
    recommended = np.where((saving > 0) & (chance >= EVEN_CHANCE), raw.preferred, 0)
    actual = window_means(replayed.actual[:, : job[1]], job[0])
    return raw._replace(
        recommended=recommended,
        chance=np.where(recommended > 0, chance, 0),
        saving=np.where(recommended > 0, saving, 0),
        saved=actual[:, 0] - at_starts(actual, recommended),
    )


def _receipts(replayed: Replay, job: tuple[int, int], advice: Advice) -> pl.DataFrame:
    """Those of the ticks, with the columns that a calibration reads."""
    issued = pl.from_epoch(pl.Series("issue_time_utc", replayed.hours * 3600), "s")
    return (
        pl.DataFrame(
            {
                "issue_time_utc": issued.dt.cast_time_unit("us").dt.replace_time_zone("UTC"),
                "start": advice.preferred,
                "raw_saving_g_per_kwh": advice.raw_saving,
                "raw_chance_beats_now": advice.raw_chance,
                "preferred_saving_g_per_kwh": advice.preferred_saved,
            }
        )
        .select(
            pl.exclude("start"),
            preferred_start_utc=pl.col("issue_time_utc") + pl.duration(hours="start"),
            duration_hours=pl.lit(job[0]),
            within_hours=pl.lit(job[1]),
            quantile=pl.lit(usual_quantile(job[1])),
            is_settled=pl.lit(True),
            is_hindcast=pl.lit(False),
            is_fallback=pl.lit(False),
        )
        .filter(pl.Series(replayed.hours % TICK_HOURS == 0))
    )


def reliability(advice: dict[tuple[int, int], Advice]) -> Rows:
    """The chance that was said against what came, by bins, over all that was told to wait.

    Raw: as the forecast said it, of all that it preferred; calibrated: as it was told.
    """
    found: Rows = []
    for name, said, came, waits in (
        ("raw", "raw_chance", "preferred_saved", "preferred"),
        ("calibrated", "chance", "saved", "recommended"),
    ):
        chance, saved, start = (
            np.concatenate([getattr(one, field) for one in advice.values()])
            for field in (said, came, waits)
        )
        found += _bins(name, chance[start > 0], saved[start > 0] > 0)
    return found


def _bins(name: str, chance: Floats, beat: Floats) -> Rows:
    rows: Rows = []
    for low, high in zip(BINS[:-1], BINS[1:], strict=True):
        inside = (chance >= low) & ((chance < high) | (high == BINS[-1]))
        if inside.any():
            rows.append(
                {
                    "chance": name,
                    "from": low,
                    "to": high,
                    "n": int(inside.sum()),
                    "mean_chance": float(chance[inside].mean()),
                    "did_beat_now": float(beat[inside].mean()),
                    "brier": float(np.mean((chance[inside] - beat[inside]) ** 2)),
                }
            )
    return rows


def savings(advice: dict[tuple[int, int], Advice]) -> Rows:
    """Expected and realised saving by job, g/kWh: as the forecast said, and as it was told."""
    return [
        {
            "duration_hours": duration,
            "within_hours": within,
            "raw_expected": float(one.raw_saving.mean()),
            "raw_realised": float(one.preferred_saved.mean()),
            "expected": float(one.saving.mean()),
            "realised": float(one.saved.mean()),
            "perfect": float(one.best.mean()),
            "runs_at_once": float((one.recommended == 0).mean()),
        }
        for (duration, within), one in advice.items()
    ]
