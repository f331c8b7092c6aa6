"""A reply is judged before anything is stored: real records first, then broken ones."""

from __future__ import annotations

import json
import math
from copy import deepcopy
from datetime import datetime, timedelta
from importlib import resources
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2_assets.errors import SourceMalformed
from co2_assets.schema import OPTIONAL_POWER_COLUMNS
from co2_assets.source.client import Reply
from co2_assets.source.datasets import (
    CO2_EMIS_PROG,
    DATASETS,
    DAY_AHEAD_PRICES_15MIN,
    ELSPOTPRICES,
    FORECASTS_HOUR,
    POWER_SYSTEM_RIGHT_NOW,
    Dataset,
)
from co2_assets.source.parse import Parsed, parse
from co2_assets_tests.replay.serving import client, utc
from co2_assets_tests.source.stub import Said, stub

RECORDED = resources.files("co2_assets") / "replay" / "recorded"
MINUTES: list[dict[str, Any]] = json.loads(
    (RECORDED / "power_system_right_now_records.json").read_text()
)["records"]
ENVELOPES: dict[str, Any] = json.loads((RECORDED / "reply_envelopes.json").read_text())["replies"]
STORING = {
    "fetched_at_utc",
    "etl_run_id",
    "commit_id",
    "first_seen_utc",
    "available_utc",
    "vintage",
}


def reply(
    dataset: Dataset,
    records: list[Any],
    start: str = "2022-01-01T00:00",
    end: str = "2027-01-01T00:00",
) -> Reply:
    return Reply(dataset, "http://test", utc(start), utc(end), "", 0, records)


def minute(**changed: Any) -> dict[str, Any]:
    """A real record of 2026, with some columns changed."""
    return {**MINUTES[3], **changed}


def refused(dataset: Dataset, records: list[Any], **span: str) -> SourceMalformed:
    with pytest.raises(SourceMalformed) as caught:
        parse(reply(dataset, records, **span))
    assert caught.value.dataset == dataset.name
    assert caught.value.expected is not None
    return caught.value


def test_real_minutes_of_four_years_become_the_table() -> None:
    parsed = parse(reply(POWER_SYSTEM_RIGHT_NOW, MINUTES))
    table = POWER_SYSTEM_RIGHT_NOW.table
    assert set(parsed.frame.columns) == set(table.column_names) - STORING
    assert (parsed.rows_read, parsed.rows_repeated, parsed.unknown_columns) == (5, 0, ())
    first, _, third, *_ = parsed.frame.rows(named=True)
    assert first["minute_utc"] == utc("2023-02-07T13:33")
    assert first["minute_dk"] == datetime(2023, 2, 7, 14, 33)  # noqa: DTZ001, as published
    assert first["co2_g_per_kwh"] == 119.480003
    assert first["exchange_dk1_gb_mw"] is None
    assert first["imbalance_dk1_mw"] is None
    assert third["solar_mw"] == 0.0
    assert third["exchange_dk1_no_mw"] == -410.0


def test_only_optional_columns_may_be_absent_from_all_records() -> None:
    oldest = parse(reply(POWER_SYSTEM_RIGHT_NOW, MINUTES[:1])).frame
    absent = {name for name in oldest.columns if oldest[name].null_count()}
    assert absent < set(OPTIONAL_POWER_COLUMNS)
    assert oldest.schema == parse(reply(POWER_SYSTEM_RIGHT_NOW, MINUTES)).frame.schema


@pytest.mark.parametrize("name", ["CO2EmisProg", "Elspotprices", "Forecasts_Hour"])
def test_real_envelope_passes_through_client_and_parser(name: str) -> None:
    """The saved replies are cut to five records, so their `total` is put right."""
    body = deepcopy(ENVELOPES[name])
    body["total"] = len(body["records"])
    with stub(Said(json.dumps(body).encode())) as heard, client(heard.url) as asking:
        parsed = parse(
            asking.fetch(DATASETS[name], utc("2022-07-17T00:00"), utc("2022-07-19T00:00"))
        )
    assert parsed.rows_read == parsed.frame.height == len(body["records"])
    assert set(parsed.frame.columns) == set(DATASETS[name].table.column_names) - STORING


