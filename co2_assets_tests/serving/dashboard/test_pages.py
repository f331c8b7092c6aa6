"""Every page in every state, run by Streamlit's own test runner: words, numbers, no traceback."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from html import unescape
from pathlib import Path

import duckdb
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from co2_assets.serving.dashboard.launch import SCRIPT
from co2_assets.warehouse.store import Warehouse
from co2_assets_tests.homes import Home, utc

PAGES = ("now", "against-actual", "accuracy", "model", "decisions")
DAY = timedelta(days=1)

Open = Callable[..., AppTest]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Iterator[Open]:
    """Opens a page of the dashboard on a home."""

    def open_page(home: Path, page: str = "now", **state: object) -> AppTest:
        monkeypatch.setenv("CO2_HOME", str(home))
        app = AppTest.from_file(SCRIPT, default_timeout=60)
        app._page_hash = calc_hash(page)  # a page that is a function has no path to switch to
        for name, value in state.items():
            app.session_state[name] = value
        app.run()
        assert not app.exception, app.exception
        return app

    yield open_page
    st.cache_data.clear()
    st.cache_resource.clear()


def html(app: AppTest) -> str:
    return unescape(" ".join(one.value for one in app.html))


def text(app: AppTest) -> str:
    """All that a person reads on the page, but for charts."""
    written = [
        one.value
        for kind in (app.title, app.header, app.markdown, app.info, app.success, app.warning,
                     app.error, app.caption)
        for one in kind
    ]  # fmt: skip
    return " ".join([re.sub(r"<[^>]+>", " ", html(app)), *written])


def set_clock(home: Home, later: timedelta) -> None:
    clock = home.settings.clock_file
    kept = json.loads(clock.read_text())
    moved = datetime.fromisoformat(kept["now_utc"]) + later
    clock.write_text(json.dumps({**kept, "now_utc": moved.isoformat()}))


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_recorded_data_says_so_and_as_of_when(
    opened: Open, replayed: Home, page: str
) -> None:
    said = text(opened(replayed.settings.home, page))
    assert "RECORDED DATA" in said
    assert "UP TO DATE" in said
    assert "Data until Mon 20 Jan 2025, 01:00 CET (5 min old)" in said
    assert "forecast of Mon 20 Jan 01:00 CET (5 min old) by v0001" in said
    assert "CC BY 4.0" in said
    assert "could not be shown" not in said


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_stale_data_says_so(opened: Open, fresh_copy: Home, page: str) -> None:
    set_clock(fresh_copy, 3 * DAY)
    said = text(opened(fresh_copy.settings.home, page))
    assert "STALE: measured hours: 72.1 hours old; forecast: 72.1 hours old" in said
    assert "UP TO DATE" not in said
    assert "could not be shown" not in said


@pytest.mark.parametrize("page", PAGES)
def test_a_page_without_a_publication_says_what_to_run(
    opened: Open, tmp_path: Path, page: str
) -> None:
    said = text(opened(tmp_path / "nothing", page))
    assert "Nothing to show yet" in said
    assert "make demo" in said
    assert "no published warehouse" in said


@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_an_empty_warehouse_says_what_is_lacking(
    opened: Open, tmp_path: Path, page: str
) -> None:
    Warehouse(tmp_path).publish()
    said = text(opened(tmp_path, page))
    assert "NO DATA YET" in said
    assert "yet" in said.split("No data yet.")[1]
    assert "could not be shown" not in said


def test_the_three_figures_are_those_of_the_warehouse(opened: Open, replayed: Home) -> None:
    now, low, high = replayed.row(
        "SELECT p50_g_per_kwh, p10_g_per_kwh, p90_g_per_kwh FROM forecasts"
        " WHERE valid_time_utc = '2025-01-20T00:00:00Z'"
    )
    last = replayed.value(
        "SELECT co2_g_per_kwh FROM actuals WHERE hour_utc = '2025-01-19T23:00:00Z'"
    )
    mae, n = replayed.row(
        "SELECT sum(mae * n) / sum(n), sum(n) FROM scoreboard"
        " WHERE predictor = 'champion' AND lead_hours <= 6"
    )
    said = text(opened(replayed.settings.home))
    assert re.search(rf"Now\s+{now:.0f}\s+g/kWh", said)
    assert f"80 % sure: {low:.0f} to {high:.0f} g/kWh" in said
    assert f"last measured: {last:.0f} g/kWh, today 00:00–01:00" in said
    assert f"±{mae:.0f} g/kWh" in said
    assert f"last 7 days ({n} hours)" in said


def test_the_greenest_window_is_the_one_of_the_newest_receipt(opened: Open, replayed: Home) -> None:
    start, expected, saving, chance = replayed.row(
        "SELECT recommended_start_utc, expected_g_per_kwh, expected_saving_g_per_kwh,"
        " chance_beats_now FROM window_receipts WHERE issue_time_utc = '2025-01-20T00:00:00Z'"
        " AND duration_hours = 2 AND within_hours = 24"
    )
    app = opened(replayed.settings.home)
    (advice,) = (one.value for one in app.success)
    danish = start + timedelta(hours=1)
    assert f"{danish:%H:%M}–{danish + timedelta(hours=2):%H:%M}" in advice
    assert f"{expected:.0f} g/kWh are expected" in advice
    assert f"against {expected + saving:.0f} g/kWh when run at once" in advice
    assert f"{100 * chance:.0f} % chance that it beats running now (" in advice
    assert "The forecast ends tomorrow 01:00." in advice


@pytest.mark.parametrize("level", [0.5, 0.75, 0.9])
def test_another_quantile_can_be_chosen_by(opened: Open, replayed: Home, level: float) -> None:
    (start,) = replayed.row(
        "SELECT valid_time_utc FROM forecasts WHERE issue_time_utc = '2025-01-20T00:00:00Z'"
        f" ORDER BY p{100 * level:02.0f}_g_per_kwh LIMIT 1"
    )
    app = opened(replayed.settings.home)
    app.selectbox(key="duration").set_value(1)
    app.selectbox(key="caution").set_value(level).run()
    assert not app.exception
    (advice,) = (one.value for one in app.success)
    is_now = start == utc("2025-01-20T00:00")
    assert ("Run it now" if is_now else f"{start + timedelta(hours=1):%H:%M}–") in advice


def test_a_request_that_does_not_fit_is_refused_with_a_sentence(
    opened: Open, replayed: Home
) -> None:
    app = opened(replayed.settings.home)
    app.selectbox(key="duration").set_value(12)
    hour = app.selectbox(key="deadline, Danish time").options[3]
    app.selectbox(key="deadline, Danish time").select(hour).run()
    assert not app.exception
    (refusal,) = (one.value for one in app.warning)
    assert refusal.startswith("The job is longer than the time that is left for it")
    assert "CET" in refusal
    assert "UTC" not in refusal
    assert not app.success


def test_a_picked_hour_is_the_same_hour_in_utc(opened: Open, replayed: Home) -> None:
    app = opened(replayed.settings.home)
    app.selectbox(key="deadline, Danish time").select("by today 07:00").run()
    app.toggle(key="utc").set_value(True).run()
    assert not app.exception
    assert app.selectbox(key="deadline, UTC").value == utc("2025-01-20T06:00")
    assert "Data until Mon 20 Jan 2025, 00:00 UTC" in text(app)


def test_a_stale_forecast_that_no_longer_reaches_now_gives_no_number(
    opened: Open, fresh_copy: Home
) -> None:
    set_clock(fresh_copy, 3 * DAY)
    app = opened(fresh_copy.settings.home)
    said = text(app)
    assert re.search(r"Now\s+unknown", said)
    assert "no forecast reaches this hour" in said
    assert "The forecast has run out" in said
    assert not app.success


def test_a_fallback_forecast_is_marked(opened: Open, fresh_copy: Home) -> None:
    with fresh_copy.store.write("test", "test") as transaction:
        transaction.execute(
            "UPDATE ml.forecasts SET is_fallback = true, fallback_reason = 'without prices'"
            " WHERE is_served"
        )
    fresh_copy.store.publish()
    assert "FALLBACK FORECAST: without prices" in text(opened(fresh_copy.settings.home))


def test_a_degraded_forecast_is_no_fallback_and_says_what_it_lacks(
    opened: Open, fresh_copy: Home
) -> None:
    with fresh_copy.store.write("test", "test") as transaction:
        transaction.execute(
            "UPDATE ml.forecasts SET inputs_missing = 'solar_forecast_mw' WHERE is_served"
        )
    fresh_copy.store.publish()
    said = text(opened(fresh_copy.settings.home))
    assert "DEGRADED FORECAST: without solar_forecast_mw" in said
    assert "FALLBACK" not in said


def test_without_a_champion_the_model_page_says_what_happens_instead(
    opened: Open, fresh_copy: Home
) -> None:
    with fresh_copy.store.write("test", "test") as transaction:
        transaction.execute("DELETE FROM ml.model_aliases")
    fresh_copy.store.publish()
    assert "There is no champion yet" in text(opened(fresh_copy.settings.home, "model"))


def test_a_generation_that_vanishes_leaves_the_open_page_as_it_was(
    opened: Open, fresh_copy: Home
) -> None:
    app = opened(fresh_copy.settings.home)
    before = text(app)
    shutil.rmtree(fresh_copy.settings.home / "gen")
    app.run()
    assert not app.exception
    assert text(app) == before


def test_a_new_generation_that_is_torn_is_said_and_the_last_good_one_shown(
    opened: Open, fresh_copy: Home
) -> None:
    app = opened(fresh_copy.settings.home)
    torn = fresh_copy.settings.home / "gen" / "000999" / "co2.duckdb"
    torn.parent.mkdir()
    torn.write_bytes(b"not a database")
    public = fresh_copy.settings.database_path
    public.unlink()
    public.symlink_to(torn.relative_to(public.parent))
    app.run()
    assert not app.exception
    assert "generation 000999 was published but cannot be read" in text(app)


def test_only_a_torn_generation_is_a_page_that_says_so(opened: Open, tmp_path: Path) -> None:
    torn = tmp_path / "gen" / "000001" / "co2.duckdb"
    torn.parent.mkdir(parents=True)
    torn.write_bytes(b"not a database")
    (tmp_path / "co2.duckdb").symlink_to(torn.relative_to(tmp_path))
    assert "the published warehouse cannot be read" in text(opened(tmp_path))


def test_a_warehouse_of_another_version_is_a_page_that_says_so(
    opened: Open, tmp_path: Path
) -> None:
    other = tmp_path / "gen" / "000001" / "co2.duckdb"
    other.parent.mkdir(parents=True)
    with duckdb.connect(str(other)) as con:
        con.execute("CREATE SCHEMA ops; CREATE TABLE ops.commits (commit_id BIGINT)")
    (tmp_path / "co2.duckdb").symlink_to(other.relative_to(tmp_path))
    assert "not one that this version can read" in text(opened(tmp_path))


def test_a_page_that_fails_is_a_sentence_and_no_traceback(
    opened: Open, replayed: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    from co2_assets.serving import contract

    def fail(*_args: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(contract, "champion", fail)
    said = text(opened(replayed.settings.home, "model"))
    assert "This page could not be shown" in said
    assert "secret detail" not in said


@pytest.mark.parametrize("leads", [(1, 2, 3, 4, 5, 6), (7, 8, 9, 10, 11, 12), (3,)])
def test_the_mean_error_is_of_the_leads_that_were_picked(
    opened: Open, replayed: Home, leads: tuple[int, ...]
) -> None:
    mae, n = replayed.row(
        "SELECT avg(abs(error_g_per_kwh)), count(*) FROM forecast_vs_actual"
        f" WHERE is_served AND actual_g_per_kwh IS NOT NULL AND lead_hours IN {(*leads, -1)}"
    )
    said = text(opened(replayed.settings.home, "against-actual", leads=leads))
    assert re.search(rf"Mean error\s+{mae:.1f}\s+g/kWh", said)
    assert f"over {n} hours that were forecast and measured" in said


@pytest.mark.parametrize(
    ("predictor", "title"),
    [("persistence", "persistence"), ("energinet", "Energinet")],
)
def test_the_scoreboard_pools_what_the_view_says(
    opened: Open, replayed: Home, predictor: str, title: str
) -> None:
    mae, n = replayed.row(
        "SELECT sum(mae * n) / sum(n), sum(n) FROM scoreboard"
        " WHERE predictor = $predictor AND lead_hours <= 6",
        predictor=predictor,
    )
    said = html(opened(replayed.settings.home, "accuracy"))
    row = said.split(f'<th scope="row">{title}</th>')[1].split("</tr>")[0]
    assert f">{mae:.1f}<" in row
    assert f">{n}<" in row


def test_the_model_page_is_the_champions_card(opened: Open, replayed: Home) -> None:
    version, recipe, sha, reason = replayed.row(
        "SELECT model_version, recipe, artifact_sha256, reason FROM champion"
    )
    said = text(opened(replayed.settings.home, "model"))
    assert f"{version}: {recipe}" in said
    assert sha in said
    assert reason in said


def test_findings_and_decisions_are_those_of_the_views(opened: Open, replayed: Home) -> None:
    decisions = replayed.value("SELECT count(*) FROM retrain_ledger")
    known = replayed.value(
        "SELECT count(co2_g_per_kwh) FROM actuals WHERE hour_utc >= '2024-12-21T00:00:00Z'"
    )
    frozen = replayed.value(
        "SELECT count(DISTINCT hour_utc) FROM data_quality WHERE kind = 'frozen'"
        " AND hour_utc >= '2024-12-21T00:00:00Z'"
    )
    said = text(opened(replayed.settings.home, "decisions"))
    assert f"The newest {decisions} decisions" in said
    assert f"{known} of 720 hours" in said
    assert f"{frozen} frozen" in said


def test_receipts_tell_what_was_captured(opened: Open, replayed: Home) -> None:
    captured, n = replayed.row(
        "SELECT 100 * sum(realised_saving_g_per_kwh) / sum(best_saving_g_per_kwh), count(*)"
        " FROM window_receipts WHERE is_settled AND NOT is_hindcast"
        " AND duration_hours = 2 AND within_hours = 6"
    )
    assert n > 0
    said = html(opened(replayed.settings.home, "decisions"))
    table = said.split("What was captured so far, by job</caption>")[1].split("</table>")[0]
    row = table.split('<th scope="row" class="number">2</th><td class="number">6</td>')[1]
    row = row.split("</tr>")[0]
    assert f">{n}<" in row
    assert f">{captured:.0f}<" in row
