"""The gate: a challenger becomes champion only if it is shown to be better.

Both are compared on the values that both forecast. The MAE of leads 1 to 6 decides; the MAE
beyond them and the quantile score must not be worse. Errors of neighbouring days are alike, so
each comparison is a mean over days, with the standard error of `significance`. How often equal
and better challengers pass is measured by `python -m bench.gate`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import polars as pl

from co2_assets.forecasting import metrics
from co2_assets.forecasting.forecaster import Floats
from co2_assets.forecasting.significance import DailyMean, mean_over_days
from co2_assets.schema import MISSION_LEADS, QUANTILE_COLUMNS

FEWEST_DAYS = 7
"""On fewer days a comparison says nothing."""

MOST_LOSS = 1.25
"""What is a quarter worse than champion or climatology is refused, significant or not."""

CHALLENGER_COVERAGE = 0.9
"""Share of the champion's issue times that a challenger must have forecast."""

CHAMPION_COVERAGE = 0.5
"""Share of the challenger's issue times that a champion must have forecast to defend."""

KEYS = ["issue_time_utc", "lead_hours"]


class Measure(NamedTuple):
    """A mean loss over some leads."""

    name: str
    loss: str
    leads: pl.Expr


MISSION = Measure(
    f"MAE of leads 1 to {MISSION_LEADS}", "absolute_error", pl.col("lead_hours") <= MISSION_LEADS
)
GUARDS = (
    Measure(
        f"MAE beyond lead {MISSION_LEADS}", "absolute_error", pl.col("lead_hours") > MISSION_LEADS
    ),
    Measure("quantile score of all leads", "quantile_score", pl.lit(True)),
)
"""What must not be worse in a challenger that is better on the mission's leads."""


@dataclass(frozen=True)
class GateOutcome:
    """Whether the challenger is promoted, why, and the figures that decided."""

    promoted: bool
    reason: str
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Comparison:
    """Mean losses of a challenger and a reference on the values that both forecast, g/kWh.

    Attributes:
        challenger: mean loss of the challenger; NaN where both have no value in common.
        reference: mean loss of the reference.
        gain: how much lower the challenger's is.
        n: how many values.
        days: on how many days.
    """

    challenger: float
    reference: float
    gain: DailyMean
    n: int
    days: int

    @classmethod
    def of_days(cls, challenger: Floats, reference: Floats, counts: Floats) -> Comparison:
        """From the sum of both losses on each day, in order, and how many values each has."""
        if not len(counts):
            return cls(math.nan, math.nan, DailyMean(math.nan, math.nan, 1), 0, 0)
        n = int(counts.sum())
        gain = mean_over_days(reference - challenger, counts)
        means = float(challenger.sum() / n), float(reference.sum() / n)
        return cls(*means, gain, n, len(counts))

    def is_better(self, confidence: float) -> bool:
        """Whether the challenger has the lower loss, with this confidence."""
        return self.gain.lower(confidence) > 0

    def is_worse(self, confidence: float) -> bool:
        """Whether the challenger has the higher loss, with this confidence."""
        return self.gain.upper(confidence) < 0

    def is_much_worse(self) -> bool:
        """Whether the challenger's loss is a quarter higher."""
        return self.challenger > MOST_LOSS * self.reference

    def words(self, measure: Measure, reference: str) -> str:
        """Both losses in words."""
        return (
            f"{measure.name} {self.challenger:.2f} g/kWh against {self.reference:.2f} of"
            f" {reference} ({self.n} values on {self.days} days)"
        )


