"""Calibrated bands: widened or narrowed by how often they held in the weeks before.

Conformalized quantile regression (Romano, Patterson and Candes, 2019) per lead and band,
in log space, over a rolling window of forecasts whose actual is known at the issue time.
A margin is added to both ends of a band; the median stays. Only forecasts of the same
version without the same inputs count: another version, or one that lacks other inputs, errs
otherwise. How hard the weather is to forecast changes within days, so recent forecasts weigh
more (Barber, Candes, Ramdas and Tibshirani, 2023, Conformal prediction beyond exchangeability).
Few are that recent, so those of about the same lead are evidence too.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from co2_assets.forecasting.forecaster import LOWEST_G_PER_KWH, Floats
from co2_assets.schema import EXTERNAL_GROUPS, QUANTILE_COLUMNS, QUANTILES

WINDOW_DAYS = 30
FEWEST_DAYS = 14
"""With forecasts of fewer days, the margins of the holdout count: split conformal."""

HALF_LIFE_DAYS = 4.0
"""A forecast that was issued so long ago weighs half."""

ALIKE = (3, 4)
"""A lead learns from those between so many parts of it, and it of them: 9 to 16 for 12."""

FEWEST_SCORES = 20

BANDS = {50: (2, 4), 80: (1, 5), 90: (0, 6)}
"""Share of actuals that a band should hold, and the indices of its ends."""

HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Margins:
    """What to add to both ends of each band, in log units, by lead.

    Attributes:
        values: shape (leads, bands); 0 where there is no evidence.
        counts: forecasts of each lead itself among those that it rests on, shape (leads,).
        methods: of each lead: `rolling`, `split` or `none`.
    """

    values: Floats
    counts: Floats
    methods: tuple[str, ...]

    @classmethod
    def none(cls, horizon: int) -> Margins:
        """Bands as the model made them."""
        return cls(np.zeros((horizon, len(BANDS))), np.zeros(horizon), ("none",) * horizon)

    def frame(self) -> pl.DataFrame:
        """One row per lead and band: `lead_hours`, `band`, `margin_log`, `n`, `method`."""
        leads, bands = self.values.shape
        return pl.DataFrame(
            {
                "lead_hours": np.repeat(np.arange(1, leads + 1), bands).astype(np.int32),
                "band": list(BANDS) * leads,
                "margin_log": self.values.reshape(-1),
                "n": np.repeat(self.counts, bands).astype(np.int32),
                "method": np.repeat(self.methods, bands),
            }
        )


def calibrate(forecasts: pl.DataFrame, margins: Margins) -> pl.DataFrame:
    """Forecasts with their bands moved by the margins; quantiles stay in order.

    Args:
        forecasts: a forecast frame, as the model made it.
        margins: of at least its leads.
    """
    return _moved(forecasts, margins.values[forecasts["lead_hours"].to_numpy() - 1])


def conformity(quantiles: Floats, actual: Floats) -> Floats:
    """How far each actual lies outside of each band, in log units; negative is inside.

    Args:
        quantiles: shape (n, 7), g/kWh.
        actual: shape (n,), g/kWh.

    Returns:
        Shape (n, bands).
    """
    log_q = np.log(np.maximum(quantiles, LOWEST_G_PER_KWH))
    log_y = np.log(np.maximum(actual, LOWEST_G_PER_KWH))
    return np.stack(
        [np.maximum(log_q[:, low] - log_y, log_y - log_q[:, high]) for low, high in BANDS.values()],
        axis=1,
    )


def margins_of(
    paired: pl.DataFrame, horizon: int, method: str, *, at: datetime | None = None
) -> Margins:
    """Margins from forecasts, as models made them, and the actuals that followed.

    Args:
        paired: a forecast frame with `actual_g_per_kwh`.
        horizon: leads 1 to this; one with fewer than `FEWEST_SCORES` forecasts has margin 0.
        method: what to call them.
        at: the issue time that they are for: the longer ago, the less a forecast weighs, and
            those of about the same lead count. Where it is None, all of the lead weigh the same,
            and no others count.
    """
    scores = _scores(paired)
    leads = paired["lead_hours"].to_numpy()
    weights = (
        np.ones(len(leads)) if at is None else _weights(_days(paired), at.timestamp() / 86_400)
    )
    values, counts = np.zeros((horizon, len(BANDS))), np.zeros(horizon)
    for lead in range(1, horizon + 1):
        counts[lead - 1] = (leads == lead).sum()
        if counts[lead - 1] >= FEWEST_SCORES:
            used = leads == lead if at is None else _alike(leads, lead)
            values[lead - 1] = _quantiles(scores[used], weights[used])
    return Margins(values, counts, (method,) * horizon)


SplitMargins = Mapping[frozenset[str], Margins]
"""Margins of a version's own holdout, by the external columns that its forecasts lacked."""


