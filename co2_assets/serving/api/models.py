"""Models of the answers, as OpenAPI shows them: columns as schema.py declares them.

Answers are written by `formats.py` straight from frames; that they fit these models is
tested, not computed again for every request.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from co2_assets.schema import AREA, VIEWS, Column
from co2_assets.serving.contract import FORECAST_COLUMNS

PYTHON_TYPES: dict[str, Any] = {
    "VARCHAR": str,
    "VARCHAR[]": list[str],
    "TIMESTAMPTZ": datetime,
    "DATE": date,
    "DOUBLE": float,
    "INTEGER": int,
    "BIGINT": int,
    "BOOLEAN": bool,
    "JSON": Any,
}


class AboutAnswer(BaseModel):
    """Where an answer comes from, and how far it can be trusted. Times are UTC."""

    model_config = ConfigDict(extra="forbid")

    area: str = Field(description="Area of the values.", examples=[AREA])
    unit: str = Field(description="Unit of every value without one in its name.")
    issue_time_utc: datetime | None = Field(
        description="End of the data that the forecast was made from: of the newest served"
        " forecast, or of the one that was asked for. Null before the first."
    )
    model_version: str | None = Field(description="Version that made that forecast.")
    is_fallback: bool = Field(description="Another model than the champion answered.")
    fallback_reason: str | None = Field(description="Why it did.")
    inputs_missing: list[str] = Field(
        description="Columns of others' forecasts that the champion did without: the forecast is"
        " degraded. Empty for a full one."
    )
    data_until_utc: datetime | None = Field(description="End of the newest measured hour.")
    data_age_minutes: int | None = Field(description="now_utc less data_until_utc, minutes.")
    forecast_age_minutes: int | None = Field(description="now_utc less issue_time_utc, minutes.")
    is_stale: bool = Field(description="Data or newest forecast are older than seven hours.")
    stale_reasons: list[str] = Field(description="What is too old, in words.")
    source: Literal["live", "recorded"] = Field(
        description="live, or recorded: a replay of recordings, whose now_utc is virtual."
    )
    now_utc: datetime = Field(description="The platform's time, to the minute.")
    generation: int = Field(description="Number of the published copy that was read.")
    attribution: str = Field(description="Whose data these are.")
    licence: str = Field(description="Licence of the data.")
    notes: list[str] = Field(description="What else a reader of the numbers must know.")


def row_model(name: str, meaning: str, columns: tuple[Column, ...]) -> type[BaseModel]:
    """A model of one row, with the meaning and unit of each column."""
    fields: dict[str, Any] = {column.name: _field(column) for column in columns}
    return create_model(name, __config__=ConfigDict(extra="forbid"), __doc__=meaning, **fields)


def _field(column: Column) -> tuple[Any, Any]:
    kind = PYTHON_TYPES[column.sql_type]
    text = column.meaning[0].upper() + column.meaning[1:]
    about = f"{text}, {column.unit}." if column.unit else f"{text}."
    extra: dict[str, Any] = {"unit": column.unit} if column.unit else {}
    return (kind | None if column.nullable else kind), Field(
        description=about, json_schema_extra=extra
    )


def answer_model(name: str, meaning: str, data: Any, data_meaning: str) -> type[BaseModel]:
    """A model of a whole answer: `about` and `data`."""
    fields: dict[str, Any] = {
        "about": (AboutAnswer, Field(description="Where the answer comes from.")),
        "data": (data, Field(description=data_meaning)),
    }
    return create_model(name, __config__=ConfigDict(extra="forbid"), __doc__=meaning, **fields)


def view_columns(name: str, *wanted: str) -> tuple[Column, ...]:
    """Columns of a view as schema.py declares them: those wanted, or all."""
    columns = {
        column.name: column for view in VIEWS if view.name == name for column in view.columns
    }
    return tuple(columns[name] for name in wanted or columns)


def _g(name: str, meaning: str, *, nullable: bool = False) -> Column:
    return Column(name, "DOUBLE", meaning, unit="g/kWh", nullable=nullable)


def _time(name: str, meaning: str) -> Column:
    return Column(name, "TIMESTAMPTZ", meaning)


def _rows(name: str, meaning: str, row: type[BaseModel], rows_meaning: str) -> type[BaseModel]:
    return answer_model(name, meaning, list[row], rows_meaning)  # type: ignore[valid-type]


EmissionHour = row_model("EmissionHour", "One measured hour.", view_columns("actuals"))
Emissions = _rows(
    "Emissions", "Measured hours.", EmissionHour, "One row per hour, ascending; a gap is null."
)

ForecastHour = row_model(
    "ForecastHour",
    "The forecast of one hour: the median is p50_g_per_kwh, p10 to p90 the 80 % band.",
    view_columns("forecast_history", *FORECAST_COLUMNS),
)
Forecast = _rows("Forecast", "One forecast.", ForecastHour, "One row per hour, ascending.")

ComparedHour = row_model(
    "ComparedHour",
    "The newest forecast of an hour, beside what followed.",
    view_columns(
        "forecast_vs_actual",
        *FORECAST_COLUMNS,
        "actual_g_per_kwh",
        "error_g_per_kwh",
        "persistence_g_per_kwh",
    ),
)
Comparison = _rows(
    "Comparison", "Forecasts beside what followed.", ComparedHour, "One row per hour, ascending."
)

_SPAN = (
    _time("start_utc", "first valid time of the span"),
    _time("end_utc", "its exclusive end"),
)
LeadAccuracy = row_model(
    "LeadAccuracy",
    "Accuracy of the live served forecasts at one lead, beside baselines on the same hours.",
    (
        *_SPAN,
        Column("lead_hours", "INTEGER", "lead time; 1 is the hour from the issue time", unit="h"),
        *view_columns("accuracy", "n", "mae", "crps", "coverage_80"),
        _g("persistence_mae", "MAE of persistence on the same hours", nullable=True),
        _g("climatology_mae", "MAE of damped climatology on the same hours", nullable=True),
        *view_columns("accuracy", "skill"),
    ),
)
Accuracy = _rows("Accuracy", "Accuracy by lead.", LeadAccuracy, "One row per lead, ascending.")

ScoreboardRow = row_model(
    "ScoreboardRow",
    "Figures of one predictor at one lead in one month.",
    view_columns("scoreboard"),
)
Scoreboard = _rows("Scoreboard", "Figures by month.", ScoreboardRow, "The newest month first.")

ModelVersion = row_model("ModelVersion", "One model version.", view_columns("models"))
Models = _rows("Models", "Every model version.", ModelVersion, "The newest first.")
Champion = row_model("Champion", "The version that serves.", view_columns("champion"))
BestModel = answer_model("BestModel", "The champion.", Champion, "Its version and figures.")

LedgerRow = row_model("LedgerRow", "One retrain decision.", view_columns("retrain_ledger"))
RetrainLedger = _rows("RetrainLedger", "Retrain decisions.", LedgerRow, "The newest first.")

QualityFinding = row_model(
    "QualityFinding", "One thing that was wrong with the data.", view_columns("data_quality")
)
DataQuality = _rows("DataQuality", "Findings.", QualityFinding, "The newest first.")

Receipt = row_model("Receipt", "One past recommendation.", view_columns("window_receipts"))
Receipts = _rows("Receipts", "Past recommendations.", Receipt, "The newest first.")


class WindowCandidate(BaseModel):
    """A start that was considered: of the whole window, or of one hour if the job may pause."""

    model_config = ConfigDict(extra="forbid")

    start_utc: datetime = Field(description="Its first hour.")
    expected_g_per_kwh: float = Field(
        description="Mean of the medians of its hours as forecast, g/kWh: not calibrated.",
        json_schema_extra={"unit": "g/kWh"},
    )
    deciding_g_per_kwh: float = Field(
        description="Mean of the quantile that decides, g/kWh: the lowest is chosen.",
        json_schema_extra={"unit": "g/kWh"},
    )


WINDOW_COLUMNS = (
    _time("start_utc", "beginning of the first hour to use"),
    _time("end_utc", "end of the last one"),
    Column("is_now", "BOOLEAN", "whether it says: run at once"),
    _g("expected_g_per_kwh", "mean of these hours: now less the expected saving"),
    _g("low_g_per_kwh", "10 % quantile of that mean"),
    _g("high_g_per_kwh", "90 % quantile of that mean"),
    _g("now_g_per_kwh", "mean of the medians of the first hours from now"),
    _g("expected_saving_g_per_kwh", "expected saving against now, calibrated"),
    Column("expected_saving_percent", "DOUBLE", "the same, of now", unit="%"),
    Column(
        "chance_beats_now",
        "DOUBLE",
        "calibrated chance that these hours emit less than now, 0 to 1; 0 where they are now",
    ),
    _time("horizon_end_utc", "end of the forecast"),
    Column("duration_hours", "INTEGER", "as asked for", unit="h"),
    Column("contiguous", "BOOLEAN", "as asked for"),
    Column("quantile", "DOUBLE", "the quantile that decided"),
    Column(
        "calibrated_on",
        "VARCHAR",
        "what chance and saving are calibrated on: receipts (settled past advice), holdout (the"
        " gate's), default (recorded hours of 2023 and 2024) or none",
    ),
    Column("calibration_n", "INTEGER", "settled cases that this rests on"),
)
GreenestWindow = answer_model(
    "GreenestWindow",
    "The hours to use.",
    create_model(
        "Window",
        __base__=row_model("WindowFigures", "The hours to use.", WINDOW_COLUMNS),
        __doc__="The hours to use, what they are expected to save, and how sure that is.",
        hours=(list[datetime], Field(description="Beginning of each hour to use, ascending.")),
        candidates=(
            list[WindowCandidate],
            Field(description="Every start that was considered, by time."),
        ),
    ),
    "The recommendation.",
)

FeatureHour = row_model(
    "FeatureHour",
    "A measured hour before the issue time.",
    view_columns(
        "actuals",
        "hour_utc",
        "co2_g_per_kwh",
        "co2_imputed_g_per_kwh",
        "quality",
        "minutes_seen",
    ),
)


class Load(BaseModel):
    """One load that the forecast's minutes came by."""

    model_config = ConfigDict(extra="forbid")

    etl_run_id: str = Field(description="Row of ops.etl_runs.")
    dataset: str = Field(description="Name at Energi Data Service.")
    status: str = Field(description="ok or source_failed.")
    started_at_utc: datetime = Field(description="By the clock of the platform.")
    rows_read: int = Field(description="Rows in the reply.")
    url: str | None = Field(description="What was asked.")
    response_sha256: str | None = Field(description="Hash of the reply, decoded.")
    dagster_run_id: str | None = Field(description="Run that loaded.")


Explanation = answer_model(
    "Explanation",
    "From one forecast value back to what it was made from.",
    create_model(
        "Origin",
        __base__=row_model(
            "OriginFigures", "A forecast value and its origin.", view_columns("forecast_origin")
        ),
        __doc__="A forecast value with its version, training, features, minutes, loads and runs.",
        hours=(list[FeatureHour], Field(description="The 24 hours before it.")),  # type: ignore[valid-type]
        loads=(list[Load], Field(description="Where their minutes came from.")),
    ),
    "The origin of the value.",
)


class Health(BaseModel):
    """The platform serves forecasts and data that are fresh."""

    model_config = ConfigDict(extra="forbid")

    status: Literal["ok"] = Field(description="Else the answer is a problem, status 503.")


HealthAnswer = answer_model("HealthAnswer", "Fresh.", Health, "That it is so.")


class Index(BaseModel):
    """Where to go from here."""

    model_config = ConfigDict(extra="forbid")

    title: str = Field(description="Name of the API.")
    version: str = Field(description="Its version.")
    documentation: str = Field(description="Page for people.")
    openapi: str = Field(description="The same for programs.")
    routes: dict[str, str] = Field(description="Every path, with what it answers.")
