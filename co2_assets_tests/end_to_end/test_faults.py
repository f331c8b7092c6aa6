"""Each fault of the source, in ticks: what is stored stays right, and the next tick heals it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import dagster as dg
import duckdb
import polars as pl
import pytest

from co2_assets.forecasting.windows import training_rows
from co2_assets.orchestration.history import read_history
from co2_assets.schema import (
    DAY_AHEAD_PRICES,
    POWER_SYSTEM,
    VALUE_COLUMNS,
    WIND_SOLAR_FORECASTS,
    Table,
    cleaned,
    imputed,
)
from co2_assets.settings import WINDOW
from co2_assets.warehouse.layout import Layout
from co2_assets_tests.end_to_end.test_replay import recorded_hours
from co2_assets_tests.homes import FIRST, REPLAYED_UNTIL, Home, checks, metadata, utc, windows
from co2_assets_tests.replay.serving import shipped

pytestmark = pytest.mark.timeout(600)

TABLES = {
    "PowerSystemRightNow": "raw/power_system",
    "Forecasts_Hour": "raw/wind_solar_forecasts",
    "CO2EmisProg": "raw/co2_prognosis",
    "Elspotprices": "raw/day_ahead_prices",
}
NUMBER = {
    "PowerSystemRightNow": "SolarPower",
    "Forecasts_Hour": "ForecastDayAhead",
    "CO2EmisProg": "CO2Emission",
    "Elspotprices": "SpotPriceEUR",
}
FAILING: dict[str, dict[str, Any]] = {
    "missing_column": {},
    "contradicting_rows": {"factor": 1.5},
    "status_403": {},
    "status_429": {"retry_after_s": 292},
    "status_500": {},
    "time_out": {"sleep_s": 8.0},
    "truncated_json": {},
}
"""The kinds that make a load fail; every dataset suffers each of them once."""

SAID = {
    "missing_column": "olumn",
    "contradicting_rows": "one key and different values",
    "status_403": "403",
    "status_429": "292",
    "status_500": "500",
    "time_out": "no answer",
    "truncated_json": "JSON",
}


@dataclass
class Trouble:
    """A home after rounds of a spoiled and a clean tick, and what each round showed."""

    home: Home
    spoiled: dict[str, dict[str, tuple[str, dg.ExecuteInProcessResult]]] = field(
        default_factory=dict
    )
    """By kind and dataset: partition key and result of the spoiled tick."""
    lacking_before: dict[str, int] = field(default_factory=dict)
    lacking_after: dict[str, int] = field(default_factory=dict)


def _plan(kind: str, dataset: str, window: datetime) -> dict[str, Any]:
    """A fault that acts in the tick of one window only."""
    end = window + WINDOW
    fault = {"kind": kind, "dataset": dataset, **FAILING[kind]}
    fault |= {"active_from": end, "active_to": end + timedelta(hours=1)}
    if kind in ("missing_column", "contradicting_rows"):
        fault["column"] = NUMBER[dataset]
    if kind == "contradicting_rows":
        # Zero times a factor is no contradiction: an hour in which nothing is zero.
        moment = window.replace(hour=11) if dataset == "PowerSystemRightNow" else window
        fault |= {"data_from": moment, "data_to": moment + timedelta(hours=1)}
    return fault


def _lacking(home: Home, window: datetime) -> int:
    """Minutes that a window lacks."""
    return 360 - int(
        home.value(
            "SELECT count(*) FROM co2.raw.power_system"
            " WHERE minute_utc >= $start AND minute_utc < $end",
            start=window,
            end=window + WINDOW,
        )
    )


@pytest.fixture(scope="module")
def trouble(replayed: Home, tmp_path_factory: pytest.TempPathFactory) -> Trouble:
    """Seven rounds; in each every dataset fails in another way, and then answers again."""
    home = replayed.copy(tmp_path_factory.mktemp("trouble") / "home", request_timeout_s=4.0)
    found = Trouble(home, {kind: {} for kind in FAILING})
    kinds, datasets = list(FAILING), list(TABLES)
    for round_number in range(len(kinds)):
        window = REPLAYED_UNTIL + 2 * round_number * WINDOW
        hit = {
            dataset: kinds[(round_number + 2 * index) % len(kinds)]
            for index, dataset in enumerate(datasets)
        }
        plan = [_plan(kind, dataset, window) for dataset, kind in hit.items()]
        with home.served(*plan):
            result = home.tick(window)
            for dataset, kind in hit.items():
                found.spoiled[kind][dataset] = (f"{window:%Y-%m-%dT%H:%M}", result)
            found.lacking_before[hit["PowerSystemRightNow"]] = _lacking(home, window)
            home.tick(window + WINDOW)
            found.lacking_after[hit["PowerSystemRightNow"]] = _lacking(home, window)
    return found


EACH = pytest.mark.parametrize("kind", FAILING)
EVERYWHERE = pytest.mark.parametrize("dataset", TABLES)


@EACH
@EVERYWHERE
def test_a_source_that_fails_turns_its_check_red_and_the_run_goes_on(
    trouble: Trouble, kind: str, dataset: str
) -> None:
    _, result = trouble.spoiled[kind][dataset]
    assert result.success
    check = checks(result)[(TABLES[dataset], "source_answered")]
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert check.metadata["dataset"].value == dataset
    assert SAID[kind] in (check.description or "")
    assert metadata(result, TABLES[dataset])["status"] == "source_failed"


@EACH
@EVERYWHERE
def test_the_failed_load_is_on_record_with_dataset_and_what_was_found(
    trouble: Trouble, kind: str, dataset: str
) -> None:
    _, result = trouble.spoiled[kind][dataset]
    status, name, error, field_name, row, read, rejected = trouble.home.row(
        "SELECT status, dataset, error, error_field, error_row, rows_read, rows_rejected"
        " FROM co2.ops.etl_runs WHERE dagster_run_id = $run AND table_name = $table",
        run=result.run_id,
        table=TABLES[dataset].replace("/", "."),
    )
    assert (status, name) == ("source_failed", dataset)
    assert SAID[kind] in error
    assert read == rejected
    if kind == "contradicting_rows":
        assert field_name == NUMBER[dataset]
        assert row is not None
    if kind == "missing_column" and dataset == "PowerSystemRightNow":
        assert field_name == "SolarPower"


@EACH
@EVERYWHERE
def test_a_forecast_is_issued_all_the_same(trouble: Trouble, kind: str, dataset: str) -> None:
    key, _ = trouble.spoiled[kind][dataset]
    leads, hindcast = trouble.home.row(
        "SELECT count(*), bool_or(is_hindcast) FROM co2.forecast_history"
        " WHERE is_served AND issue_time_utc = $issue",
        issue=utc(key) + WINDOW,
    )
    assert (leads, hindcast) == (24, False)


@EACH
def test_without_measured_hours_the_forecast_is_a_marked_fallback(
    trouble: Trouble, kind: str
) -> None:
    key, _ = trouble.spoiled[kind]["PowerSystemRightNow"]
    version, fallback, reason, age = trouble.home.row(
        "SELECT DISTINCT model_version, is_fallback, fallback_reason, power_system_age_hours"
        " FROM co2.ml.forecasts WHERE is_served AND issue_time_utc = $issue",
        issue=utc(key) + WINDOW,
    )
    assert (version, fallback, age) == ("climatology", True, 6.0)
    assert utc(key).strftime("%Y-%m-%dT") in reason or "hour" in reason


@EACH
def test_the_next_clean_tick_brings_what_the_failed_one_lacked(trouble: Trouble, kind: str) -> None:
    assert trouble.lacking_before[kind] == 360
    assert trouble.lacking_after[kind] == 0


def test_after_all_failures_the_hours_equal_the_recorded_means(trouble: Trouble) -> None:
    until = REPLAYED_UNTIL + 14 * WINDOW
    in_trouble = pl.col("hour_utc").is_between(REPLAYED_UNTIL, until, closed="left")
    stored = trouble.home.rows(
        f"SELECT hour_utc, {', '.join(VALUE_COLUMNS)} FROM co2.core.aggregated_hours"
        " WHERE hour_utc >= $start ORDER BY hour_utc",
        start=REPLAYED_UNTIL,
    )
    expected = recorded_hours().filter(in_trouble).select("hour_utc", *VALUE_COLUMNS).rows()
    assert [row[0] for row in stored] == [row[0] for row in expected]
    for row, other in zip(stored, expected, strict=True):
        assert row[1:] == pytest.approx(other[1:], abs=0.01)


def test_after_all_failures_the_raw_tables_are_those_of_an_undisturbed_load(
    trouble: Trouble, tmp_path_factory: pytest.TempPathFactory
) -> None:
    last = REPLAYED_UNTIL + 13 * WINDOW
    calm = Home.new(tmp_path_factory.mktemp("calm") / "home")
    with calm.served():
        calm.tick(last, assets=tuple(TABLES.values()))
    for table in (POWER_SYSTEM, WIND_SOLAR_FORECASTS, DAY_AHEAD_PRICES):
        assert _only_here(trouble.home, calm, table) == 0, table.name
        assert _only_here(calm, trouble.home, table) == 0, table.name
    prognosis = (
        "SELECT time_utc, area, co2_g_per_kwh FROM co2.raw.co2_prognosis"
        " WHERE time_utc >= $start ORDER BY ALL"
    )
    start = last - timedelta(hours=12)
    assert trouble.home.rows(prognosis, start=start) == calm.rows(prognosis, start=start)


def _only_here(here: Home, there: Home, table: Table) -> int:
    columns = ", ".join(table.compared_columns)
    with duckdb.connect() as con:
        for name, home in (("here", here), ("there", there)):
            path = Layout(home.settings.home).public.resolve()
            con.execute(f"ATTACH '{path}' AS {name} (READ_ONLY)")
        found = con.execute(
            f"SELECT count(*) FROM (SELECT {columns} FROM here.{table.qualified_name}"
            f" EXCEPT ALL SELECT {columns} FROM there.{table.qualified_name})"
        ).fetchall()
    return int(found[0][0])


# Faults of the data: the load succeeds, and what is wrong is marked or put right.

AT = {
    "late_minutes": utc("2025-01-20T00:00"),
    "frozen_feed": utc("2025-01-20T12:00"),
    "spike": utc("2025-01-21T00:00"),
    "odd": utc("2025-01-21T12:00"),
    "gap": utc("2025-01-22T00:00"),
    "empty_reply": utc("2025-01-22T12:00"),
}
"""The window in whose tick each fault acts; the tick after it is clean."""


def _only_in(window: datetime) -> dict[str, Any]:
    return {"active_from": window + WINDOW, "active_to": window + WINDOW + timedelta(hours=1)}


def _hours(start: str, end: str) -> dict[str, Any]:
    return {"data_from": utc(start), "data_to": utc(end)}


PLAN: list[dict[str, Any]] = [
    {
        "kind": "late_minutes",
        **_hours("2025-01-20T03:30", "2025-01-20T06:00"),
        "until": utc("2025-01-20T12:00"),
    },
    {
        "kind": "frozen_feed",
        **_hours("2025-01-20T12:00", "2025-01-20T18:00"),
        **_only_in(AT["frozen_feed"]),
    },
    {
        "kind": "spike",
        "column": "ProductionLt100MW",
        **_hours("2025-01-21T03:00", "2025-01-21T04:00"),
        **_only_in(AT["spike"]),
    },
    {
        "kind": "duplicated_rows",
        **_hours("2025-01-21T12:00", "2025-01-21T13:00"),
        **_only_in(AT["odd"]),
    },
    {
        "kind": "revised_rows",
        "column": "CO2Emission",
        **_hours("2025-01-21T14:00", "2025-01-21T15:00"),
        "until": utc("2025-01-22T00:00"),
    },
    {
        "kind": "null_values",
        "column": "ProductionGe100MW",
        **_hours("2025-01-21T16:00", "2025-01-21T17:00"),
        **_only_in(AT["odd"]),
    },
    {"kind": "extra_column", "column": "HydrogenPower", **_only_in(AT["odd"])},
    {"kind": "gap", **_hours("2025-01-22T01:00", "2025-01-22T06:00")},
    {"kind": "empty_reply", **_only_in(AT["empty_reply"])},
]


@dataclass
class Marked:
    """What the hours of each fault looked like after its tick and after the next."""

    home: Home
    results: dict[str, dg.ExecuteInProcessResult] = field(default_factory=dict)
    during: dict[str, dict[datetime, dict[str, Any]]] = field(default_factory=dict)
    after: dict[str, dict[datetime, dict[str, Any]]] = field(default_factory=dict)
    quality: dict[str, list[tuple[Any, ...]]] = field(default_factory=dict)
    training: dict[str, set[datetime]] = field(default_factory=dict)
    """Issue times whose window would be trained on, as of the fault's tick."""


