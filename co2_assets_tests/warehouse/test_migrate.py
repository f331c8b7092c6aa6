from __future__ import annotations

import re
from importlib import resources

import duckdb
import pytest

from co2_assets.errors import WarehouseInvalid
from co2_assets.schema import TABLES, Table
from co2_assets.warehouse import migrate as module
from co2_assets.warehouse.checks import columns_differ
from co2_assets.warehouse.ddl import create_all, create_table
from co2_assets.warehouse.migrate import VIEWS_NUMBER, Migration, migrate, migrations, pending
from co2_assets.warehouse.query import Connection, rows, value
from co2_assets_tests.warehouse.filled import NOW

NAMES = [table.qualified_name for table in TABLES]

VIEWS = {
    "advice_calibration": "area issue_time_utc duration_hours within_hours chance_shift"
    " saving_factor calibrated_on calibration_n",
    "actuals": "hour_utc area co2_g_per_kwh co2_imputed_g_per_kwh quality minutes_seen"
    " central_plants_mw local_plants_mw solar_mw offshore_wind_mw onshore_wind_mw net_import_mw",
    "forecast_history": "area issue_time_utc valid_time_utc lead_hours model_version"
    " p05_g_per_kwh p10_g_per_kwh p25_g_per_kwh p50_g_per_kwh p75_g_per_kwh p90_g_per_kwh"
    " p95_g_per_kwh issued_at_utc is_served is_hindcast is_fallback fallback_reason",
    "forecasts": "area issue_time_utc valid_time_utc lead_hours model_version"
    " p05_g_per_kwh p10_g_per_kwh p25_g_per_kwh p50_g_per_kwh p75_g_per_kwh p90_g_per_kwh"
    " p95_g_per_kwh issued_at_utc is_served is_hindcast is_fallback fallback_reason",
    "forecast_vs_actual": "area issue_time_utc valid_time_utc lead_hours model_version"
    " p05_g_per_kwh p10_g_per_kwh p25_g_per_kwh p50_g_per_kwh p75_g_per_kwh p90_g_per_kwh"
    " p95_g_per_kwh issued_at_utc is_served is_hindcast is_fallback fallback_reason"
    " actual_g_per_kwh error_g_per_kwh persistence_g_per_kwh",
    "accuracy": "area model_version lead_hours day_utc n mae rmse mse mape wape bias r2"
    " pseudo_accuracy crps coverage_80 skill",
    "scoreboard": "area month_utc lead_hours predictor n mae crps skill",
    "models": "model_version recipe created_utc train_start_utc train_end_utc seed"
    " hyperparameters metrics artifact_path artifact_sha256 status reason",
    "champion": "model_version recipe created_utc train_start_utc train_end_utc seed"
    " hyperparameters metrics artifact_path artifact_sha256 status reason valid_from_utc",
    "retrain_ledger": "window_start_utc window_end_utc decision rule reason pseudo_accuracy"
    " n_forecasts skill champion cooldown_until_utc in_flight_run_id training_run_id"
    " trained_version gate_outcome worth_g_per_kwh worth_n",
    "forecast_origin": "area issue_time_utc valid_time_utc lead_hours model_version"
    " dagster_run_id recipe train_start_utc train_end_utc training_run_id feature_hours"
    " raw_minutes first_fetched_utc last_fetched_utc etl_run_ids",
    "window_receipts": "area issue_time_utc duration_hours within_hours model_version"
    " recommended_start_utc expected_g_per_kwh expected_saving_g_per_kwh chance_beats_now"
    " quantile preferred_start_utc raw_saving_g_per_kwh raw_chance_beats_now"
    " is_hindcast is_fallback is_settled unsettled_reason realised_saving_g_per_kwh"
    " preferred_saving_g_per_kwh best_start_utc best_saving_g_per_kwh regret_g_per_kwh",
    "data_quality": "dataset hour_utc kind column_name value expected detected_utc",
}
"""The documented contract: columns that must be there, whatever else is."""


def described(con: Connection, table: Table) -> list[tuple[object, ...]]:
    return rows(
        con,
        "SELECT column_name, data_type, is_nullable FROM duckdb_columns()"
        " WHERE schema_name = $schema AND table_name = $name ORDER BY column_index",
        schema=table.schema,
        name=table.name,
    )


