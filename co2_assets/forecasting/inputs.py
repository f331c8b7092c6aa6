"""Everything that the trained recipes read of a history, scaled, for any issue times.

Training and forecasting read here, so that they cannot differ; the network, the online
regression and LightGBM read the same. Row i stands for the issue time at which hour i
begins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from co2_assets.errors import ModelError
from co2_assets.forecasting import level as first_stage
from co2_assets.forecasting.covariates import (
    ENCODER_COLUMNS,
    Series,
    encoder_rows,
    lead_columns,
    lead_covariates,
    reach_hours,
)
from co2_assets.forecasting.external import External, group_columns, group_covariates, no_external
from co2_assets.forecasting.forecaster import Floats, issue_rows
from co2_assets.forecasting.level import Level, hour_inputs
from co2_assets.forecasting.standard import Standard
from co2_assets.forecasting.windows import (
    DAY,
    refuse_few,
    refuse_incomplete,
    refuse_short,
    training_rows,
    whole_before,
)
from co2_assets.schema import CO2_COLUMN, EXTERNAL_COLUMNS

Rows = NDArray[np.int64]
Single = NDArray[np.float32]

SLICE = 512
"""Windows at a time: two years of 24 leads at once would take gigabytes."""


def hours_ahead(horizon_hours: int) -> int:
    """Hours from an issue time on of which something from elsewhere is read.

    To the end of tomorrow, of which much is published today, and one hour beyond the horizon,
    to which the last lead is compared.
    """
    return max(horizon_hours + 1, 2 * DAY)


@dataclass(frozen=True)
class Known:
    """A history and what lies beside it, as arrays.

    Attributes:
        series: measured values and calendar.
        external: inputs from elsewhere, or None for a recipe that has none.
        log_actual: log CO2 of each hour that may be learned from, else NaN.
        ready: which rows may be issue rows of a training: the lookback before them is whole.
    """

    series: Series
    external: External | None
    log_actual: Floats
    ready: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        history: pl.DataFrame,
        external: pl.DataFrame | None,
        *,
        lookback_hours: int,
        horizon_hours: int,
        carries: bool = True,
    ) -> Known:
        """From a history frame and, for a recipe that reads it, an external one."""
        series = Series.of(history, horizon_hours)
        actual = history[CO2_COLUMN].cast(pl.Float64).to_numpy()
        trainable = history["is_trainable"].to_numpy() & np.isfinite(actual)
        whole = history["is_usable"].to_numpy() & history["is_trainable"].to_numpy()
        return cls(
            series=series,
            external=None
            if external is None
            else External.of(
                external,
                history["hour_utc"][0],
                history.height + hours_ahead(horizon_hours),
                carries=carries,
            ),
            log_actual=np.log(np.where(trainable, actual, np.nan)),
            ready=whole_before(whole, lookback_hours),
        )

    def targets(self, rows: Rows) -> Floats:
        """Log ratio to the last known hour, shape (rows, horizon); NaN where unknown."""
        hours = rows[:, None] + np.arange(self.series.horizon_hours)[None, :]
        inside = hours < len(self.log_actual)
        actual = np.where(
            inside, self.log_actual[np.minimum(hours, len(self.log_actual) - 1)], np.nan
        )
        return np.asarray(actual - self.series.log_co2[rows - 1][:, None], dtype=np.float64)


@dataclass(frozen=True)
class Inputs:
    """Scaled inputs of some rows.

    Attributes:
        rows: of the issue times.
        encoder: shape (rows, lookback, 17).
        leads: shape (rows, horizon, covariates); those of an absent column are not for use.
        present: shape (rows, horizon, external columns): which can be used at which lead.
        published: shape (rows, horizon): whether the wind of the lead was.
    """

    rows: Rows
    encoder: Single
    leads: Single
    present: NDArray[np.bool_]
    published: NDArray[np.bool_]


def covariate_names(*, external: bool) -> tuple[str, ...]:
    """Names of a lead's covariates, in order: own, then group by group, then levels."""
    own = lead_columns()
    if not external:
        return own
    return (*own, *(name for group in group_columns() for name in group), *first_stage.COVARIATES)


