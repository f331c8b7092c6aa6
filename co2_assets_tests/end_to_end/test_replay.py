"""Two days replayed by the real job: what is stored equals what was recorded and issued."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from functools import cache

import dagster as dg
import polars as pl
import pytest
from click.testing import CliRunner

from bench.live import compared
from co2_assets.cli import main
from co2_assets.replay.machine import Replayed, replay
from co2_assets.schema import QUANTILE_COLUMNS, VALUE_COLUMNS
from co2_assets.settings import WINDOW
from co2_assets.source.datasets import POWER_SYSTEM_RIGHT_NOW
from co2_assets_tests.homes import FIRST, LAST, REPLAYED_UNTIL, Home, windows
from co2_assets_tests.replay.serving import shipped

TICKS = windows(FIRST, REPLAYED_UNTIL)
LEADS = list(range(1, 25))


@cache
def recorded_hours() -> pl.DataFrame:
    """The recorded hourly means under the platform's names."""
    names = {field.api_name: field.name for field in POWER_SYSTEM_RIGHT_NOW.fields}
    return (
        shipped()
        .power_system.rename(
            {name: names[name] for name in shipped().power_system.columns if name in names}
        )
        .rename({"HourUTC": "hour_utc"})
    )


def test_every_stored_hour_equals_the_recorded_mean_to_0_01(replayed: Home) -> None:
    recorded = {row["hour_utc"]: row for row in recorded_hours().iter_rows(named=True)}
    stored = replayed.rows(
        f"SELECT hour_utc, minutes_seen, {', '.join(VALUE_COLUMNS)} FROM co2.core.aggregated_hours"
        " ORDER BY hour_utc"
    )
    assert len(stored) == 24 * (30 + 2 + 2)
    assert stored[0][0] == FIRST - timedelta(days=32)
    assert stored[-1][0] == REPLAYED_UNTIL - timedelta(hours=1)
    for hour, minutes, *values in stored:
        assert minutes == 60
        expected = [recorded[hour][name] for name in VALUE_COLUMNS]
        assert values == pytest.approx(expected, abs=0.01), hour


def test_there_is_one_served_forecast_for_each_window_and_it_is_live(replayed: Home) -> None:
    issued = replayed.rows(
        "SELECT issue_time_utc, bool_or(is_hindcast), bool_or(is_fallback), min(model_version),"
        " max(issued_at_utc - issue_time_utc) FROM co2.forecast_history WHERE is_served"
        " GROUP BY 1 ORDER BY 1"
    )
    assert [time for time, *_ in issued] == [window + WINDOW for window in TICKS]
    # At the first issue time nothing of others had been seen in time: all later ones have all.
    assert {tuple(rest[:3]) for _, *rest in issued[1:]} == {(False, False, "v0001")}
    assert max(late for *_, late in issued) <= timedelta(hours=1)


def test_every_forecast_has_exactly_24_leads_and_lead_1_begins_at_the_issue_time(
    replayed: Home,
) -> None:
    leads = replayed.rows(
        "SELECT issue_time_utc, model_version, list(lead_hours ORDER BY lead_hours),"
        " list(valid_time_utc ORDER BY lead_hours) FROM co2.forecast_history"
        " WHERE model_version NOT LIKE 'energinet%' GROUP BY 1, 2"
    )
    assert len(leads) == 3 * len(TICKS)
    for issue, _, hours, valid in leads:
        assert hours == LEADS
        assert valid == [issue + timedelta(hours=lead - 1) for lead in LEADS]


def test_quantiles_rise_and_are_positive(replayed: Home) -> None:
    for quantiles in replayed.rows(
        f"SELECT {', '.join(QUANTILE_COLUMNS)} FROM co2.forecast_history"
    ):
        assert list(quantiles) == sorted(quantiles)
        assert quantiles[0] > 0


