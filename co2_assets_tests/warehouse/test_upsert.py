from __future__ import annotations

from collections.abc import Iterator

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from co2_assets.errors import WarehouseInvalid
from co2_assets.schema import CO2_PROGNOSIS, FORECASTS, Column, Table
from co2_assets.warehouse.ddl import create_all
from co2_assets.warehouse.query import Connection, rows
from co2_assets.warehouse.upsert import Counts, upsert
from co2_assets_tests.warehouse.filled import filled, hours, put, stored

THINGS = Table(
    "raw",
    "things",
    "a table to merge into",
    ("place", "number"),
    (
        Column("place", "VARCHAR", "part of the key"),
        Column("number", "INTEGER", "part of the key"),
        Column("amount", "DOUBLE", "compared", nullable=True),
        Column("label", "VARCHAR", "compared", nullable=True),
        Column("fetched", "INTEGER", "audit", audit=True),
    ),
)
SCHEMA = {
    "place": pl.String,
    "number": pl.Int32,
    "amount": pl.Float64,
    "label": pl.String,
    "fetched": pl.Int32,
}

Key = tuple[str, int]
Row = tuple[float | None, str | None, int]

keys = st.tuples(st.sampled_from("ab"), st.integers(1, 3))
values = st.tuples(
    st.one_of(st.none(), st.sampled_from([0.0, 1.5])),
    st.one_of(st.none(), st.sampled_from(["", "x"])),
    st.integers(1, 3),
)
batches = st.lists(st.dictionaries(keys, values, max_size=6), min_size=1, max_size=5)


@pytest.fixture(scope="module")
def database() -> Iterator[Connection]:
    with duckdb.connect() as con:
        con.execute(create_all([THINGS]))
        yield con


def frame_of(batch: dict[Key, Row]) -> pl.DataFrame:
    return pl.DataFrame([(*key, *row) for key, row in batch.items()], schema=SCHEMA, orient="row")


def table_of(con: Connection) -> dict[Key, Row]:
    return {(row[0], row[1]): row[2:] for row in rows(con, "SELECT * FROM raw.things")}  # type: ignore[misc]


@settings(max_examples=40, deadline=None)
@given(batches=batches, keep=st.booleans(), newest=st.booleans())
def test_merging_does_what_a_dictionary_does(
    database: Connection, batches: list[dict[Key, Row]], keep: bool, newest: bool
) -> None:
    database.execute("DELETE FROM raw.things")
    model: dict[Key, Row] = {}
    for batch in batches:
        expected = {"new": 0, "revised": 0, "unchanged": 0}
        for key, row in batch.items():
            known = model.get(key)
            if known is None:
                expected["new"] += 1
                model[key] = row
            elif not keep and row[:2] != known[:2] and (not newest or row[2] >= known[2]):
                expected["revised"] += 1
                model[key] = row
            else:
                expected["unchanged"] += 1
        counts = upsert(
            database,
            THINGS,
            frame_of(batch),
            keep_existing=keep,
            newest_by="fetched" if newest else None,
        )
        assert counts == Counts(**expected)
        assert table_of(database) == model
        assert upsert(database, THINGS, frame_of({})) == Counts()


def test_merging_the_same_rows_twice_changes_nothing_the_second_time(con: Connection) -> None:
    frame = {"time_utc": hours(5), "fetched_at_utc": hours(5)}
    put(con, CO2_PROGNOSIS, commit=1, **frame)
    before = stored(con, CO2_PROGNOSIS)
    put(con, CO2_PROGNOSIS, commit=2, **frame)
    assert stored(con, CO2_PROGNOSIS) == before


def test_a_row_whose_audit_columns_alone_differ_stays_as_it_was(con: Connection) -> None:
    put(con, CO2_PROGNOSIS, commit=1, time_utc=hours(1), etl_run_id="first")
    put(con, CO2_PROGNOSIS, commit=2, time_utc=hours(1), etl_run_id="second")
    assert stored(con, CO2_PROGNOSIS, "etl_run_id", "commit_id") == [("first", 1)]


def test_a_truncated_page_never_deletes(con: Connection) -> None:
    put(con, CO2_PROGNOSIS, time_utc=hours(5))
    put(con, CO2_PROGNOSIS, time_utc=hours(2), co2_g_per_kwh=7.0)
    assert len(stored(con, CO2_PROGNOSIS)) == 5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.drop("area"), "missing ['area'], unknown []"),
        (lambda f: f.with_columns(more=1), "missing [], unknown ['more']"),
        (lambda f: f.rename({"area": "aera"}), "missing ['area'], unknown ['aera']"),
        (
            lambda f: f.with_columns(
                area=pl.when(pl.int_range(pl.len()) == 2).then(None).otherwise("area")
            ),
            "column area, row 2",
        ),
        (lambda f: pl.concat([f, f[1]]), "row 1"),
    ],
    ids=["column missing", "column unknown", "column misspelt", "null", "key repeated"],
)
def test_rows_that_must_not_be_stored_are_refused_with_table_column_and_row(
    con: Connection, change: object, message: str
) -> None:
    frame = filled(FORECASTS, valid_time_utc=hours(4), lead_hours=[1, 2, 3, 4])
    whole = frame.with_columns(commit_id=pl.lit(1, pl.Int64))
    with pytest.raises(WarehouseInvalid) as error:
        upsert(con, FORECASTS, change(whole))  # type: ignore[operator]
    assert "table ml.forecasts" in str(error.value)
    assert message in str(error.value)
    assert stored(con, FORECASTS) == []


def test_what_duckdb_itself_refuses_is_our_own_error(con: Connection) -> None:
    frame = filled(CO2_PROGNOSIS).with_columns(
        pl.lit("many").alias("vintage"), commit_id=pl.lit(1, pl.Int64)
    )
    with pytest.raises(WarehouseInvalid, match="DuckDB refused") as error:
        upsert(con, CO2_PROGNOSIS, frame)
    assert "raw.co2_prognosis" in str(error.value)