def _look(home: Home, window: datetime) -> dict[datetime, dict[str, Any]]:
    columns = (
        "minutes_seen",
        "is_complete",
        "is_imputed",
        "quality",
        *(name for value in VALUE_COLUMNS for name in (value, cleaned(value), imputed(value))),
    )
    return {
        hour: dict(zip(columns, values, strict=True))
        for hour, *values in home.rows(
            f"SELECT hour_utc, {', '.join(columns)} FROM co2.core.aggregated_hours"
            " WHERE hour_utc >= $start AND hour_utc < $end ORDER BY hour_utc",
            start=window,
            end=window + WINDOW,
        )
    }


@pytest.fixture(scope="module")
def marked(replayed: Home, tmp_path_factory: pytest.TempPathFactory) -> Marked:
    """Three days of ticks in which the data are wrong now and then."""
    home = replayed.copy(tmp_path_factory.mktemp("marked") / "home")
    found = Marked(home)
    with home.served(*PLAN):
        for name, window in AT.items():
            found.results[name] = home.tick(window)
            found.during[name] = _look(home, window)
            found.quality[name] = home.rows(
                "SELECT hour_utc, kind, column_name, value FROM co2.data_quality"
                " WHERE hour_utc >= $start ORDER BY ALL",
                start=window,
            )
            found.training[name] = _trained_on(home, window + WINDOW)
            home.tick(window + WINDOW)
            found.after[name] = _look(home, window)
    return found