def decide_gate(
    challenger: pl.DataFrame,
    champion: pl.DataFrame | None,
    baselines: Mapping[str, pl.DataFrame],
    *,
    confidence: float,
) -> GateOutcome:
    """Judge a challenger on the holdout.

    It is promoted if all of this holds:

    1. Its MAE of leads 1 to 6 is below that of each baseline.
    2. It is below the champion's with the given confidence. This is not asked where there is
       no champion, or one that defends nothing: it forecast less than half of the issue times,
       or is worse than a baseline with the same confidence.
    3. Its MAE beyond lead 6 and its quantile score are not worse, with the same confidence,
       than those of the champion, or of climatology where no champion defends; and less than a
       quarter above those of either.

    Args:
        challenger: paired forecasts of the holdout, from `evaluate.rolling_origin`.
        champion: the same for the champion, or None.
        baselines: the same for `persistence` and `climatology`.
        confidence: of each comparison, one-sided.
    """
    own, naive = losses_of(challenger), {name: losses_of(one) for name, one in baselines.items()}
    against = {name: compare(own, losses, MISSION) for name, losses in naive.items()}
    figures = {f"{name}_mae": one.reference for name, one in against.items()}
    figures |= {
        "challenger_mae": against["persistence"].challenger,
        "n": float(against["persistence"].n),
    }

    def refused(reason: str) -> GateOutcome:
        return GateOutcome(False, reason, figures)

    for name, one in against.items():
        if one.days < FEWEST_DAYS:
            return refused(_too_few("the challenger has forecasts with an actual", one.days))
        if one.challenger >= one.reference:
            return refused(f"does not beat {name}: {one.words(MISSION, name)}")

    rival = None if champion is None else losses_of(champion)
    if rival is not None and _issue_times(own) < CHALLENGER_COVERAGE * _issue_times(rival):
        return refused(
            f"the challenger forecast only {_issue_times(own)} issue times of the holdout,"
            f" the champion {_issue_times(rival)}"
        )
    references = {"climatology": naive["climatology"]}
    undefended = _why_undefended(rival, naive, _issue_times(own), confidence)
    if rival is None or undefended:
        beaten = " and ".join(one.words(MISSION, name) for name, one in against.items())
        verdict = f"{undefended}, and the challenger beats the baselines: {beaten}"
    else:
        duel = compare(own, rival, MISSION)
        if duel.days < FEWEST_DAYS:
            return refused(_too_few("challenger and champion both have forecasts", duel.days))
        bound = duel.gain.lower(confidence)
        figures |= {"champion_mae": duel.reference, "gain": duel.gain.value}
        figures |= {"gain_lower_bound": bound}
        compared = (
            f"{duel.words(MISSION, 'the champion')}, gain {duel.gain.value:.2f}, lower bound"
            f" {bound:.2f} at {confidence:.0%}"
        )
        if not duel.is_better(confidence):
            return refused(f"not shown to be better than the champion: {compared}")
        verdict = f"better than the champion: {compared}"
        references = {"the champion": rival} | references
    fault = _fault(own, references, confidence)
    return refused(fault) if fault else GateOutcome(True, verdict, figures)


def _why_undefended(
    rival: pl.DataFrame | None, naive: Mapping[str, pl.DataFrame], issued: int, confidence: float
) -> str | None:
    """Why the challenger need not beat the champion, or None if it must."""
    if rival is None:
        return "there was no champion"
    if (defended := _issue_times(rival)) < CHAMPION_COVERAGE * issued:
        return f"the champion forecast only {defended} of {issued} issue times"
    for name, losses in naive.items():
        one = compare(rival, losses, MISSION)
        if one.is_worse(confidence):
            return f"the champion is worse than {name} ({one.words(MISSION, name)})"
    return None


def _fault(
    own: pl.DataFrame, references: Mapping[str, pl.DataFrame], confidence: float
) -> str | None:
    """What is too bad in a challenger that wins on leads 1 to 6, or None.

    Only the first of the references is one that it must not be significantly worse than.
    """
    first = next(iter(references))
    for whose, losses in references.items():
        for measure in GUARDS:
            one = compare(own, losses, measure)
            if one.is_much_worse() or (whose == first and one.is_worse(confidence)):
                return (
                    f"better in leads 1 to 6, but worse than {whose}: {one.words(measure, whose)}"
                )
    return None


def _too_few(who: str, days: int) -> str:
    return f"nothing to compare on: {who} on {days} days, {FEWEST_DAYS} are needed"


def _issue_times(losses: pl.DataFrame) -> int:
    return losses["issue_time_utc"].n_unique()


def losses_of(paired: pl.DataFrame) -> pl.DataFrame:
    """Absolute error and quantile score of each value, g/kWh; what is no number is left out."""
    quantiles = paired.select(QUANTILE_COLUMNS).to_numpy().astype(np.float64)
    actual = paired["actual_g_per_kwh"].to_numpy().astype(np.float64)
    return paired.select(
        *KEYS,
        absolute_error=(pl.col("p50_g_per_kwh") - pl.col("actual_g_per_kwh")).abs(),
        quantile_score=pl.Series(2 * metrics.pinball(quantiles, actual), dtype=pl.Float64),
    ).filter(pl.col("quantile_score").is_finite())


def compare(challenger: pl.DataFrame, reference: pl.DataFrame, measure: Measure) -> Comparison:
    """Losses on the values that both forecast, summed by days since the first issue time."""
    both = (
        challenger.join(reference, on=KEYS, suffix="_reference")
        .filter(measure.leads)
        .group_by((pl.col("issue_time_utc") - pl.col("issue_time_utc").min()).dt.total_days())
        .agg(pl.col(measure.loss, f"{measure.loss}_reference").sum(), n=pl.len())
        .sort("issue_time_utc")
    )
    return Comparison.of_days(
        *(
            both[name].to_numpy().astype(np.float64)
            for name in (measure.loss, f"{measure.loss}_reference", "n")
        )
    )
