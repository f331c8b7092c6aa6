"""The datasets that are read, each with its contract: what a reply must look like.

Names are the API's on the left and schema.py's on the right; units are in the latter.
https://www.energidataservice.dk
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Literal

from co2_assets.schema import (
    CO2_PROGNOSIS,
    DAY_AHEAD_PRICES,
    OPTIONAL_POWER_COLUMNS,
    POWER_SYSTEM,
    WIND_SOLAR_FORECASTS,
    Table,
)

Kind = Literal["time", "text", "number"]


@dataclass(frozen=True)
class Field:
    """One column of a reply."""

    api_name: str
    name: str
    kind: Kind
    required: bool = True
    """The column must be there; a value may still be null unless it is of the key."""


@dataclass(frozen=True)
class Dataset:
    """One dataset of the API and the table that it goes to."""

    name: str
    table: Table
    fields: tuple[Field, ...]
    key: tuple[str, ...]
    """API names of the columns that make a record unique."""
    step: timedelta
    filters: dict[str, list[str]] = field(default_factory=dict)
    rows_per_step: int = 1
    typical_row_bytes: int = 200
    """Size of a record as JSON, for telling how long a load still takes."""
    names_columns: bool = True
    """Whether to ask for the columns by name. Not where they come and go: a name that the
    dataset has lost is refused with 400, and one that it has gained would never be seen."""

    @property
    def time_field(self) -> Field:
        """The UTC column that `start` and `end` speak of."""
        return self.fields[0]

    @property
    def sort(self) -> str:
        """An explicit order: the default one is descending."""
        return ",".join(self.key)

    def expected_rows(self, span: timedelta) -> float:
        """About how many records a span holds."""
        return span / self.step * self.rows_per_step


def _optional_api_name(column: str) -> str:
    """`Exchange_DK1_DE` for `exchange_dk1_de_mw`: the API's spelling of optional columns."""
    return _SPELLING[column]


_SPELLING = {
    "exchange_dk1_de_mw": "Exchange_DK1_DE",
    "exchange_dk1_nl_mw": "Exchange_DK1_NL",
    "exchange_dk1_gb_mw": "Exchange_DK1_GB",
    "exchange_dk1_no_mw": "Exchange_DK1_NO",
    "exchange_dk1_se_mw": "Exchange_DK1_SE",
    "exchange_dk1_dk2_mw": "Exchange_DK1_DK2",
    "exchange_dk2_de_mw": "Exchange_DK2_DE",
    "exchange_dk2_se_mw": "Exchange_DK2_SE",
    "exchange_bornholm_se_mw": "Exchange_Bornholm_SE",
    "afrr_activated_dk1_mw": "aFRR_ActivatedDK1",
    "afrr_activated_dk2_mw": "aFRR_ActivatedDK2",
    "mfrr_activated_dk1_mw": "mFRR_ActivatedDK1",
    "mfrr_activated_dk2_mw": "mFRR_ActivatedDK2",
    "imbalance_dk1_mw": "ImbalanceDK1",
    "imbalance_dk2_mw": "ImbalanceDK2",
}

POWER_SYSTEM_RIGHT_NOW = Dataset(
    "PowerSystemRightNow",
    POWER_SYSTEM,
    (
        Field("Minutes1UTC", "minute_utc", "time"),
        Field("Minutes1DK", "minute_dk", "time"),
        Field("CO2Emission", "co2_g_per_kwh", "number"),
        Field("ProductionGe100MW", "central_plants_mw", "number"),
        Field("ProductionLt100MW", "local_plants_mw", "number"),
        Field("SolarPower", "solar_mw", "number"),
        Field("OffshoreWindPower", "offshore_wind_mw", "number"),
        Field("OnshoreWindPower", "onshore_wind_mw", "number"),
        Field("Exchange_Sum", "net_import_mw", "number"),
        *(
            Field(_optional_api_name(name), name, "number", required=False)
            for name in OPTIONAL_POWER_COLUMNS
        ),
    ),
    key=("Minutes1UTC",),
    step=timedelta(minutes=1),
    typical_row_bytes=230,
    names_columns=False,
)

DANISH_AREAS = ["DK1", "DK2"]
PRICE_AREAS = ["DE", "DK1", "DK2", "NO2", "SE3", "SE4"]

FORECASTS_HOUR = Dataset(
    "Forecasts_Hour",
    WIND_SOLAR_FORECASTS,
    (
        Field("HourUTC", "hour_utc", "time"),
        Field("PriceArea", "area", "text"),
        Field("ForecastType", "forecast_type", "text"),
        Field("ForecastDayAhead", "day_ahead", "number"),
        Field("ForecastIntraday", "intraday", "number", required=False),
        Field("Forecast5Hour", "five_hour", "number", required=False),
        Field("Forecast1Hour", "one_hour", "number", required=False),
        Field("ForecastCurrent", "current", "number", required=False),
    ),
    key=("HourUTC", "PriceArea", "ForecastType"),
    step=timedelta(hours=1),
    filters={"PriceArea": DANISH_AREAS},
    rows_per_step=6,
    typical_row_bytes=120,
)

CO2_EMIS_PROG = Dataset(
    "CO2EmisProg",
    CO2_PROGNOSIS,
    (
        Field("Minutes5UTC", "time_utc", "time"),
        Field("PriceArea", "area", "text"),
        Field("CO2Emission", "co2_g_per_kwh", "number"),
    ),
    key=("Minutes5UTC", "PriceArea"),
    step=timedelta(minutes=5),
    filters={"PriceArea": DANISH_AREAS},
    rows_per_step=2,
    typical_row_bytes=75,
)

ELSPOTPRICES = Dataset(
    "Elspotprices",
    DAY_AHEAD_PRICES,
    (
        Field("HourUTC", "time_utc", "time"),
        Field("PriceArea", "area", "text"),
        Field("SpotPriceEUR", "price_eur_per_mwh", "number"),
        Field("SpotPriceDKK", "price_dkk_per_mwh", "number", required=False),
    ),
    key=("HourUTC", "PriceArea"),
    step=timedelta(hours=1),
    filters={"PriceArea": PRICE_AREAS},
    rows_per_step=len(PRICE_AREAS),
    typical_row_bytes=90,
)

DAY_AHEAD_PRICES_15MIN = Dataset(
    "DayAheadPrices",
    DAY_AHEAD_PRICES,
    (
        Field("TimeUTC", "time_utc", "time"),
        Field("PriceArea", "area", "text"),
        Field("DayAheadPriceEUR", "price_eur_per_mwh", "number"),
        Field("DayAheadPriceDKK", "price_dkk_per_mwh", "number", required=False),
    ),
    key=("TimeUTC", "PriceArea"),
    step=timedelta(minutes=15),
    filters={"PriceArea": PRICE_AREAS},
    rows_per_step=len(PRICE_AREAS),
    typical_row_bytes=90,
)

DATASETS = {
    dataset.name: dataset
    for dataset in (
        POWER_SYSTEM_RIGHT_NOW,
        FORECASTS_HOUR,
        CO2_EMIS_PROG,
        ELSPOTPRICES,
        DAY_AHEAD_PRICES_15MIN,
    )
}
"""By their name at Energi Data Service."""