def test_every_value_with_an_actual_is_scored_once_and_no_other(replayed: Home) -> None:
    lacking, extra, scored = replayed.row(
        """
        WITH due AS (
            SELECT issue_time_utc, valid_time_utc, model_version
            FROM co2.forecast_vs_actual WHERE actual_g_per_kwh IS NOT NULL
        ), scored AS (
            SELECT issue_time_utc, valid_time_utc, model_version
            FROM co2.ml.forecast_evaluations
        )
        SELECT (SELECT count(*) FROM (FROM due EXCEPT FROM scored)),
            (SELECT count(*) FROM (FROM scored EXCEPT FROM due)),
            (SELECT count(*) FROM scored)
        """
    )
    # Of the newest issues only some of the 24 hours have happened yet, and Energinet's
    # prognosis does not reach the last leads.
    ours = sum(min(24, 6 * later) for later in range(len(TICKS)))
    assert (lacking, extra) == (0, 0)
    assert 3 * ours < scored <= 5 * ours


def test_a_score_is_the_forecast_less_the_recorded_mean(replayed: Home) -> None:
    recorded = dict(recorded_hours().select("hour_utc", "co2_g_per_kwh").iter_rows())
    for valid, actual, p50, error, size, share in replayed.rows(
        "SELECT valid_time_utc, actual_g_per_kwh, p50_g_per_kwh, error_g_per_kwh,"
        " absolute_error_g_per_kwh, percentage_error FROM co2.ml.forecast_evaluations"
    ):
        assert actual == pytest.approx(recorded[valid], abs=0.01)
        assert error == pytest.approx(p50 - actual)
        assert size == pytest.approx(abs(error))
        assert share == pytest.approx(100 * size / actual)


