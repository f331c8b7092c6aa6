"""The adapters say what SQL over co2.* says, in the shape that another program reads."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from co2_assets.settings import load_settings
from co2_assets_tests.homes import REPLAYED_UNTIL, Home, utc
from co2_assets_tests.serving.api.asking import (
    KEY,
    Client,
    answered,
    client,
    refused,
    sql,
    under,
)

NOW = REPLAYED_UNTIL + timedelta(minutes=5)
HOUR = timedelta(hours=1)
BRITISH = "/adapters/carbonintensity/regional/intensity/{}/fw48h/postcode/DK"
EVERY = ["/adapters/evcc", "/adapters/carbon-aware-sdk", BRITISH.format("2025-01-20T00:01Z")]


def medians(home: Home) -> dict[str, float]:
    """The newest forecast, by the beginning of its hours."""
    rows = sql(
        home,
        "SELECT valid_time_utc, p50_g_per_kwh FROM co2.forecast_history WHERE is_served"
        " AND issue_time_utc = (SELECT max(issue_time_utc) FROM co2.forecast_history"
        " WHERE is_served) ORDER BY valid_time_utc",
    )
    assert len(rows) == home.settings.horizon_hours
    return {row["valid_time_utc"]: row["p50_g_per_kwh"] for row in rows}


def got(api: Client, address: str) -> Any:
    response = api.get(address)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def test_evcc_has_the_coming_hours_with_begin_end_and_value(replayed: Home, api: Client) -> None:
    rates = got(api, "/adapters/evcc")
    assert {rate["start"]: rate["value"] for rate in rates} == medians(replayed)
    for rate in rates:
        assert set(rate) == {"start", "end", "value"}
        for name in ("start", "end"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:00:00Z", rate[name])
        assert utc(rate["end"][:16]) - utc(rate["start"][:16]) == HOUR
    assert [rate["end"] for rate in rates[:-1]] == [rate["start"] for rate in rates[1:]]


def test_carbon_aware_sdk_has_the_fields_of_its_file(replayed: Home, api: Client) -> None:
    file = got(api, "/adapters/carbon-aware-sdk")
    assert set(file) == {"Date", "Emissions"}
    assert datetime.fromisoformat(file["Date"]) == REPLAYED_UNTIL
    for one in file["Emissions"]:
        assert set(one) == {"Location", "Time", "Rating", "Duration"}
        assert one["Location"] == "DK"
        assert one["Duration"] == "01:00:00"  # .NET reads "01:00" as an hour and "24:00" as days
    found = {one["Time"].replace("+00:00", "Z"): one["Rating"] for one in file["Emissions"]}
    assert found == medians(replayed)


def british(api: Client, start: str) -> list[dict[str, Any]]:
    region = got(api, BRITISH.format(start))["data"]
    assert region["postcode"] == "DK"
    found: list[dict[str, Any]] = region["data"]
    for half in found:
        assert set(half) == {"from", "to", "intensity"}
        assert set(half["intensity"]) == {"forecast"}
    return found


def time(text: str) -> datetime:
    """As CATS reads it."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%MZ").replace(tzinfo=NOW.tzinfo)


def test_carbonintensity_gives_each_half_hour_the_value_of_its_hour(
    replayed: Home, api: Client
) -> None:
    halves = british(api, "2025-01-20T00:01Z")
    expected = medians(replayed)
    assert len(halves) == 2 * len(expected)
    for half in halves:
        begin = time(half["from"])
        assert time(half["to"]) - begin == HOUR / 2
        assert half["intensity"]["forecast"] == expected[f"{begin:%Y-%m-%dT%H:00:00Z}"]
    assert [half["to"] for half in halves[:-1]] == [half["from"] for half in halves[1:]]