def _trained_on(home: Home, end: datetime) -> set[datetime]:
    start = FIRST - timedelta(days=32)
    with home.store.read("test") as con:
        history = read_history(con, start, end)
    rows = training_rows(history, start, end, lookback_hours=24, horizon_hours=6)
    return set(history["hour_utc"][rows].to_list())


def recorded(hour: datetime) -> dict[str, float]:
    return recorded_hours().row(by_predicate=pl.col("hour_utc") == hour, named=True)


@pytest.mark.parametrize("name", ["late_minutes", "frozen_feed", "spike", "odd", "empty_reply"])
def test_the_next_clean_tick_heals_the_hours(marked: Marked, name: str) -> None:
    for hour, row in marked.after[name].items():
        assert (row["minutes_seen"], row["quality"], row["is_imputed"]) == (60, "ok", False), hour
        published = recorded(hour)
        for value in VALUE_COLUMNS:
            assert row[value] == row[cleaned(value)] == row[imputed(value)]
            assert row[value] == pytest.approx(published[value], abs=0.01)


@pytest.mark.parametrize("name", AT)
def test_a_forecast_is_issued_whatever_the_data(marked: Marked, name: str) -> None:
    assert marked.results[name].success
    assert (
        marked.home.value(
            "SELECT count(*) FROM co2.forecast_history WHERE is_served AND issue_time_utc = $t",
            t=AT[name] + WINDOW,
        )
        == 24
    )


