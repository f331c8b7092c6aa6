"""Every table of the warehouse: columns, units, keys and meaning, declared once.

From here come the DDL, the schema checks, the column metadata in Dagster and
docs/warehouse.md. Names of quantities are decided here and used everywhere.
Nothing here knows DuckDB; types are SQL type names.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

AREA = "DK"
"""The one area of the actuals and forecasts, until areas come."""

QUANTILES = (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)
QUANTILE_COLUMNS = tuple(f"p{round(q * 100):02d}_g_per_kwh" for q in QUANTILES)
"""Columns of a forecast: p05, p10, p25, p50, p75, p90, p95 in g/kWh."""

QUANTILE_WEIGHTS = (0.075, 0.1, 0.2, 0.25, 0.2, 0.1, 0.075)
"""Share of (0, 1) that each level stands for: halfway to its neighbours, and to 0 and 1."""

MISSION_LEADS = 6
"""The product is leads 1 to 6: gate and retrain rule speak of those, whatever the horizon."""


def lead_groups(horizon_hours: int) -> dict[str, tuple[int, int]]:
    """First and last lead of each figure, by its label in a column `leads`.

    Each lead by itself ("1", "2", ...), the mission's together ("1-6"), and, where the
    horizon is longer, the later ones ("7-24") and all of them ("1-24").
    """
    mission = min(MISSION_LEADS, horizon_hours)
    pooled = [(1, mission), (mission + 1, horizon_hours), (1, horizon_hours)]
    singles = {str(lead): (lead, lead) for lead in range(1, horizon_hours + 1)}
    return singles | {f"{first}-{last}": (first, last) for first, last in pooled if first < last}


MISSION_LABEL = f"1-{MISSION_LEADS}"
"""What figures pooled over the mission's leads are called in a column `leads`."""

POWER_COLUMNS = (
    "central_plants_mw",
    "local_plants_mw",
    "solar_mw",
    "offshore_wind_mw",
    "onshore_wind_mw",
    "net_import_mw",
)
"""The six power columns: production by kind, and net import (positive into Denmark)."""

CO2_COLUMN = "co2_g_per_kwh"
VALUE_COLUMNS = (CO2_COLUMN, *POWER_COLUMNS)
"""The seven measured quantities of an hour."""


def cleaned(column: str) -> str:
    """Name of the cleaned twin of a measured column, `solar_cleaned_mw` for `solar_mw`."""
    return _infix(column, "cleaned")


def imputed(column: str) -> str:
    """Name of the imputed twin of a measured column, `solar_imputed_mw` for `solar_mw`."""
    return _infix(column, "imputed")


def _infix(column: str, word: str) -> str:
    for unit in ("_g_per_kwh", "_mw"):
        if column.endswith(unit):
            return f"{column.removesuffix(unit)}_{word}{unit}"
    raise ValueError(f"{column!r} ends in no unit (_g_per_kwh, _mw)")


CLEANED_COLUMNS = tuple(cleaned(c) for c in VALUE_COLUMNS)
IMPUTED_COLUMNS = tuple(imputed(c) for c in VALUE_COLUMNS)

FALLBACK_KINDS = ("no_champion", "champion_unusable", "measurements_missing")
"""Why another model answers: there is no champion, it cannot be loaded or fails, or measured
hours that it reads are missing."""

QUALITIES = ("ok", "imputed", "missing", "spike", "frozen")
"""What an hour is worth: `imputed` and `missing` hours lack a complete report."""

CO2_LAGS = (1, 2, 3, 4, 5)
ROLLING_HOURS = (6, 12)
LAG_COLUMNS = tuple(f"co2_lag_{lag}h_g_per_kwh" for lag in CO2_LAGS)
ROLLING_COLUMNS = tuple(
    f"co2_rolling_{statistic}_{hours}h_g_per_kwh"
    for hours in ROLLING_HOURS
    for statistic in ("mean", "std")
)
FEATURE_COLUMNS = (*IMPUTED_COLUMNS, *LAG_COLUMNS, *ROLLING_COLUMNS)
"""Encoder inputs of one hour, in the order the models see them."""


FORECAST_TYPES = ("offshore_wind", "onshore_wind", "solar")
FORECAST_KINDS = ("day_ahead", "intraday", "five_hour", "one_hour", "current")

PROGNOSIS_SHARES = {"DK1": 0.6, "DK2": 0.4}
"""Shares of the areas in Denmark's CO2, by consumption: Energinet forecasts them apart."""

PRICE_AREAS = ("DE", "DK1", "DK2", "NO2", "SE3")
"""Price areas whose day-ahead prices the models read."""


def wind_solar_column(forecast_type: str) -> str:
    """Name of the sum of an Energinet forecast over both areas."""
    return f"{forecast_type}_forecast_mw"


def price_column(area: str) -> str:
    """Name of an area's day-ahead price."""
    return f"price_{area.lower()}_eur_per_mwh"


EXTERNAL_GROUPS = {
    "wind_solar": tuple(wind_solar_column(kind) for kind in FORECAST_TYPES),
    "co2_prognosis": ("co2_prognosis_g_per_kwh",),
    "prices": tuple(price_column(area) for area in PRICE_AREAS),
}
"""Inputs from elsewhere, by what goes missing together: one group is one dataset."""

EXTERNAL_COLUMNS = tuple(name for group in EXTERNAL_GROUPS.values() for name in group)


def available_column(column: str) -> str:
    """Name of the earliest issue time that may use an external value."""
    return f"{column}_available_utc"


