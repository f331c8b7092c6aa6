from __future__ import annotations

import csv
import io
import json

import pytest

from co2_assets.errors import WarehouseError
from co2_assets.schema import CO2_PROGNOSIS
from co2_assets.warehouse.shell import GREETING, run_query, run_shell
from co2_assets.warehouse.store import Warehouse
from co2_assets_tests.warehouse.filled import T0, fill_home, hours, leftovers

QUERY = "SELECT time_utc, area, co2_g_per_kwh AS co2 FROM co2.raw.co2_prognosis ORDER BY time_utc"


@pytest.fixture
def published(warehouse: Warehouse) -> Warehouse:
    fill_home(warehouse, CO2_PROGNOSIS, time_utc=hours(2), co2_g_per_kwh=[1.5, None], area="DK1")
    warehouse.publish()
    return warehouse


def answer(warehouse: Warehouse, query: str, form: str = "csv") -> str:
    out = io.StringIO()
    run_query(warehouse.layout.home, query, form, out)
    return out.getvalue()


def test_a_query_answers_as_csv_json_and_a_table(published: Warehouse) -> None:
    header, first, second = csv.reader(io.StringIO(answer(published, QUERY)))
    assert header == ["time_utc", "area", "co2"]
    assert first == [str(T0), "DK1", "1.5"]
    assert second[2] == ""
    assert json.loads(answer(published, QUERY, "json")) == [
        {"time_utc": T0.isoformat(), "area": "DK1", "co2": 1.5},
        {"time_utc": hours(2)[1].isoformat(), "area": "DK1", "co2": None},
    ]
    assert "2025-01-20 00:00:00+00" in answer(published, QUERY, "table")


@pytest.mark.parametrize("name", ["co2.actuals", "actuals", "main.actuals", "co2.main.actuals"])
def test_every_way_to_name_a_view_means_the_same(published: Warehouse, name: str) -> None:
    assert answer(published, f"SELECT count(*) AS n FROM {name}").split() == ["n", "0"]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM raw.co2_prognosis",
        "INSERT INTO ops.coverage VALUES ('a', now(), now(), 1)",
        "CREATE TABLE mine (a INTEGER)",
        "DROP VIEW actuals",
        "UPDATE raw.co2_prognosis SET co2_g_per_kwh = 0",
    ],
)
def test_a_write_is_refused_and_changes_nothing(published: Warehouse, statement: str) -> None:
    before = leftovers(published.layout.home)
    with pytest.raises(WarehouseError, match="refuses the query") as error:
        answer(published, statement)
    assert "read-only" in str(error.value.found)
    assert error.value.where == statement
    assert leftovers(published.layout.home) == before


def test_a_wrong_query_says_where_and_what_to_read(published: Warehouse) -> None:
    with pytest.raises(WarehouseError) as error:
        answer(published, "SELECT nothing FROM actuals")
    assert "nothing" in str(error.value.found)
    assert "docs/warehouse.md" in str(error.value.next_step)


def test_the_shell_answers_statements_of_several_lines_and_survives_errors(
    published: Warehouse,
) -> None:
    out = io.StringIO()
    lines = io.StringIO(
        "SELECT count(*)\nAS many\nFROM raw.co2_prognosis;\n"
        "DELETE FROM raw.co2_prognosis;\n"
        "SELECT 'still ' || 'here' AS words;\n"
        "SELECT 'never ended'"
    )
    run_shell(published.layout.home, lines, out)
    said = out.getvalue()
    assert GREETING in said
    assert "many" in said
    assert said.count("refuses the query") == 1
    assert "still here" in said
    assert "never ended" not in said
    assert said.count("co2> ") == 4


def test_a_home_without_a_warehouse_is_one_clear_error(warehouse: Warehouse) -> None:
    for act in (
        lambda: answer(warehouse, "SELECT 1"),
        lambda: run_shell(warehouse.layout.home, io.StringIO(), io.StringIO()),
    ):
        with pytest.raises(WarehouseError, match="no published warehouse"):
            act()
    assert not warehouse.layout.home.exists()
