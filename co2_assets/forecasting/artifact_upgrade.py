"""Artifacts of versions before this one, brought into today's form when they are read.

The files stay as they are. As in the warehouse, one step leads from each format to the next;
what a step says of a former version is history and never changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

FORMAT = 2
"""Of the artifacts that are written now; those of 0.1 do not name theirs and are of 1."""


@dataclass(frozen=True)
class Parts:
    """What a forecaster consists of: plain values and weights."""

    config: dict[str, Any]
    scaler: dict[str, Any]
    weights: dict[str, Tensor]


def upgraded(recipe: str, parts: Parts) -> Parts:
    """The same artifact in today's form."""
    if parts.config.get("format", 1) == 1 and recipe in _FROM_1:
        return _FROM_1[recipe](parts)
    return parts


def _attention_from_1(parts: Parts) -> Parts:
    """One regression for all leads, no trees, one narrow layer as the head."""
    kept = dict(parts.config["hyperparameters"])
    near, own = kept.pop("base_weights"), kept.pop("own_base_weight")
    shares = [[near[min(group, len(near) - 1)], 0.0] for group in range(4)]
    kept |= {
        "wide": 0,
        "newest": 0,
        "head_dropout": kept["dropout"],
        "told": "groups",
        "column_dropout": 0.0,
        "trees": {"members": 0},
        "shares": shares,
        "shares_some": shares,
        "shares_none": [[own, 0.0]] * 4,
        "shares_own": [[own, 0.0]] * 4,
    }
    scaler = _reader_from_1(parts.scaler)
    return _base_from_1(
        Parts(
            parts.config | {"hyperparameters": kept},
            scaler | {"target": [scaler["target"]] * scaler["horizon_hours"]},
            parts.weights,
        )
    )


def _log_ridge_from_1(parts: Parts) -> Parts:
    return _base_from_1(Parts(parts.config, _reader_from_1(parts.scaler), parts.weights))


def _lightgbm_from_1(parts: Parts) -> Parts:
    return Parts(parts.config | {"lags": LAGS_OF_1}, _reader_from_1(parts.scaler), parts.weights)


def _reader_from_1(scaler: dict[str, Any]) -> dict[str, Any]:
    """All read the same covariates; the day before stood in for what was not yet published."""
    leads = [f"is_lead_{lead}" for lead in range(1, scaler["horizon_hours"] + 1)]
    elsewhere = EXTERNAL_OF_1 if scaler["external"] else ()
    return scaler | {
        "encoder_columns": list(ENCODER_OF_1),
        "covariates": [*CALENDAR_OF_1, *leads, *MEASURED_OF_1, *elsewhere],
        "carries": False,
    }


def _base_from_1(parts: Parts) -> Parts:
    """It read all external columns or none, and weighed errors by the level."""
    kept = parts.config["base"]
    part = {
        "lags": LAGS_OF_1,
        "keys": KEYS_OF_1,
        "hourly": HOURLY_OF_1,
        "hours": "all",
        "first_lead": 0,
        "day": kept["day"],
        "half_life_days": kept["half_life_days"],
    }
    base = {
        "alpha": kept["alpha"],
        "mean_co2": kept["mean_co2"],
        "columns": COLUMNS_OF_1 if parts.scaler["external"] else (),
        "parts": [part],
    }
    weights = {
        name.replace("base.", "base_0.", 1) if name.startswith("base.") else name: weight
        for name, weight in parts.weights.items()
    }
    return Parts(parts.config | {"base": base}, parts.scaler, weights)


_FROM_1: dict[str, Callable[[Parts], Parts]] = {
    "attention_lstm": _attention_from_1,
    "attention_lstm_own": _attention_from_1,
    "lightgbm": _lightgbm_from_1,
    "lightgbm_own": _lightgbm_from_1,
    "log_ridge": _log_ridge_from_1,
    "log_ridge_own": _log_ridge_from_1,
}

LAGS_OF_1 = 6

