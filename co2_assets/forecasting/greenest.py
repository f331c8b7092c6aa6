"""Which hours to use: the greenest window of a forecast, its saving, and its odds.

Hours are whole and named by their beginning, UTC. "Now" is the hour that contains the
present: a job that starts at once has the first hours from there. The raw saving compares
means of the medians, whatever quantile chose the window, so that no window is judged in two
ways.

The raw odds come from scenarios: whole paths of the next hours, drawn from the forecast's
quantiles hour by hour, with errors of neighbouring hours alike (a Gaussian copula). The
draws are fixed, so the same forecast has the same odds.

What is said is calibrated (`advice_calibration`): the lowest hours of a forecast are low also
where it errs. What the chosen hours are expected to emit follows from the calibrated saving.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from co2_assets.errors import WindowDoesNotFit
from co2_assets.forecasting.advice_calibration import (
    EVEN_CHANCE,
    Calibration,
    Calibrations,
    calibration_for,
    usual_quantile,
)
from co2_assets.forecasting.forecaster import LOWEST_G_PER_KWH, Floats
from co2_assets.schema import QUANTILE_COLUMNS, QUANTILES

Hours = NDArray[np.int64]
"""Rows of a forecast, counted from the current hour."""

HOUR = timedelta(hours=1)
MEDIAN = QUANTILES.index(0.5)

SCENARIOS = 2000
SEED = 7
ERROR_CORRELATION = 0.75
"""Between the errors of neighbouring hours of one forecast, as normal scores; docs/method.md."""


@dataclass(frozen=True)
class WindowRequest:
    """What is asked for.

    Attributes:
        duration_hours: whole hours that the job runs.
        earliest: aware; no hour before it. A time within an hour means the next whole one.
            None is the current hour.
        deadline: aware; the job must have ended by then. A time within an hour means the
            last whole one. None is the end of the forecast.
        contiguous: one window; else the job may pause, and has the single lowest hours.
        quantile: which of `schema.QUANTILES` decides: the lowest is chosen. None is the
            platform's rule: `usual_quantile`, and running at once where the calibrated chance
            of the chosen hours is below one half or their saving not above 0.
    """

    duration_hours: int
    earliest: datetime | None = None
    deadline: datetime | None = None
    contiguous: bool = True
    quantile: float | None = None


@dataclass(frozen=True)
class Candidate:
    """A start that was considered: of the whole window, or of one hour if the job may pause.

    Attributes:
        start_utc: its first hour.
        expected_g_per_kwh: mean of the medians of its hours, as forecast: that it is the lowest
            of many is not reckoned with, as it is in `Recommendation.expected_g_per_kwh`.
        deciding_g_per_kwh: mean of the quantile that decides; the lowest is chosen.
    """

    start_utc: datetime
    expected_g_per_kwh: float
    deciding_g_per_kwh: float


@dataclass(frozen=True)
class Recommendation:
    """The hours to use, what they are expected to save, and how sure that is.

    Attributes:
        hours: beginning of each chosen hour, UTC, ascending.
        expected_g_per_kwh: now less the expected saving.
        low_g_per_kwh: 10 % of the scenarios have a lower mean over these hours; moved as
            `expected_g_per_kwh` is from the mean of the medians, in per cent.
        high_g_per_kwh: 10 % have a higher one; moved alike.
        now_g_per_kwh: mean of the medians of the first hours from now.
        expected_saving_g_per_kwh: calibrated; below 0 where `earliest` or an asked-for quantile
            rules out what the median would choose.
        expected_saving_percent: the same, of `now_g_per_kwh`.
        chance_beats_now: calibrated chance that these hours emit less than the first ones from
            now; 0 where they are the same.
        horizon_end_utc: end of the forecast.
        candidates: every start that was considered, by time.
        now_utc: beginning of the current hour.
        quantile: which one decided.
        calibrated_on: what chance and saving are calibrated on: `receipts`, `holdout`,
            `default` or `none`.
        calibration_n: settled cases that this rests on.
        preferred_start_utc: first of the hours with the lowest deciding quantile: those that
            are recommended, unless the platform's rule runs at once all the same.
        raw_saving_g_per_kwh: of the preferred hours, by the medians.
        raw_chance_beats_now: of the preferred hours, by the scenarios.
    """

    hours: tuple[datetime, ...]
    expected_g_per_kwh: float
    low_g_per_kwh: float
    high_g_per_kwh: float
    now_g_per_kwh: float
    expected_saving_g_per_kwh: float
    expected_saving_percent: float
    chance_beats_now: float
    horizon_end_utc: datetime
    candidates: tuple[Candidate, ...]
    now_utc: datetime
    quantile: float
    calibrated_on: str
    calibration_n: int
    preferred_start_utc: datetime
    raw_saving_g_per_kwh: float
    raw_chance_beats_now: float

    @property
    def start_utc(self) -> datetime:
        """Beginning of the first hour."""
        return self.hours[0]

    @property
    def end_utc(self) -> datetime:
        """End of the last hour."""
        return self.hours[-1] + HOUR

    @property
    def is_now(self) -> bool:
        """Whether it says: run at once."""
        return self.end_utc - self.now_utc == len(self.hours) * HOUR


def recommend(
    forecast: pl.DataFrame, request: WindowRequest, now: datetime, calibrations: Calibrations
) -> Recommendation:
    """The greenest hours of a forecast that fit a request; among equals the earliest.

    Args:
        forecast: `valid_time_utc` and the quantiles, one row an hour of one issue time, in
            any order. An hour that is missing, or has a null, is in no window.
        request: what is asked for.
        now: aware; hours that ended before it are past.
        calibrations: of chance and saving, as known when the forecast was made.

    Raises:
        WindowDoesNotFit: the request makes no sense, is past, or wants more hours than
            there are; says which.
    """
    _refuse_senseless(request, now)
    outlook = _outlook(forecast, now)
    allowed = _range(outlook, request)
    duration = request.duration_hours
    length = duration if request.contiguous else 1
    quantile = usual_quantile(allowed[1]) if request.quantile is None else request.quantile
    starts, deciding = _candidates(outlook, request, allowed, quantile)
    preferred = _chosen(starts, deciding, request)
    at_once = np.arange(duration)
    _refuse_unknown_now(outlook, at_once)
    medians = outlook.values[:, MEDIAN]
    raw = _Figures.of(outlook.values, preferred, at_once)
    calibration = calibration_for(calibrations, duration, allowed[1])
    may_run_at_once = request.quantile is None and allowed[0] == 0
    chosen, said = preferred, raw.calibrated(calibration)
    if may_run_at_once and not said.is_worth_waiting:
        chosen, said = at_once, _Figures.of(outlook.values, at_once, at_once)
    return Recommendation(
        hours=tuple(outlook.at(hour) for hour in chosen.tolist()),
        expected_g_per_kwh=said.expected,
        low_g_per_kwh=said.low,
        high_g_per_kwh=said.high,
        now_g_per_kwh=said.now,
        expected_saving_g_per_kwh=said.saving,
        expected_saving_percent=100 * said.saving / said.now,
        chance_beats_now=said.chance,
        horizon_end_utc=outlook.end,
        candidates=tuple(
            Candidate(outlook.at(start), expectation, decisive)
            for start, expectation, decisive in zip(
                starts.tolist(),
                window_means(medians, length)[starts].tolist(),
                deciding.tolist(),
                strict=True,
            )
        ),
        now_utc=outlook.start,
        quantile=quantile,
        calibrated_on=calibration.calibrated_on,
        calibration_n=calibration.calibration_n,
        preferred_start_utc=outlook.at(int(preferred[0])),
        raw_saving_g_per_kwh=raw.saving,
        raw_chance_beats_now=raw.chance,
    )


class _Figures(NamedTuple):
    """What is said of some hours against the first ones from now: g/kWh, and a chance."""

    now: float
    expected: float
    chance: float
    low: float
    high: float

    @classmethod
    def of(cls, quantiles: Floats, hours: Hours, at_once: Hours) -> _Figures:
        """As the forecast says it; `low` to `high` holds the mean of the medians."""
        odds = odds_of(quantiles, hours, at_once)
        now, expected = (float(quantiles[rows, MEDIAN].mean()) for rows in (at_once, hours))
        return cls(now, expected, odds.chance_beats_now, *odds.band_around(expected))

    def calibrated(self, calibration: Calibration) -> _Figures:
        """With chance and saving calibrated, and the band moved as the expected value is."""
        expected = self.expected + (self.saving - calibration.saving(self.saving))
        moved = expected / self.expected
        return self._replace(
            expected=expected,
            # No saving for certain is what the same hours have: nothing to calibrate.
            chance=calibration.chance(self.chance) if self.chance or self.saving else 0.0,
            low=min(self.low * moved, expected),
            high=max(self.high * moved, expected),
        )

    @property
    def saving(self) -> float:
        return self.now - self.expected

    @property
    def is_worth_waiting(self) -> bool:
        return self.saving > 0 and self.chance >= EVEN_CHANCE


CALIBRATED_ON = {
    "receipts": "calibrated on {n} settled receipts",
    "holdout": "calibrated on {n} cases before the model served",
    "default": "calibrated on recorded hours of 2023 and 2024",
    "none": "not calibrated",
}
"""What `calibrated_on` means, in words."""


def describe(found: Recommendation) -> str:
    """A recommendation in words, times in UTC."""
    if found.is_now:
        first = f"run at once, {_hours(len(found.hours))} to {_text(found.end_utc)}"
    elif found.end_utc - found.start_utc == len(found.hours) * HOUR:
        first = f"run from {_text(found.start_utc)} to {_text(found.end_utc)}"
    else:
        first = "run in the hours from " + ", ".join(map(_text, found.hours))
    lines = [
        first,
        f"expected {found.expected_g_per_kwh:.0f} g/kWh, in 8 of 10 cases"
        f" {found.low_g_per_kwh:.0f} to {found.high_g_per_kwh:.0f}",
    ]
    if not found.is_now:
        lines.append(
            f"at once {found.now_g_per_kwh:.0f} g/kWh: saves"
            f" {found.expected_saving_g_per_kwh:.0f} g/kWh, {found.expected_saving_percent:.0f} %;"
            f" chance that it is less {found.chance_beats_now:.0%}"
            f" ({CALIBRATED_ON[found.calibrated_on].format(n=found.calibration_n)})"
        )
    return "\n".join([*lines, f"the forecast ends {_text(found.horizon_end_utc)}"])


def window_means(values: Floats, length: int) -> Floats:
    """Mean of every `length` neighbouring values of the last axis; NaN where one is NaN."""
    return np.asarray(sliding_window_view(values, length, axis=-1).mean(axis=-1))


class Odds(NamedTuple):
    """What the scenarios say of some hours, and of them against the first ones from now."""

    low_g_per_kwh: float
    high_g_per_kwh: float
    chance_beats_now: float

    def band_around(self, expected: float) -> tuple[float, float]:
        """The band, widened where it must be to hold a value."""
        return min(self.low_g_per_kwh, expected), max(self.high_g_per_kwh, expected)


def odds_of(quantiles: Floats, chosen: Hours, at_once: Hours) -> Odds:
    """Odds of the mean over chosen hours.

    Args:
        quantiles: forecast by hour from now on, shape (hours, 7), g/kWh.
        chosen: which of its rows are chosen.
        at_once: which rows a job has that starts now.
    """
    means = scenarios(quantiles, chosen).mean(axis=0)
    low, high = np.quantile(means, (0.1, 0.9))
    better = means < scenarios(quantiles, at_once).mean(axis=0)
    return Odds(float(low), float(high), float(better.mean()))


def scenarios(quantiles: Floats, hours: Hours) -> Floats:
    """Paths of some hours; the same draws for the same hours, whatever the forecast.

    Between two quantiles the logarithm is linear in the normal score, so a log-normal hour
    is met exactly; beyond the outer ones it goes on in the same line.

    Args:
        quantiles: forecast by hour from now on, shape (hours, 7), g/kWh.
        hours: which of its rows are wanted.

    Returns:
        Shape (wanted hours, SCENARIOS), g/kWh.
    """
    days = -(-len(quantiles) // 24)
    logs = np.log(np.maximum(quantiles[hours], LOWEST_G_PER_KWH))
    paths = np.matmul(_weights(days)[hours], logs[:, :, None])[:, :, 0]
    return np.asarray(np.exp(paths), dtype=np.float64)


@lru_cache(maxsize=4)
def _weights(days: int) -> Floats:
    """How much each quantile counts in each hour of each scenario: (hours, SCENARIOS, 7)."""
    random = np.random.default_rng(SEED)
    draws = random.standard_normal((24 * days, SCENARIOS))
    for hour in range(1, len(draws)):
        draws[hour] *= np.sqrt(1 - ERROR_CORRELATION**2)
        draws[hour] += ERROR_CORRELATION * draws[hour - 1]
    # Every hour gets the same evenly spaced scores, in the order drawn: no sampling error
    # of its own, so a single hour has the quantiles of the forecast.
    normal = NormalDist()
    even = np.array([normal.inv_cdf((rank + 0.5) / SCENARIOS) for rank in range(SCENARIOS)])
    scores = even[draws.argsort(axis=1).argsort(axis=1)]
    knots = np.array([normal.inv_cdf(level) for level in QUANTILES])
    below = np.clip(np.searchsorted(knots, scores) - 1, 0, len(knots) - 2)
    share = (scores - knots[below]) / (knots[below + 1] - knots[below])
    weights = np.zeros((*scores.shape, len(knots)))
    np.put_along_axis(weights, below[..., None], (1 - share)[..., None], axis=2)
    np.put_along_axis(weights, below[..., None] + 1, share[..., None], axis=2)
    return weights


class _Outlook(NamedTuple):
    """The forecast from the current hour on: (hours, 7), NaN where it has none."""

    start: datetime
    values: Floats

    @property
    def end(self) -> datetime:
        return self.at(len(self.values))

    def at(self, hour: int) -> datetime:
        return self.start + hour * HOUR


def _outlook(forecast: pl.DataFrame, now: datetime) -> _Outlook:
    start = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    seconds = forecast["valid_time_utc"].dt.epoch("s").to_numpy() - int(start.timestamp())
    hours = seconds // 3600
    if not (hours >= 0).any():
        raise WindowDoesNotFit(
            "the forecast has run out",
            where=f"now, {_text(now)}",
            found=f"horizon end {_text(start + (int(hours.max()) + 1) * HOUR)}"
            if len(hours)
            else "no forecast",
            expected="a forecast of the current hour and later ones",
            next_step="wait for the next forecast; see `co2 status`",
        )
    values = np.full((int(hours.max()) + 1, len(QUANTILES)), np.nan)
    kept = hours >= 0
    values[hours[kept]] = forecast.select(QUANTILE_COLUMNS).to_numpy()[kept]
    values[np.isnan(values).any(axis=1)] = np.nan
    return _Outlook(start, values)


def _candidates(
    outlook: _Outlook, request: WindowRequest, allowed: tuple[int, int], quantile: float
) -> tuple[Hours, Floats]:
    """Starts whose hours are all known and allowed, and the mean that decides of each."""
    first, last = allowed
    deciding = outlook.values[first:last, QUANTILES.index(quantile)]
    means = window_means(deciding, request.duration_hours if request.contiguous else 1)
    known = ~np.isnan(means)
    if known.sum() < (1 if request.contiguous else request.duration_hours):
        raise WindowDoesNotFit(
            "the forecast lacks hours, and the rest has no room for the job",
            where=f"{_text(outlook.at(first))} to {_text(outlook.at(last))}",
            found=f"{int((~np.isnan(deciding)).sum())} of {last - first} hours known",
            expected=_hours(request.duration_hours) + (" in a row" if request.contiguous else ""),
            next_step="ask for fewer hours, or wait for the next forecast",
        )
    return first + np.flatnonzero(known), means[known]


def _chosen(starts: Hours, deciding: Floats, request: WindowRequest) -> Hours:
    """Lowest, and among equals earliest."""
    if request.contiguous:
        return np.asarray(starts[np.argmin(deciding)] + np.arange(request.duration_hours))
    lowest = np.argsort(deciding, kind="stable")[: request.duration_hours]
    return np.sort(starts[lowest])


def _range(outlook: _Outlook, request: WindowRequest) -> tuple[int, int]:
    """First row that may be used, and the row after the last."""
    earliest, deadline = request.earliest or outlook.start, request.deadline or outlook.end
    first = -((outlook.start - earliest) // HOUR)
    last = (deadline - outlook.start) // HOUR
    if earliest < outlook.start:
        raise WindowDoesNotFit(
            "earliest is past",
            where="earliest",
            found=_text(earliest),
            expected=f"the current hour, {_text(outlook.start)}, or later",
            next_step="leave earliest out to begin with the current hour",
        )
    if last > len(outlook.values):
        raise WindowDoesNotFit(
            "the deadline lies beyond the forecast",
            where="deadline",
            found=_text(deadline),
            expected=f"at most the horizon end, {_text(outlook.end)}",
            next_step="ask for an earlier deadline, or again after the next forecast",
        )
    if deadline <= earliest:
        raise WindowDoesNotFit(
            "the deadline does not come after earliest",
            where="earliest and deadline",
            found=f"earliest {_text(earliest)}, deadline {_text(deadline)}",
            expected=f"earliest before the deadline; horizon end {_text(outlook.end)}",
            next_step="ask for a later deadline or an earlier start",
        )
    if last - first < request.duration_hours:
        raise WindowDoesNotFit(
            "the job is longer than the time that is left for it",
            where="duration",
            found=f"{_hours(request.duration_hours)}, and {_hours(max(last - first, 0))} whole from"
            f" {_text(earliest)} to {_text(deadline)}",
            expected=f"at most those; horizon end {_text(outlook.end)}",
            next_step="ask for fewer hours or a later deadline",
        )
    return first, last


def _refuse_senseless(request: WindowRequest, now: datetime) -> None:
    if request.duration_hours < 1:
        raise WindowDoesNotFit(
            "a job of no hours",
            where="duration",
            found=request.duration_hours,
            expected="a whole number of hours, at least 1",
            next_step="ask for at least one hour",
        )
    if request.quantile is not None and request.quantile not in QUANTILES:
        raise WindowDoesNotFit(
            "no such quantile is forecast",
            where="quantile",
            found=request.quantile,
            expected="one of " + ", ".join(map(str, QUANTILES)),
            next_step="leave it out for the platform's rule; 0.5 is the median, 0.9 is cautious",
        )
    times = {"now": now, "earliest": request.earliest, "deadline": request.deadline}
    for name, time in times.items():
        if time is not None and time.utcoffset() is None:
            raise WindowDoesNotFit(
                "a time without its zone",
                where=name,
                found=time.isoformat(),
                expected="a time with its offset, such as 2025-01-31T18:00+00:00",
                next_step="add the offset, or Z for UTC",
            )


def _refuse_unknown_now(outlook: _Outlook, at_once: Hours) -> None:
    unknown = np.isnan(outlook.values[at_once]).any(axis=1)
    if unknown.any():
        raise WindowDoesNotFit(
            "the forecast lacks an hour of a job that runs at once: nothing to compare with",
            where="now",
            found="no forecast of " + _text(outlook.at(int(np.argmax(unknown)))),
            expected=f"the first {_hours(len(at_once))} from {_text(outlook.start)}",
            next_step="wait for the next forecast; see `co2 status`",
        )


def _hours(count: int) -> str:
    return f"{count} hour" + ("" if count == 1 else "s")


def _text(time: datetime) -> str:
    return f"{time.astimezone(UTC):%Y-%m-%dT%H:%M} UTC"
