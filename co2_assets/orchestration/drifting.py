"""Once a day: do the newest inputs look like those that the champion was trained on?"""

from __future__ import annotations

from datetime import datetime, timedelta

from co2_assets.forecasting.input_drift import DAYS, Drift, input_drift
from co2_assets.schema import CO2_COLUMN, POWER_COLUMNS, imputed
from co2_assets.warehouse import decisions, registry
from co2_assets.warehouse import hours as hourly
from co2_assets.warehouse.store import Transaction

COLUMNS = tuple(imputed(name) for name in (CO2_COLUMN, *POWER_COLUMNS))


def look_for_drift(tx: Transaction, window: tuple[datetime, datetime]) -> list[Drift]:
    """Compare and store; nothing but at the day's last window, or without a champion."""
    start, end = window
    champion = registry.champion_at(tx.con, end)
    if end.hour or champion is None:
        return []
    history = hourly.read_features(
        tx.con, min(champion.train_start_utc, end - timedelta(days=DAYS)), end
    )
    trained = (champion.train_start_utc, champion.train_end_utc)
    found = input_drift(history, COLUMNS, trained, end)
    decisions.store_drift(tx, found, start, champion.model_version)
    return found
