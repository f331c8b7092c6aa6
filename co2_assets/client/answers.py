"""What the API answers with, as frozen dataclasses with the names and units of its fields."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from functools import cache
from types import NoneType, UnionType
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    TypeVar,
    cast,
    get_args,
    get_origin,
    get_type_hints,
    overload,
)

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl


@dataclass(frozen=True, slots=True)
class About:
    """Where an answer comes from, and how far it can be trusted; docs/api.md has each field."""

    area: str
    unit: str
    issue_time_utc: datetime | None
    model_version: str | None
    is_fallback: bool
    fallback_reason: str | None
    inputs_missing: tuple[str, ...]
    data_until_utc: datetime | None
    data_age_minutes: int | None
    forecast_age_minutes: int | None
    is_stale: bool
    stale_reasons: tuple[str, ...]
    source: str
    now_utc: datetime
    generation: int
    attribution: str
    licence: str
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class EmissionHour:
    """One measured hour; `co2_g_per_kwh` is None unless it is complete and ok."""

    hour_utc: datetime
    area: str
    co2_g_per_kwh: float | None
    co2_imputed_g_per_kwh: float | None
    quality: str
    minutes_seen: int
    central_plants_mw: float | None
    local_plants_mw: float | None
    solar_mw: float | None
    offshore_wind_mw: float | None
    onshore_wind_mw: float | None
    net_import_mw: float | None


@dataclass(frozen=True, slots=True)
class ForecastHour:
    """The forecast of one hour: the median is `p50_g_per_kwh`, p10 to p90 the 80 % band."""

    issue_time_utc: datetime
    valid_time_utc: datetime
    lead_hours: int
    model_version: str
    p05_g_per_kwh: float
    p10_g_per_kwh: float
    p25_g_per_kwh: float
    p50_g_per_kwh: float
    p75_g_per_kwh: float
    p90_g_per_kwh: float
    p95_g_per_kwh: float
    issued_at_utc: datetime
    is_hindcast: bool
    is_fallback: bool
    fallback_reason: str | None
    inputs_missing: str | None


@dataclass(frozen=True, slots=True)
class ComparedHour(ForecastHour):
    """The newest forecast of an hour, beside what followed."""

    actual_g_per_kwh: float | None
    error_g_per_kwh: float | None
    persistence_g_per_kwh: float | None


@dataclass(frozen=True, slots=True)
class LeadAccuracy:
    """Accuracy of the live served forecasts at one lead, g/kWh, beside baselines."""

    start_utc: datetime
    end_utc: datetime
    lead_hours: int
    n: int
    mae: float
    crps: float
    coverage_80: float
    persistence_mae: float | None
    climatology_mae: float | None
    skill: float | None


@dataclass(frozen=True, slots=True)
class ScoreboardRow:
    """Figures of one predictor at one lead in one month."""

    area: str
    month_utc: datetime
    lead_hours: int
    predictor: str
    n: int
    mae: float
    crps: float
    skill: float | None


@dataclass(frozen=True, slots=True)
class ModelVersion:
    """One model version, with its training, its figures and its fate."""

    model_version: str
    recipe: str
    created_utc: datetime
    train_start_utc: datetime | None
    train_end_utc: datetime | None
    holdout_start_utc: datetime | None
    holdout_end_utc: datetime | None
    seed: int | None
    hyperparameters: Any
    features: Any
    metrics: Any
    artifact_path: str | None
    artifact_sha256: str | None
    data_fingerprint: str | None
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Champion(ModelVersion):
    """The version that serves."""

    valid_from_utc: datetime


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """Why the model was or was not retrained after one window."""

    window_start_utc: datetime
    window_end_utc: datetime
    decision: str
    rule: str
    reason: str
    pseudo_accuracy: float | None
    n_forecasts: int
    skill: float | None
    faulty_share: float
    champion: str | None
    cooldown_until_utc: datetime | None
    in_flight_run_id: str | None
    training_run_id: str | None
    trained_version: str | None
    gate_outcome: str | None
    worth_g_per_kwh: float | None
    worth_n: int | None


@dataclass(frozen=True, slots=True)
class QualityFinding:
    """One thing that was wrong with the data."""

    dataset: str
    hour_utc: datetime
    kind: str
    column_name: str | None
    value: str | None
    expected: str | None
    detected_utc: datetime | None


@dataclass(frozen=True, slots=True)
class Receipt:
    """One past recommendation: the saving that it promised, and the one that came."""

    area: str
    issue_time_utc: datetime
    duration_hours: int
    within_hours: int
    model_version: str
    recommended_start_utc: datetime
    expected_g_per_kwh: float
    expected_saving_g_per_kwh: float
    chance_beats_now: float
    quantile: float
    preferred_start_utc: datetime
    raw_saving_g_per_kwh: float
    raw_chance_beats_now: float
    is_hindcast: bool
    is_fallback: bool
    is_settled: bool
    unsettled_reason: str | None
    realised_saving_g_per_kwh: float | None
    preferred_saving_g_per_kwh: float | None
    best_start_utc: datetime | None
    best_saving_g_per_kwh: float | None
    regret_g_per_kwh: float | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A start that was considered for a job."""

    start_utc: datetime
    expected_g_per_kwh: float
    deciding_g_per_kwh: float