@dataclass(frozen=True)
class Column:
    """One column: SQL type, unit and meaning.

    `audit` marks what records how and when a row came to be (run ids, fetch times):
    two tables are equal when all other columns are.
    """

    name: str
    sql_type: str
    meaning: str
    unit: str = ""
    nullable: bool = False
    audit: bool = False


@dataclass(frozen=True)
class Table:
    """One table: its columns, with the primary key by name."""

    schema: str
    name: str
    meaning: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def qualified_name(self) -> str:
        """`schema.name`, as SQL and asset keys say it."""
        return f"{self.schema}.{self.name}"

    @cached_property
    def column_names(self) -> tuple[str, ...]:
        """Names of all columns, in order."""
        return tuple(column.name for column in self.columns)

    def column(self, name: str) -> Column:
        """One column by its name.

        Raises:
            KeyError: there is none of that name.
        """
        return {column.name: column for column in self.columns}[name]

    @cached_property
    def compared_columns(self) -> tuple[str, ...]:
        """Names of the columns that make two tables equal: all but the audit ones."""
        return tuple(column.name for column in self.columns if not column.audit)


@dataclass(frozen=True)
class View:
    """One view of the contract for people, API and dashboard; it lies in schema `main`."""

    name: str
    meaning: str
    columns: tuple[Column, ...]
    """In the view's order, keys first."""


def _commit_id() -> Column:
    return Column("commit_id", "BIGINT", "ops.commits row that last wrote this row", audit=True)


def _fetched() -> tuple[Column, ...]:
    return (
        Column("fetched_at_utc", "TIMESTAMPTZ", "when this value was fetched", audit=True),
        Column("etl_run_id", "VARCHAR", "ops.etl_runs row of the load", audit=True),
        _commit_id(),
    )


def _availability() -> tuple[Column, ...]:
    return (
        Column(
            "first_seen_utc",
            "TIMESTAMPTZ",
            "when we first saw this value, if that was before its valid time",
            nullable=True,
            audit=True,
        ),
        Column(
            "available_utc",
            "TIMESTAMPTZ",
            "from when this value was known; null is never",
            nullable=True,
            audit=True,
        ),
    )


def _mw(name: str, meaning: str) -> Column:
    return Column(name, "DOUBLE", meaning, unit="MW", nullable=True)


def _g(name: str, meaning: str, *, nullable: bool = True) -> Column:
    return Column(name, "DOUBLE", meaning, unit="g/kWh", nullable=nullable)


MEASURED_MEANINGS = {
    CO2_COLUMN: "CO2 emission of the electricity consumed in Denmark",
    "central_plants_mw": "production of central plants of at least 100 MW",
    "local_plants_mw": "production of local plants below 100 MW",
    "solar_mw": "solar production, estimated by Energinet",
    "offshore_wind_mw": "offshore wind production",
    "onshore_wind_mw": "onshore wind production",
    "net_import_mw": "net exchange with neighbours, positive into Denmark",
}


def _measured(rename: str | None = None) -> tuple[Column, ...]:
    """The seven quantities as reported, or their `cleaned` or `imputed` twins."""
    twin = {None: lambda c: c, "cleaned": cleaned, "imputed": imputed}[rename]
    prefix = f"{rename}: " if rename else ""
    return (
        _g(twin(CO2_COLUMN), prefix + MEASURED_MEANINGS[CO2_COLUMN]),
        *(_mw(twin(c), prefix + MEASURED_MEANINGS[c]) for c in POWER_COLUMNS),
    )


OPTIONAL_POWER_COLUMNS = {
    "exchange_dk1_de_mw": "exchange of DK1 with Germany",
    "exchange_dk1_nl_mw": "exchange of DK1 with the Netherlands",
    "exchange_dk1_gb_mw": "exchange of DK1 with Great Britain",
    "exchange_dk1_no_mw": "exchange of DK1 with Norway",
    "exchange_dk1_se_mw": "exchange of DK1 with Sweden",
    "exchange_dk1_dk2_mw": "exchange between DK1 and DK2, not in the sum",
    "exchange_dk2_de_mw": "exchange of DK2 with Germany",
    "exchange_dk2_se_mw": "exchange of DK2 with Sweden",
    "exchange_bornholm_se_mw": "exchange of Bornholm with Sweden",
    "afrr_activated_dk1_mw": "activated automatic reserve in DK1, positive is up",
    "afrr_activated_dk2_mw": "activated automatic reserve in DK2, positive is up",
    "mfrr_activated_dk1_mw": "activated manual reserve in DK1, positive is up",
    "mfrr_activated_dk2_mw": "activated manual reserve in DK2, positive is up",
    "imbalance_dk1_mw": "imbalance of DK1",
    "imbalance_dk2_mw": "imbalance of DK2",
}
"""Columns of PowerSystemRightNow that came and went over the years; null when absent."""

POWER_SYSTEM = Table(
    "raw",
    "power_system",
    "PowerSystemRightNow: one row per minute, as published; a revised minute replaces it",
    ("minute_utc",),
    (
        Column("minute_utc", "TIMESTAMPTZ", "minute, beginning"),
        Column("minute_dk", "TIMESTAMP", "the same in Danish local time, as published"),
        *_measured(),
        *(_mw(name, meaning) for name, meaning in OPTIONAL_POWER_COLUMNS.items()),
        *_fetched(),
    ),
)

_VINTAGE = Column("vintage", "INTEGER", "1 for the first value seen, 2 for the next, ...")