def test_real_envelope_cut_short_is_refused_by_its_own_total() -> None:
    said = Said(json.dumps(ENVELOPES["CO2EmisProg"]).encode())
    with (
        stub(said) as heard,
        client(heard.url) as asking,
        pytest.raises(SourceMalformed, match="1165200"),
    ):
        asking.fetch(CO2_EMIS_PROG, utc("2022-07-17T00:00"), utc("2022-07-19T00:00"))


def test_wide_forecasts_become_long_and_null_stays_null() -> None:
    records = ENVELOPES["Forecasts_Hour"]["records"]
    frame = parse(reply(FORECASTS_HOUR, records)).frame
    assert set(frame["kind"]) == {"day_ahead"}
    offshore = frame.filter(pl.col("area") == "DK2", pl.col("forecast_type") == "offshore_wind")
    assert offshore["forecast_mw"].to_list() == [None]
    onshore = frame.filter(pl.col("area") == "DK1", pl.col("forecast_type") == "onshore_wind")
    assert onshore["forecast_mw"].to_list() == [573.583313]


def test_null_is_news_for_the_day_ahead_forecast_alone() -> None:
    """It is owed for each hour; the other kinds may never come."""
    record = {
        **ENVELOPES["Forecasts_Hour"]["records"][0],
        "ForecastDayAhead": None,
        "ForecastCurrent": 500,
        "Forecast1Hour": None,
    }
    frame = parse(reply(FORECASTS_HOUR, [record])).frame
    assert dict(frame.select("kind", "forecast_mw").rows()) == {"day_ahead": None, "current": 500.0}


def test_zero_wind_is_kept_as_published() -> None:
    records = [
        {"HourUTC": f"2025-01-20T{hour:02d}:00:00", "PriceArea": "DK1", "ForecastType": kind,
         "ForecastDayAhead": 0}
        for hour in range(24)
        for kind in ("Onshore Wind", "Offshore Wind")
    ]  # fmt: skip
    frame = parse(reply(FORECASTS_HOUR, records)).frame
    assert frame["forecast_mw"].to_list() == [0.0] * 48


@pytest.mark.parametrize(
    ("dataset", "record", "step"),
    [
        (ELSPOTPRICES, {"HourUTC": "2025-09-30T21:00:00", "SpotPriceEUR": 12.5}, 60),
        (DAY_AHEAD_PRICES_15MIN, {"TimeUTC": "2025-09-30T22:15:00", "DayAheadPriceEUR": -1}, 15),
    ],
)
def test_prices_keep_their_step_and_may_lack_kroner(
    dataset: Dataset, record: dict[str, Any], step: int
) -> None:
    row = parse(reply(dataset, [{**record, "PriceArea": "SE3"}])).frame.row(0, named=True)
    assert (row["area"], row["step_minutes"], row["price_dkk_per_mwh"]) == ("SE3", step, None)


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=list(DATASETS))
def test_empty_reply_has_no_rows_and_the_columns_of_a_full_one(dataset: Dataset) -> None:
    parsed = parse(reply(dataset, []))
    assert parsed.frame.height == parsed.rows_read == 0
    expected = set(dataset.table.column_names) - STORING
    assert set(parsed.frame.columns) == expected
    assert parsed.frame.schema[dataset.time_field.name] == pl.Datetime("us", "UTC")


def test_unknown_columns_are_kept_out_and_named() -> None:
    parsed = parse(reply(POWER_SYSTEM_RIGHT_NOW, [minute(NewBattery=3, AnotherOne="x")]))
    assert parsed.unknown_columns == ("AnotherOne", "NewBattery")
    assert parsed.frame.equals(parse(reply(POWER_SYSTEM_RIGHT_NOW, [minute()])).frame)


