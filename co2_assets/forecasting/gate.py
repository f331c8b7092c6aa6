"""The gate: a challenger becomes champion only if it is shown to be better.

Compared on the same issue times and leads, with a block bootstrap over whole days or
weeks, since errors of neighbouring hours go together (Kuensch, 1989).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from co2_assets.forecasting.forecaster import Floats
from co2_assets.forecasting.metrics import resampled_ratios
from co2_assets.schema import MISSION_LEADS

RESAMPLES = 2000
BLOCK_DAYS = 7
FEWEST_BLOCKS = 8
"""With fewer weeks than this, blocks are days: too few blocks resample into nothing."""

KEYS = ["issue_time_utc", "lead_hours"]


@dataclass(frozen=True)
class GateOutcome:
    """Whether the challenger is promoted, why, and the figures that decided."""

    promoted: bool
    reason: str
    figures: dict[str, float] = field(default_factory=dict)


def decide_gate(
    challenger: pl.DataFrame,
    champion: pl.DataFrame | None,
    persistence: pl.DataFrame,
    *,
    confidence: float,
    seed: int,
) -> GateOutcome:
    """Judge a challenger on the holdout.

    With a champion, the challenger's MAE must be lower with the given confidence: the
    lower bound of the bootstrapped gain must be above 0. Without one, or with one that
    forecast nothing of what the challenger did, it must beat persistence. A champion that
    does not beat persistence either defends nothing: then a challenger that beats
    persistence and has the lower MAE is enough.

    Args:
        challenger: paired forecasts of the holdout, from `evaluate.rolling_origin`.
        champion: the same for the champion, or None.
        persistence: the same for persistence.
        confidence: share of resamples in which the challenger must gain.
        seed: of the bootstrap.
    """
    own = _absolute_errors(challenger)
    if not _common(_absolute_errors(persistence), own).height:
        return GateOutcome(False, "nothing to compare: no value of the holdout was forecast")
    naive = _paired_gain(_absolute_errors(persistence), own, confidence, seed)
    figures = {
        "challenger_mae": naive.challenger_mae,
        "persistence_mae": naive.reference_mae,
        "n": float(naive.n),
    }
    beats_persistence = naive.challenger_mae < naive.reference_mae
    against = (
        f"MAE {naive.challenger_mae:.2f} g/kWh against {naive.reference_mae:.2f} of persistence"
        f" on {naive.n} values of the holdout"
    )
    if not beats_persistence:
        return GateOutcome(False, f"does not beat persistence: {against}", figures)
    if champion is None:
        return GateOutcome(
            True, f"there was no champion and it beats persistence: {against}", figures
        )
    if not _common(_absolute_errors(champion), own).height:
        return GateOutcome(
            True,
            "the champion has no forecast to compare with, and the challenger beats"
            f" persistence: {against}",
            figures,
        )
    defending = _paired_gain(_absolute_errors(champion), own, confidence, seed)
    figures |= {
        "champion_mae": defending.reference_mae,
        "gain": defending.gain,
        "gain_lower_bound": defending.lower_bound,
    }
    compared = (
        f"MAE {defending.challenger_mae:.2f} g/kWh against {defending.reference_mae:.2f} of the"
        f" champion, gain {defending.gain:.2f}, lower bound {defending.lower_bound:.2f}"
        f" at {confidence:.0%}"
    )
    if defending.lower_bound > 0:
        return GateOutcome(True, f"better than the champion: {compared}", figures)
    if defending.reference_mae >= naive.reference_mae and defending.gain > 0:
        return GateOutcome(
            True, f"the champion no longer beats persistence: {compared}; {against}", figures
        )
    return GateOutcome(False, f"not shown to be better than the champion: {compared}", figures)


@dataclass(frozen=True)
class _Gain:
    challenger_mae: float
    reference_mae: float
    gain: float
    lower_bound: float
    n: int


def _absolute_errors(paired: pl.DataFrame) -> pl.DataFrame:
    return paired.filter(pl.col("lead_hours") <= MISSION_LEADS).select(
        *KEYS, (pl.col("p50_g_per_kwh") - pl.col("actual_g_per_kwh")).abs().alias("error")
    )


def _common(reference: pl.DataFrame, challenger: pl.DataFrame) -> pl.DataFrame:
    """The values that both forecast, in order."""
    return reference.join(challenger, on=KEYS, suffix="_challenger").sort(KEYS)


def _paired_gain(
    reference: pl.DataFrame, challenger: pl.DataFrame, confidence: float, seed: int
) -> _Gain:
    """How much lower the challenger's MAE is on the values that both forecast."""
    both = _common(reference, challenger)
    gain = (both["error"] - both["error_challenger"]).to_numpy()
    days = both.select((pl.col("issue_time_utc").dt.epoch("s") // 86_400).alias("day"))[
        "day"
    ].to_numpy()
    return _Gain(
        challenger_mae=float(both["error_challenger"].to_numpy().mean()),
        reference_mae=float(both["error"].to_numpy().mean()),
        gain=float(gain.mean()),
        lower_bound=bootstrap_lower_bound(gain, days, confidence, seed),
        n=both.height,
    )


def bootstrap_lower_bound(gain: Floats, days: Floats, confidence: float, seed: int) -> float:
    """Lower bound of a mean by block bootstrap.

    Args:
        gain: one value per forecast, shape (n,).
        days: the day of each, as a number, shape (n,).
        confidence: the bound is this far from certain: 0.8 takes the 20 % quantile.
        seed: of the resampling.
    """
    weeks = (days - days.min()) // BLOCK_DAYS
    blocks = weeks if len(np.unique(weeks)) >= FEWEST_BLOCKS else days
    means = resampled_ratios(gain, np.ones(len(gain)), blocks, resamples=RESAMPLES, seed=seed)
    return float(np.quantile(means, 1 - confidence))