WIND_SOLAR_FORECASTS = Table(
    "raw",
    "wind_solar_forecasts",
    "Forecasts_Hour: every vintage of Energinet's forecasts of wind and solar production",
    ("hour_utc", "area", "forecast_type", "kind", "vintage"),
    (
        Column("hour_utc", "TIMESTAMPTZ", "valid hour, beginning"),
        Column("area", "VARCHAR", "price area, DK1 or DK2"),
        Column("forecast_type", "VARCHAR", "one of " + ", ".join(FORECAST_TYPES)),
        Column("kind", "VARCHAR", "one of " + ", ".join(FORECAST_KINDS)),
        _VINTAGE,
        _mw("forecast_mw", "forecast production; null as published"),
        *_availability(),
        *_fetched(),
    ),
)

CO2_PROGNOSIS = Table(
    "raw",
    "co2_prognosis",
    "CO2EmisProg: every vintage of Energinet's own CO2 forecast, never overwritten",
    ("time_utc", "area", "vintage"),
    (
        Column("time_utc", "TIMESTAMPTZ", "valid time, beginning"),
        Column("area", "VARCHAR", "price area, DK1 or DK2"),
        _VINTAGE,
        _g("co2_g_per_kwh", "forecast CO2 emission; null as published"),
        Column("step_minutes", "INTEGER", "length of the interval: 5, or 60 in the archive"),
        *_availability(),
        *_fetched(),
    ),
)

DAY_AHEAD_PRICES = Table(
    "raw",
    "day_ahead_prices",
    "Elspotprices up to 2025-09-30, DayAheadPrices after: every vintage of day-ahead prices",
    ("time_utc", "area", "vintage"),
    (
        Column("time_utc", "TIMESTAMPTZ", "start of the delivery interval"),
        Column("area", "VARCHAR", "price area, such as DK1, DK2, DE, NO2, SE3, SE4"),
        _VINTAGE,
        Column("price_eur_per_mwh", "DOUBLE", "price", unit="EUR/MWh", nullable=True),
        Column("price_dkk_per_mwh", "DOUBLE", "price", unit="DKK/MWh", nullable=True),
        Column("step_minutes", "INTEGER", "length of the interval: 60 or 15"),
        *_availability(),
        *_fetched(),
    ),
)

AGGREGATED_HOURS = Table(
    "core",
    "aggregated_hours",
    "hourly means of the minutes: reported, cleaned and imputed values apart",
    ("hour_utc",),
    (
        Column("hour_utc", "TIMESTAMPTZ", "hour, beginning"),
        *_measured(),
        *_measured("cleaned"),
        *_measured("imputed"),
        Column("minutes_seen", "INTEGER", "minutes reported in this hour"),
        Column("is_complete", "BOOLEAN", "at least 45 minutes were reported"),
        Column("is_imputed", "BOOLEAN", "at least one imputed value is filled in"),
        Column("quality", "VARCHAR", "one of " + ", ".join(QUALITIES)),
        _commit_id(),
    ),
)


def _feature(name: str) -> Column:
    if name in IMPUTED_COLUMNS:
        unit = "g/kWh" if name.endswith("_g_per_kwh") else "MW"
        return Column(name, "DOUBLE", "imputed value of the hour", unit=unit, nullable=True)
    return _g(
        name,
        name.removesuffix("_g_per_kwh").replace("_", " ") + ", this hour included"
        if "rolling" in name
        else name.removesuffix("_g_per_kwh").replace("_", " "),
    )


ENGINEERED_FEATURES = Table(
    "core",
    "engineered_features",
    "encoder inputs by hour: causal, from this hour and earlier ones only",
    ("hour_utc",),
    (
        Column("hour_utc", "TIMESTAMPTZ", "hour, beginning"),
        *(_feature(name) for name in FEATURE_COLUMNS),
        Column("is_usable", "BOOLEAN", "no input of this hour is null"),
        _commit_id(),
    ),
)

MODEL_VERSIONS = Table(
    "ml",
    "model_versions",
    "every model version with its recipe, training range, artifact and fate; immutable",
    ("model_version",),
    (
        Column("model_version", "VARCHAR", "v0001, v0002, ...; or the name of a baseline"),
        Column("recipe", "VARCHAR", "seed, persistence, climatology, ..."),
        Column("train_start_utc", "TIMESTAMPTZ", "first hour trained on", nullable=True),
        Column("train_end_utc", "TIMESTAMPTZ", "end of the hours trained on", nullable=True),
        Column(
            "holdout_start_utc",
            "TIMESTAMPTZ",
            "first hour of the gate's holdout, where the gate's own fit ended",
            nullable=True,
        ),
        Column("holdout_end_utc", "TIMESTAMPTZ", "end of the gate's holdout", nullable=True),
        Column("seed", "INTEGER", "random seed", nullable=True),
        Column("hyperparameters", "JSON", "all settings of the training"),
        Column("features", "JSON", "names of the inputs, in order"),
        Column(
            "inputs_missing",
            "VARCHAR",
            "external columns that most hours trained on lacked, in order; null if none",
            nullable=True,
        ),
        Column("data_fingerprint", "VARCHAR", "hash of the rows trained on", nullable=True),
        Column("artifact_path", "VARCHAR", "folder, relative to CO2_HOME", nullable=True),
        Column("artifact_sha256", "VARCHAR", "hash of the folder's files", nullable=True),
        Column(
            "status",
            "VARCHAR",
            "promoted, rejected, outdated (better, and older than the champion) or baseline",
        ),
        Column("reason", "VARCHAR", "the gate's words"),
        Column(
            "decision_window_start_utc",
            "TIMESTAMPTZ",
            "window of the retrain decision that asked for it",
            nullable=True,
        ),
        Column("code_version", "VARCHAR", "version of the package", audit=True),
        Column("created_utc", "TIMESTAMPTZ", "when it was registered", audit=True),
        Column(
            "training_seconds",
            "DOUBLE",
            "wall time of the training",
            unit="s",
            nullable=True,
            audit=True,
        ),
        Column("dagster_run_id", "VARCHAR", "run that trained it", nullable=True, audit=True),
        _commit_id(),
    ),
)

