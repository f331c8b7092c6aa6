"""The recorded server answers as Energi Data Service does, and no sooner than it did."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st

from co2_assets.errors import RecordingError
from co2_assets.replay.recordings import POWER_SYSTEM_COLUMNS
from co2_assets.replay.server import RecordedServer
from co2_assets.source.datasets import (
    CO2_EMIS_PROG,
    DATASETS,
    ELSPOTPRICES,
    FORECASTS_HOUR,
    POWER_SYSTEM_RIGHT_NOW,
    Dataset,
)
from co2_assets.source.parse import parse
from co2_assets_tests.replay.serving import ask, client, server, shipped, utc

NOW = "2025-01-21T00:02"


@pytest.fixture(scope="module")
def url() -> Any:
    with server(now=NOW) as running:
        yield running.url


def get(url: str, path: str, **query: Any) -> requests.Response:
    return requests.get(f"{url}{path}", params=query, timeout=20)


def records(url: str, dataset: str, **query: Any) -> list[dict[str, Any]]:
    reply = get(url, f"/dataset/{dataset}", **query)
    assert reply.status_code == 200, reply.text
    found: list[dict[str, Any]] = reply.json()["records"]
    return found


UTC_SPAN = {"start": "2025-01-20T06:00", "end": "2025-01-20T08:00", "timezone": "utc"}


def test_minutes_carry_the_mean_of_their_hour(url: str) -> None:
    served = records(url, "PowerSystemRightNow", **UTC_SPAN, sort="Minutes1UTC")
    hour = shipped().power_system.filter(pl.col("HourUTC") == utc("2025-01-20T06:00"))
    assert len(served) == 120
    for minute in served[:60]:
        assert {name: minute[name] for name in POWER_SYSTEM_COLUMNS} == hour.select(
            POWER_SYSTEM_COLUMNS
        ).row(0, named=True)
    assert served[0]["Minutes1UTC"] == "2025-01-20T06:00:00"
    assert served[0]["Minutes1DK"] == "2025-01-20T07:00:00"


def test_hour_that_was_not_recorded_has_no_minutes(url: str) -> None:
    span = {"start": "2024-10-27T00:00", "end": "2024-10-27T03:00", "timezone": "UTC"}
    hours = {row["Minutes1UTC"][11:13] for row in records(url, "PowerSystemRightNow", **span)}
    assert hours == {"00", "02"}


def test_start_and_end_are_danish_unless_utc_is_asked_for(url: str) -> None:
    """In winter, Danish midnight is 23:00 UTC."""
    query = {"start": "2025-01-20", "end": "2025-01-20T02:00", "filter": '{"PriceArea":"DK1"}'}
    danish = records(url, "Elspotprices", **query, sort="HourUTC")
    assert [row["HourUTC"] for row in danish] == ["2025-01-19T23:00:00", "2025-01-20T00:00:00"]
    assert danish == records(url, "Elspotprices", **query, sort="HourUTC", timezone="dk")
    in_utc = records(url, "Elspotprices", **query, sort="HourUTC", timezone="UTC")
    assert [row["HourUTC"] for row in in_utc] == ["2025-01-20T00:00:00", "2025-01-20T01:00:00"]


def test_end_is_exclusive(url: str) -> None:
    times = {row["Minutes1UTC"] for row in records(url, "PowerSystemRightNow", **UTC_SPAN)}
    assert max(times) == "2025-01-20T07:59:00"


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ({}, 100),
        ({"limit": 7}, 7),
        ({"end": "2025-01-20T08:00"}, 100),
        (UTC_SPAN, 120),
        ({**UTC_SPAN, "limit": 0}, 120),
        ({**UTC_SPAN, "limit": 50}, 50),
        ({**UTC_SPAN, "offset": 100}, 20),
        ({**UTC_SPAN, "offset": 1000}, 0),
    ],
)
def test_limit_is_a_hundred_only_without_start_and_limit(
    url: str, query: dict[str, Any], rows: int
) -> None:
    assert len(records(url, "PowerSystemRightNow", **query)) == rows


def test_envelope_tells_the_total_of_all_matching_rows(url: str) -> None:
    chosen = '{"PriceArea":["DK1"]}'
    reply = get(
        url,
        "/dataset/CO2EmisProg",
        **UTC_SPAN,
        limit=5,
        sort="Minutes5UTC desc",
        filter=chosen,
    ).json()
    assert {name: reply[name] for name in reply if name != "records"} == {
        "total": 24,
        "filters": chosen,
        "sort": "Minutes5UTC desc",
        "limit": 5,
        "dataset": "CO2EmisProg",
    }
    assert list(reply) == ["total", "filters", "sort", "limit", "dataset", "records"]


def test_default_order_is_the_key_descending_and_a_named_one_ascending(url: str) -> None:
    span = {**UTC_SPAN, "columns": "HourUTC,PriceArea"}
    keys = [tuple(row.values()) for row in records(url, "Elspotprices", **span)]
    assert keys == sorted(keys, reverse=True)
    ascending = records(url, "Elspotprices", **span, sort="HourUTC,PriceArea")
    assert [tuple(row.values()) for row in ascending] == sorted(keys)
    mixed = records(url, "Elspotprices", **span, sort="PriceArea desc, HourUTC ASC")
    assert [row["PriceArea"] for row in mixed[:2]] == ["SE4", "SE4"]
    assert mixed[0]["HourUTC"] < mixed[1]["HourUTC"]


def test_columns_come_as_named_and_never_recorded_ones_are_null(url: str) -> None:
    columns = "ForecastCurrent,HourUTC,ForecastDayAhead"
    (first, *_) = records(url, "Forecasts_Hour", **UTC_SPAN, columns=columns)
    assert list(first) == columns.split(",")
    assert first["ForecastCurrent"] is None
    assert first["ForecastDayAhead"] is not None


@pytest.mark.parametrize(
    ("chosen", "areas"),
    [
        ('{"PriceArea":"DK1"}', {"DK1"}),
        ('{"PriceArea":["DK1","SE3"]}', {"DK1", "SE3"}),
        ('{"PriceArea":["DK1"],"HourUTC":[]}', set()),
    ],
)
def test_filter_takes_one_value_or_several(url: str, chosen: str, areas: set[str]) -> None:
    found = records(url, "Elspotprices", **UTC_SPAN, filter=chosen)
    assert {row["PriceArea"] for row in found} == areas


def test_dataset_name_is_case_insensitive(url: str) -> None:
    assert get(url, "/dataset/co2emisprog", limit=1).json()["dataset"] == "CO2EmisProg"


def test_dynamic_now_is_danish_even_with_utc(url: str) -> None:
    """The API's own trap: Danish `now`, read as UTC, is an hour in the future."""
    danish = records(url, "PowerSystemRightNow", start="now-PT5M")
    assert danish[0]["Minutes1UTC"] == "2025-01-21T00:01:00"
    assert records(url, "PowerSystemRightNow", start="now-PT5M", timezone="UTC") == []


