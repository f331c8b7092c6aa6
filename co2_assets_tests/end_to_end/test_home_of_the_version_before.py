"""A home that version 0.1.0 made opens, is brought up to date, and its champion forecasts on.

`home_0_1_0.tar.xz` was made by that version from the recordings: a first tick and five more, of
2025-01-25 and 26, with `SETTINGS`. Dagster's own folder is left out.
"""

from __future__ import annotations

import tarfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from co2_assets.cli import main
from co2_assets.forecasting.metrics import pinball
from co2_assets.orchestration.issuing import issue
from co2_assets.replay.machine import tick_time
from co2_assets.schema import EXTERNAL_GROUPS, QUANTILE_COLUMNS
from co2_assets.serving.generations import Generations
from co2_assets.warehouse import query
from co2_assets.warehouse.migrate import pending
from co2_assets_tests.homes import SMALL, Home, checks, free_port, load_settings, utc

SETTINGS = {"horizon_hours": 6, "members": 1, "training_days": 16}
FIRST, NEXT = utc("2025-01-25T06:00"), utc("2025-01-26T12:00")
MORNING = utc("2025-01-26T06:00")
"""Between this tick and the one before nothing was published, so both versions know the same."""


@pytest.fixture
def old(tmp_path: Path) -> Home:
    archive = resources.files("co2_assets_tests.end_to_end") / "home_0_1_0.tar.xz"
    with resources.as_file(archive) as path, tarfile.open(path) as tar:
        tar.extractall(tmp_path, filter="data")
    given = {**SMALL, **SETTINGS, "recorded_port": free_port()}
    return Home(load_settings(home=tmp_path / "home", **given))


def test_reading_it_brings_it_up_to_date_first(old: Home) -> None:
    result = CliRunner().invoke(main, ["--home", str(old.settings.home), "status"])
    assert result.exit_code == 0, result.output
    assert "6 issue times, 6 live, 1 degraded, 0 fallbacks" in result.output
    with Generations(old.settings.home).reading() as reading:
        assert pending(reading.con) == []


def test_nothing_is_lost_and_what_was_called_a_fallback_is_degraded(old: Home) -> None:
    missing = EXTERNAL_GROUPS["wind_solar"] + EXTERNAL_GROUPS["prices"]
    states = old.rows(
        "SELECT issue_time_utc, is_fallback, fallback_reason, inputs_missing, count(*)"
        " FROM co2.forecast_history WHERE is_served GROUP BY ALL ORDER BY 1"
    )
    assert states[0] == (FIRST, False, None, ", ".join(missing), 6)
    assert [row[1:] for row in states[1:]] == [(False, None, None, 6)] * 5
    assert old.value("SELECT count(*) FROM ml.forecasts") == 178
    assert old.value("SELECT count(*) FILTER (is_fallback) FROM ml.forecast_evaluations") == 0
    for table in ("raw.wind_solar_forecasts", "raw.day_ahead_prices"):
        n, vintages, known = old.row(
            f"SELECT count(*), max(vintage), bool_and(available_utc IS NOT NULL) FROM {table}"
        )
        assert n > 1000
        assert (vintages, known) == (1, True)
    # One meaning for pooled leads, and the quantile score weighted as of now.
    assert {leads for (leads,) in old.rows("SELECT DISTINCT leads FROM ml.model_metrics")} == {
        *map(str, range(1, 7)), "1-6"
    }  # fmt: skip
    scored = old.rows(
        f"SELECT pinball_g_per_kwh, actual_g_per_kwh, {', '.join(QUANTILE_COLUMNS[:3])},"
        " made.p50_g_per_kwh, " + ", ".join(QUANTILE_COLUMNS[4:]) + " FROM ml.forecasts AS made"
        " JOIN ml.forecast_evaluations USING (area, issue_time_utc, model_version, lead_hours)"
    )
    stored, actual, *quantiles = np.array(scored).T
    assert len(stored) > 100
    assert stored == pytest.approx(pinball(np.array(quantiles).T, actual))


def test_its_champion_says_what_it_said_under_the_version_before(old: Home) -> None:
    columns = ", ".join(QUANTILE_COLUMNS)
    sql = (
        f"SELECT {columns} FROM ml.forecast_calibration WHERE issue_time_utc = $time"
        " ORDER BY lead_hours"
    )
    with old.store.write("test", "test") as tx:
        before = query.rows(tx.con, sql, time=MORNING)
        for table in ("ml.forecasts", "ml.forecast_calibration"):
            tx.execute(f"DELETE FROM {table} WHERE issue_time_utc = $time", time=MORNING)
    assert len(before) == 6
    now = tick_time(old.settings, utc("2025-01-26T00:00"))
    issued = issue(old.store, old.settings, issue_time=MORNING, now=now, run_id="again")
    assert (issued.status, issued.reason, issued.inputs_missing) == ("issued", None, ())
    with old.store.read("test") as con:
        again = query.rows(con, sql, time=MORNING)
    np.testing.assert_allclose(again[0], before[0], rtol=1e-9)
    # Later leads have learned from one hour more: what the first tick saw counts from its rule on.
    np.testing.assert_allclose(again[1:], before[1:], rtol=0.01)


def test_its_champion_forecasts_on_in_the_next_tick(old: Home) -> None:
    result = old.clean_tick(NEXT)
    assert checks(result)["ml/trained_model", "champion_loadable"].passed
    served = old.row(
        "SELECT model_version, is_fallback, inputs_missing, count(*) FROM co2.forecast_history"
        " WHERE is_served AND issue_time_utc = $time GROUP BY ALL",
        time=utc("2025-01-26T18:00"),
    )
    assert served == ("v0001", False, None, 6)