@pytest.mark.parametrize(
    ("start", "first"),
    [
        ("2025-01-20T03:01Z", "2025-01-20T03:00Z"),
        ("2025-01-20T03:31Z", "2025-01-20T03:30Z"),
        ("2025-01-20T03:30Z", "2025-01-20T03:30Z"),
        ("2025-01-20T04:31%2B01:00", "2025-01-20T03:30Z"),
        ("2025-01-19T22:00Z", "2025-01-20T00:00Z"),
    ],
)
def test_carbonintensity_begins_with_the_half_hour_of_its_start(
    api: Client, start: str, first: str
) -> None:
    assert british(api, start)[0]["from"] == first


def test_carbonintensity_looks_48_hours_ahead_and_no_further(api: Client) -> None:
    assert british(api, "2025-01-18T01:00Z")[-1]["from"] == "2025-01-20T00:30Z"


@pytest.mark.parametrize("address", ["/adapters/evcc", "/adapters/carbon-aware-sdk"])
def test_hours_that_are_past_are_not_given(replayed: Home, address: str) -> None:
    later = client(replayed.settings, REPLAYED_UNTIL + timedelta(hours=3, minutes=59))
    answer = got(later, address)
    first = answer[0]["start"] if address.endswith("evcc") else answer["Emissions"][0]["Time"]
    assert datetime.fromisoformat(first) == REPLAYED_UNTIL + 3 * HOUR


# What cannot be answered


@pytest.mark.parametrize("address", EVERY)
def test_stale_numbers_are_not_given_without_their_mark(replayed: Home, address: str) -> None:
    problem = refused(client(replayed.settings, NOW + 9 * HOUR).get(address), "stale")
    assert problem["found"] == "measured hours: 9.1 hours old; forecast: 9.1 hours old"
    assert "/forecasts" in problem["next_step"]


@pytest.mark.parametrize("address", EVERY)
def test_before_the_first_tick_nothing_is_made_up(tmp_path: Path, address: str) -> None:
    refused(client(load_settings(home=tmp_path), NOW).get(address), "nothing_published")


@pytest.mark.parametrize("address", EVERY)
def test_no_parameter_is_ignored(api: Client, address: str) -> None:
    assert refused(api.get(f"{address}?area=DK1"), "unknown_parameter")["found"] == "area"


@pytest.mark.parametrize(
    ("start", "area", "where"),
    [("yesterday", "DK", "start"), ("2025-01-20T00:01Z", "OX1", "area")],
)
def test_a_start_or_an_area_that_is_none_is_refused(
    api: Client, start: str, area: str, where: str
) -> None:
    problem = refused(api.get(BRITISH.format(start)[:-2] + area), "bad_parameter")
    assert problem["where"] == f"path parameter {where}"


def test_a_start_beyond_the_forecast_is_refused_with_its_end(api: Client) -> None:
    problem = refused(api.get(BRITISH.format("2026-11-26T05:01Z")), "no_such_forecast")
    assert problem["found"] == "2026-11-26T05:01:00Z"
    assert "2025-01-21T00:00:00Z" in problem["expected"]


# As every other route


@pytest.mark.parametrize("address", EVERY)
def test_headers_say_where_it_comes_from_and_unchanged_is_304(api: Client, address: str) -> None:
    first = api.get(address)
    usual = api.get("/forecasts")
    for name in ("co2-issue-time", "co2-model-version", "co2-generation", "co2-licence", "vary"):
        assert first.headers[name] == usual.headers[name]
    again = api.get(address, if_none_match=first.headers["etag"])
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("address", EVERY)
def test_the_key_guards_the_adapters_too(replayed: Home, address: str) -> None:
    locked = client(under(replayed, api_key=SecretStr(KEY)))
    refused(locked.get(address), "unauthorized")
    assert locked.get(address, x_api_key=KEY).status_code == 200


@pytest.mark.parametrize("address", EVERY)
def test_nothing_can_be_written(api: Client, address: str) -> None:
    refused(api.request("POST", address), "method_not_allowed")


def test_their_shape_is_described_elsewhere(api: Client) -> None:
    assert not [path for path in api.get("/openapi.json").json()["paths"] if "adapters" in path]
    assert answered(api.get("/forecasts"))