_LEADS = Column("leads", "VARCHAR", "lead times in hours: 1, 2, ..., 1-6, 7-24 or 1-24")

MODEL_METRICS = Table(
    "ml",
    "model_metrics",
    "figures of a model version, by lead and pooled",
    ("model_version", "scope", "predictor", "leads", "metric"),
    (
        Column("model_version", "VARCHAR", "the version that was measured"),
        Column("scope", "VARCHAR", "holdout: the gate's comparison"),
        Column("predictor", "VARCHAR", "challenger, champion or the name of a baseline"),
        _LEADS,
        Column("metric", "VARCHAR", "n, mae, rmse, bias, mape, crps, coverage_80, skill"),
        Column("value", "DOUBLE", "the figure", nullable=True),
        _commit_id(),
    ),
)

MODEL_ALIASES = Table(
    "ml",
    "model_aliases",
    "which version an alias meant from when on; append-only",
    ("alias", "alias_number"),
    (
        Column("alias", "VARCHAR", "champion or previous"),
        Column("alias_number", "INTEGER", "1, 2, ... within the alias"),
        Column("model_version", "VARCHAR", "the version meant"),
        Column("valid_from_utc", "TIMESTAMPTZ", "first issue time it is meant at"),
        Column("reason", "VARCHAR", "why it was given"),
        _commit_id(),
    ),
)

FORECASTS = Table(
    "ml",
    "forecasts",
    "every forecast value with the version that made it; a key that exists is never changed",
    ("area", "issue_time_utc", "model_version", "lead_hours"),
    (
        Column("area", "VARCHAR", "DK"),
        Column("issue_time_utc", "TIMESTAMPTZ", "end of the data it was made from"),
        Column("model_version", "VARCHAR", "the version that made it"),
        Column("lead_hours", "INTEGER", "1 is the hour that begins at the issue time", unit="h"),
        Column("valid_time_utc", "TIMESTAMPTZ", "the hour it is for, beginning"),
        *(_g(c, f"{int(c[1:3])} % quantile", nullable=False) for c in QUANTILE_COLUMNS),
        Column("is_served", "BOOLEAN", "the platform's answer; else a shadow forecast"),
        Column("is_hindcast", "BOOLEAN", "made more than an hour after its issue time"),
        Column("is_fallback", "BOOLEAN", "another model than the champion answered"),
        Column(
            "fallback_kind",
            "VARCHAR",
            "why: " + ", ".join(FALLBACK_KINDS) + "; null if it is no fallback",
            nullable=True,
        ),
        Column("fallback_reason", "VARCHAR", "the same in words", nullable=True),
        Column(
            "inputs_missing",
            "VARCHAR",
            "external columns that a degraded forecast was made without, in order; null if none",
            nullable=True,
        ),
        Column(
            "cutoff_utc",
            "TIMESTAMPTZ",
            "what others had published by then counted",
            nullable=True,
            audit=True,
        ),
        Column(
            "power_system_age_hours",
            "DOUBLE",
            "issue time less end of the newest measured hour",
            unit="h",
            nullable=True,
        ),
        Column(
            "wind_solar_age_hours",
            "DOUBLE",
            "cut-off less newest available_utc",
            unit="h",
            nullable=True,
            audit=True,
        ),
        Column(
            "co2_prognosis_age_hours",
            "DOUBLE",
            "cut-off less newest available_utc",
            unit="h",
            nullable=True,
            audit=True,
        ),
        Column(
            "prices_age_hours",
            "DOUBLE",
            "cut-off less newest available_utc",
            unit="h",
            nullable=True,
            audit=True,
        ),
        Column("issued_at_utc", "TIMESTAMPTZ", "when it was really made", audit=True),
        Column("dagster_run_id", "VARCHAR", "run that made it", nullable=True, audit=True),
        _commit_id(),
    ),
)

FORECAST_CALIBRATION = Table(
    "ml",
    "forecast_calibration",
    "what a trained version said before its bands were calibrated, and by how much they moved",
    ("area", "issue_time_utc", "model_version", "lead_hours"),
    (
        Column("area", "VARCHAR", "DK"),
        Column("issue_time_utc", "TIMESTAMPTZ", "as in ml.forecasts"),
        Column("model_version", "VARCHAR", "as in ml.forecasts"),
        Column("lead_hours", "INTEGER", "as in ml.forecasts", unit="h"),
        Column("valid_time_utc", "TIMESTAMPTZ", "as in ml.forecasts"),
        *(
            _g(c, f"{int(c[1:3])} % quantile as the model made it", nullable=False)
            for c in QUANTILE_COLUMNS
        ),
        *(
            Column(
                f"margin_{band}_log",
                "DOUBLE",
                f"added to both ends of the {band} % band, in log units",
            )
            for band in (50, 80, 90)
        ),
        Column("scores", "INTEGER", "forecasts with an actual that the margins rest on"),
        Column(
            "method",
            "VARCHAR",
            "rolling (the last weeks, same version and inputs), split (the gate's holdout) or none",
        ),
        _commit_id(),
    ),
)

