from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from co2_assets.errors import WarehouseError
from co2_assets.schema import (
    AGGREGATED_HOURS,
    FORECAST_EVALUATIONS,
    FORECASTS,
    MODEL_ALIASES,
    MODEL_VERSIONS,
    POWER_SYSTEM,
    RETRAIN_DECISIONS,
)
from co2_assets.settings import Settings
from co2_assets.warehouse.status import describe, read_status
from co2_assets.warehouse.store import Warehouse
from co2_assets_tests.warehouse.filled import HOUR, NOW, T0, filled, hours

ISSUE = T0 + 6 * HOUR


@pytest.fixture
def settings(warehouse: Warehouse) -> Settings:
    return Settings(home=warehouse.layout.home)


@pytest.fixture
def published(warehouse: Warehouse) -> Warehouse:
    """Twelve hours, one of them a gap and one a spike; a champion, one issue, its scores."""
    rows = {
        POWER_SYSTEM: {"minute_utc": hours(12)},
        AGGREGATED_HOURS: {
            "hour_utc": hours(12),
            "co2_cleaned_g_per_kwh": 100.0,
            "is_complete": [True] * 4 + [False] + [True] * 7,
            "minutes_seen": [60] * 4 + [0] + [60] * 7,
            "quality": ["ok"] * 4 + ["missing"] + ["spike"] + ["ok"] * 6,
        },
        MODEL_VERSIONS: {"model_version": ["v0001"], "recipe": "seed", "train_end_utc": T0},
        MODEL_ALIASES: {"alias": ["champion"], "model_version": "v0001", "valid_from_utc": T0},
        FORECASTS: {
            "issue_time_utc": ISSUE,
            "lead_hours": [1, 2, 3, 4, 5, 6],
            "valid_time_utc": hours(6, ISSUE),
            "is_served": True,
            "model_version": "v0001",
        },
        FORECAST_EVALUATIONS: {
            "issue_time_utc": ISSUE,
            "lead_hours": [1, 2, 3, 4, 5, 6],
            "valid_time_utc": hours(6, ISSUE),
            "is_served": True,
            "model_version": "v0001",
            "absolute_error_g_per_kwh": 20.0,
            "percentage_error": 20.0,
            "actual_g_per_kwh": 100.0,
            "persistence_g_per_kwh": 140.0,
            "climatology_g_per_kwh": 130.0,
        },
        RETRAIN_DECISIONS: {
            "window_start_utc": [T0],
            "window_end_utc": ISSUE,
            "decision": "keep",
            "rule": "healthy",
            "reason": "pseudo-accuracy 80.0 %",
            "decided_at_utc": NOW,
        },
    }
    with warehouse.write("fill", "run") as tx:
        for table, columns in rows.items():
            tx.upsert(table, filled(table, **columns))
    warehouse.publish()
    return warehouse


def read(settings: Settings, age_hours: float = 0) -> dict[str, Any]:
    return read_status(settings, T0 + (12 + age_hours) * HOUR)


def test_status_says_what_the_tables_hold(published: Warehouse, settings: Settings) -> None:
    found = read(settings)
    assert found["data"] == {
        "first_hour_utc": T0,
        "last_hour_utc": T0 + 11 * HOUR,
        "hours": 12,
        "hours_complete_and_ok": 10,
        "hours_without_a_minute": 1,
        "hours_not_complete": 1,
        "hours_spike": 1,
        "hours_frozen": 0,
        "gaps": [T0 + 4 * HOUR],
        "minutes": 12,
    }
    assert found["last_tick"]["window_start_utc"] == T0
    assert found["last_tick"]["ran_at_utc"] == NOW
    assert found["champion"]["model_version"] == "v0001"
    assert found["forecasts"] == {
        "issue_times": 1,
        "live": 1,
        "degraded": 0,
        "fallbacks": 0,
        "newest_issue_time_utc": ISSUE,
        "scored_values": 6,
    }
    assert [(lead["lead_hours"], lead["n"], lead["mae"]) for lead in found["accuracy_by_lead"]] == [
        (lead, 1, 20.0) for lead in range(1, 7)
    ]
    assert {lead["persistence_mae"] for lead in found["accuracy_by_lead"]} == {40.0}
    assert {lead["skill"] for lead in found["accuracy_by_lead"]} == {0.5}
    assert found["last_decision"] == {
        "window_end_utc": ISSUE,
        "decision": "keep",
        "rule": "healthy",
        "reason": "pseudo-accuracy 80.0 %",
    }
    assert found["warehouse"]["generation"] == 2
    assert found["warehouse"]["published_bytes"] == published.layout.public.stat().st_size
    assert found["warehouse"]["home_bytes"] > 2 * found["warehouse"]["published_bytes"]
    assert found["stale"] == []


def test_what_is_older_than_a_window_and_an_hour_is_stale(
    published: Warehouse, settings: Settings
) -> None:
    assert read(settings, age_hours=2)["stale"] == ["forecast: 8.0 hours old"]
    assert read(settings, age_hours=8)["stale"] == [
        "measured hours: 8.0 hours old",
        "forecast: 14.0 hours old",
    ]
    assert read_status(settings, None)["stale"] == ["unknown: the platform's clock cannot be read"]


def test_status_of_an_empty_warehouse_says_so(warehouse: Warehouse, settings: Settings) -> None:
    warehouse.publish()
    found = read(settings)
    assert found["data"]["hours"] == 0
    assert found["champion"] is None
    assert found["last_tick"] is None
    assert found["accuracy_by_lead"] == []
    assert found["stale"] == ["measured hours: none", "forecast: none"]
    assert "champion    none" in describe(found)


def test_status_of_no_warehouse_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(WarehouseError, match="no published warehouse"):
        read_status(Settings(home=tmp_path), NOW)


def test_the_description_says_the_same_in_words(published: Warehouse, settings: Settings) -> None:
    said = describe(read(settings))
    for words in (
        "live data",
        "12 hours, 12 minutes",
        "1 hours without a minute, 1 spikes, 0 frozen",
        "v0001 (seed), trained to 2025-01-20 00:00",
        "1 issue times, 1 live, 0 degraded, 0 fallbacks, 6 values scored",
        "generation 2",
        "stale       nothing",
    ):
        assert words in said