def test_a_partial_hour_is_no_actual_and_a_missing_one_is_null(marked: Marked) -> None:
    rows = marked.during["late_minutes"]
    seen = [row["minutes_seen"] for row in rows.values()]
    assert seen == [60, 60, 60, 30, 0, 0]
    partial, missing = rows[utc("2025-01-20T03:00")], rows[utc("2025-01-20T04:00")]
    assert (partial["is_complete"], partial["quality"]) == (False, "imputed")
    assert partial["co2_g_per_kwh"] is not None
    assert partial["co2_cleaned_g_per_kwh"] is None
    assert missing["co2_g_per_kwh"] is None


def test_late_minutes_are_scored_once_they_came(marked: Marked) -> None:
    assert (
        marked.home.value(
            "SELECT count(*) FROM co2.ml.forecast_evaluations WHERE is_served"
            " AND lead_hours <= 6 AND valid_time_utc >= $start AND valid_time_utc < $end",
            start=AT["late_minutes"],
            end=AT["late_minutes"] + WINDOW,
        )
        == 6
    )


def test_a_frozen_feed_is_marked_from_its_third_hour_on(marked: Marked) -> None:
    # The feed stands still at the values of 11:00, so 13:00 is the third equal hour.
    rows = marked.during["frozen_feed"]
    assert [row["quality"] for row in rows.values()] == ["ok", *["frozen"] * 5]
    assert {(time.hour, kind) for time, kind, *_ in marked.quality["frozen_feed"]} == {
        (hour, "frozen") for hour in range(13, 18)
    }
    check = checks(marked.results["frozen_feed"])[("core/aggregated_hours", "feed_not_frozen")]
    assert not check.passed
    assert check.metadata["dataset"].value == "PowerSystemRightNow"
    assert "2025-01-20T13 co2_g_per_kwh = " in (check.description or "") + str(
        check.metadata["marked"].value
    )