@dataclass(frozen=True, slots=True)
class Window:
    """The hours to use for a job, what they are expected to save, and how sure that is."""

    start_utc: datetime
    end_utc: datetime
    is_now: bool
    expected_g_per_kwh: float
    low_g_per_kwh: float
    high_g_per_kwh: float
    now_g_per_kwh: float
    expected_saving_g_per_kwh: float
    expected_saving_percent: float
    chance_beats_now: float
    horizon_end_utc: datetime
    duration_hours: int
    contiguous: bool
    quantile: float
    calibrated_on: str
    calibration_n: int
    hours: tuple[datetime, ...]
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class FeatureHour:
    """A measured hour before an issue time."""

    hour_utc: datetime
    co2_g_per_kwh: float | None
    co2_imputed_g_per_kwh: float | None
    quality: str
    minutes_seen: int


@dataclass(frozen=True, slots=True)
class Load:
    """One load that a forecast's minutes came by."""

    etl_run_id: str
    dataset: str
    status: str
    started_at_utc: datetime
    rows_read: int
    url: str | None
    response_sha256: str | None
    dagster_run_id: str | None


@dataclass(frozen=True, slots=True)
class Origin:
    """A forecast value with its version, training, features, minutes, loads and runs."""

    area: str
    issue_time_utc: datetime
    valid_time_utc: datetime
    lead_hours: int
    model_version: str
    p10_g_per_kwh: float
    p50_g_per_kwh: float
    p90_g_per_kwh: float
    is_served: bool
    is_hindcast: bool
    is_fallback: bool
    fallback_reason: str | None
    inputs_missing: str | None
    cutoff_utc: datetime | None
    issued_at_utc: datetime
    dagster_run_id: str | None
    recipe: str | None
    train_start_utc: datetime | None
    train_end_utc: datetime | None
    artifact_sha256: str | None
    data_fingerprint: str | None
    training_run_id: str | None
    feature_hours: int
    first_feature_hour_utc: datetime | None
    last_feature_hour_utc: datetime | None
    raw_minutes: int
    first_fetched_utc: datetime | None
    last_fetched_utc: datetime | None
    etl_run_ids: tuple[str, ...] | None
    actual_g_per_kwh: float | None
    hours: tuple[FeatureHour, ...]
    loads: tuple[Load, ...]


T = TypeVar("T")


@dataclass(frozen=True)
class Answer(Generic[T]):
    """One thing that the API says, and where it comes from."""

    about: About
    data: T


@dataclass(frozen=True)
class Table(Generic[T]):
    """Rows that the API says, and where they come from: iterate, index, or make a frame."""

    about: About
    rows: tuple[T, ...]
    row_type: type[T]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[T]:
        return iter(self.rows)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self.rows[index]

    def to_polars(self) -> pl.DataFrame:
        """One row each, also when there are none; what JSON nests is JSON text."""
        import polars as pl

        hints = _hints(cast(Hashable, self.row_type))
        return pl.DataFrame(
            [[_cell(getattr(row, name)) for name in hints] for row in self.rows],
            schema={name: _polars_type(hint) for name, hint in hints.items()},
            orient="row",
        )

    def to_pandas(self) -> pd.DataFrame:
        """The same for pandas."""
        return self.to_polars().to_pandas()


@cache
def _hints(kind: Any) -> dict[str, Any]:
    """The type of each field, without the None that it may be."""
    hints = get_type_hints(kind)
    return {field.name: _without_none(hints[field.name]) for field in fields(kind)}


def _without_none(hint: Any) -> Any:
    if get_origin(hint) is UnionType:
        (hint,) = (part for part in get_args(hint) if part is not NoneType)
    return hint


def made(kind: type[T], raw: dict[str, Any]) -> T:
    """One dataclass from one object of JSON."""
    return kind(
        **{name: _reader(hint)(raw[name]) for name, hint in _hints(cast(Hashable, kind)).items()}
    )


@cache
def _reader(hint: Any) -> Callable[[Any], Any]:
    """What turns a value of JSON into one of that type; null stays None."""
    read: Callable[[Any], Any]
    if hint is datetime:
        read = datetime.fromisoformat
    elif get_origin(hint) is tuple:
        one = _reader(get_args(hint)[0])

        def read(values: list[Any]) -> tuple[Any, ...]:
            return tuple(one(value) for value in values)
    elif is_dataclass(hint):
        kind: Any = hint

        def read(raw: dict[str, Any]) -> Any:
            return made(kind, raw)
    else:
        return lambda value: value
    return lambda value: None if value is None else read(value)


def _cell(value: object) -> object:
    return json.dumps(value) if isinstance(value, dict | list) else value


def _polars_type(hint: Any) -> Any:
    import polars as pl

    known = {bool: pl.Boolean, int: pl.Int64, float: pl.Float64}
    return pl.Datetime("us", "UTC") if hint is datetime else known.get(hint, pl.String)