@pytest.mark.parametrize(
    "column", [field.api_name for field in POWER_SYSTEM_RIGHT_NOW.fields if field.required]
)
def test_missing_required_column_is_named(column: str) -> None:
    record = minute()
    del record[column]
    error = refused(POWER_SYSTEM_RIGHT_NOW, [record, record])
    assert error.field == column
    assert "required column is missing" in str(error)


def test_column_that_some_records_lack_is_null_there() -> None:
    short = minute(Minutes1UTC="2026-04-08T21:31:00")
    del short["SolarPower"]
    frame = parse(reply(POWER_SYSTEM_RIGHT_NOW, [minute(), short])).frame
    assert frame["solar_mw"].to_list() == [0.0, None]


def test_null_number_stays_null() -> None:
    frame = parse(reply(POWER_SYSTEM_RIGHT_NOW, [minute(CO2Emission=None)])).frame
    assert frame["co2_g_per_kwh"].to_list() == [None]


@pytest.mark.parametrize(
    "value",
    ["12.5", "NaN", True, [1], {"a": 1}],
    ids=["numeric-text", "nan-text", "bool", "list", "object"],
)
def test_number_of_a_wrong_type_is_named_with_its_row(value: Any) -> None:
    records = [minute(), minute(Minutes1UTC="2026-04-08T21:31:00", SolarPower=value)]
    error = refused(POWER_SYSTEM_RIGHT_NOW, records)
    assert (error.field, error.row) == ("SolarPower", 1)
    assert error.found == repr(value)


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_number_that_json_does_not_have_is_named_with_its_row(token: str) -> None:
    """Python's own JSON reader would take them."""
    good = {"Minutes5UTC": "2025-01-20T06:00:00", "PriceArea": "DK1", "CO2Emission": 7}
    bad = json.dumps({**good, "PriceArea": "DK2"}).replace("7", token)
    body = f'{{"records": [{json.dumps(good)}, {bad}]}}'.encode()
    with stub(Said(body)) as heard, client(heard.url) as asking:
        got = asking.fetch(CO2_EMIS_PROG, utc("2025-01-20T00:00"), utc("2025-01-21T00:00"))
    with pytest.raises(SourceMalformed, match=f"field CO2Emission, row 1.*{token}"):
        parse(got)


@pytest.mark.parametrize(
    "value", [1e999, -1e999, math.nan, 10**400], ids=["inf", "-inf", "nan", "huge"]
)
def test_number_that_is_not_finite_is_named_with_its_row(value: float) -> None:
    records = [minute(), minute(Minutes1UTC="2026-04-08T21:31:00", Exchange_Sum=value)]
    error = refused(POWER_SYSTEM_RIGHT_NOW, records)
    assert (error.field, error.row) == ("Exchange_Sum", 1)
    assert "not finite" in str(error)


@pytest.mark.parametrize("time", ["2026-04-08", "yesterday", "2026-13-01T00:00:00", ""])
def test_time_that_cannot_be_read_is_named_with_its_row(time: str) -> None:
    error = refused(POWER_SYSTEM_RIGHT_NOW, [minute(), minute(Minutes1UTC=time)])
    assert (error.field, error.row, error.found) == ("Minutes1UTC", 1, time)


def test_time_that_is_a_number_is_a_wrong_type() -> None:
    error = refused(POWER_SYSTEM_RIGHT_NOW, [minute(Minutes1UTC=20260408)])
    assert (error.field, error.row) == ("Minutes1UTC", 0)


@pytest.mark.parametrize("time", ["2026-04-08T21:00:00", "2026-04-08T20:59:00"])
def test_time_outside_the_asked_span_is_named_with_its_row(time: str) -> None:
    """The span's end is exclusive."""
    records = [minute(Minutes1UTC="2026-04-08T20:59:59"), minute(Minutes1UTC=time)]
    span = {"start": "2026-04-08T20:59", "end": "2026-04-08T21:00"}
    if time.endswith("20:59:00"):
        assert parse(reply(POWER_SYSTEM_RIGHT_NOW, records, **span)).rows_read == 2
        return
    error = refused(POWER_SYSTEM_RIGHT_NOW, records, **span)
    assert (error.field, error.row) == ("Minutes1UTC", 1)
    assert "2026-04-08T20:59 to 2026-04-08T21:00" in str(error)


