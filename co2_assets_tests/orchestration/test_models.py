"""A person may change the champion: only for a version that is whole, and never for good."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner, Result

from co2_assets.cli import main
from co2_assets.errors import ModelError
from co2_assets.orchestration import models
from co2_assets.schema import lead_groups
from co2_assets.warehouse import registry
from co2_assets_tests.homes import FIRST, REPLAYED_UNTIL, SMALL, Home, utc

NOW = utc("2025-01-20T00:05")
"""The virtual time at which the replay of the prepared home ended."""

ALIASES = "SELECT alias, model_version, valid_from_utc FROM co2.ml.model_aliases ORDER BY ALL"
FIRST_CHAMPION = ("champion", "v0001", utc("2025-01-18T06:00"))


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in SMALL.items():
        monkeypatch.setenv(f"CO2_{name.upper()}", str(value))
    monkeypatch.setenv("COLUMNS", "200")
    yield


@pytest.fixture
def co2(fresh_copy: Home, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs a command on a copy of the prepared home, whose server is down."""
    monkeypatch.setenv("CO2_RECORDED_PORT", str(fresh_copy.settings.recorded_port))
    home = str(fresh_copy.settings.home)
    return lambda *arguments: CliRunner().invoke(main, ["--home", home, *arguments])


@pytest.fixture
def two(fresh_copy: Home) -> Home:
    """A home with a second trained version, the twin of the champion."""
    artifacts = fresh_copy.settings.artifacts_dir
    shutil.copytree(artifacts / "v0001", artifacts / "v0002")
    with fresh_copy.store.write("test", "test") as tx:
        tx.execute(
            "INSERT INTO ml.model_versions SELECT * REPLACE ('v0002' AS model_version,"
            " 'artifacts/v0002' AS artifact_path) FROM ml.model_versions"
            " WHERE model_version = 'v0001'"
        )
    fresh_copy.store.publish()
    return fresh_copy


def damage(home: Home, version: str) -> None:
    with (home.settings.artifacts_dir / version / "weights.safetensors").open("ab") as weights:
        weights.write(b"\0")


def said(result: Result) -> str:
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def refused(result: Result, code: int, *words: str) -> None:
    assert result.exit_code == code, result.output
    assert result.output.count("error: ") == 1
    assert all(word in result.output for word in words), result.output


def test_a_promotion_holds_from_now_on_and_keeps_the_former_as_previous(
    two: Home, co2: Callable[..., Result]
) -> None:
    answer = said(co2("model", "promote", "v0002", "--reason", "a test"))
    assert answer == "v0002 is champion from 2025-01-20 00:05 UTC on"
    assert two.rows(ALIASES) == [
        FIRST_CHAMPION,
        ("champion", "v0002", NOW),
        ("previous", "v0001", NOW),
    ]
    newest = "SELECT reason FROM co2.ml.model_aliases WHERE model_version = 'v0002'"
    assert two.value(newest) == "by hand: a test"
    with two.store.read("test") as con:
        for time, champion, previous in (
            (REPLAYED_UNTIL, "v0001", None),
            (NOW, "v0002", "v0001"),
        ):
            made, before = registry.champion_at(con, time), registry.previous_at(con, time)
            assert made and made.model_version == champion
            assert (before and before.model_version) == previous


def test_a_rollback_brings_the_former_champion_back_and_can_be_undone(
    two: Home, co2: Callable[..., Result]
) -> None:
    said(co2("model", "promote", "v0002"))
    for champion, previous in (("v0001", "v0002"), ("v0002", "v0001")):
        answer = said(co2("model", "rollback"))
        assert answer == f"{champion} is champion again from 2025-01-20 00:05 UTC on"
        with two.store.read("test") as con:
            made, before = registry.champion_at(con, NOW), registry.previous_at(con, NOW)
        assert made and before
        assert (made.model_version, before.model_version) == (champion, previous)


def test_a_rollback_without_a_previous_champion_says_so(
    fresh_copy: Home, co2: Callable[..., Result]
) -> None:
    refused(co2("model", "rollback"), 6, "no previous champion", "co2 model promote VERSION")
    assert fresh_copy.rows(ALIASES) == [FIRST_CHAMPION]


def test_a_damaged_version_is_refused_by_its_hash_and_nothing_changes(
    two: Home, co2: Callable[..., Result]
) -> None:
    damage(two, "v0002")
    before = two.store.layout.head.read_bytes()
    refused(co2("model", "promote", "v0002"), 6, "sha256", str(two.settings.artifacts_dir))
    refused(co2("model", "compare", "v0001", "v0002"), 6, "sha256")
    assert two.store.layout.head.read_bytes() == before
    assert two.rows(ALIASES) == [FIRST_CHAMPION]


def test_there_is_no_way_back_to_a_damaged_version(two: Home, co2: Callable[..., Result]) -> None:
    said(co2("model", "promote", "v0002"))
    before = two.rows(ALIASES)
    damage(two, "v0001")
    refused(co2("model", "rollback"), 6, "sha256")
    assert two.rows(ALIASES) == before