def covariate_needs(names: Sequence[str]) -> NDArray[np.bool_]:
    """What each covariate cannot do without, shape (covariates, external columns)."""
    needed = {name: need for group in group_columns() for name, need in group.items()}
    needed |= first_stage.NEEDS
    return np.array(
        [[column in needed.get(name, ()) for column in EXTERNAL_COLUMNS] for name in names]
    )


@dataclass(frozen=True)
class Reader:
    """Reads inputs from a history: scalers and first stage of one training.

    Attributes:
        lookback_hours: rows of the encoder.
        horizon_hours: leads 1 to this.
        external: whether inputs from elsewhere are read at all.
        covariates: names of the covariates of a lead that it reads, in order.
        carries: see `External`.
        encoder_scale: of the encoder rows.
        lead_scale: of the lead covariates.
        level: the first stage, as taught by `taught_day`; None without external inputs.
        taught_day: the day (since 1970, UTC) up to which everything was learned in training.
    """

    lookback_hours: int
    horizon_hours: int
    external: bool
    covariates: tuple[str, ...]
    carries: bool
    encoder_scale: Standard
    lead_scale: Standard
    level: Level | None
    taught_day: int

    @property
    def reads(self) -> tuple[str, ...]:
        """External columns that it reads."""
        return EXTERNAL_COLUMNS if self.external else ()

    def read(
        self,
        history: pl.DataFrame,
        issue_times: Sequence[datetime],
        external: pl.DataFrame | None,
    ) -> tuple[Known, Inputs]:
        """What is known, and the inputs of the issue times.

        What has passed since the training is learned from on the way, so the history
        should reach back to its end and a month beyond.

        Raises:
            InputsMissing: an issue time lacks an hour of its lookback.
        """
        rows = issue_rows(history, issue_times)
        refuse_short(rows, issue_times, self.lookback_hours)
        # Nothing from the newest issue time on, and no more than is read: a tick converts
        # a month or two, not two years.
        first_hour = int(history["hour_utc"][0].timestamp()) // 3600
        taught = min(self.taught_day * 24 - first_hour, int(rows.min()))
        reach = reach_hours(self.horizon_hours) + self.horizon_hours + self.lookback_hours
        first = max(0, taught - reach)
        known = self._known(history.slice(first, int(rows.max()) - first), external)
        rows = rows - first
        refuse_incomplete(
            encoder_rows(known.series, rows, self.lookback_hours),
            list(issue_times),
            ENCODER_COLUMNS,
        )
        return known, self.inputs(known, rows)

    def unlearned(self, known: Known) -> Inputs:
        """Inputs of all issue times whose targets may be news since the training."""
        first = self.taught_day * 24 - known.series.first_hour - self.horizon_hours
        rows = np.flatnonzero(known.ready[: len(known.log_actual)])
        return self.inputs(known, rows[rows >= max(first, 1)])

    def inputs(self, known: Known, rows: Rows) -> Inputs:
        """Scaled inputs of rows."""
        encoder, leads = _raw(known, self.level, rows, self.lookback_hours)
        every = covariate_names(external=self.external)
        if every != self.covariates:
            leads = _by_name(leads, every, self.covariates)
        return self._scaled(known, rows, encoder, leads)

    def _scaled(self, known: Known, rows: Rows, encoder: Single, leads: Single) -> Inputs:
        """In place: the raw values are needed no more."""
        for values, scale in ((encoder, self.encoder_scale), (leads, self.lead_scale)):
            for some in slices(len(rows)):
                values[some] = scale.transform(values[some])
        return Inputs(
            rows, encoder, leads, self._present(known, rows), self._published(known, rows)
        )

    def _known(self, history: pl.DataFrame, external: pl.DataFrame | None) -> Known:
        return Known.of(
            history,
            (no_external() if external is None else external) if self.external else None,
            lookback_hours=self.lookback_hours,
            horizon_hours=self.horizon_hours,
            carries=self.carries,
        )

    def _present(self, known: Known, rows: Rows) -> NDArray[np.bool_]:
        if known.external is None:
            return np.zeros((len(rows), self.horizon_hours, len(EXTERNAL_COLUMNS)), dtype=bool)
        return known.external.present(rows, self.horizon_hours)

    def _published(self, known: Known, rows: Rows) -> NDArray[np.bool_]:
        if known.external is None:
            return np.ones((len(rows), self.horizon_hours), dtype=bool)
        issue = rows[:, None]
        return known.external.published(issue + np.arange(self.horizon_hours)[None, :], issue)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "lookback_hours": self.lookback_hours,
            "horizon_hours": self.horizon_hours,
            "external": self.external,
            "encoder_columns": list(ENCODER_COLUMNS),
            "covariates": list(self.covariates),
            "carries": self.carries,
            "encoder": self.encoder_scale.to_json(),
            "leads": self.lead_scale.to_json(),
            "level": None if self.level is None else self.level.to_json(),
            "taught_day": self.taught_day,
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> Reader:
        """From `to_json`.

        Raises:
            ModelError: it reads inputs that this version does not make, or scales others than
                it reads.
        """
        every = covariate_names(external=kept["external"])
        covariates = tuple(kept["covariates"])
        encoder_columns = tuple(kept["encoder_columns"])
        scales = Standard.from_json(kept["encoder"]), Standard.from_json(kept["leads"])
        flags = [f"{LEAD_FLAG}{lead}" for lead in range(1, kept["horizon_hours"] + 1)]
        unknown = [name for name in covariates if name not in (*every, *flags)]
        unknown += [name for name in encoder_columns if name not in ENCODER_COLUMNS]
        if unknown or encoder_columns != ENCODER_COLUMNS:
            raise ModelError(
                "a model reads other inputs than this version makes",
                where="scaler.json",
                found=", ".join(unknown) or ", ".join(encoder_columns),
                expected=", ".join((*ENCODER_COLUMNS, *every)),
                next_step="train a new version",
            )
        sizes = [len(scale.mean) for scale in scales]
        if sizes != [len(encoder_columns), len(covariates)]:
            raise ModelError(
                "a model has scales of other inputs than it reads",
                where="scaler.json",
                found=f"{sizes[0]} and {sizes[1]} scales",
                expected=f"{len(encoder_columns)} encoder columns, {len(covariates)} covariates",
                next_step="train a new version",
            )
        return cls(
            kept["lookback_hours"],
            kept["horizon_hours"],
            kept["external"],
            covariates,
            kept["carries"],
            *scales,
            None if kept["level"] is None else Level.from_json(kept["level"]),
            kept["taught_day"],
        )


