"""Calibration of advice: what was said of a recommendation against what came of it.

The hours that are recommended are the lowest of a forecast, and some are lowest because the
forecast errs there: what it says of them is too good (Smith and Winkler, 2006, the optimizer's
curse). So the log odds of the chance are shifted, and the saving is multiplied by a factor; both
are learned from settled receipts, and lean on a prior while these are few. The prior is the
gate's holdout of the version, which itself leans on `DEFAULTS`.

Nothing here chooses hours; `greenest` does, with what is calibrated here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from co2_assets.forecasting.forecaster import Floats

JOBS = ((1, 6), (2, 6), (3, 6), (1, 24), (2, 24), (3, 24))
"""Hours that a job runs, and within how many it must have ended: the jobs with receipts."""

NEAR_HOURS = 8
"""A job that must have ended within these is decided by the median, a later one by p75."""

MEDIAN, UPPER_QUARTILE = 0.5, 0.75

EVIDENCE_DAYS = 120
"""Receipts of these last days count."""

EVEN_CHANCE = 0.5
"""With less than this it is not worth to wait."""

LOWEST_SHIFT = -0.5
"""With less the calibrated chance would not rise with the raw one."""

LOWEST_CHANCE = 1 / 4000
"""Half a scenario of 2,000: no chance is said to be 0 or 1 for certain."""


class PriorWeight(NamedTuple):
    """How much a prior counts beside the cases that are learned from; docs/method.md.

    Attributes:
        chance: precision of the normal prior of the shift; an issue time with chance p has
            about p (1 - p).
        saving: raw saving, g/kWh summed over cases, for which the prior's factor counts.
    """

    chance: float
    saving: float


ON_DEFAULTS = PriorWeight(15.0, 8000.0)
"""Of `DEFAULTS` beside a holdout: one month says little of the next."""

ON_HOLDOUT = PriorWeight(3.0, 3000.0)
"""Of a holdout beside receipts."""


def usual_quantile(reach_hours: int) -> float:
    """The quantile of the forecast that decides where none is asked for.

    Near hours are forecast well: their median is best. Far ahead a low median is often low by
    mistake, and the upper quartile avoids hours that are low but unsure; docs/method.md.

    Args:
        reach_hours: from the current hour to when the job must have ended.
    """
    return MEDIAN if reach_hours <= NEAR_HOURS else UPPER_QUARTILE


@dataclass(frozen=True)
class Calibration:
    """How one kind of job is calibrated; as it stands here, not at all.

    Attributes:
        chance_shift: added to the log odds of a raw chance, whole where it is far above one
            half, less of it nearer, and nothing below: what has an even chance keeps it.
        saving_factor: by which a raw saving above 0 is multiplied.
        calibrated_on: `receipts`, `holdout` (of the gate), `default`, or `none`.
        calibration_n: settled cases that it rests on.
    """

    chance_shift: float = 0.0
    saving_factor: float = 1.0
    calibrated_on: str = "none"
    calibration_n: int = 0

    def chance(self, raw: float) -> float:
        """The calibrated chance of a raw one; it rises with it."""
        if self.calibrated_on == "none":
            return raw
        log_odds = _log_odds(np.array(raw))
        return float(_expit(log_odds + self.chance_shift * _taper(log_odds)))

    def saving(self, raw: float) -> float:
        """The calibrated saving of a raw one, g/kWh; one that is not above 0 stays."""
        return self.saving_factor * raw if raw > 0 else raw


Calibrations = Mapping[tuple[int, int], Calibration]
"""By job, hours and within how many; a job that it lacks is not calibrated."""

UNCALIBRATED: Calibrations = {}

DEFAULTS: Calibrations = {
    (1, 6): Calibration(-0.1, 0.875, "default"),
    (2, 6): Calibration(0.0, 0.91, "default"),
    (3, 6): Calibration(0.1, 0.93, "default"),
    (1, 24): Calibration(-0.1, 0.845, "default"),
    (2, 24): Calibration(0.0, 0.87, "default"),
    (3, 24): Calibration(0.1, 0.885, "default"),
}
"""Measured on hours before the test: docs/method.md."""


def calibration_for(
    calibrations: Calibrations, duration_hours: int, reach_hours: int
) -> Calibration:
    """That of the nearest kind of job: by the side of `NEAR_HOURS`, then by the duration."""
    near = reach_hours <= NEAR_HOURS
    kinds = [job for job in calibrations if (job[1] <= NEAR_HOURS) == near]
    if not kinds:
        return Calibration()
    return calibrations[min(kinds, key=lambda job: abs(job[0] - duration_hours))]


def known_receipts(receipts: pl.DataFrame, issue_time: datetime) -> pl.DataFrame:
    """What a calibration at an issue time may learn from.

    Settled receipts of `EVIDENCE_DAYS` whose last hour had passed, live, of the forecasts that
    the model made itself, decided as today: a fallback says nothing of the model.

    Args:
        receipts: rows of `ml.window_receipts`.
        issue_time: nothing from then on is known.
    """
    over = pl.col("issue_time_utc") + pl.duration(hours="within_hours")
    usual = pl.when(pl.col("within_hours") <= NEAR_HOURS).then(MEDIAN).otherwise(UPPER_QUARTILE)
    return receipts.filter(
        "is_settled",
        ~pl.col("is_hindcast"),
        ~pl.col("is_fallback"),
        over <= issue_time,
        pl.col("issue_time_utc") >= issue_time - timedelta(days=EVIDENCE_DAYS),
        pl.col("quantile") == usual,
    )


def fit(
    receipts: pl.DataFrame, prior: Calibrations, weight: PriorWeight, calibrated_on: str
) -> Calibrations:
    """Calibrations that receipts speak for; the fewer there are, the nearer to the prior.

    The chance: a logistic regression (Platt, 1999) of nothing but the shift, which differs from
    that of the prior by the same for all jobs of a reach, normal around 0. The saving: realised
    over said, each summed, per job.

    Args:
        receipts: settled, with `preferred_start_utc`, the raw columns and
            `preferred_saving_g_per_kwh`.
        prior: of every job in `JOBS`.
        weight: how much that counts.
        calibrated_on: what to call what rests on at least one receipt.
    """
    found: dict[tuple[int, int], Calibration] = {}
    for within in sorted({within for _, within in JOBS}):
        cases = {
            job: _Cases.of(receipts.filter(duration_hours=job[0], within_hours=within))
            for job in JOBS
            if job[1] == within
        }
        log_odds = np.concatenate([one.log_odds for one in cases.values()])
        shifts = np.concatenate(
            [np.full(len(one.log_odds), prior[job].chance_shift) for job, one in cases.items()]
        )
        shift = _shift(
            log_odds + shifts * _taper(log_odds),
            _taper(log_odds),
            np.concatenate([one.beats for one in cases.values()]),
            weight.chance * len(cases),  # jobs of one issue time go together, as one case
        )
        for job, one in cases.items():
            found[job] = (
                Calibration(
                    max(prior[job].chance_shift + shift, LOWEST_SHIFT),
                    one.factor(prior[job].saving_factor, weight.saving),
                    calibrated_on,
                    one.n,
                )
                if one.n
                else prior[job]
            )
    return found


def rows(calibrations: Calibrations) -> list[dict[str, Any]]:
    """As rows of `ml.advice_calibration`, but area, issue time and commit."""
    return [
        {"duration_hours": duration, "within_hours": within, **vars(calibration)}
        for (duration, within), calibration in calibrations.items()
    ]


def from_rows(found: Sequence[Mapping[str, Any]]) -> Calibrations:
    """The calibrations that `rows` wrote down."""
    return {
        (row["duration_hours"], row["within_hours"]): Calibration(
            row["chance_shift"],
            row["saving_factor"],
            row["calibrated_on"],
            int(row["calibration_n"]),
        )
        for row in found
    }


class _Cases(NamedTuple):
    """Settled cases of one job.

    Attributes:
        n: how many.
        raw_saving: said, summed over them, g/kWh.
        realised: what came, likewise.
        log_odds: of the raw chance, of those that were to wait.
        beats: 1 where these emitted less than at once, else 0.
    """

    n: int
    raw_saving: float
    realised: float
    log_odds: Floats
    beats: Floats

    @classmethod
    def of(cls, receipts: pl.DataFrame) -> _Cases:
        waits = receipts.filter(pl.col("preferred_start_utc") > pl.col("issue_time_utc"))
        return cls(
            receipts.height,
            float(receipts["raw_saving_g_per_kwh"].to_numpy().sum()),
            float(receipts["preferred_saving_g_per_kwh"].to_numpy().sum()),
            _log_odds(waits["raw_chance_beats_now"].to_numpy()),
            (waits["preferred_saving_g_per_kwh"] > 0).to_numpy().astype(np.float64),
        )

    def factor(self, prior: float, weight: float) -> float:
        """Realised over said, within 0 to 1: to be chosen flatters, and never the reverse."""
        ratio = (self.realised + weight * prior) / (self.raw_saving + weight)
        return float(np.clip(ratio, 0, 1))


def _shift(log_odds: Floats, taper: Floats, beats: Floats, precision: float) -> float:
    """The most probable shift of log odds under a normal prior around 0, by Newton's method."""
    shift = 0.0
    for _ in range(50):
        chance = _expit(log_odds + shift * taper)
        slope = float((taper * (chance - beats)).sum()) + precision * shift
        curve = float((taper**2 * chance * (1 - chance)).sum()) + precision
        step = float(np.clip(slope / curve, -1, 1))  # a long one may miss where it is flat far out
        shift -= step
        if abs(step) < 1e-10:
            break
    return shift


def _taper(log_odds: Floats) -> Floats:
    """How much of a shift counts: 0 at an even chance and below, 0.67 at 0.6, 0.98 at 0.75."""
    return np.asarray(np.tanh(2 * np.maximum(log_odds, 0)))


def _log_odds(chance: Floats) -> Floats:
    inside = np.clip(chance, LOWEST_CHANCE, 1 - LOWEST_CHANCE)
    return np.asarray(np.log(inside / (1 - inside)))


def _expit(log_odds: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-log_odds)))