def key_of(con: Connection, table: Table) -> list[str]:
    ((columns,),) = rows(
        con,
        "SELECT constraint_column_names FROM duckdb_constraints()"
        " WHERE schema_name = $schema AND table_name = $name"
        " AND constraint_type = 'PRIMARY KEY'",
        schema=table.schema,
        name=table.name,
    )
    return list(columns)


@pytest.mark.parametrize("table", TABLES, ids=NAMES)
def test_a_migrated_table_is_as_schema_py_declares_it(con: Connection, table: Table) -> None:
    with duckdb.connect() as declared:
        declared.execute(create_all())
        assert described(con, table) == described(declared, table)
    assert key_of(con, table) == list(table.key)
    assert columns_differ(con, table).count == 0
    assert [name for name, _, _ in described(con, table)] == list(table.column_names)


def test_the_database_has_no_table_that_schema_py_does_not_declare(con: Connection) -> None:
    found = rows(con, "SELECT schema_name || '.' || table_name FROM duckdb_tables()")
    assert sorted(name for (name,) in found) == sorted(NAMES)


@pytest.mark.parametrize("table", TABLES, ids=NAMES)
def test_a_create_statement_says_every_column_once(table: Table) -> None:
    statement = create_table(table)
    for column in table.columns:
        line = f"    {column.name} {column.sql_type}{'' if column.nullable else ' NOT NULL'},"
        assert statement.count(line) == 1


@pytest.mark.parametrize("view", VIEWS)
def test_a_documented_view_has_its_documented_columns(con: Connection, view: str) -> None:
    found = [row[0] for row in rows(con, f"DESCRIBE SELECT * FROM main.{view}")]
    assert [name for name in found if name in VIEWS[view].split()] == VIEWS[view].split()


def test_the_documented_views_are_all_views_there_are(con: Connection) -> None:
    found = rows(con, "SELECT schema_name, view_name FROM duckdb_views() WHERE NOT internal")
    assert sorted(found) == [("main", view) for view in sorted(VIEWS)]


def test_every_time_in_a_view_knows_its_zone(con: Connection) -> None:
    found = rows(
        con,
        "SELECT table_name, column_name, data_type FROM duckdb_columns()"
        " WHERE schema_name = 'main' AND column_name LIKE '%_utc'",
    )
    naive = {(v, c) for v, c, t in found if t != "TIMESTAMP WITH TIME ZONE"}
    assert naive == {("accuracy", "day_utc")}  # a date


def test_no_schema_is_named_like_the_published_file(con: Connection) -> None:
    found = {name for (name,) in rows(con, "SELECT schema_name FROM duckdb_schemas()")}
    assert "co2" not in found
    assert {"raw", "core", "ml", "ops", "main"} <= found


def test_no_view_body_names_a_catalog() -> None:
    text = (resources.files("co2_assets.warehouse") / "views.sql").read_text()
    statements = re.sub(r"--.*", "", text)
    assert not re.search(r"\b(co2|head|memory)\.", statements)
    assert not re.search(r"\b\w+\.(main|raw|core|ml|ops)\.\w+", statements)
    named = re.findall(r"\b(?:FROM|JOIN)\s+(?!\()([\w.]+)", statements)
    schemas = {name.split(".")[0] for name in named if "." in name}
    assert schemas <= {"main", "raw", "core", "ml", "ops"}


def test_migrating_again_does_nothing(con: Connection) -> None:
    assert migrate(con, lambda: NOW) == 0
    assert rows(con, "SELECT count(*) FROM ops.schema_migrations")[0][0] == len(migrations())


def test_each_migration_is_recorded_with_its_hash_and_a_commit(con: Connection) -> None:
    assert rows(con, "SELECT number, name, sha256 FROM ops.schema_migrations ORDER BY 1") == sorted(
        (migration.number, migration.name, migration.sha256) for migration in migrations()
    )
    steps = rows(con, "SELECT step FROM ops.commits WHERE run_id = 'migration' ORDER BY commit_id")
    assert [step for (step,) in steps] == [migration.name for migration in migrations()]