@pytest.mark.parametrize(
    ("start", "first"),
    [
        ("StartOfDay", "2025-01-20T23:00:00"),
        ("StartOfMonth", "2024-12-31T23:00:00"),
        ("StartOfYear", "2024-12-31T23:00:00"),
        ("now-P1D", "2025-01-20T01:00:00"),
        ("StartOfDay-P1M", "2024-12-21T23:00:00"),
        ("2025", "2024-12-31T23:00:00"),
        ("2025-01", "2024-12-31T23:00:00"),
    ],
)
def test_times_may_be_short_or_dynamic(url: str, start: str, first: str) -> None:
    found = records(url, "Elspotprices", start=start, sort="HourUTC", limit=1)
    assert found[0]["HourUTC"] == first


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"columns": "HourUTC,Nonsense"}, "Invalid column Nonsense"),
        ({"sort": "Nonsense desc"}, "Invalid column Nonsense desc"),
        ({"sort": "HourUTC sideways"}, "Invalid column HourUTC sideways"),
        ({"filter": '{"Nonsense":1}'}, "Invalid column Nonsense"),
        ({"filter": '{"PriceArea":[1]}'}, "Invalid filter"),
        ({"filter": "DK1"}, "Invalid filter DK1"),
        ({"start": "20 January"}, "Invalid time 20 January"),
        ({"start": "2025-01-20T06:00:00Z"}, "Invalid time"),
        ({"timezone": "CET"}, "Invalid timezone CET"),
        ({"limit": "-1"}, "Invalid limit -1"),
        ({"offset": "x"}, "Invalid offset x"),
    ],
)
def test_bad_request_is_400_in_plain_text(url: str, query: dict[str, str], text: str) -> None:
    reply = get(url, "/dataset/Elspotprices", **query)
    assert reply.status_code == 400
    assert reply.text.startswith(text)
    assert reply.headers["Content-Type"].startswith("text/plain")


