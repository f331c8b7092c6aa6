"""The base forecast: online regressions of the log ratio on covariates and their products.

What they read is scaled already. Products of the few inputs that matter most let a linear
regression bend; sines of the hour times those inputs let it bend with the time of day. Beyond
the mission's leads fewer products help. There, hours whose wind is not yet published are
another matter than those whose wind is: the latter have a regression of their own, and the
former one that learns from all hours.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, reduce
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from co2_assets.forecasting import level
from co2_assets.forecasting.covariates import ENCODER_COLUMNS
from co2_assets.forecasting.external import WIND_SOLAR
from co2_assets.forecasting.forecaster import Floats
from co2_assets.forecasting.inputs import (
    LEAD_FLAG,
    Inputs,
    Known,
    Reader,
    Single,
    TrainingSet,
    covariate_needs,
)
from co2_assets.forecasting.online import DAY, NOTHING, Examples, OnlineRidge, with_constant
from co2_assets.schema import EXTERNAL_COLUMNS, MISSION_LEADS

VALUE_COLUMNS = 7
"""Encoder columns that are values: six powers and log CO2; the rest is calendar."""

PRODUCT_LIMIT = 8.0

PUBLISHED_DAYS, PUBLISHED_SHARE = 60, 0.5
"""A column that is there in half of the newest windows of a training is still published."""

FEWEST_BESIDES = DAY
"""With fewer examples that lack something, they are not worth sums of their own."""

HOUR_OF_LEAD = ("lead_hour_sin", "lead_hour_cos", "lead_hour_sin_2", "lead_hour_cos_2")

WIND = [EXTERNAL_COLUMNS.index(name) for name in WIND_SOLAR[:2]]


class Terms(NamedTuple):
    """Which products a regression reads besides its inputs, and how many lags of values.

    Attributes:
        lags: hours of measured values.
        keys: names of covariates, or of values measured in the last hour, whose products with
            each other and themselves it reads.
        hourly: names of those whose products with `HOUR_OF_LEAD` it reads.
    """

    lags: int
    keys: tuple[str, ...]
    hourly: tuple[str, ...]

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Terms:
        """From `_asdict`, through JSON."""
        return cls(kept["lags"], tuple(kept["keys"]), tuple(kept["hourly"]))


NEAR = Terms(
    lags=2,
    keys=(
        "log_co2",
        "net_import_mw",
        "central_plants_mw",
        "local_plants_mw",
        "onshore_wind_mw",
        "offshore_wind_mw",
        "lead_sun_elevation_sin",
        "residual_load_mw",
        "residual_load_change",
        "prognosis_gap",
        "level_both_gap",
        "level_both_error_last_hour",
        "price_dk1_eur_per_mwh",
        "price_se3_eur_per_mwh",
    ),
    hourly=(
        "log_co2",
        "wind_solar_sum_change",
        "residual_load_mw",
        "prognosis_change",
        "level_both_change",
    ),
)
"""Of the mission's leads."""

FAR = Terms(
    lags=2,
    keys=(
        "log_co2",
        "net_import_mw",
        "offshore_wind_mw",
        "residual_load_mw",
        "residual_load_change",
        "prognosis_gap",
        "level_both_gap",
        "price_dk1_eur_per_mwh",
        "price_se3_eur_per_mwh",
    ),
    hourly=(),
)
"""Of later leads."""


@dataclass(frozen=True)
class BaseDesign:
    """Which inputs and products the regression of a lead reads, in order.

    Attributes:
        lags: hours of measured values.
        linear: indices into the flat inputs: covariates of the lead, then values of the lags.
        products: pairs of such indices.
        needs: shape (columns, external columns): what each column cannot do without.
    """

    lags: int
    linear: NDArray[np.int64]
    products: NDArray[np.int64]
    needs: NDArray[np.bool_]

    @property
    def columns(self) -> int:
        """How many inputs the regression has."""
        return len(self.needs)

    def usable(self, present: tuple[bool, ...]) -> NDArray[np.bool_]:
        """The columns that can be had from the external columns that are present."""
        lacking = ~np.array(present, dtype=bool)
        return np.asarray(~self.needs[:, lacking].any(axis=1), dtype=bool)

    def __call__(self, covariates: Single, values: Single) -> Floats:
        """Inputs of one lead, shape (windows, columns).

        Args:
            covariates: scaled covariates of the lead, shape (windows, covariates).
            values: scaled encoder rows, shape (windows, lookback, columns).
        """
        flat = np.concatenate([covariates, newest_values(values, self.lags)], axis=1).astype(
            np.float64
        )
        pairs = np.clip(
            flat[:, self.products[:, 0]] * flat[:, self.products[:, 1]],
            -PRODUCT_LIMIT,
            PRODUCT_LIMIT,
        )
        return np.concatenate([flat[:, self.linear], pairs], axis=1)


def newest_values(values: Single, lags: int) -> Single:
    """The newest measured values of encoder rows, one row per window, oldest first."""
    return values[:, -lags:, :VALUE_COLUMNS].reshape(len(values), -1)