FORECAST_EVALUATIONS = Table(
    "ml",
    "forecast_evaluations",
    "one row per scored forecast value; only a complete, ok hour is an actual",
    ("area", "valid_time_utc", "issue_time_utc", "model_version"),
    (
        Column("area", "VARCHAR", "DK"),
        Column("valid_time_utc", "TIMESTAMPTZ", "the hour that was forecast, beginning"),
        Column("issue_time_utc", "TIMESTAMPTZ", "when the forecast was issued"),
        Column("model_version", "VARCHAR", "the version that made it"),
        Column("lead_hours", "INTEGER", "lead time", unit="h"),
        _g("actual_g_per_kwh", "what followed", nullable=False),
        _g("p50_g_per_kwh", "the forecast median", nullable=False),
        _g("persistence_g_per_kwh", "persistence at the same issue time and lead"),
        _g("climatology_g_per_kwh", "damped climatology at the same issue time and lead"),
        _g("error_g_per_kwh", "p50 less actual", nullable=False),
        _g("absolute_error_g_per_kwh", "its size", nullable=False),
        Column("percentage_error", "DOUBLE", "absolute error over actual", unit="%", nullable=True),
        _g("pinball_g_per_kwh", "pinball loss, weighted over the seven quantiles", nullable=False),
        Column("hit_50", "BOOLEAN", "actual within p25 to p75"),
        Column("hit_80", "BOOLEAN", "actual within p10 to p90"),
        Column("hit_90", "BOOLEAN", "actual within p05 to p95"),
        Column("is_served", "BOOLEAN", "as in ml.forecasts"),
        Column("is_hindcast", "BOOLEAN", "as in ml.forecasts"),
        Column("is_fallback", "BOOLEAN", "as in ml.forecasts"),
        _commit_id(),
    ),
)

RETRAIN_DECISIONS = Table(
    "ml",
    "retrain_decisions",
    "one row per tick: the evidence, the rule, the decision and the reason in words",
    ("window_start_utc",),
    (
        Column("window_start_utc", "TIMESTAMPTZ", "the tick's window"),
        Column("window_end_utc", "TIMESTAMPTZ", "its end, the issue time"),
        Column("decision", "VARCHAR", "retrain or keep"),
        Column("rule", "VARCHAR", "the rule that decided"),
        Column("reason", "VARCHAR", "in words"),
        Column(
            "pseudo_accuracy", "DOUBLE", "100 - MAPE over the last 7 days", unit="%", nullable=True
        ),
        Column("n_forecasts", "INTEGER", "issue times in that evidence"),
        Column("n_values", "INTEGER", "scored values in that evidence"),
        Column("skill", "DOUBLE", "1 - MAE / MAE of persistence, over 14 days", nullable=True),
        Column("faulty_share", "DOUBLE", "share of hours of the 7 days not complete and ok"),
        Column("newest_hours_faulty", "BOOLEAN", "none of the newest 3 hours is complete and ok"),
        Column("champion", "VARCHAR", "model version", nullable=True),
        Column(
            "champion_problem",
            "VARCHAR",
            "why it could not be loaded or could not forecast",
            nullable=True,
        ),
        Column(
            "inputs_awaited",
            "VARCHAR",
            "datasets whose history a first training waits for",
            nullable=True,
        ),
        Column(
            "inputs_healed",
            "VARCHAR",
            "external columns that the last training lacked and whose history is there now",
            nullable=True,
        ),
        Column("cooldown_until_utc", "TIMESTAMPTZ", "no retraining before", nullable=True),
        Column("attempt", "INTEGER", "1, or more after failed trainings"),
        Column("in_flight_run_id", "VARCHAR", "training under way", nullable=True, audit=True),
        Column("decided_at_utc", "TIMESTAMPTZ", "when it was decided", audit=True),
        Column("dagster_run_id", "VARCHAR", "run that decided", nullable=True, audit=True),
        _commit_id(),
    ),
)

INPUT_DRIFT = Table(
    "ml",
    "input_drift",
    "once a day: how far the newest two weeks of each input lie from the champion's training",
    ("window_start_utc", "column_name"),
    (
        Column("window_start_utc", "TIMESTAMPTZ", "the tick's window; its end is the two weeks'"),
        Column("column_name", "VARCHAR", "hourly input"),
        Column("psi", "DOUBLE", "population stability index against the season of the training"),
        Column("usual_psi", "DOUBLE", "largest that two weeks of the training range have"),
        Column("is_unusual", "BOOLEAN", "psi is above the usual one and above 0.25"),
        Column("n_hours", "INTEGER", "known hours of the two weeks"),
        Column("model_version", "VARCHAR", "the champion whose training it is"),
        _commit_id(),
    ),
)