ENCODER_OF_1 = (
    "central_plants_mw", "local_plants_mw", "solar_mw", "offshore_wind_mw", "onshore_wind_mw",
    "net_import_mw", "log_co2", "log_co2_less_last", "hour_sin", "hour_cos", "hour_sin_2",
    "hour_cos_2", "weekday_sin", "weekday_cos", "is_weekend", "is_holiday", "sun_elevation_sin",
)  # fmt: skip

COLUMNS_OF_1 = (
    "offshore_wind_forecast_mw", "onshore_wind_forecast_mw", "solar_forecast_mw",
    "co2_prognosis_g_per_kwh", "price_de_eur_per_mwh", "price_dk1_eur_per_mwh",
    "price_dk2_eur_per_mwh", "price_no2_eur_per_mwh", "price_se3_eur_per_mwh",
)  # fmt: skip

CALENDAR_OF_1 = (
    "lead_hour_sin", "lead_hour_cos", "lead_hour_sin_2", "lead_hour_cos_2", "lead_weekday_sin",
    "lead_weekday_cos", "lead_is_weekend", "lead_is_holiday", "lead_sun_elevation_sin",
    "issue_hour_sin", "issue_hour_cos",
)  # fmt: skip

MEASURED_OF_1 = (
    "co2_change_24h_before", "co2_change_48h_before", "co2_change_168h_before",
    "co2_gap_24h_before", "co2_gap_48h_before", "co2_gap_168h_before", "co2_mean_change_28d",
    "solar_mw_mean_change_28d", "net_import_mw_mean_change_28d",
    "central_plants_mw_mean_change_28d", "solar_mw_change_24h_before",
    "net_import_mw_change_24h_before", "onshore_wind_mw_change_24h_before",
    "central_plants_mw_change_24h_before",
)  # fmt: skip

EXTERNAL_OF_1 = (
    "offshore_wind_forecast_mw", "offshore_wind_forecast_mw_change",
    "offshore_wind_forecast_mw_gap_to_measured", "offshore_wind_forecast_mw_error_last_hour",
    "onshore_wind_forecast_mw", "onshore_wind_forecast_mw_change",
    "onshore_wind_forecast_mw_gap_to_measured", "onshore_wind_forecast_mw_error_last_hour",
    "solar_forecast_mw", "solar_forecast_mw_change", "solar_forecast_mw_gap_to_measured",
    "solar_forecast_mw_error_last_hour", "wind_solar_sum_change", "residual_load_mw",
    "residual_load_change", "wind_solar_is_known", "prognosis_change", "prognosis_gap",
    "prognosis_error_last_hour", "prognosis_error_24h", "prognosis_is_known",
    "price_de_eur_per_mwh", "price_de_eur_per_mwh_change", "price_dk1_eur_per_mwh",
    "price_dk1_eur_per_mwh_change", "price_dk2_eur_per_mwh", "price_dk2_eur_per_mwh_change",
    "price_no2_eur_per_mwh", "price_no2_eur_per_mwh_change", "price_se3_eur_per_mwh",
    "price_se3_eur_per_mwh_change", "price_dk1_less_no2", "price_dk1_less_de",
    "prices_is_known", "level_wind_solar_change", "level_wind_solar_gap",
    "level_wind_solar_error_last_hour", "level_co2_prognosis_change",
    "level_co2_prognosis_gap", "level_co2_prognosis_error_last_hour", "level_both_change",
    "level_both_gap", "level_both_error_last_hour",
)  # fmt: skip

KEYS_OF_1 = (
    "log_co2", "net_import_mw", "central_plants_mw", "local_plants_mw", "onshore_wind_mw",
    "offshore_wind_mw", "wind_solar_sum_change", "residual_load_mw", "residual_load_change",
    "offshore_wind_forecast_mw_gap_to_measured", "prognosis_gap", "prognosis_error_last_hour",
    "level_both_change", "level_both_gap", "level_both_error_last_hour",
    "price_dk1_eur_per_mwh",
)  # fmt: skip

HOURLY_OF_1 = (
    "log_co2", "wind_solar_sum_change", "residual_load_mw", "prognosis_change",
    "level_both_change",
)  # fmt: skip