class ReadsInputs:
    """What a forecaster says of itself by its reader."""

    reader: Reader

    @property
    def horizon_hours(self) -> int:
        """Leads 1 to this."""
        return self.reader.horizon_hours

    @property
    def lookback_hours(self) -> int:
        """Hours before an issue time that must be there."""
        return self.reader.lookback_hours

    @property
    def reads(self) -> tuple[str, ...]:
        """External columns that it reads."""
        return self.reader.reads


@dataclass(frozen=True)
class TrainingSet:
    """The windows of a training range, read by a reader that was fitted on them.

    Attributes:
        reader: as taught by the end of the range.
        known: the history up to it.
        inputs: of all whole windows.
        target: log ratios, shape (windows, horizon).
        now: CO2 of the last known hour, g/kWh, shape (windows,).
    """

    reader: Reader
    known: Known
    inputs: Inputs
    target: Floats
    now: Floats


def read_training_set(
    history: pl.DataFrame,
    train_start: datetime,
    train_end: datetime,
    *,
    lookback_hours: int,
    horizon_hours: int,
    external: pl.DataFrame | None,
) -> TrainingSet:
    """Read [train_start, train_end); nothing from its end on is looked at.

    Args:
        history: see the package; hours before `train_start` may serve as analogues.
        train_start: first hour of the windows.
        train_end: exclusive end.
        lookback_hours: rows of the encoder.
        horizon_hours: leads 1 to this.
        external: inputs from elsewhere, or None for a recipe that has none.

    Raises:
        InputsMissing: the range has too few whole windows.
    """
    history = history.filter(pl.col("hour_utc") < train_end)
    rows = training_rows(
        history,
        train_start,
        train_end,
        lookback_hours=lookback_hours,
        horizon_hours=horizon_hours,
    )
    refuse_few(rows, train_start, train_end)
    known = Known.of(history, external, lookback_hours=lookback_hours, horizon_hours=horizon_hours)
    untaught = _untaught_level(known, train_start)
    encoder, leads = _raw(known, untaught, rows, lookback_hours)
    day = int(train_end.timestamp()) // 86_400
    reader = Reader(
        lookback_hours,
        horizon_hours,
        external is not None,
        covariate_names(external=external is not None),
        True,
        Standard.fit(encoder),
        Standard.fit(leads),
        untaught,
        day,
    )
    inputs = reader._scaled(known, rows, encoder, leads)
    if untaught is not None and known.external is not None:
        taught = untaught.until(day, known.series, known.external, known.log_actual)
        reader = replace(reader, level=taught)
    return TrainingSet(
        reader, known, inputs, known.targets(rows), np.exp(known.series.log_co2[rows - 1])
    )