@pytest.mark.parametrize("column", ["Minutes5UTC", "PriceArea"])
def test_null_in_the_key_is_named_with_its_row(column: str) -> None:
    good = {"Minutes5UTC": "2025-01-20T06:00:00", "PriceArea": "DK1", "CO2Emission": 7}
    error = refused(CO2_EMIS_PROG, [good, {**good, column: None}])
    assert (error.field, error.row) == (column, 1)


def test_same_record_twice_is_collapsed_and_counted() -> None:
    parsed = parse(reply(POWER_SYSTEM_RIGHT_NOW, [minute(), minute(), minute()]))
    assert (parsed.rows_read, parsed.rows_repeated, parsed.frame.height) == (3, 2, 1)


def test_one_key_with_two_values_is_named_with_both() -> None:
    records = [minute(Minutes1UTC="2026-04-08T21:29:00"), minute(), minute(SolarPower=7.5)]
    error = refused(POWER_SYSTEM_RIGHT_NOW, records)
    assert (error.field, error.row) == ("SolarPower", 2)
    assert "7.5" in str(error.found)
    assert "0.0, as in row 1" in str(error.expected)


def test_value_against_null_under_one_key_is_a_contradiction() -> None:
    error = refused(POWER_SYSTEM_RIGHT_NOW, [minute(SolarPower=None), minute(SolarPower=7.5)])
    assert (error.field, error.row) == ("SolarPower", 1)


def test_same_minute_of_two_areas_is_no_contradiction() -> None:
    records = ENVELOPES["CO2EmisProg"]["records"]
    assert parse(reply(CO2_EMIS_PROG, records)).frame.height == len(records)


def test_unknown_forecast_type_is_named_with_its_row() -> None:
    records = [*ENVELOPES["Forecasts_Hour"]["records"]]
    records.append({**records[0], "ForecastType": "Tidal"})
    error = refused(FORECASTS_HOUR, records)
    assert (error.field, error.found) == ("ForecastType", "Tidal")
    assert error.row == len(records) - 1


def test_record_that_is_no_object_is_named_with_its_row() -> None:
    assert refused(POWER_SYSTEM_RIGHT_NOW, [minute(), [1, 2]]).row == 1


NUMBERS = st.none() | st.integers(-(10**6), 10**6) | st.floats(-1e6, 1e6)
PROGNOSES = st.dictionaries(
    st.tuples(st.integers(0, 500), st.sampled_from(["DK1", "DK2"])), NUMBERS, max_size=30
)


@given(PROGNOSES, st.randoms(use_true_random=False), st.integers(0, 5))
def test_what_was_published_is_what_is_stored(
    values: dict[tuple[int, str], float | None], random: Any, repeated: int
) -> None:
    """Whatever the order of the records, and however often one comes again."""
    first = utc("2025-01-20T00:00")
    records = [
        {
            "Minutes5UTC": (first + timedelta(minutes=5 * step)).strftime("%Y-%m-%dT%H:%M:%S"),
            "PriceArea": area,
            "CO2Emission": value,
        }
        for (step, area), value in values.items()
    ]
    again = random.choices(records, k=repeated) if records else []
    shuffled = [*records, *again]
    random.shuffle(shuffled)
    parsed: Parsed = parse(reply(CO2_EMIS_PROG, shuffled))
    stored = {
        ((time - first) // timedelta(minutes=5), area): value
        for time, area, value in parsed.frame.select(
            "time_utc", "area", "co2_g_per_kwh"
        ).iter_rows()
    }
    assert stored == values
    assert parsed.rows_repeated == len(again)
