"""The base forecast: an online regression of the log ratio on covariates and their products.

What it reads is scaled already. Products of the few inputs that matter most let a linear
regression bend; sines of the hour times those inputs let it bend with the time of day.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from co2_assets.forecasting import level
from co2_assets.forecasting.covariates import ENCODER_COLUMNS, lead_columns
from co2_assets.forecasting.external import GROUPS, group_columns
from co2_assets.forecasting.forecaster import Floats
from co2_assets.forecasting.inputs import Inputs, Known, Reader, Single, TrainingSet
from co2_assets.forecasting.online import NOTHING, Examples, OnlineRidge, with_constant

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
HOUR_OF_LEAD = ("lead_hour_sin", "lead_hour_cos", "lead_hour_sin_2", "lead_hour_cos_2")


@dataclass(frozen=True)
class BaseDesign:
    """Which inputs and products the regression of a lead reads, in order.

    Attributes:
        linear: indices into the flat inputs: covariates of the lead, then values of the lags.
        products: pairs of such indices.
        needs: shape (columns, groups): the groups that each column cannot do without.
    """

    linear: NDArray[np.int64]
    products: NDArray[np.int64]
    needs: NDArray[np.bool_]

    @property
    def columns(self) -> int:
        """How many inputs the regression has."""
        return len(self.linear) + len(self.products)

    def usable(self, present: tuple[bool, ...]) -> NDArray[np.bool_]:
        """The columns that can be had from the groups that are present."""
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


def covariate_names(horizon_hours: int, *, external: bool) -> tuple[str, ...]:
    """Names of a lead's covariates, in order: own, then group by group, then levels."""
    own = lead_columns(horizon_hours)
    if not external:
        return own
    return (*own, *(name for group in group_columns() for name in group), *level.COVARIATES)


def covariate_needs(horizon_hours: int, *, external: bool) -> NDArray[np.bool_]:
    """The groups that each covariate cannot do without, shape (covariates, groups)."""
    own = len(lead_columns(horizon_hours))
    if not external:
        return np.zeros((own, len(GROUPS)), dtype=bool)
    rows = [np.zeros((own, len(GROUPS)), dtype=bool)]
    for index, names in enumerate(group_columns()):
        need = np.zeros((len(names), len(GROUPS)), dtype=bool)
        need[:, index] = True
        rows.append(need)
    for name, _ in level.CHOICES:
        wanted = ("wind_solar", "co2_prognosis") if name == "both" else (name,)
        rows.append(np.repeat([[group in wanted for group in GROUPS]], 3, axis=0))
    return np.concatenate(rows)


@dataclass(frozen=True)
class Base:
    """The regression, as taught by the end of a training.

    Attributes:
        state: what it has learned.
        alpha: its penalty.
        mean_co2: g/kWh, of the training range: errors are weighed by the level over it.
    """

    state: OnlineRidge
    alpha: float
    mean_co2: float

    def log_ratio(self, reader: Reader, known: Known, inputs: Inputs) -> Floats:
        """Its forecast of the log ratio, shape (windows, horizon).

        Each issue time is forecast from what was over at the midnight before it. NaN
        while it knows too little.
        """
        design = base_design(reader.horizon_hours, external=reader.external)
        days = known.series.day_of(inputs.rows)
        news = (
            _examples(design, reader, known, reader.unlearned(known), self.mean_co2)
            if days.max() > self.state.day
            else NOTHING
        )
        found = np.full((len(inputs.rows), reader.horizon_hours), np.nan)
        for day, taught in self.state.days(days, news):
            if taught.knows_days < level.FEWEST_DAYS:
                continue
            of_day = np.flatnonzero(days == day)
            for present in np.unique(inputs.present[of_day].reshape(-1, len(GROUPS)), axis=0):
                alike = (inputs.present[of_day] == present).all(axis=2)
                leads = np.flatnonzero(alike.any(axis=0))
                fitted = taught.coefficients(self.alpha, design.usable(tuple(present)), leads)
                for row, lead in enumerate(leads):
                    those = of_day[alike[:, lead]]
                    x = with_constant(design(inputs.leads[those, lead], inputs.encoder[those]))
                    found[those, lead] = x @ fitted[row]
        return found


def fit_base(training: TrainingSet, *, alpha: float, half_life_days: float) -> Base:
    """Teach the regression a whole training range.

    Args:
        training: its windows.
        alpha: penalty of the coefficients.
        half_life_days: after so long an example counts half.
    """
    reader, mean_co2 = training.reader, float(training.now.mean())
    design = base_design(reader.horizon_hours, external=reader.external)
    examples = _examples(design, reader, training.known, training.inputs, mean_co2)
    state = OnlineRidge.empty(
        int(examples.hours[0]) // 24, reader.horizon_hours, design.columns, half_life_days
    )
    return Base(state.until(reader.taught_day, examples), alpha, mean_co2)


def _examples(
    design: BaseDesign, reader: Reader, known: Known, inputs: Inputs, mean_co2: float
) -> Examples:
    """Windows as examples; a lead that lacks a group teaches nothing."""
    targets = known.targets(inputs.rows)
    if reader.external:
        targets[~inputs.present.all(axis=2)] = np.nan
    return Examples(
        hours=known.series.first_hour + inputs.rows,
        inputs=lambda some, lead: design(inputs.leads[some, lead], inputs.encoder[some]),
        targets=targets,
        # Errors are felt in grams: a log ratio weighs as much as the level it multiplies.
        weights=np.sqrt(np.exp(known.series.log_co2[inputs.rows - 1]) / mean_co2),
    )


@lru_cache(maxsize=8)
def base_design(horizon_hours: int, *, external: bool) -> BaseDesign:
    """The design of the regression, with or without inputs from elsewhere."""
    names = covariate_names(horizon_hours, external=external)
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
            covariate_needs(horizon_hours, external=external),
            np.zeros((len(lag_names), len(GROUPS)), dtype=bool),
        ]
    )
    pairs = np.array(products, dtype=np.int64)
    return BaseDesign(
        linear=np.array(linear, dtype=np.int64),
        products=pairs,
        needs=np.concatenate([needs[linear], needs[pairs[:, 0]] | needs[pairs[:, 1]]]),
    )