@pytest.mark.parametrize("verb", [("show",), ("promote",), ("compare", "v0001")])
@pytest.mark.parametrize("version", ["v0009", "persistence"])
def test_a_version_that_was_never_trained_is_refused_with_those_there_are(
    two: Home, co2: Callable[..., Result], verb: tuple[str, ...], version: str
) -> None:
    refused(co2("model", *verb, version), 6, "no such trained", version, "one of v0001, v0002")
    assert two.rows(ALIASES) == [FIRST_CHAMPION]


def test_the_list_shows_what_each_version_is(two: Home, co2: Callable[..., Result]) -> None:
    said(co2("model", "promote", "v0002"))
    lines = co2("model", "list").output.splitlines()
    (one,), (other,) = ([line for line in lines if name in line] for name in ("v0001", "v0002"))
    assert "previous" in one and "champion" in other
    assert all("attention_lstm" in line and "2025-01-18 06:00" in line for line in (one, other))


def test_a_version_is_shown_by_its_card(fresh_copy: Home, co2: Callable[..., Result]) -> None:
    card = json.loads(co2("model", "show", "v0001").output)
    stored = fresh_copy.row(
        "SELECT recipe, data_fingerprint, reason FROM co2.ml.model_versions"
        " WHERE model_version = 'v0001'"
    )
    assert (card["recipe"], card["data_fingerprint"], card["reason"]) == stored


def test_twins_do_not_differ_and_do_as_they_did_when_they_served(
    two: Home, co2: Callable[..., Result]
) -> None:
    found = models.compare(two.store, two.settings, "v0001", "v0002", days=28)
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)
    assert math.isnan(found.p_value)
    assert (found.start, found.end) == (utc("2025-01-18T06:00"), utc("2025-01-19T18:00"))
    served = two.rows(
        "SELECT lead_hours, count(*), avg(abs(p50_g_per_kwh - co2_g_per_kwh))"
        " FROM co2.ml.forecasts AS made JOIN co2.actuals ON hour_utc = valid_time_utc"
        " WHERE is_served AND co2_g_per_kwh IS NOT NULL GROUP BY 1 ORDER BY 1"
    )
    for (lead, n, mae), compared in zip(served, found.by_lead.iter_rows(), strict=True):
        assert compared == (lead, n, *[pytest.approx(mae, rel=1e-5)] * 2, 0.0)
    answer = said(co2("model", "compare", "v0001", "v0002"))
    assert "v0001 against v0002" in answer and "+0.00 g/kWh (+0.00 to +0.00)" in answer


def test_hours_that_a_version_was_trained_on_are_no_comparison(two: Home) -> None:
    with two.store.write("test", "test") as tx:
        tx.execute(
            "UPDATE ml.model_versions SET train_end_utc = $now WHERE model_version = 'v0002'",
            now=REPLAYED_UNTIL,
        )
    with pytest.raises(ModelError, match="no hour that neither version was trained on"):
        models.compare(two.store, two.settings, "v0001", "v0002", days=28)
    assert models.compare(two.store, two.settings, "v0001", "v0001", days=1).start == utc(
        "2025-01-19T00:00"
    )


SPAN = ("--from", "2025-01-10", "--to", f"{FIRST:%Y-%m-%d}")


def test_a_backtest_writes_its_plan_and_all_figures(
    fresh_copy: Home, co2: Callable[..., Result], tmp_path: Path
) -> None:
    before = fresh_copy.store.layout.head.read_bytes()
    out = tmp_path / "figures.json"
    answer = said(
        co2("backtest", *SPAN, "--every", "12h", "--models", "climatology", "--json", str(out))
    )
    assert "leads 1-6" in answer and "leads 1-24" in answer and "climatology" in answer
    found = json.loads(out.read_text(), parse_constant=no_constant)
    figures = found.pop("figures")
    assert found == {
        "from": "2025-01-10T00:00:00+00:00",
        "to": "2025-01-18T00:00:00+00:00",
        "every_hours": 12.0,
        "refit": "monthly",
        "training_days": SMALL["training_days"],
    }
    assert all(
        set(figure) == {"model", "leads", "metric", "value", "low", "high"} for figure in figures
    )
    value = {(row["model"], row["leads"], row["metric"]): row["value"] for row in figures}
    assert {model for model, _, _ in value} == {"persistence", "climatology"}
    assert {leads for _, leads, _ in value} == {*lead_groups(24)}
    assert value["climatology", "1", "n"] == 2 * 8
    assert value["persistence", "1-6", "skill"] == 0.0
    # A backtest at the terminal reads the published copy, and keeps nothing.
    assert fresh_copy.store.layout.head.read_bytes() == before


def no_constant(name: str) -> NoReturn:
    raise AssertionError(f"{name} is not JSON")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("--models", "persistence,oracle"), ("unknown model", "oracle", "log_ridge")),
        (("--to", "2025-01-10"), ("without issue times", "an end after the start")),
        (("--every", "0h"), ("'0h' is not a number of hours",)),
        (("--refit", "weekly"), ("'weekly' is not one of", "monthly")),
    ],
)
def test_a_backtest_of_nothing_is_refused_and_writes_nothing(
    co2: Callable[..., Result], tmp_path: Path, given: Any, words: tuple[str, ...]
) -> None:
    out = tmp_path / "figures.json"
    result = co2("backtest", *SPAN, *given, "--json", str(out))
    assert result.exit_code == 2, result.output
    assert all(word in result.output for word in words), result.output
    assert not out.exists()