WINDOW_RECEIPTS = Table(
    "ml",
    "window_receipts",
    "what a job was told to do at each issue time, what that promised, and what came of it",
    ("area", "issue_time_utc", "duration_hours", "within_hours"),
    (
        Column("area", "VARCHAR", "DK"),
        Column("issue_time_utc", "TIMESTAMPTZ", "when the job could have run at once"),
        Column("duration_hours", "INTEGER", "hours that the job runs, in one piece", unit="h"),
        Column("within_hours", "INTEGER", "by when it must have ended", unit="h"),
        Column("model_version", "VARCHAR", "whose served forecast it was recommended from"),
        Column("recommended_start_utc", "TIMESTAMPTZ", "the hour to start in"),
        _g("expected_g_per_kwh", "expected at once less the saving", nullable=False),
        _g("expected_saving_g_per_kwh", "calibrated; 0 if that is at once", nullable=False),
        Column("chance_beats_now", "DOUBLE", "calibrated chance of less than at once; 0 if it is"),
        Column("quantile", "DOUBLE", "which quantile of the forecast was lowest there"),
        Column(
            "preferred_start_utc",
            "TIMESTAMPTZ",
            "the start that the forecast preferred: recommended, unless its calibrated chance is"
            " below one half or its saving not above 0",
        ),
        _g(
            "raw_saving_g_per_kwh",
            "of the preferred start, by the medians, before calibration",
            nullable=False,
        ),
        Column(
            "raw_chance_beats_now",
            "DOUBLE",
            "of the preferred start, by the scenarios, before calibration",
        ),
        Column("is_hindcast", "BOOLEAN", "as in ml.forecasts"),
        Column("is_fallback", "BOOLEAN", "as in ml.forecasts"),
        Column("is_settled", "BOOLEAN", "every hour until the end is measured, complete and ok"),
        Column("unsettled_reason", "VARCHAR", "what is lacking; null if settled", nullable=True),
        _g("realised_saving_g_per_kwh", "measured at once less measured there; null if unsettled"),
        _g("preferred_saving_g_per_kwh", "the same of the preferred start; null if unsettled"),
        Column(
            "best_start_utc",
            "TIMESTAMPTZ",
            "the start that was best in the end; null if unsettled",
            nullable=True,
        ),
        _g("best_saving_g_per_kwh", "measured at once less the best; null if unsettled"),
        _g("regret_g_per_kwh", "best less realised saving; null if unsettled"),
        _commit_id(),
    ),
)

ADVICE_CALIBRATION = Table(
    "ml",
    "advice_calibration",
    "how chance and saving are calibrated in advice from the forecast of an issue time, by job",
    ("area", "issue_time_utc", "duration_hours", "within_hours"),
    (
        Column("area", "VARCHAR", "DK"),
        Column("issue_time_utc", "TIMESTAMPTZ", "of the forecast; nothing later was known"),
        Column("duration_hours", "INTEGER", "hours that the job runs", unit="h"),
        Column("within_hours", "INTEGER", "by when it must have ended", unit="h"),
        Column(
            "chance_shift",
            "DOUBLE",
            "added to the log odds of a raw chance that is well above one half",
        ),
        Column("saving_factor", "DOUBLE", "by which a raw saving above 0 is multiplied"),
        Column("calibrated_on", "VARCHAR", "receipts, holdout (the gate's) or default"),
        Column("calibration_n", "INTEGER", "settled cases of this job that it rests on"),
        _commit_id(),
    ),
)

BACKTEST = Table(
    "ml",
    "backtest",
    "rolling-origin figures of models on the same issue times, of the newest backtest",
    ("model", "leads", "metric"),
    (
        Column("model", "VARCHAR", "recipe or baseline"),
        _LEADS,
        Column("metric", "VARCHAR", "n, mae, rmse, bias, ..., skill, dm_statistic, dm_p_value"),
        Column("value", "DOUBLE", "the figure", nullable=True),
        Column("low", "DOUBLE", "5 % end of its interval, weekly blocks", nullable=True),
        Column("high", "DOUBLE", "95 % end", nullable=True),
        Column("first_issue_utc", "TIMESTAMPTZ", "first issue time"),
        Column("last_issue_utc", "TIMESTAMPTZ", "last issue time"),
        Column("refit", "VARCHAR", "never or monthly"),
        Column("dagster_run_id", "VARCHAR", "run that made it", nullable=True, audit=True),
        _commit_id(),
    ),
)

ETL_RUNS = Table(
    "ops",
    "etl_runs",
    "one row per load of a dataset, also of those that failed",
    ("etl_run_id",),
    (
        Column("etl_run_id", "VARCHAR", "unique id"),
        Column("dataset", "VARCHAR", "name at Energi Data Service"),
        Column("table_name", "VARCHAR", "where it went"),
        Column("status", "VARCHAR", "ok or source_failed"),
        Column("source", "VARCHAR", "live, recorded or archive"),
        Column("url", "VARCHAR", "what was asked", nullable=True),
        Column("window_start_utc", "TIMESTAMPTZ", "start of the span asked for"),
        Column("window_end_utc", "TIMESTAMPTZ", "its exclusive end"),
        Column("rows_read", "BIGINT", "rows in the reply"),
        Column("rows_new", "BIGINT", "rows that were not stored yet"),
        Column("rows_revised", "BIGINT", "rows whose values replaced others"),
        Column("rows_unchanged", "BIGINT", "rows that were stored already"),
        Column("rows_rejected", "BIGINT", "rows not stored: repeated, or of a failed reply"),
        Column("bytes_read", "BIGINT", "size of the reply, decoded", unit="B"),
        Column("response_sha256", "VARCHAR", "hash of the reply, decoded", nullable=True),
        Column("started_at_utc", "TIMESTAMPTZ", "by the clock of the platform"),
        Column("duration_seconds", "DOUBLE", "wall time", unit="s"),
        Column("error", "VARCHAR", "the whole message", nullable=True),
        Column("error_field", "VARCHAR", "field at fault", nullable=True),
        Column("error_row", "BIGINT", "row at fault, from 0", nullable=True),
        Column("error_found", "VARCHAR", "what was found", nullable=True),
        Column("error_expected", "VARCHAR", "what was expected", nullable=True),
        Column("dagster_run_id", "VARCHAR", "run that loaded", nullable=True),
        _commit_id(),
    ),
)

COMMITS = Table(
    "ops",
    "commits",
    "one row per transaction",
    ("commit_id",),
    (
        Column("commit_id", "BIGINT", "1, 2, 3, ..."),
        Column("step", "VARCHAR", "what wrote"),
        Column("run_id", "VARCHAR", "Dagster run or command"),
        Column("rows_written", "BIGINT", "rows inserted, updated or deleted"),
        Column("committed_at_utc", "TIMESTAMPTZ", "by the clock of the platform"),
    ),
)