def test_unknown_dataset_is_404_in_plain_text(url: str) -> None:
    reply = get(url, "/dataset/Nonsense")
    assert (reply.status_code, reply.text) == (404, "dataset not found Nonsense")


def test_unknown_metadata_is_204_and_empty(url: str) -> None:
    reply = get(url, "/meta/dataset/Nonsense")
    assert (reply.status_code, reply.content) == (204, b"")


def test_metadata_says_what_is_reconstructed(url: str) -> None:
    listed = {entry["datasetName"]: entry for entry in get(url, "/meta/dataset").json()}
    assert set(listed) == set(DATASETS)
    one = get(url, "/meta/dataset/powersystemrightnow").json()
    assert one == listed["PowerSystemRightNow"]
    assert "reconstructed" in one["note"]
    for name, dataset in DATASETS.items():
        assert listed[name]["filterColumn"] == dataset.time_field.api_name
        assert tuple(listed[name]["primaryKey"]) == dataset.key


def test_reply_is_zipped_only_for_who_accepts_it(url: str) -> None:
    address, query = f"{url}/dataset/PowerSystemRightNow", UTC_SPAN
    zipped = requests.get(address, query, headers={"Accept-Encoding": "gzip"}, timeout=20)
    plain = requests.get(address, query, headers={"Accept-Encoding": "identity"}, timeout=20)
    assert zipped.headers["Content-Encoding"] == "gzip"
    assert "Content-Encoding" not in plain.headers
    assert zipped.json() == plain.json()


def test_about_says_that_the_data_are_recorded_and_whose(url: str) -> None:
    about = get(url, "/_replay/about").json()
    assert about["recorded"] is True
    assert about["data_end_utc"] == "2025-02-01T00:00:00+00:00"
    assert "Energinet" in about["note"]


def newest(dataset: Dataset, now: str) -> datetime:
    rows = ask(dataset=dataset, start="2025-01-18T00:00", end="2025-01-24T00:00", now=now).frame
    found = rows[dataset.table.key[0]].max()
    assert isinstance(found, datetime)
    return found


def test_minutes_come_up_to_the_virtual_time() -> None:
    assert newest(POWER_SYSTEM_RIGHT_NOW, "2025-01-20T12:02") == utc("2025-01-20T12:01")


def test_prices_come_at_13_danish_time_on_the_day_before() -> None:
    assert newest(ELSPOTPRICES, "2025-01-20T11:59") == utc("2025-01-20T22:00")
    assert newest(ELSPOTPRICES, "2025-01-20T12:00") == utc("2025-01-21T22:00")


@pytest.mark.parametrize("dataset", [FORECASTS_HOUR, CO2_EMIS_PROG], ids=lambda d: d.name)
def test_forecasts_come_when_they_were_first_seen(dataset: Dataset) -> None:
    rows = {
        "Forecasts_Hour": shipped().forecasts_hour,
        "CO2EmisProg": shipped().co2_emis_prog,
    }[dataset.name]
    now = utc("2025-01-20T17:10")
    time_column = dataset.time_field.api_name
    expected = rows.filter(pl.col("published_utc") <= now)[time_column].max()
    assert newest(dataset, "2025-01-20T17:10") == expected
    assert expected > now


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(list(DATASETS.values())),
    st.integers(0, 96),
    st.integers(0, 48),
)
def test_what_was_published_stays_published(dataset: Dataset, hour: int, later: int) -> None:
    """No row of an earlier time is missing or different at a later one."""
    first = utc("2025-01-17T00:00") + timedelta(hours=hour)
    span = (utc("2025-01-17T00:00"), utc("2025-01-25T00:00"))
    with server(now=first.strftime("%Y-%m-%dT%H:%M")) as running, client(running.url) as asking:
        before = parse(asking.fetch(dataset, *span)).frame
        moved = {"now_utc": (first + timedelta(hours=later)).isoformat()}
        requests.put(f"{running.url}/_replay/clock", json=moved, timeout=5).raise_for_status()
        after = parse(asking.fetch(dataset, *span)).frame
    assert before.join(after, on=before.columns, how="anti", nulls_equal=True).is_empty()