def test_status_agrees_with_sql(replayed: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CO2_RECORDED_PORT", str(replayed.settings.recorded_port))
    answer = CliRunner().invoke(main, ["--home", str(replayed.settings.home), "status", "--json"])
    assert answer.exit_code == 0, answer.output
    status = json.loads(answer.output)
    hours, first, last = replayed.row(
        "SELECT count(*), min(hour_utc), max(hour_utc) FROM co2.actuals"
    )
    data = status["data"]
    assert (data["hours"], data["first_hour_utc"], data["last_hour_utc"]) == (
        hours,
        first.isoformat(),
        last.isoformat(),
    )
    assert data["hours_complete_and_ok"] == replayed.value(
        "SELECT count(co2_g_per_kwh) FROM co2.actuals"
    )
    assert status["forecasts"]["issue_times"] == status["forecasts"]["live"] == len(TICKS)
    assert status["forecasts"]["scored_values"] == sum(
        min(24, 6 * later) for later in range(len(TICKS))
    )
    assert status["champion"]["model_version"] == replayed.value(
        "SELECT model_version FROM co2.champion"
    )
    assert status["last_tick"]["window_start_utc"] == TICKS[-1].isoformat()
    assert status["last_decision"]["reason"] == replayed.value(
        "SELECT reason FROM co2.retrain_ledger ORDER BY window_start_utc DESC LIMIT 1"
    )
    by_lead = replayed.rows(
        "SELECT lead_hours, sum(n), sum(n * mae) / sum(n) FROM co2.accuracy"
        " WHERE model_version = 'v0001' GROUP BY 1 ORDER BY 1"
    )
    persistence = dict(
        replayed.rows(
            "SELECT lead_hours, sum(n * mae) / sum(n) FROM co2.accuracy"
            " WHERE model_version = 'persistence' GROUP BY 1"
        )
    )
    said = [(lead["lead_hours"], lead["n"], lead["mae"]) for lead in status["accuracy_by_lead"]]
    assert [row[:2] for row in said] == [(lead, n) for lead, n, _ in by_lead]
    assert [row[2] for row in said] == pytest.approx([mae for *_, mae in by_lead])
    assert [lead["persistence_mae"] for lead in status["accuracy_by_lead"]] == pytest.approx(
        [persistence[lead] for lead in LEADS]
    )
    assert status["pseudo_accuracy_7_days"]["percent"] == pytest.approx(
        replayed.value(
            "SELECT 100 - avg(percentage_error) FROM co2.ml.forecast_evaluations"
            " WHERE is_served AND NOT is_fallback AND lead_hours <= 6"
        )
    )
    assert status["stale"] == []


def test_one_training_made_the_champion_and_no_drift_was_seen(
    first_replay: tuple[Home, Replayed],
) -> None:
    home, report = first_replay
    assert (report.ticks, report.skipped, report.failed) == (len(TICKS), 0, [])
    assert report.trainings == []
    assert home.rows("SELECT model_version, status FROM co2.models WHERE status <> 'baseline'") == [
        ("v0001", "promoted")
    ]
    decisions = home.rows("SELECT decision, rule FROM co2.retrain_ledger ORDER BY 1, 2")
    assert len(decisions) == len(TICKS)
    assert {decision for decision, _ in decisions} == {"keep"}


def test_the_champion_saw_nothing_from_its_first_issue_time_on(replayed: Home) -> None:
    first_issue, train_end = replayed.row(
        "SELECT (SELECT min(issue_time_utc) FROM co2.forecast_history), train_end_utc"
        " FROM co2.champion"
    )
    assert train_end <= first_issue


def test_the_cursor_of_the_sensor_is_kept_at_the_newest_window(replayed: Home) -> None:
    kept = json.loads((replayed.settings.state_dir / "replay.json").read_text())
    assert kept == {"sensor_cursor": REPLAYED_UNTIL.isoformat()}


def test_dagster_knows_a_materialization_of_each_asset_for_each_window(
    replayed: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(replayed.settings.dagster_home))
    keys = {f"{window:%Y-%m-%dT%H:%M}" for window in TICKS}
    with dg.DagsterInstance.get() as instance:
        runs = instance.get_runs()
        assert {run.status for run in runs} == {dg.DagsterRunStatus.SUCCESS}
        assert sorted(run.job_name for run in runs) == ["first_tick"] + ["tick"] * 7
        for asset in [
            "raw/power_system",
            "raw/wind_solar_forecasts",
            "raw/co2_prognosis",
            "raw/day_ahead_prices",
            "core/aggregated_hours",
            "core/engineered_features",
            "ml/forecasts",
            "ml/forecast_evaluations",
            "ml/window_receipts",
            "ml/retrain_decisions",
        ]:
            key = dg.AssetKey(asset.split("/"))
            assert instance.get_materialized_partitions(key) == keys, asset


def test_replaying_the_same_windows_again_does_nothing(
    copies: Callable[[str], Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = copies("again")
    monkeypatch.setenv("DAGSTER_HOME", str(home.settings.dagster_home))
    before = home.value("SELECT max(commit_id) FROM co2.ops.commits")
    report = replay(home.settings, start=FIRST, end=REPLAYED_UNTIL, say=lambda _line: None)
    assert (report.ticks, report.skipped) == (0, len(TICKS))
    assert home.value("SELECT max(commit_id) FROM co2.ops.commits") == before


def test_the_home_is_for_these_windows_for_ever(replayed: Home) -> None:
    kept = json.loads((replayed.settings.state_dir / "home.json").read_text())
    assert kept == {
        "source": "recorded",
        "first_window": FIRST.isoformat(),
        "last_window": LAST.isoformat(),
    }


def test_a_backtest_says_what_the_ticks_said(replayed: Home) -> None:
    """The short form of `make bench-live`, which compares three months."""
    rows = compared(replayed.settings, lambda _line: None)
    issued = sorted(f"{window + WINDOW:%H}" for window in TICKS[:4])
    assert [row["hour_of_issue"] for row in rows if row["leads"] == "1-24"] == [*issued, "all"]
    for row in rows:
        assert row["mae_tick"] == pytest.approx(row["mae_backtest"], rel=0.01)
        assert row["n"] > 0