COVERAGE = Table(
    "ops",
    "coverage",
    "spans asked for and answered; a hole inside one is the source's",
    ("dataset", "start_utc", "end_utc"),
    (
        Column("dataset", "VARCHAR", "table name, such as raw.power_system"),
        Column("start_utc", "TIMESTAMPTZ", "start of the span"),
        Column("end_utc", "TIMESTAMPTZ", "its exclusive end"),
        _commit_id(),
    ),
)

WATERMARKS = Table(
    "ops",
    "watermarks",
    "up to which commit a table has taken in its inputs",
    ("consumer", "producer"),
    (
        Column("consumer", "VARCHAR", "derived table"),
        Column("producer", "VARCHAR", "table that it reads"),
        Column("commit_id", "BIGINT", "inputs up to this commit are taken in"),
    ),
)

SCHEMA_MIGRATIONS = Table(
    "ops",
    "schema_migrations",
    "migrations applied, each recorded in the transaction that applied it",
    ("number",),
    (
        Column("number", "INTEGER", "number of the SQL file"),
        Column("name", "VARCHAR", "its name"),
        Column("sha256", "VARCHAR", "hash of its text"),
        Column("applied_at_utc", "TIMESTAMPTZ", "when"),
    ),
)

TABLES = (
    POWER_SYSTEM,
    WIND_SOLAR_FORECASTS,
    CO2_PROGNOSIS,
    DAY_AHEAD_PRICES,
    AGGREGATED_HOURS,
    ENGINEERED_FEATURES,
    MODEL_VERSIONS,
    MODEL_METRICS,
    MODEL_ALIASES,
    FORECASTS,
    FORECAST_CALIBRATION,
    FORECAST_EVALUATIONS,
    RETRAIN_DECISIONS,
    INPUT_DRIFT,
    WINDOW_RECEIPTS,
    ADVICE_CALIBRATION,
    BACKTEST,
    ETL_RUNS,
    COMMITS,
    COVERAGE,
    WATERMARKS,
    SCHEMA_MIGRATIONS,
)


def _same(table: Table, *names: str) -> tuple[Column, ...]:
    """Columns that a view takes over from a table as they are."""
    return tuple(table.column(name) for name in names)


_AREA = Column("area", "VARCHAR", "DK")

_FORECAST_COLUMNS = (
    *_same(FORECASTS, "area", "issue_time_utc", "valid_time_utc", "lead_hours", "model_version"),
    *_same(FORECASTS, *QUANTILE_COLUMNS),
    *_same(FORECASTS, "issued_at_utc", "is_served", "is_hindcast", "is_fallback"),
    *_same(FORECASTS, "fallback_reason", "inputs_missing"),
)

_MODEL_COLUMNS = (
    *_same(MODEL_VERSIONS, "model_version", "recipe", "created_utc"),
    *_same(MODEL_VERSIONS, "train_start_utc", "train_end_utc"),
    *_same(MODEL_VERSIONS, "holdout_start_utc", "holdout_end_utc"),
    *_same(MODEL_VERSIONS, "seed", "hyperparameters", "features"),
    Column(
        "metrics",
        "JSON",
        "ml.model_metrics of the version; keys scope/predictor/leads/metric",
        nullable=True,
    ),
    *_same(MODEL_VERSIONS, "artifact_path", "artifact_sha256", "data_fingerprint"),
    *_same(MODEL_VERSIONS, "status", "reason"),
)

_N = Column("n", "BIGINT", "scored values")
_MAE = _g("mae", "mean absolute error of the median", nullable=False)
_CRPS = _g(
    "crps", "quantile score, nearly the CRPS: twice the weighted pinball loss", nullable=False
)
_SKILL = Column(
    "skill",
    "DOUBLE",
    "1 - MAE / MAE of persistence, where persistence has a forecast",
    nullable=True,
)

