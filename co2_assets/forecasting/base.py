"""The base forecast: an online regression of the log ratio on covariates and their products.

What it reads is scaled already. Products of the few inputs that matter most let a linear
regression bend; sines of the hour times those inputs let it bend with the time of day.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from co2_assets.forecasting import level
from co2_assets.forecasting.covariates import ENCODER_COLUMNS
from co2_assets.forecasting.forecaster import Floats
from co2_assets.forecasting.inputs import (
    Inputs,
    Known,
    Reader,
    Single,
    TrainingSet,
    covariate_needs,
)
from co2_assets.forecasting.online import DAY, NOTHING, Examples, OnlineRidge, with_constant
from co2_assets.schema import EXTERNAL_COLUMNS

LAGS = 6
"""Hours of measured values that it reads."""

VALUE_COLUMNS = 7
"""Encoder columns that are values: six powers and log CO2; the rest is calendar."""

PRODUCT_LIMIT = 8.0

KEY_VALUES = (
    "log_co2",
    "net_import_mw",
    "central_plants_mw",
    "local_plants_mw",
    "onshore_wind_mw",
    "offshore_wind_mw",
)
"""Measured in the last hour."""

KEY_COVARIATES = (
    "wind_solar_sum_change",
    "residual_load_mw",
    "residual_load_change",
    "offshore_wind_forecast_mw_gap_to_measured",
    "prognosis_gap",
    "prognosis_error_last_hour",
    "level_both_change",
    "level_both_gap",
    "level_both_error_last_hour",
    "price_dk1_eur_per_mwh",
)

HOURLY_KEYS = (
    "log_co2",
    "wind_solar_sum_change",
    "residual_load_mw",
    "prognosis_change",
    "level_both_change",
)
PUBLISHED_DAYS, PUBLISHED_SHARE = 60, 0.5
"""A column that is there in half of the newest windows of a training is still published."""

FEWEST_BESIDES = DAY
"""With fewer examples that lack something, they are not worth sums of their own."""

HOUR_OF_LEAD = ("lead_hour_sin", "lead_hour_cos", "lead_hour_sin_2", "lead_hour_cos_2")


@dataclass(frozen=True)
class BaseDesign:
    """Which inputs and products the regression of a lead reads, in order.

    Attributes:
        linear: indices into the flat inputs: covariates of the lead, then values of the lags.
        products: pairs of such indices.
        needs: shape (columns, external columns): what each column cannot do without.
    """

    linear: NDArray[np.int64]
    products: NDArray[np.int64]
    needs: NDArray[np.bool_]

    @property
    def columns(self) -> int:
        """How many inputs the regression has."""
        return len(self.linear) + len(self.products)

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
        lags = values[:, -LAGS:, :VALUE_COLUMNS].reshape(len(values), -1)
        flat = np.concatenate([covariates, lags], axis=1).astype(np.float64)
        pairs = np.clip(
            flat[:, self.products[:, 0]] * flat[:, self.products[:, 1]],
            -PRODUCT_LIMIT,
            PRODUCT_LIMIT,
        )
        return np.concatenate([flat[:, self.linear], pairs], axis=1)


@dataclass(frozen=True)
class Base:
    """The regression, as taught by the end of a training.

    Attributes:
        state: what it has learned.
        alpha: its penalty.
        mean_co2: g/kWh, of the training range: errors are weighed by the level over it.
        columns: external columns that it reads: those that were still published when its
            training ended, shape (columns,). What had ended before is left out, so that
            learning went on with the rest.
    """

    state: OnlineRidge
    alpha: float
    mean_co2: float
    columns: NDArray[np.bool_]

    def log_ratio(self, reader: Reader, known: Known, inputs: Inputs) -> Floats:
        """Its forecast of the log ratio, shape (windows, horizon).

        Each issue time is forecast from what was over at the midnight before it. NaN
        while it knows too little. A lead that lacks columns is forecast by the regression
        on the others; hours that lacked some of them too teach that one besides.
        """
        design = base_design(reader.covariates)
        days = known.series.day_of(inputs.rows)
        present = inputs.present & self.columns
        news = (
            _News.of(design, reader, known, self.mean_co2, self.columns)
            if days.max() > self.state.day
            else None
        )
        besides: dict[tuple[bool, ...], OnlineRidge] = {}
        found = np.full((len(inputs.rows), reader.horizon_hours), np.nan)
        for day, taught in self.state.days(days, NOTHING if news is None else news.complete):
            of_day = np.flatnonzero(days == day)
            for pattern in np.unique(present[of_day].reshape(-1, present.shape[2]), axis=0):
                key = tuple(pattern.tolist())
                if news is not None and (more := news.besides(key)) is not None:
                    before = besides.get(key) or self.state.untaught()
                    besides[key] = before.until(day, more)
                state = taught.plus(besides[key]) if key in besides else taught
                if state.knows_days < level.FEWEST_DAYS:
                    continue
                alike = (present[of_day] == pattern).all(axis=2)
                leads = np.flatnonzero(alike.any(axis=0))
                fitted = state.coefficients(self.alpha, design.usable(key), leads)
                for row, lead in enumerate(leads):
                    those = of_day[alike[:, lead]]
                    x = with_constant(design(inputs.leads[those, lead], inputs.encoder[those]))
                    found[those, lead] = x @ fitted[row]
        return found


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

    @classmethod
    def of(
        cls,
        design: BaseDesign,
        reader: Reader,
        known: Known,
        mean_co2: float,
        columns: NDArray[np.bool_],
    ) -> _News:
        """Everything that a reader finds after its training."""
        inputs = reader.unlearned(known)
        return cls(_examples(design, known, inputs, mean_co2), inputs.present & columns, columns)

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
    """Teach the regression a whole training range.

    Args:
        training: its windows.
        alpha: penalty of the coefficients.
        half_life_days: after so long an example counts half.
    """
    reader, mean_co2 = training.reader, float(training.now.mean())
    design, present = base_design(reader.covariates), training.inputs.present
    columns = present[-PUBLISHED_DAYS * DAY :, 0].mean(axis=0) >= PUBLISHED_SHARE
    examples = _examples(design, training.known, training.inputs, mean_co2).only(
        (present | ~columns).all(axis=2)
    )
    state = OnlineRidge.empty(
        int(examples.hours[0]) // DAY, reader.horizon_hours, design.columns, half_life_days
    )
    return Base(state.until(reader.taught_day, examples), alpha, mean_co2, columns)


def _examples(design: BaseDesign, known: Known, inputs: Inputs, mean_co2: float) -> Examples:
    return Examples(
        hours=known.series.first_hour + inputs.rows,
        inputs=lambda some, lead: design(inputs.leads[some, lead], inputs.encoder[some]),
        targets=known.targets(inputs.rows),
        # Errors are felt in grams: a log ratio weighs as much as the level it multiplies.
        weights=np.sqrt(np.exp(known.series.log_co2[inputs.rows - 1]) / mean_co2),
    )


@lru_cache(maxsize=8)
def base_design(names: tuple[str, ...]) -> BaseDesign:
    """The design of the regression on these covariates of a lead."""
    lag_names = [
        f"{name}_{lag}h" for lag in range(LAGS, 0, -1) for name in ENCODER_COLUMNS[:VALUE_COLUMNS]
    ]
    flat = [*names, *lag_names]
    # A lead has a regression of its own: its one-hot says nothing.
    linear = [index for index, name in enumerate(flat) if not name.startswith("is_lead_")]
    at = {name: index for index, name in enumerate(flat)}
    at |= {name: at[f"{name}_1h"] for name in KEY_VALUES}
    keys = [at[name] for name in (*KEY_VALUES, *KEY_COVARIATES) if name in at]
    products = [(a, b) for position, a in enumerate(keys) for b in keys[position:]]
    products += [(at[hour], at[key]) for hour in HOUR_OF_LEAD for key in HOURLY_KEYS if key in at]
    needs = np.concatenate(
        [
            covariate_needs(names),
            np.zeros((len(lag_names), len(EXTERNAL_COLUMNS)), dtype=bool),
        ]
    )
    pairs = np.array(products, dtype=np.int64)
    return BaseDesign(
        linear=np.array(linear, dtype=np.int64),
        products=pairs,
        needs=np.concatenate([needs[linear], needs[pairs[:, 0]] | needs[pairs[:, 1]]]),
    )
