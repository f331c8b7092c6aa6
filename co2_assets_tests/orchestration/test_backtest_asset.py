"""`ml/backtest` keeps the figures of the newest backtest, and only when it is asked for."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import dagster as dg
import pytest

from co2_assets.forecasting.backtest import run_backtest
from co2_assets.orchestration import backtesting
from co2_assets.orchestration.assets.ml import SHOWN_LEADS
from co2_assets.orchestration.build import build_definitions
from co2_assets.orchestration.jobs import FIRST_TICK, QUIET, RETRAIN, TICK
from co2_assets_tests.homes import REPLAYED_UNTIL, Home, metadata, utc

BACKTEST = dg.AssetKey(["ml", "backtest"])
FROM, TO = "2025-01-08T00:00+00:00", "2025-01-20T00:00+00:00"
CHEAP = ["persistence", "climatology"]
LEADS = range(1, 25)


def materialize(home: Home, **config: Any) -> dg.ExecuteInProcessResult:
    given = {"start": FROM, "end": TO, "models": CHEAP, **config}
    with dg.DagsterInstance.ephemeral() as instance:
        return (
            build_definitions(home.settings)
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=instance,
                asset_selection=[BACKTEST],
                raise_on_error=False,
                run_config={"ops": {"ml__backtest": {"config": given}}, **QUIET},
            )
        )


def stored(home: Home, columns: str) -> list[tuple[Any, ...]]:
    with home.store.read("test") as con:
        return con.execute(
            f"SELECT {columns} FROM ml.backtest ORDER BY model, leads, metric"
        ).fetchall()


@pytest.fixture(scope="module")
def asked(
    replayed: Home, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Home, dg.ExecuteInProcessResult]:
    """A home in which a backtest was asked for by run configuration. Read-only."""
    home = replayed.copy(tmp_path_factory.mktemp("backtest") / "home")
    result = materialize(home)
    assert result.success
    return home, result


def test_the_stored_figures_are_those_of_the_same_backtest_by_hand(
    asked: tuple[Home, dg.ExecuteInProcessResult],
) -> None:
    home, _ = asked
    with home.store.read("test") as con:
        plan = backtesting.make_plan(
            con,
            home.settings,
            start=datetime.fromisoformat(FROM),
            end=datetime.fromisoformat(TO),
            models=tuple(CHEAP),
        )
        data = backtesting.read_dataset(con, home.settings, plan)
    expected = {
        (figure.model, figure.leads, figure.metric): (figure.value, figure.low, figure.high)
        for figure in run_backtest(*data, plan).figures
    }
    found = {row[:3]: row[3:] for row in stored(home, "model, leads, metric, value, low, high")}
    assert set(found) == set(expected)
    assert {(model, lead) for model, lead, _ in found} == {
        (model, lead) for model in CHEAP for lead in ("1-6", "7-24", "1-24", *map(str, LEADS))
    }
    for key, values in expected.items():
        value, *ends = found[key]
        assert value == pytest.approx(values[0], rel=1e-9, nan_ok=True), key
        assert ends == [end if end is None else pytest.approx(end) for end in values[1:]], key
    assert found["persistence", "1", "n"][0] == 12 * 4


def test_each_figure_says_which_forecasts_and_which_run_it_is_of(
    asked: tuple[Home, dg.ExecuteInProcessResult],
) -> None:
    home, result = asked
    (of_all,) = set(stored(home, "first_issue_utc, last_issue_utc, refit, dagster_run_id"))
    assert of_all == (utc("2025-01-08T00:00"), utc("2025-01-19T18:00"), "monthly", result.run_id)


def test_the_run_reports_span_tables_and_a_plot(
    asked: tuple[Home, dg.ExecuteInProcessResult],
) -> None:
    home, result = asked
    found = metadata(result, "ml/backtest")
    assert (found["issue times"], found["refit"]) == (12 * 4, "monthly")
    assert found["first issue time"] == utc("2025-01-08T00:00").timestamp()
    assert found["last issue time"] == utc("2025-01-19T18:00").timestamp()
    assert found["plot"].startswith("![plot](data:image/png;base64,")
    mae = {
        (model, lead): f"{value:.2f}"
        for model, lead, metric, value in stored(home, "model, leads, metric, value")
        if metric == "mae"
    }
    head, _, *rows = [line.strip("|").split("|") for line in found["leads 1-6"].split("\n")]
    assert head == ["model", "mae", "skill", "crps", "coverage_80", "bias"]
    assert [row[:2] for row in rows] == [[model, mae[model, "1-6"]] for model in CHEAP]
    head, _, *rows = [
        line.strip("|").split("|") for line in found["MAE by lead, g/kWh"].split("\n")
    ]
    assert head == ["lead, h", *CHEAP]
    # As many leads as the UI shows inline.
    shown = [lead for lead in LEADS if lead in SHOWN_LEADS]
    assert rows == [[str(lead), *(mae[model, str(lead)] for model in CHEAP)] for lead in shown]


def test_a_newer_backtest_takes_the_place_of_the_one_before(fresh_copy: Home) -> None:
    assert materialize(fresh_copy).success
    newer = materialize(fresh_copy, models=["persistence"], every_hours=12, refit="never")
    assert newer.success
    assert set(stored(fresh_copy, "model, refit, dagster_run_id")) == {
        ("persistence", "never", newer.run_id)
    }
    counts = {
        lead: n for lead, metric, n in stored(fresh_copy, "leads, metric, value")
        if metric == "n"
    }  # fmt: skip
    assert counts["1"] == 12 * 2


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"models": ["persistence", "oracle"]}, "unknown model"),
        ({"refit": "weekly"}, "unknown way of refitting"),
        ({"end": FROM}, "a backtest without issue times"),
    ],
)
def test_a_backtest_that_cannot_be_keeps_what_is_stored(
    asked: tuple[Home, dg.ExecuteInProcessResult], config: dict[str, Any], words: str
) -> None:
    home, _ = asked
    before = stored(home, "*")
    result = materialize(home, **config)
    assert not result.success
    failure = result.failure_data_for_node("ml__backtest")
    assert failure is not None and failure.error is not None
    assert words in str(failure.error.cause or failure.error)
    assert stored(home, "*") == before


def test_no_job_contains_it(replayed: Home) -> None:
    definitions = build_definitions(replayed.settings)
    for name in (TICK, FIRST_TICK, RETRAIN):
        selected = definitions.resolve_job_def(name).asset_layer.executable_asset_keys
        assert BACKTEST not in selected
        assert selected
    everything = definitions.resolve_implicit_global_asset_job_def().asset_layer
    assert BACKTEST in everything.executable_asset_keys


def test_ticks_made_none(replayed: Home) -> None:
    assert replayed.value("SELECT max(window_end_utc) FROM co2.ops.etl_runs") >= REPLAYED_UNTIL
    assert replayed.value("SELECT count(*) FROM co2.ml.backtest") == 0
