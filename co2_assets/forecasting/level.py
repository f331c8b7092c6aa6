"""First stage: the level of CO2 that the external forecasts of an hour speak for.

A regression of log CO2 on what was forecast of the hour, on the calendar and on last
week's load, that goes on learning day by day: what wind and prognosis mean for CO2 drifts
with plants, cables and Energinet's own model. One for each choice of groups that may be
present; prices do not help here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from co2_assets.forecasting.covariates import Series
from co2_assets.forecasting.external import ERROR_HOURS, PROGNOSIS, WEEK, WIND_SOLAR, External
from co2_assets.forecasting.forecaster import Floats
from co2_assets.forecasting.online import NOTHING, Examples, OnlineRidge
from co2_assets.forecasting.standard import Standard
from co2_assets.forecasting.windows import DAY, inside, mean_before

READ = (*WIND_SOLAR, *PROGNOSIS)
OWN_COLUMNS = 10
"""Calendar and last week's load come first, then `READ`."""

CHOICES: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("wind_solar", (0, 1, 2)),
    ("co2_prognosis", (3,)),
    ("both", (0, 1, 2, 3)),
)
"""Names of the regressions, and which of `READ` each reads."""

NEEDS = {
    f"level_{name}_{what}": tuple(READ[index] for index in read)
    for name, read in CHOICES
    for what in ("change", "gap", "error_last_hour")
} | {f"level_both_error_{hours}h": READ for hours in ERROR_HOURS}
"""Names of the covariates, and the columns that each needs. Of the regression that reads most,
the errors of more than the last hour too."""

COVARIATES = tuple(NEEDS)

HALF_LIFE_DAYS = 60.0
ALPHA = 30.0
FEWEST_DAYS = 14.0
"""With less it says nothing yet."""