def test_frozen_hours_are_null_when_cleaned_and_imputed_for_three_hours_at_most(
    marked: Marked,
) -> None:
    frozen = list(marked.during["frozen_feed"].values())[1:]
    for value in VALUE_COLUMNS:
        assert [row[cleaned(value)] for row in frozen] == [None] * 5
        assert [row[imputed(value)] is None for row in frozen] == [False] * 3 + [True] * 2
        assert all(row[value] is not None for row in frozen)
    assert [row["is_imputed"] for row in frozen] == [True] * 3 + [False] * 2


def test_a_frozen_feed_is_kept_out_of_training(marked: Marked) -> None:
    # From the first equal hour on, which only training can know of, no window is used.
    first_equal = utc("2025-01-20T11:00")
    assert max(marked.training["frozen_feed"]) <= first_equal - timedelta(hours=6)
    assert utc("2025-01-20T05:00") in marked.training["frozen_feed"]


def test_a_spike_is_marked_with_its_field_and_value(marked: Marked) -> None:
    hour = utc("2025-01-21T03:00")
    row = marked.during["spike"][hour]
    value = pytest.approx(10 * recorded(hour)["local_plants_mw"], abs=0.1)
    assert (row["quality"], row["local_plants_mw"]) == ("spike", value)
    assert (row["local_plants_cleaned_mw"], row["co2_cleaned_g_per_kwh"]) == (None, None)
    assert row["solar_cleaned_mw"] is not None
    assert row["is_imputed"]
    assert (
        row["local_plants_imputed_mw"]
        == (marked.during["spike"][hour - timedelta(hours=1)]["local_plants_mw"])
    )
    assert "local_plants_mw" in {
        column
        for time, kind, column, _ in marked.quality["spike"]
        if (time, kind) == (hour, "spike")
    }
    check = checks(marked.results["spike"])[("core/aggregated_hours", "no_spikes")]
    assert not check.passed
    assert "local_plants_mw" in (check.description or "")


def test_a_spike_is_kept_out_of_training(marked: Marked) -> None:
    hour = utc("2025-01-21T03:00")
    reading_it = {hour + timedelta(hours=after) for after in range(-5, 25)}
    assert not marked.training["spike"] & reading_it