def select_margins(
    rolling: pl.DataFrame,
    split: SplitMargins,
    missing: Collection[str],
    issue_time: datetime,
    horizon: int,
) -> Margins:
    """Margins for an issue time: rolling once there are two weeks, those of the holdout before.

    A lead of which too few forecasts have an actual, after an outage or a change of inputs,
    has those of the holdout, whatever the others have.

    Args:
        rolling: forecasts of the same version that lacked the same columns, as it made them,
            with the actuals; what was not known at the issue time is left out here.
        split: margins of the version's own holdout; of those that lack at least what is
            missing, the ones that lack least count.
        missing: the external columns that the forecast lacks.
        issue_time: when the forecast is made.
        horizon: leads 1 to this.
    """
    before = _nearest(split, frozenset(missing))
    known = rolling.filter(
        pl.col("valid_time_utc") + HOUR <= issue_time,
        pl.col("issue_time_utc") >= issue_time - timedelta(days=WINDOW_DAYS),
    )
    oldest = known["issue_time_utc"].min() or issue_time
    if oldest > issue_time - timedelta(days=FEWEST_DAYS):  # type: ignore[operator]
        return before or Margins.none(horizon)
    rolled = margins_of(known, horizon, "rolling", at=issue_time)
    if before is None:
        return rolled
    few = rolled.counts < FEWEST_SCORES
    return Margins(
        np.where(few[:, None], before.values, rolled.values),
        np.where(few, before.counts, rolled.counts),
        tuple(np.where(few, before.methods, rolled.methods).tolist()),
    )


def holdout_without(groups: Sequence[str]) -> str:
    """Scope of figures of the holdout when groups of external columns are left out."""
    return f"holdout without {', '.join(groups)}" if groups else "holdout"


def left_out(scope: str) -> frozenset[str]:
    """The external columns that were left out in such a scope."""
    groups = scope.removeprefix("holdout").removeprefix(" without ")
    return frozenset(
        column for group in groups.split(", ") if group for column in EXTERNAL_GROUPS[group]
    )


def _nearest(split: SplitMargins, missing: frozenset[str]) -> Margins | None:
    """Of the holdout's patterns that lack at least this, the one that lacks least."""
    enough = [lacked for lacked in split if lacked >= missing]
    if enough:
        return split[min(enough, key=len)]
    # A version of 0.1 was measured with all its inputs only.
    return split[max(split, key=len)] if split else None


def roll_margins(paired: pl.DataFrame) -> pl.DataFrame:
    """A long run of forecasts, each day calibrated by the days before it.

    The margins of a day are those of its midnight, so each forecast is calibrated by what
    was over before its issue time. The first two weeks stay as the model made them.

    Args:
        paired: a forecast frame with `actual_g_per_kwh`, as the model made it.

    Returns:
        The same rows, calibrated.
    """
    ordered = paired.sort("issue_time_utc", "lead_hours")
    scores = _scores(ordered)
    leads, issued = ordered["lead_hours"].to_numpy(), _days(ordered)
    over = ordered["valid_time_utc"].dt.epoch("s").to_numpy() / 86_400 + 1 / 24
    margins = np.zeros((ordered.height, len(BANDS)))
    for lead in np.unique(leads):
        alike = np.flatnonzero(_alike(leads, lead))
        own = np.flatnonzero(leads == lead)
        days = np.floor(issued[own])
        for day in np.unique(days):
            # In order of issue: only those of the window are looked at.
            first, last = np.searchsorted(issued[alike], [day - WINDOW_DAYS, day])
            used = alike[first:last][over[alike[first:last]] <= day]
            of_lead = used[leads[used] == lead]
            if len(of_lead) >= FEWEST_SCORES and issued[of_lead].min() <= day - FEWEST_DAYS + 1:
                weights = _weights(issued[used], day)
                margins[own[days == day]] = _quantiles(scores[used], weights)
    return _moved(ordered, margins)