@dataclass(frozen=True)
class Part:
    """One of the regressions that a base consists of.

    Attributes:
        state: what it has learned, of some of the leads.
        terms: what it reads besides its inputs.
        hours: whose it learns: all, those whose wind had been published by the issue time, or
            the others. These it forecasts together with the part that has learned the rest.
    """

    state: OnlineRidge
    terms: Terms
    hours: Literal["all", "published", "unpublished"]

    def taught(self, inputs: Inputs) -> NDArray[np.bool_]:
        """Which windows and leads it learns from, shape (windows, horizon)."""
        if self.hours == "all":
            return np.ones_like(inputs.published)
        return inputs.published if self.hours == "published" else ~inputs.published


@dataclass(frozen=True)
class Base:
    """The regressions, as taught by the end of a training.

    Attributes:
        parts: of the mission's leads, and of the later ones.
        alpha: their penalty.
        columns: external columns that they read: those that were still published when the
            training ended, shape (columns,). What had ended before is left out, so that
            learning went on with the rest.
        mean_co2: g/kWh; errors are weighed by the level over it. None weighs all alike.
    """

    parts: tuple[Part, ...]
    alpha: float
    columns: NDArray[np.bool_]
    mean_co2: float | None = None

    def log_ratio(self, reader: Reader, known: Known, inputs: Inputs) -> Floats:
        """Its forecast of the log ratio, shape (windows, horizon).

        Each issue time is forecast from what was over at the midnight before it. NaN
        while it knows too little. A lead that lacks columns is forecast by the regression
        on the others; hours that lacked some of them too teach that one besides.
        """
        days = known.series.day_of(inputs.rows)
        present = inputs.present & self.columns
        waits = ~(inputs.published & present[:, :, WIND].any(axis=2))
        kinds = np.concatenate([present, waits[..., None] & reader.external], axis=2)
        learners = self._learners(reader, known, int(days.max()))
        found = np.full((len(inputs.rows), reader.horizon_hours), np.nan)
        for day in np.unique(days):
            for learner in learners:
                learner.advance(int(day))
            of_day = np.flatnonzero(days == day)
            for kind in np.unique(kinds[of_day].reshape(-1, kinds.shape[2]), axis=0):
                alike = np.zeros_like(waits)
                alike[of_day] = (kinds[of_day] == kind).all(axis=2)
                self._forecast(learners, tuple(kind.tolist()), alike, inputs, found)
        return found

    def _learners(self, reader: Reader, known: Known, day: int) -> list[_Learner]:
        """One per part, with the news up to a day."""
        if day <= self.parts[0].state.day:
            return [
                _Learner(part, base_design(reader.covariates, part.terms)) for part in self.parts
            ]
        inputs = reader.unlearned(known)
        learners = []
        for part in self.parts:
            design = base_design(reader.covariates, part.terms)
            examples = _examples(design, part, known, inputs, self.mean_co2)
            news = _News(examples, inputs.present & self.columns, self.columns)
            learners.append(_Learner(part, design, news))
        return learners

    def _forecast(
        self,
        learners: list[_Learner],
        kind: tuple[bool, ...],
        alike: NDArray[np.bool_],
        inputs: Inputs,
        found: Floats,
    ) -> None:
        """Fill in the windows and leads of a day that have the same columns."""
        *pattern, waits = kind
        for first in sorted({learner.state.first_lead for learner in learners}):
            asked = [
                learner
                for learner in learners
                if learner.state.first_lead == first
                and (waits or learner.part.hours != "unpublished")
            ]
            leads = np.flatnonzero(alike[:, asked[0].leads].any(axis=0))
            if not len(leads):
                continue
            state = reduce(OnlineRidge.plus, [one.knows(tuple(pattern)) for one in asked])
            if state.knows_days < level.FEWEST_DAYS:
                continue
            design = asked[0].design
            fitted = state.coefficients(self.alpha, design.usable(tuple(pattern)), leads)
            for row, lead in enumerate(first + leads):
                those = np.flatnonzero(alike[:, lead])
                x = with_constant(design(inputs.leads[those, lead], inputs.encoder[those]))
                found[those, lead] = x @ fitted[row]


@dataclass
class _Learner:
    """A part that goes on learning, day by day."""

    part: Part
    design: BaseDesign
    news: _News | None = None
    state: OnlineRidge = field(init=False)
    _besides: dict[tuple[bool, ...], OnlineRidge] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = self.part.state

    @property
    def leads(self) -> slice:
        """Indices of its leads."""
        return slice(self.state.first_lead, self.state.first_lead + len(self.state.gram))

    def advance(self, day: int) -> None:
        """Learn what was over by the midnight that begins a day."""
        self.state = self.state.until(day, self.news.complete if self.news else NOTHING)

    def knows(self, pattern: tuple[bool, ...]) -> OnlineRidge:
        """What it has learned of use to a forecast that has these columns alone."""
        if self.news is None or (more := self.news.besides(pattern)) is None:
            return self.state
        before = self._besides.get(pattern) or self.part.state.untaught()
        self._besides[pattern] = before.until(self.state.day, more)
        return self.state.plus(self._besides[pattern])