def test_rows_that_come_twice_are_stored_once_and_counted(marked: Marked) -> None:
    rejected, unknown = marked.home.row(
        "SELECT rows_rejected, rows_read FROM co2.ops.etl_runs WHERE status = 'ok'"
        " AND dagster_run_id = $run AND dataset = 'PowerSystemRightNow'",
        run=marked.results["odd"].run_id,
    )
    assert (rejected, unknown) == (60, 18 * 60 + 60)
    assert marked.during["odd"][utc("2025-01-21T12:00")]["minutes_seen"] == 60


def test_a_revised_minute_replaces_the_stored_one_and_is_counted(marked: Marked) -> None:
    hour = utc("2025-01-21T14:00")
    assert marked.during["odd"][hour]["co2_g_per_kwh"] == pytest.approx(
        1.2 * recorded(hour)["co2_g_per_kwh"], abs=0.02
    )
    assert (
        marked.home.value(
            "SELECT rows_revised FROM co2.ops.etl_runs WHERE dataset = 'PowerSystemRightNow'"
            " AND window_end_utc = $end ORDER BY started_at_utc DESC LIMIT 1",
            end=AT["odd"] + 2 * WINDOW,
        )
        == 120
    ), "60 revised minutes, and 60 whose null became a number"


def test_a_null_stays_null_and_is_never_zero(marked: Marked) -> None:
    row = marked.during["odd"][utc("2025-01-21T16:00")]
    assert row["central_plants_mw"] is None
    assert (row["minutes_seen"], row["is_complete"], row["quality"]) == (0, False, "imputed")
    assert row["central_plants_imputed_mw"] is not None


def test_a_new_column_is_named_and_kept_out(marked: Marked) -> None:
    said = metadata(marked.results["odd"], "raw/power_system")
    assert said["unknown columns"] == ["HydrogenPower"]
    assert said["status"] == "ok"


def test_a_gap_stays_a_gap_filled_for_three_hours_in_the_imputed_columns_only(
    marked: Marked,
) -> None:
    for rows in (marked.during["gap"], marked.after["gap"]):
        gap = list(rows.values())[1:]
        assert [row["minutes_seen"] for row in gap] == [0] * 5
        assert [row["quality"] for row in gap] == ["imputed"] * 3 + ["missing"] * 2
        for value in VALUE_COLUMNS:
            assert {row[value] for row in gap} == {row[cleaned(value)] for row in gap} == {None}
            assert [row[imputed(value)] is None for row in gap] == [False] * 3 + [True] * 2


def test_an_empty_reply_stores_nothing_and_marks_the_hours_missing(marked: Marked) -> None:
    rows = marked.during["empty_reply"]
    assert {row["minutes_seen"] for row in rows.values()} <= {0}
    assert {row["co2_g_per_kwh"] for row in rows.values()} <= {None}
    check = checks(marked.results["empty_reply"])[("raw/power_system", "minutes_missing")]
    assert not check.passed


def test_the_recorded_frozen_feed_of_january_is_marked_and_not_trained_on(
    replayed: Home,
) -> None:
    start = utc("2025-01-02T21:00")
    kinds = replayed.rows(
        "SELECT DISTINCT hour_utc FROM co2.data_quality WHERE kind = 'frozen' ORDER BY 1"
    )
    assert [time for (time,) in kinds] == [start + timedelta(hours=h) for h in range(2, 12)]
    trained = _trained_on(replayed, REPLAYED_UNTIL)
    reading_it = {start + timedelta(hours=after) for after in range(-5, 12 + 24)}
    assert not trained & reading_it
    assert start - timedelta(hours=6) in trained


def test_every_window_of_the_troubled_days_has_its_one_forecast(marked: Marked) -> None:
    until = max(AT.values()) + 2 * WINDOW
    issued = marked.home.rows(
        "SELECT DISTINCT issue_time_utc FROM co2.forecast_history WHERE is_served ORDER BY 1"
    )
    assert [time for (time,) in issued] == [w + WINDOW for w in windows(FIRST, until)]
    assert shipped().span[1] > until
