"""Ticks run twice, out of order, at once and long after: the same tables come out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
from polars.testing import assert_frame_equal

from co2_assets.orchestration.build import build_definitions
from co2_assets.replay.machine import tick_time
from co2_assets.settings import WINDOW
from co2_assets_tests.equality import tables_differ
from co2_assets_tests.homes import REPLAYED_UNTIL, SMALL, Home, metadata

NEXT, AFTER_NEXT = REPLAYED_UNTIL, REPLAYED_UNTIL + WINDOW
SENSOR = "retrain_on_drift"


def difference(one: Home, other: Home) -> list[str]:
    return tables_differ(one.settings.home, other.settings.home)


def test_two_different_homes_are_told_apart(replayed: Home, fresh_copy: Home) -> None:
    assert difference(replayed, fresh_copy) == []
    with fresh_copy.store.write("test", "test") as tx:
        tx.execute("UPDATE core.aggregated_hours SET solar_mw = 1 WHERE hour_utc = $t", t=NEXT)
        tx.execute("DELETE FROM ml.forecasts WHERE lead_hours = 6")
    fresh_copy.store.publish()
    assert difference(replayed, fresh_copy) != []


def test_a_tick_run_twice_leaves_the_tables_of_one_run(
    copies: Callable[[str], Home],
) -> None:
    once, twice = copies("once"), copies("twice")
    once.clean_tick(NEXT)
    with twice.served():
        twice.tick(NEXT)
        again = twice.tick(NEXT)
    assert difference(once, twice) == []
    assert metadata(again, "ml/forecasts")["status"] == "already issued"
    for asset in (
        "raw/power_system",
        "core/aggregated_hours",
        "ml/forecast_evaluations",
        "ml/window_receipts",
    ):
        said = metadata(again, asset)
        assert (said["rows new"], said["rows revised"]) == (0, 0), asset


def test_two_ticks_in_either_order_leave_equal_tables(copies: Callable[[str], Home]) -> None:
    forward, backward = copies("forward"), copies("backward")
    now = tick_time(forward.settings, AFTER_NEXT)
    for home, order in ((forward, (NEXT, AFTER_NEXT)), (backward, (AFTER_NEXT, NEXT))):
        with home.served():
            for window in order:
                home.tick(window, now=now)
    assert difference(forward, backward) == []


def test_a_tick_while_another_process_runs_the_same_window_leaves_equal_tables(
    copies: Callable[[str], Home],
) -> None:
    alone, crowded = copies("alone"), copies("crowded")
    alone.clean_tick(NEXT)
    with crowded.served(until=tick_time(crowded.settings, NEXT)):
        with _tick_in_a_process(crowded) as process:
            assert process.stdout is not None
            while "begins" not in (line := process.stdout.readline()):
                assert line, "the other process ended before its tick began"
            crowded.tick(NEXT)
            output, _ = process.communicate(timeout=240)
        assert process.returncode == 0, output
    assert difference(alone, crowded) == []
    assert (
        crowded.value(
            "SELECT count(*) FROM co2.forecast_history WHERE is_served AND issue_time_utc = $issue",
            issue=NEXT + WINDOW,
        )
        == 24
    )


def _tick_in_a_process(home: Home) -> subprocess.Popen[str]:
    own = {f"CO2_{name.upper()}": str(setting) for name, setting in SMALL.items()}
    return subprocess.Popen(
        [
            str(Path(sys.executable).with_name("co2")),
            "--home",
            str(home.settings.home),
            "tick",
            "--window",
            NEXT.isoformat(),
        ],
        env={
            **os.environ,
            **own,
            "CO2_RECORDED_PORT": str(home.settings.recorded_port),
            "PYTHONUNBUFFERED": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def sensor_outcome(
    home: Home, instance: dg.DagsterInstance, cursor: str | None
) -> dg.SensorExecutionData:
    definitions = build_definitions(home.settings)
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, definitions=definitions, sensor_name=SENSOR
    ) as context:
        return definitions.resolve_sensor_def(SENSOR).evaluate_tick(context)


def _accuracy(home: Home) -> pl.DataFrame:
    return pl.DataFrame(home.rows("FROM co2.accuracy ORDER BY ALL"), orient="row")


EVIDENCE = "pseudo_accuracy, n_forecasts, n_values, skill"


def test_a_backfilled_window_makes_hindcasts_that_never_count_and_never_train(
    fresh_copy: Home,
) -> None:
    # Every decision of this home asks for a training.
    home = fresh_copy.under(retrain_below=99.9, retrain_min_forecasts=1, retrain_cooldown_days=0)
    with dg.DagsterInstance.ephemeral() as instance, home.served():
        home.tick(AFTER_NEXT, instance=instance)
        live = sensor_outcome(home, instance, None)
        assert len(live.run_requests or []) == 1
        accuracy = _accuracy(home)

        home.tick(NEXT, instance=instance)
        backfilled = sensor_outcome(home, instance, live.cursor)

    assert home.rows(
        "SELECT DISTINCT is_hindcast FROM co2.forecast_history WHERE issue_time_utc = $issue",
        issue=NEXT + WINDOW,
    ) == [(True,)]
    scored = "SELECT count(*) FROM co2.ml.forecast_evaluations WHERE is_hindcast"
    # Six of its hours have been since, by five predictors.
    assert home.value(scored) == 5 * 6
    assert_frame_equal(_accuracy(home), accuracy)  # sums in another order end in other digits
    assert (
        home.value(
            "SELECT decision FROM co2.retrain_ledger WHERE window_start_utc = $window", window=NEXT
        )
        == "retrain"
    )
    assert not backfilled.run_requests
    assert "done with" in (backfilled.skip_message or "")


def test_hindcasts_leave_the_evidence_of_later_decisions_unchanged(
    copies: Callable[[str], Home],
) -> None:
    with_hole, backfilled = copies("with hole"), copies("backfilled")
    later = AFTER_NEXT + WINDOW
    with with_hole.served():
        with_hole.tick(AFTER_NEXT)
        with_hole.tick(later)
    with backfilled.served():
        backfilled.tick(AFTER_NEXT)
        backfilled.tick(NEXT)
        backfilled.tick(later)
    said = f"SELECT {EVIDENCE} FROM co2.ml.retrain_decisions WHERE window_start_utc = $window"
    assert backfilled.row(said, window=later) == with_hole.row(said, window=later)