AT_A_TIME = 1024

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Level:
    """Scale of the inputs, and one state per entry of `CHOICES`."""

    scale: Standard
    states: tuple[OnlineRidge, ...]

    @classmethod
    def untaught(cls, scale: Standard, day: int) -> Level:
        """Regressions that begin to learn on a day."""
        return cls(
            scale,
            tuple(
                OnlineRidge.empty(day, 1, OWN_COLUMNS + len(read), HALF_LIFE_DAYS)
                for _, read in CHOICES
            ),
        )

    def until(self, day: int, series: Series, external: External, teaches: Floats) -> Level:
        """Taught with all hours before `day`."""
        examples = self._examples(series, external, teaches)
        return Level(
            self.scale,
            tuple(state.until(day, one) for state, one in zip(self.states, examples, strict=True)),
        )

    def covariates(
        self, series: Series, external: External, teaches: Floats, rows: Rows
    ) -> NDArray[np.float32]:
        """Covariates of each lead, shape (windows, horizon, 11), in the order of `COVARIATES`.

        Change of the level since the last hour, its gap to the last measured log CO2, its
        error in the last hour and its mean error; NaN where a level is unknown.

        Args:
            series: the history.
            external: beside it.
            teaches: log CO2 of the hours that may be learned from, else NaN.
            rows: of the issue times.
        """
        days = series.day_of(rows)
        news = (
            self._examples(series, external, teaches)
            if days.max(initial=0) > self.states[0].day
            else [NOTHING] * len(CHOICES)
        )
        states = list(self.states)
        found = np.empty((len(rows), series.horizon_hours, len(COVARIATES)), dtype=np.float32)
        # In order of time, since the states go on; some at a time, or two years of them
        # would take more memory than all else together.
        order = np.argsort(rows, kind="stable")
        for start in range(0, len(rows), AT_A_TIME):
            some = order[start : start + AT_A_TIME]
            found[some], states = self._some(series, external, news, states, rows[some])
        return found

    def _some(
        self,
        series: Series,
        external: External,
        news: list[Examples],
        states: list[OnlineRidge],
        rows: Rows,
    ) -> tuple[Floats, list[OnlineRidge]]:
        """Covariates of rows in order of time, and the states after the last of them."""
        issue = rows[:, None]
        valid = issue + np.arange(series.horizon_hours)[None, :]
        ahead = self._inputs(series, external, valid, issue)
        now = self._inputs(series, external, issue - 1, issue)
        measured = series.log_co2[rows - 1][:, None]
        days = series.day_of(rows)
        parts, after = [], []
        errors = np.full((len(ERROR_HOURS), *valid.shape), np.nan)
        for state, examples, (_, read) in zip(states, news, CHOICES, strict=True):
            columns = _columns(read)
            level = np.full(valid.shape, np.nan)
            last = np.full((len(rows), 1), np.nan)
            taught = state
            for day, taught in state.days(days, examples):
                if taught.knows_days < FEWEST_DAYS:
                    continue
                fitted = taught.coefficients(ALPHA)[0]
                those = days == day
                level[those] = ahead[those][:, :, columns] @ fitted[:-1] + fitted[-1]
                last[those] = now[those][:, :, columns] @ fitted[:-1] + fitted[-1]
                if len(read) == len(READ):
                    errors[:, those] = self._mean_errors(series, external, fitted, rows[those])
            error = np.broadcast_to(last - measured, level.shape)
            parts += [level - last, level - measured, error]
            after.append(taught)
        return np.stack([*parts, *errors], axis=2), after

    def _mean_errors(
        self, series: Series, external: External, fitted: Floats, rows: Rows
    ) -> Floats:
        """Mean errors of a regression over the last hours of rows, shape (means, rows, 1)."""
        first = max(int(rows.min()) - DAY, 0)
        hours = np.arange(first, int(rows.max()))[:, None]
        level = self._inputs(series, external, hours, hours + 1)[:, 0] @ fitted[:-1] + fitted[-1]
        error = level - series.log_co2[hours[:, 0]]
        means = [inside(mean_before(error, many), rows - first) for many in ERROR_HOURS]
        return np.stack(means)[:, :, None]

    def _examples(self, series: Series, external: External, teaches: Floats) -> list[Examples]:
        hours = np.arange(len(teaches))
        inputs = self._inputs(series, external, hours[:, None], hours[:, None])[:, 0]
        made = []
        for _, read in CHOICES:
            columns = _columns(read)
            whole = np.isfinite(inputs[:, columns]).all(axis=1)
            made.append(
                Examples(
                    hours=series.first_hour + hours,
                    inputs=lambda rows, _lead, columns=columns: inputs[np.ix_(rows, columns)],  # type: ignore[misc]
                    targets=np.where(whole, teaches, np.nan)[:, None],
                    weights=np.ones(len(hours)),
                )
            )
        return made

    def _inputs(self, series: Series, external: External, valid: Rows, issue: Rows) -> Floats:
        """Scaled, shape (windows, hours, columns); what is missing from elsewhere stays NaN."""
        raw = hour_inputs(series, external, valid, issue)
        scaled = self.scale.transform(raw)
        scaled[..., OWN_COLUMNS:][~np.isfinite(raw[..., OWN_COLUMNS:])] = np.nan
        return scaled

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "scale": self.scale.to_json(),
            "states": [
                {"day": s.day, "gram": s.gram.tolist(), "moment": s.moment.tolist()}
                for s in self.states
            ],
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Level:
        """From `to_json`."""
        return cls(
            Standard.from_json(kept["scale"]),
            tuple(
                OnlineRidge(s["day"], np.array(s["gram"]), np.array(s["moment"]), HALF_LIFE_DAYS)
                for s in kept["states"]
            ),
        )


def hour_inputs(series: Series, external: External, valid: Rows, issue: Rows) -> Floats:
    """What is known of hours at issue times, not yet scaled: calendar, load, `READ`."""
    columns = [external.at(name, valid, issue) for name in READ]
    columns[-1] = np.log(columns[-1])
    load = inside(series.load, valid - WEEK)
    return np.concatenate(
        [series.calendar[valid], load[..., None], np.stack(columns, axis=-1)], axis=-1
    )


def _columns(read: tuple[int, ...]) -> list[int]:
    return [*range(OWN_COLUMNS), *(OWN_COLUMNS + index for index in read)]