def _scores(paired: pl.DataFrame) -> Floats:
    """The conformity of each row of a frame of forecasts and actuals."""
    return conformity(
        paired.select(QUANTILE_COLUMNS).to_numpy().astype(np.float64),
        paired["actual_g_per_kwh"].to_numpy().astype(np.float64),
    )


def _alike(leads: Floats, lead: int) -> NDArray[np.bool_]:
    """Which leads err about as this one does."""
    few, many = ALIKE
    return (many * leads >= few * lead) & (few * leads <= many * lead)


def _days(forecasts: pl.DataFrame) -> Floats:
    """Issue times in days."""
    seconds = forecasts["issue_time_utc"].dt.epoch("s").to_numpy()
    return np.asarray(seconds / 86_400, dtype=np.float64)


def _weights(issued: Floats, day: float) -> Floats:
    return np.asarray(0.5 ** ((day - issued) / HALF_LIFE_DAYS), dtype=np.float64)


def _quantiles(scores: Floats, weights: Floats) -> Floats:
    """The conformal quantile of each band: (1 - alpha)(1 + 1/n) of its scores by weight.

    n is the effective number of scores (Kish, 1965): with equal weights how many there are.
    """
    n = weights.sum() ** 2 / (weights**2).sum()
    found = []
    for index, band in enumerate(BANDS):
        order = np.argsort(scores[:, index])
        share = np.cumsum(weights[order]) / weights.sum()
        wanted = min(1.0, band / 100 * (1 + 1 / n)) - 1e-12
        at = min(int(np.searchsorted(share, wanted)), len(order) - 1)
        found.append(scores[order[at], index])
    return np.array(found)


def _moved(forecasts: pl.DataFrame, margins: Floats) -> pl.DataFrame:
    log_q = np.log(
        np.maximum(
            forecasts.select(QUANTILE_COLUMNS).to_numpy().astype(np.float64), LOWEST_G_PER_KWH
        )
    )
    for index, (low, high) in enumerate(BANDS.values()):
        log_q[:, low] -= margins[:, index]
        log_q[:, high] += margins[:, index]
    return with_quantiles(forecasts, np.exp(log_q))


def with_quantiles(forecasts: pl.DataFrame, quantiles: Floats) -> pl.DataFrame:
    """The frame with other quantiles around the same median, put in order.

    Args:
        forecasts: a forecast frame.
        quantiles: shape (rows, 7), g/kWh.
    """
    middle = QUANTILES.index(0.5)
    median = quantiles[:, middle : middle + 1]
    # Never past the median: it is the forecast, and narrowing a band does not move it.
    below = np.sort(np.minimum(quantiles[:, :middle], median), axis=1)
    above = np.sort(np.maximum(quantiles[:, middle + 1 :], median), axis=1)
    ordered = np.concatenate([below, median, above], axis=1)
    return forecasts.with_columns(
        pl.Series(name, ordered[:, index]) for index, name in enumerate(QUANTILE_COLUMNS)
    )


def band_widths(forecasts: pl.DataFrame, bands: Sequence[int] = tuple(BANDS)) -> dict[int, float]:
    """Mean width of each band, g/kWh."""
    quantiles = forecasts.select(QUANTILE_COLUMNS).to_numpy()
    return {
        band: float((quantiles[:, BANDS[band][1]] - quantiles[:, BANDS[band][0]]).mean())
        for band in bands
    }