def _untaught_level(known: Known, train_start: datetime) -> Level | None:
    """The first stage before its first day; its scale is that of the training range."""
    if known.external is None:
        return None
    start = int(train_start.timestamp()) // 3600
    hours = np.arange(len(known.log_actual))
    inside = np.isfinite(known.log_actual) & (known.series.first_hour + hours >= start)
    chosen = hours[inside][:, None]
    scale = Standard.fit(hour_inputs(known.series, known.external, chosen, chosen))
    return Level.untaught(scale, start // 24)


def _raw(
    known: Known, level: Level | None, rows: Rows, lookback_hours: int
) -> tuple[Single, Single]:
    """Encoder rows and lead covariates, not yet scaled."""
    encoder = _filled(rows, lambda some: encoder_rows(known.series, rows[some], lookback_hours))
    external = known.external
    if external is None or level is None:
        return encoder, _filled(rows, lambda some: lead_covariates(known.series, rows[some]))
    levels = level.covariates(known.series, external, known.log_actual, rows)
    return encoder, _filled(
        rows,
        lambda some: np.concatenate(
            [
                lead_covariates(known.series, rows[some]),
                *group_covariates(known.series, external, rows[some]),
                levels[some],
            ],
            axis=2,
        ),
    )


LEAD_FLAG = "is_lead_"


def _by_name(leads: Single, every: Sequence[str], names: Sequence[str]) -> Single:
    """Covariates by name, shape (rows, horizon, names); models of 0.1 read which lead it is."""
    found = np.zeros((*leads.shape[:2], len(names)), dtype=leads.dtype)
    for index, name in enumerate(names):
        if name.startswith(LEAD_FLAG):
            found[:, int(name.removeprefix(LEAD_FLAG)) - 1, index] = 1
        else:
            found[:, :, index] = leads[:, :, every.index(name)]
    return found


def slices(count: int) -> list[slice]:
    """A few rows at a time, and one empty slice of none."""
    return [slice(start, start + SLICE) for start in range(0, max(count, 1), SLICE)]


def _filled(rows: Rows, build: Callable[[slice], Floats]) -> Single:
    first, *others = slices(len(rows))
    part = build(first)
    whole = np.empty((len(rows), *part.shape[1:]), dtype=np.float32)
    whole[first] = part
    for some in others:
        whole[some] = build(some)
    return whole
