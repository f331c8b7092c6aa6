from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest

from co2_assets.errors import ModelError
from co2_assets.schema import MODEL_ALIASES, MODEL_METRICS, MODEL_VERSIONS
from co2_assets.warehouse.query import Connection, row, value
from co2_assets.warehouse.registry import (
    champion_at,
    last_training,
    metrics_of,
    newest_champion,
    next_version,
    promote,
    register,
    trained_by,
)
from co2_assets.warehouse.store import Transaction
from co2_assets_tests.warehouse.filled import T0, put, stored

DAY = timedelta(days=1)


def add(con: Connection, name: str, trained_to: int = 0, **changed: object) -> None:
    """Register a trained version whose training ended on a day."""
    version: dict[str, object] = {
        "model_version": name,
        "recipe": "seed",
        "train_start_utc": T0 - 30 * DAY,
        "train_end_utc": T0 + trained_to * DAY,
        "holdout_end_utc": T0 + trained_to * DAY,
        "hyperparameters": {"hidden": 8, "epochs": 2},
        "features": ["a", "b"],
        "artifact_path": f"artifacts/{name}",
        "artifact_sha256": "00",
        "status": "promoted",
        "reason": "it won",
        "code_version": "1",
        "created_utc": T0,
        **changed,
    }
    metric = {
        "scope": "holdout", "predictor": "challenger", "leads": "1-6", "metric": "mae",
        "value": 12.5,
    }  # fmt: skip
    register(Transaction(con, 1), version, [metric])


def crown(con: Connection, name: str, day: int, reason: str = "it won") -> None:
    promote(Transaction(con, 1), name, valid_from=T0 + day * DAY, reason=reason)


def name_at(con: Connection, day: float) -> str | None:
    found = champion_at(con, T0 + day * DAY)
    return found.model_version if found else None


def test_versions_are_numbered_by_what_is_registered(con: Connection) -> None:
    assert next_version(con) == "v0001"
    add(con, "v0001")
    put(con, MODEL_VERSIONS, model_version=["v2x"])
    assert next_version(con) == "v0002"
    add(con, "v0009")
    assert next_version(con) == "v0010"


def test_a_version_that_exists_is_never_changed(con: Connection) -> None:
    add(con, "v0001")
    add(con, "v0001", trained_to=9, reason="another")
    found = stored(con, MODEL_VERSIONS, "model_version", "train_end_utc", "reason")
    assert found[-1] == ("v0001", T0, "it won")
    assert len(found) == 5


def test_the_baselines_are_versions_like_any_other_from_the_start(con: Connection) -> None:
    assert stored(con, MODEL_VERSIONS, "model_version", "status", "artifact_path") == [
        ("climatology", "baseline", None),
        ("energinet", "baseline", None),
        ("energinet_recalibrated", "baseline", None),
        ("persistence", "baseline", None),
    ]


def test_hyperparameters_features_and_metrics_are_json_to_readers(con: Connection) -> None:
    add(con, "v0001")
    hyper, features, metrics = row(
        con,
        "SELECT hyperparameters, features, metrics FROM main.models WHERE model_version = 'v0001'",
    ) or ("", "", "")
    assert json.loads(hyper) == {"epochs": 2, "hidden": 8}
    assert json.loads(features) == ["a", "b"]
    assert json.loads(metrics) == {"holdout/challenger/1-6/mae": 12.5}
    assert metrics_of(con, "v0001").rows() == [("holdout", "challenger", "1-6", "mae", 12.5)]
    assert metrics_of(con, "v0002").is_empty()


def test_there_is_no_champion_before_the_first_promotion(con: Connection) -> None:
    add(con, "v0001")
    assert newest_champion(con) is None
    assert name_at(con, 100) is None
    crown(con, "v0001", 2)
    assert name_at(con, 1.99) is None
    assert name_at(con, 2) == "v0001"


def test_an_issue_time_keeps_the_champion_of_its_time(con: Connection) -> None:
    for number, day in ((1, 0), (2, 5), (3, 9)):
        add(con, f"v000{number}")
        crown(con, f"v000{number}", day)
    assert [name_at(con, day) for day in (0, 4.9, 5, 8.9, 9, 99)] == [
        "v0001", "v0001", "v0002", "v0002", "v0003", "v0003",
    ]  # fmt: skip
    newest = newest_champion(con)
    assert newest is not None
    assert newest.model_version == "v0003"
    assert value(con, "SELECT model_version FROM main.champion") == "v0003"


def test_a_rollback_is_one_more_row_and_the_former_becomes_previous(con: Connection) -> None:
    for number in (1, 2):
        add(con, f"v000{number}")
        crown(con, f"v000{number}", number)
    crown(con, "v0001", 3, reason="rolled back by hand")
    assert stored(con, MODEL_ALIASES, "alias", "alias_number", "model_version") == [
        ("champion", 1, "v0001"),
        ("champion", 2, "v0002"),
        ("champion", 3, "v0001"),
        ("previous", 1, "v0001"),
        ("previous", 2, "v0002"),
    ]
    assert [name_at(con, day) for day in (1, 2, 3)] == ["v0001", "v0002", "v0001"]


def test_only_a_trained_version_can_be_promoted(con: Connection) -> None:
    add(con, "v0001")
    for name in ("v0007", "persistence", "'; DROP TABLE ml.model_versions; --"):
        with pytest.raises(ModelError, match="no such trained model version") as error:
            crown(con, name, 0)
        assert error.value.found == name
        assert error.value.expected == "one of v0001"
    assert stored(con, MODEL_ALIASES) == []


def test_a_promotion_from_an_earlier_time_never_displaces_the_newest(con: Connection) -> None:
    """A model trained for an old window must not take over the live one."""
    add(con, "v0001", trained_to=1)
    add(con, "v0002", trained_to=3)
    crown(con, "v0002", 3)
    with pytest.raises(ModelError, match="cannot displace a newer one") as error:
        crown(con, "v0001", 1)
    assert error.value.found == "v0001 from 2025-01-21T00:00 UTC"
    crown(con, "v0001", 3)
    assert [name_at(con, day) for day in (2, 3)] == [None, "v0001"]


def test_a_hindcast_uses_only_a_version_that_passed_the_gate_and_was_trained_by_its_issue_time(
    con: Connection,
) -> None:
    add(con, "v0001", trained_to=1)
    add(con, "v0002", trained_to=3, status="rejected")
    add(con, "v0003", trained_to=5)
    add(con, "v0004", trained_to=7, status="outdated")

    def trained(day: int) -> str | None:
        found = trained_by(con, T0 + day * DAY)
        return found.model_version if found else None

    found = [trained(day) for day in (0, 1, 4, 5, 7)]
    assert found == [None, "v0001", "v0001", "v0003", "v0004"]


def test_a_rejected_training_starts_the_cooldown_too(con: Connection) -> None:
    def ended(day: int) -> datetime | None:
        last = last_training(con, T0 + day * DAY)
        return last.end if last else None

    assert ended(9) is None
    add(con, "v0001", trained_to=1)
    add(con, "v0002", trained_to=3, status="rejected")
    assert [ended(day) for day in (0, 2, 9)] == [None, T0 + DAY, T0 + 3 * DAY]


def test_metrics_without_a_figure_stay_null(con: Connection) -> None:
    put(con, MODEL_METRICS, model_version=["v0001"], value=[None])
    assert metrics_of(con, "v0001")["value"].to_list() == [None]