def test_views_are_applied_again_when_their_text_changes(
    con: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = [
        *migrations()[:-1],
        Migration(
            VIEWS_NUMBER, "views.sql", "CREATE OR REPLACE VIEW main.actuals AS SELECT 7 AS a"
        ),
    ]
    monkeypatch.setattr(module, "migrations", lambda: changed)
    assert migrate(con, lambda: NOW) == 1
    assert value(con, "SELECT a FROM main.actuals") == 7
    assert pending(con) == []


def test_a_database_of_an_earlier_version_is_brought_up_to_date(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = migrations()
    with duckdb.connect() as con:
        monkeypatch.setattr(module, "migrations", lambda: known[:3])
        assert migrate(con, lambda: NOW) == 3
        monkeypatch.setattr(module, "migrations", lambda: known)
        assert migrate(con, lambda: NOW) == len(known) - 3
        assert pending(con) == []
        found = rows(con, "SELECT schema_name || '.' || table_name FROM duckdb_tables()")
        assert sorted(name for (name,) in found) == sorted(NAMES)


def test_receipts_from_before_calibration_keep_what_they_said_as_raw(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = migrations()
    before = [migration for migration in known if 0 < migration.number < 6]
    with duckdb.connect() as con:
        monkeypatch.setattr(module, "migrations", lambda: before)
        migrate(con, lambda: NOW)
        con.execute(
            "INSERT INTO ml.window_receipts VALUES ('DK', '2025-01-01 06:00:00+00', 2, 6, 'v0001',"
            " '2025-01-01 08:00:00+00', 80, 20, 0.7, false, false, true, NULL, 12,"
            " '2025-01-01 09:00:00+00', 18, 6, 3)"
        )
        old = rows(con, "SELECT * FROM ml.window_receipts")
        monkeypatch.setattr(module, "migrations", lambda: known)
        migrate(con, lambda: NOW)
        names = [name for (name, *_) in rows(con, "DESCRIBE ml.window_receipts")]
        (found,) = (
            dict(zip(names, row, strict=True))
            for row in rows(con, "SELECT * FROM ml.window_receipts")
        )
        assert found.pop("quantile") == 0.75
        assert found.pop("preferred_start_utc") == found["recommended_start_utc"]
        assert found.pop("raw_saving_g_per_kwh") == found["expected_saving_g_per_kwh"] == 20
        assert found.pop("raw_chance_beats_now") == found["chance_beats_now"] == 0.7
        assert found.pop("preferred_saving_g_per_kwh") == found["realised_saving_g_per_kwh"] == 12
        assert [tuple(found.values())] == old
        assert rows(con, "SELECT * FROM main.advice_calibration") == []


def test_a_failing_migration_leaves_no_trace_and_the_ones_before_it_stay(
    con: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = Migration(9002, "9002_good.sql", "CREATE TABLE ops.good (a INTEGER)")
    bad = Migration(9003, "9003_bad.sql", "CREATE TABLE ops.half (a INTEGER); SELECT nothing_there")
    known = migrations()
    monkeypatch.setattr(module, "migrations", lambda: [*known, good, bad])
    with pytest.raises(duckdb.BinderException):
        migrate(con, lambda: NOW)
    found = {name for (name,) in rows(con, "SELECT table_name FROM duckdb_tables()")}
    assert "good" in found
    assert "half" not in found
    assert [migration.number for migration in pending(con)] == [9003]


def test_a_database_of_a_newer_version_is_refused(con: Connection) -> None:
    con.execute("INSERT INTO ops.schema_migrations VALUES (99, '0099.sql', 'hash', now())")
    with pytest.raises(WarehouseInvalid, match="newer version") as error:
        migrate(con, lambda: NOW)
    assert error.value.found == "migration 99"


def test_released_migrations_are_never_edited() -> None:
    first = migrations()[0]
    assert (first.number, first.name) == (1, "0001_tables.sql")
    with duckdb.connect() as con:
        migrate(con, lambda: NOW)
        con.execute("UPDATE ops.schema_migrations SET sha256 = 'another' WHERE number = 1")
        # A changed text of an applied number is not applied again: the number counts.
        assert pending(con) == []