@settings(max_examples=20, deadline=None)
@given(offset=st.integers(0, 150), limit=st.integers(1, 150))
def test_pages_are_slices_of_the_whole(url: str, offset: int, limit: int) -> None:
    whole = records(url, "PowerSystemRightNow", **UTC_SPAN)
    page = records(url, "PowerSystemRightNow", **UTC_SPAN, offset=offset, limit=limit)
    assert page == whole[offset : offset + limit]


def put(url: str, body: str) -> requests.Response:
    return requests.put(f"{url}/_replay/clock", data=body, timeout=5)


def test_clock_moves_on_and_never_back(tmp_path: Path) -> None:
    kept = tmp_path / "state" / "clock.json"
    with server(now="2025-01-18T06:02", clock_file=kept) as running:
        assert put(running.url, '{"now_utc": "2025-01-18T14:02:00+01:00"}').status_code == 200
        assert running.now == utc("2025-01-18T13:02")
        back = put(running.url, '{"now_utc": "2025-01-18T12:00:00+00:00"}')
        assert (back.status_code, running.now) == (409, utc("2025-01-18T13:02"))
        assert "never goes back" in back.text
        same = put(running.url, '{"now_utc": "2025-01-18T13:02:00+00:00"}')
        assert same.status_code == 200
    assert [path.name for path in kept.parent.iterdir()] == ["clock.json"]
    with server(now="2025-01-18T06:02", clock_file=kept) as again:
        assert again.now == utc("2025-01-18T13:02")
        assert get(again.url, "/_replay/clock").json() == {"now_utc": "2025-01-18T13:02:00+00:00"}


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"now_utc": 5}', '{"now_utc": "2025-01-30T00:00"}']
)
def test_clock_takes_only_a_time_with_a_zone(url: str, body: str) -> None:
    reply = put(url, body)
    assert reply.status_code == 400
    assert reply.text.startswith("Invalid clock")


def test_damaged_clock_file_is_named(tmp_path: Path) -> None:
    kept = tmp_path / "clock.json"
    kept.write_text("{}")
    with pytest.raises(RecordingError, match=r"clock\.json"):
        RecordedServer(shipped(), clock_file=kept)


def test_clock_that_was_never_set_stands_at_the_end_of_the_recordings() -> None:
    assert RecordedServer(shipped()).now == shipped().span[1]


def test_taken_port_says_which_setting_to_change() -> None:
    with server() as running:
        port = int(running.url.rsplit(":", 1)[1])
        with pytest.raises(RecordingError, match=f"{port}.*CO2_RECORDED_PORT"):
            RecordedServer(shipped(), port=port).start()


def test_server_listens_on_loopback_alone() -> None:
    with server() as running:
        assert running.url.startswith("http://127.0.0.1:")


def test_server_stops_while_a_reply_is_late() -> None:
    late = {"kind": "time_out", "sleep_s": 60}
    with server(late) as running, pytest.raises(requests.Timeout):
        requests.get(f"{running.url}/dataset/PowerSystemRightNow", timeout=0.2)
    started = time.monotonic()
    with pytest.raises(requests.ConnectionError):
        get(running.url, "/_replay/about")
    assert time.monotonic() - started < 5


@pytest.mark.slow
def test_two_years_of_minutes_arrive_in_two_requests() -> None:
    first, middle, end = utc("2023-01-20T00:00"), utc("2024-01-20T00:00"), utc("2025-01-20T00:00")
    rows = 0
    with server() as running, client(running.url) as asking:
        for span in ((middle, end), (first, middle)):
            rows += parse(asking.fetch(POWER_SYSTEM_RIGHT_NOW, *span)).frame.height
    assert rows == (end - first) // timedelta(minutes=1) - 2 * 60


def test_records_are_plain_json(url: str) -> None:
    def refuse(token: str) -> None:
        raise AssertionError(token)

    text = get(url, "/dataset/Forecasts_Hour", start="2024-04-12", end="2024-04-16").text
    assert json.loads(text, parse_constant=refuse)["total"] > 0
