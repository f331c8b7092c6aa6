"""Ridge regression that goes on learning: every day it takes in the day before.

Recursive least squares with exponential forgetting, in the form of its normal equations: a
state is two sums, decayed by half each half-life. At an issue time the coefficients are
those of the last midnight (UTC), so that forecasts of one day share them, and a target
counts only once its hour is over by then. Haykin, Adaptive Filter Theory, chapter 10.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import spotrf, spotrs

from co2_assets.forecasting.forecaster import Floats

DAY = 24
AT_A_TIME = 4096
"""Examples whose inputs are held at a time."""

InputsOf = Callable[[NDArray[np.int64], int], Floats]
"""Rows and a lead's index to inputs, shape (rows, columns); the constant is added here."""


@dataclass(frozen=True)
class Examples:
    """What a regression learns from, one entry per issue row, in order of time.

    Attributes:
        hours: the issue time of each, in hours since 1970.
        inputs: by row and lead.
        targets: shape (rows, leads); NaN teaches nothing. Lead index 0 is the hour that
            begins at the issue time.
        weights: shape (rows,): how much an error counts.
    """

    hours: NDArray[np.int64]
    inputs: InputsOf
    targets: Floats
    weights: Floats

    def only(self, those: NDArray[np.bool_]) -> Examples:
        """The examples whose rows and leads are true, shape (rows, leads)."""
        return replace(self, targets=np.where(those, self.targets, np.nan))


NOTHING = Examples(
    np.empty(0, dtype=np.int64),
    lambda _rows, _lead: np.empty((0, 0)),
    np.empty((0, 0)),
    np.empty(0),
)
"""For a state that is asked about no later day than its own: no need to read the news."""


@dataclass(frozen=True)
class OnlineRidge:
    """Everything learned from targets before `day`.

    Attributes:
        day: days since 1970, UTC.
        gram: shape (leads, columns + 1, columns + 1); the last column is the constant.
        moment: shape (leads, columns + 1).
        half_life_days: after so long an example counts half.
        first_lead: index of the first of its leads.
    """

    day: int
    gram: Floats
    moment: Floats
    half_life_days: float
    first_lead: int = 0

    @classmethod
    def empty(
        cls, day: int, leads: int, columns: int, half_life_days: float, first_lead: int = 0
    ) -> OnlineRidge:
        """A state that has learned nothing."""
        size = columns + 1
        sums = np.zeros((leads, size, size)), np.zeros((leads, size))
        return cls(day, *sums, half_life_days, first_lead)

    def untaught(self) -> OnlineRidge:
        """A state of the same shape and day that has learned nothing."""
        return replace(self, gram=np.zeros_like(self.gram), moment=np.zeros_like(self.moment))

    def plus(self, other: OnlineRidge) -> OnlineRidge:
        """What both have learned by the same day, from different examples."""
        if other.day != self.day:
            raise ValueError(f"states of two days cannot be added: {self.day} and {other.day}")
        return replace(self, gram=self.gram + other.gram, moment=self.moment + other.moment)

    def until(self, day: int, examples: Examples) -> OnlineRidge:
        """The state with all targets before `day`; itself when that is no later than its own."""
        if day <= self.day:
            return self
        decay = 0.5 ** (1 / self.half_life_days)
        faded = decay ** (day - self.day)
        gram, moment = self.gram * faded, self.moment * faded
        for index in range(len(gram)):
            lead = self.first_lead + index
            first, end = np.searchsorted(examples.hours, [self.day * DAY - lead, day * DAY - lead])
            rows = np.arange(first, end)
            rows = rows[np.isfinite(examples.targets[rows, lead])]
            for start in range(0, len(rows), AT_A_TIME):
                some = rows[start : start + AT_A_TIME]
                age = day - 1 - (examples.hours[some] + lead) // DAY
                weights = examples.weights[some] * np.sqrt(decay**age)
                x = with_constant(examples.inputs(some, lead)) * weights[:, None]
                gram[index] += x.T @ x
                moment[index] += x.T @ (examples.targets[some, lead] * weights)
        return replace(self, day=day, gram=gram, moment=moment)

    def days(
        self, issue_days: NDArray[np.int64], examples: Examples
    ) -> Iterator[tuple[int, OnlineRidge]]:
        """The state at the midnight that begins each of the days, in order."""
        state = self
        for day in np.unique(issue_days):
            state = state.until(int(day), examples)
            yield int(day), state

    def coefficients(
        self,
        alpha: float,
        columns: NDArray[np.bool_] | None = None,
        leads: NDArray[np.int64] | None = None,
    ) -> Floats:
        """Coefficients, shape (leads, columns + 1), 0 for columns that are not asked for.

        A regression on some of the columns is the principal part of the sums, so one state
        serves every choice of columns.

        Args:
            alpha: penalty; the constant has none.
            columns: which ones are used, shape (columns,); all by default.
            leads: indices among its own leads that are asked for; all by default.
        """
        size = self.gram.shape[1]
        used = np.append(np.ones(size - 1, dtype=bool) if columns is None else columns, True)
        index = np.flatnonzero(used)
        penalty = np.append(np.full(len(index) - 1, alpha), 1e-9)
        asked = np.arange(len(self.gram)) if leads is None else leads
        found = np.zeros((len(asked), size))
        for row, lead in enumerate(asked):
            whole = self.gram[lead]
            part = whole if len(index) == size else whole[np.ix_(index, index)]
            found[row, index] = _solve(part, penalty, self.moment[lead, index])
        return found

    @property
    def knows_days(self) -> float:
        """Decayed number of examples of the first lead, in days."""
        return float(self.gram[0, -1, -1] / DAY)


def _solve(symmetric: Floats, penalty: Floats, right: Floats) -> Floats:
    """Solve a positive definite system, a penalty on its diagonal: half of a forecast's time.

    The factor is a Cholesky in single precision, at two thirds of the time of double; one
    step of refinement with the residual in double precision makes up for it (Golub and Van
    Loan, Matrix Computations, 3.5.3).
    """
    single = symmetric.astype(np.float32)
    single.flat[:: len(single) + 1] += penalty.astype(np.float32)
    # What is symmetric is its own transpose, in the order that LAPACK works on in place.
    factor, failed = spotrf(single.T, overwrite_a=1, clean=0)
    if failed:  # too near to singular for single precision: slow, and always an answer
        return np.asarray(np.linalg.lstsq(symmetric + np.diag(penalty), right, rcond=None)[0])
    found = spotrs(factor, right.astype(np.float32))[0].astype(np.float64)
    residual = right - symmetric @ found - penalty * found
    return np.asarray(found + spotrs(factor, residual.astype(np.float32))[0], dtype=np.float64)


def with_constant(inputs: Floats) -> Floats:
    """Inputs with a last column of ones."""
    return np.concatenate([inputs, np.ones((len(inputs), 1), dtype=inputs.dtype)], axis=1)