VIEWS = (
    View(
        "actuals",
        "what was measured, one row per hour",
        (
            *_same(AGGREGATED_HOURS, "hour_utc"),
            _AREA,
            _g(CO2_COLUMN, "mean of the hour; null unless it is complete and ok"),
            _g(imputed(CO2_COLUMN), "the same, carried forward for at most 3 hours"),
            *_same(AGGREGATED_HOURS, "quality", "minutes_seen"),
            *(_mw(name, "cleaned mean: " + MEASURED_MEANINGS[name]) for name in POWER_COLUMNS),
        ),
    ),
    View(
        "forecast_history",
        "every forecast value ever made, shadow forecasts and hindcasts included",
        _FORECAST_COLUMNS,
    ),
    View(
        "forecasts",
        "the newest served forecast of each hour",
        _FORECAST_COLUMNS,
    ),
    View(
        "forecast_vs_actual",
        "forecast_history beside what followed",
        (
            *_FORECAST_COLUMNS,
            _g("actual_g_per_kwh", "what followed; null if not known, or not complete and ok"),
            _g("error_g_per_kwh", "p50 less actual"),
            _g("persistence_g_per_kwh", "persistence at the same issue time and lead"),
        ),
    ),
    View(
        "accuracy",
        "figures by version, lead and day of the valid time; a hindcast never counts",
        (
            _AREA,
            *_same(FORECAST_EVALUATIONS, "model_version", "lead_hours"),
            Column("day_utc", "DATE", "day of the valid time"),
            _N,
            _MAE,
            _g("rmse", "root mean square error of the median", nullable=False),
            Column("mse", "DOUBLE", "mean square error", unit="(g/kWh)^2"),
            Column("mape", "DOUBLE", "mean absolute percentage error", unit="%", nullable=True),
            Column("wape", "DOUBLE", "sum of errors over sum of actuals", unit="%", nullable=True),
            _g("bias", "mean of p50 less actual", nullable=False),
            Column("r2", "DOUBLE", "1 - MSE / variance of the actuals", nullable=True),
            Column("pseudo_accuracy", "DOUBLE", "100 - MAPE", unit="%", nullable=True),
            _CRPS,
            Column("coverage_80", "DOUBLE", "share of actuals within p10 to p90"),
            _SKILL,
        ),
    ),
    View(
        "scoreboard",
        "figures by month, lead and predictor; a hindcast never counts",
        (
            _AREA,
            Column("month_utc", "TIMESTAMPTZ", "month of the valid time, its beginning"),
            *_same(FORECAST_EVALUATIONS, "lead_hours"),
            Column("predictor", "VARCHAR", "model version; champion is whatever was served"),
            _N,
            _MAE,
            _CRPS,
            _SKILL,
        ),
    ),
    View("models", "every model version with its figures", _MODEL_COLUMNS),
    View(
        "champion",
        "the version that serves now: one row, none before the first",
        (*_MODEL_COLUMNS, *_same(MODEL_ALIASES, "valid_from_utc")),
    ),
    View(
        "retrain_ledger",
        "every retrain decision, and what came of it",
        (
            *_same(RETRAIN_DECISIONS, "window_start_utc", "window_end_utc"),
            *_same(RETRAIN_DECISIONS, "decision", "rule", "reason"),
            *_same(RETRAIN_DECISIONS, "pseudo_accuracy", "n_forecasts", "skill", "faulty_share"),
            *_same(RETRAIN_DECISIONS, "champion", "cooldown_until_utc", "in_flight_run_id"),
            Column("training_run_id", "VARCHAR", "Dagster run that trained", nullable=True),
            Column("trained_version", "VARCHAR", "version that came of it", nullable=True),
            Column("gate_outcome", "VARCHAR", "promoted or rejected, and why", nullable=True),
            _g(
                "worth_g_per_kwh",
                "MAE of the former champion less that of the new one over the 14 days after the"
                " change, leads 1 to 6, on the values that both forecast; null if none yet",
            ),
            Column("worth_n", "BIGINT", "values that were compared", nullable=True),
        ),
    ),
    View(
        "window_receipts",
        "what a job was told to do at each issue time, what that promised, and what came of it",
        _same(WINDOW_RECEIPTS, *WINDOW_RECEIPTS.compared_columns),
    ),
    View(
        "advice_calibration",
        "how chance and saving are calibrated in advice from the forecast of an issue time, by job",
        _same(ADVICE_CALIBRATION, *ADVICE_CALIBRATION.compared_columns),
    ),
    View(
        "forecast_origin",
        "from a forecast value back to its version, training, features, minutes and runs",
        (
            *_same(FORECASTS, "area", "issue_time_utc", "valid_time_utc", "lead_hours"),
            *_same(FORECASTS, "model_version"),
            *_same(FORECASTS, "p10_g_per_kwh", "p50_g_per_kwh", "p90_g_per_kwh"),
            *_same(FORECASTS, "is_served", "is_hindcast", "is_fallback", "fallback_reason"),
            *_same(FORECASTS, "inputs_missing", "cutoff_utc", "issued_at_utc", "dagster_run_id"),
            Column("recipe", "VARCHAR", "of the version; null for a baseline", nullable=True),
            Column("train_start_utc", "TIMESTAMPTZ", "first hour trained on", nullable=True),
            Column("train_end_utc", "TIMESTAMPTZ", "exclusive end of it", nullable=True),
            Column("artifact_sha256", "VARCHAR", "hash of the artifact", nullable=True),
            Column("data_fingerprint", "VARCHAR", "hash of the training data", nullable=True),
            Column("training_run_id", "VARCHAR", "Dagster run that trained", nullable=True),
            Column("feature_hours", "BIGINT", "hours of features in the 24 before the issue time"),
            Column("first_feature_hour_utc", "TIMESTAMPTZ", "first of them", nullable=True),
            Column("last_feature_hour_utc", "TIMESTAMPTZ", "last of them", nullable=True),
            Column("raw_minutes", "BIGINT", "minutes stored of those hours, as they are now"),
            Column("first_fetched_utc", "TIMESTAMPTZ", "earliest of their fetches", nullable=True),
            Column("last_fetched_utc", "TIMESTAMPTZ", "latest of their fetches", nullable=True),
            Column("etl_run_ids", "VARCHAR[]", "rows of ops.etl_runs", nullable=True),
            _g("actual_g_per_kwh", "what followed; null if not known, or not complete and ok"),
        ),
    ),
    View(
        "data_quality",
        "what was wrong with the data, one row per finding",
        (
            Column("dataset", "VARCHAR", "name at Energi Data Service"),
            Column("hour_utc", "TIMESTAMPTZ", "the hour, or the start of the span asked for"),
            Column(
                "kind", "VARCHAR", "spike, frozen, missing, partial, source_failed or input_drift"
            ),
            Column("column_name", "VARCHAR", "column at fault", nullable=True),
            Column("value", "VARCHAR", "what was found", nullable=True),
            Column("expected", "VARCHAR", "what was expected", nullable=True),
            Column("detected_utc", "TIMESTAMPTZ", "when it was found", nullable=True),
        ),
    ),
)
"""The views of warehouse/views.sql, which must have exactly these columns."""