@dataclass(frozen=True)
class _News:
    """What has passed since a training, as examples.

    Attributes:
        examples: all of it.
        present: columns that each example has, of those that the regression reads, shape
            (rows, leads, external columns).
        columns: those that it reads.
    """

    examples: Examples
    present: NDArray[np.bool_]
    columns: NDArray[np.bool_]
    _besides: dict[tuple[bool, ...], Examples | None] = field(default_factory=dict)

    @cached_property
    def complete(self) -> Examples:
        """Examples that have all columns."""
        return self.examples.only((self.present == self.columns).all(axis=2))

    def besides(self, pattern: tuple[bool, ...]) -> Examples | None:
        """Examples that lack something and have all that the pattern has; None for too few."""
        if pattern not in self._besides:
            has = (self.present | ~np.array(pattern)).all(axis=2)
            more = self.examples.only(has & (self.present != self.columns).any(axis=2))
            enough = np.isfinite(more.targets).any(axis=1).sum() >= FEWEST_BESIDES
            self._besides[pattern] = more if enough else None
        return self._besides[pattern]


def fit_base(training: TrainingSet, *, alpha: float, half_life_days: float) -> Base:
    """Teach the regressions a whole training range.

    Errors weigh alike at any level, which is better on the folds than by the level.

    Args:
        training: its windows.
        alpha: penalty of the coefficients.
        half_life_days: after so long an example counts half.
    """
    reader, known, inputs = training.reader, training.known, training.inputs
    columns = inputs.present[-PUBLISHED_DAYS * DAY :, 0].mean(axis=0) >= PUBLISHED_SHARE
    complete = (inputs.present | ~columns).all(axis=2)
    first_day = int(known.series.first_hour + inputs.rows[0]) // DAY
    parts = []
    for part in _untaught(reader, first_day, half_life_days):
        design = base_design(reader.covariates, part.terms)
        examples = _examples(design, part, known, inputs, None).only(complete)
        state = part.state.until(reader.taught_day, examples)
        parts.append(Part(state, part.terms, part.hours))
    return Base(tuple(parts), alpha, columns)


def _untaught(reader: Reader, day: int, half_life_days: float) -> list[Part]:
    """The parts before their first day."""
    near = min(MISSION_LEADS, reader.horizon_hours)

    def part(terms: Terms, leads: range, hours: Literal["all", "published", "unpublished"]) -> Part:
        columns = base_design(reader.covariates, terms).columns
        state = OnlineRidge.empty(day, len(leads), columns, half_life_days, leads.start)
        return Part(state, terms, hours)

    later = range(near, reader.horizon_hours)
    parts = [part(NEAR, range(near), "all")]
    if not len(later):
        return parts
    if not reader.external:
        return [*parts, part(FAR, later, "all")]
    return [*parts, part(FAR, later, "published"), part(FAR, later, "unpublished")]


def _examples(
    design: BaseDesign, part: Part, known: Known, inputs: Inputs, mean_co2: float | None
) -> Examples:
    # Errors are felt in grams: a log ratio may weigh as much as the level it multiplies.
    weights = (
        np.ones(len(inputs.rows))
        if mean_co2 is None
        else np.sqrt(np.exp(known.series.log_co2[inputs.rows - 1]) / mean_co2)
    )
    return Examples(
        hours=known.series.first_hour + inputs.rows,
        inputs=lambda some, lead: design(inputs.leads[some, lead], inputs.encoder[some]),
        targets=known.targets(inputs.rows),
        weights=weights,
    ).only(part.taught(inputs))


@lru_cache(maxsize=8)
def base_design(names: tuple[str, ...], terms: Terms) -> BaseDesign:
    """The design of a regression on these covariates of a lead."""
    values = ENCODER_COLUMNS[:VALUE_COLUMNS]
    lag_names = [f"{name}_{lag}h" for lag in range(terms.lags, 0, -1) for name in values]
    flat = [*names, *lag_names]
    # A lead has a regression of its own: which lead it is says nothing.
    linear = [index for index, name in enumerate(flat) if not name.startswith(LEAD_FLAG)]
    at = {name: index for index, name in enumerate(flat)}
    at |= {name: at[f"{name}_1h"] for name in values}
    keys = [at[name] for name in terms.keys if name in at]
    products = [(a, b) for position, a in enumerate(keys) for b in keys[position:]]
    products += [
        (at[hour], at[key])
        for hour in HOUR_OF_LEAD
        for key in terms.hourly
        if hour in at and key in at
    ]
    needs = np.concatenate(
        [
            covariate_needs(names),
            np.zeros((len(lag_names), len(EXTERNAL_COLUMNS)), dtype=bool),
        ]
    )
    pairs = np.array(products, dtype=np.int64)
    return BaseDesign(
        lags=terms.lags,
        linear=np.array(linear, dtype=np.int64),
        products=pairs,
        needs=np.concatenate([needs[linear], needs[pairs[:, 0]] | needs[pairs[:, 1]]]),
    )
