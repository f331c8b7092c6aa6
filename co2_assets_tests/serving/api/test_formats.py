"""JSON or CSV: which one comes, and that a saved file speaks for itself."""

from __future__ import annotations

import json

import pytest

from co2_assets.serving.api.formats import wanted_format
from co2_assets_tests.homes import Home, utc
from co2_assets_tests.serving.api.asking import (
    ABOUT,
    DATA_ROUTES,
    REQUESTS,
    Client,
    answered,
    client,
    refused,
    table,
)


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, "json"),
        ("", "json"),
        ("*/*", "json"),
        ("application/json", "json"),
        ("text/csv", "csv"),
        ("TEXT/CSV; header=present", "csv"),
        ("text/*", "csv"),
        ("text/csv, application/json;q=0.9", "csv"),
        ("text/csv;q=0.5, application/json", "json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "json"),
        ("application/json;q=0, */*", "csv"),
    ],
)
def test_accept_decides_the_format(accept: str | None, expected: str) -> None:
    assert wanted_format(None, accept) == expected


def test_the_parameter_is_stronger_than_the_header() -> None:
    assert wanted_format("csv", "application/json") == "csv"
    assert wanted_format("json", "image/png") == "json"


@pytest.mark.parametrize("accept", ["image/png", "text/html", "application/json;q=0", "junk;q=x"])
def test_what_is_neither_is_refused(api: Client, accept: str) -> None:
    found = refused(api.get("/models", accept=accept), "not_acceptable")
    assert "text/csv" in found["expected"]


@pytest.mark.parametrize("request_", REQUESTS)
def test_csv_holds_the_numbers_of_json_and_where_they_come_from(api: Client, request_: str) -> None:
    response = api.get(request_)
    data, about = answered(response), response.json()["about"]
    rows = table(api.get(request_, accept="text/csv"))
    expected = data if isinstance(data, list) else [data]
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected, strict=True):
        assert {name for name in row if name.startswith("about_")} == {
            f"about_{name}" for name in ABOUT
        }
        assert row["about_unit"] == "g/kWh"
        assert row["about_licence"] == "CC BY 4.0"
        assert row["about_issue_time_utc"] == about["issue_time_utc"]
        assert row["about_is_stale"] == "false"
        for name, value in wanted.items():
            if name != "candidates":
                assert _same(row[name], value), name


def _same(cell: str, value: object) -> bool:
    if value is None:
        return cell == ""
    if isinstance(value, bool):
        return cell == str(value).lower()
    if isinstance(value, int | float):
        return float(cell) == value
    if isinstance(value, str):
        return cell == value
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return cell.replace("; ", " ").split(" ") == value or json.loads(cell) == value
    return bool(json.loads(cell) == value)


@pytest.mark.parametrize("path", DATA_ROUTES)
def test_parameter_and_header_give_the_same_file(api: Client, path: str) -> None:
    query = DATA_ROUTES[path]
    by_parameter = api.get(f"{path}{query}{'&' if query else '?'}format=csv")
    by_header = api.get(path + query, accept="text/csv")
    assert by_parameter.content == by_header.content
    assert by_parameter.headers["co2-issue-time"] == by_header.headers["co2-issue-time"]


def test_an_empty_file_has_its_columns_and_its_headers_speak(api: Client) -> None:
    response = api.get("/accuracy?end=2025-01-18&format=csv")
    assert table(response) == []
    assert response.text.startswith("start_utc,end_utc,lead_hours,n,mae,")
    assert response.headers["co2-unit"] == "g/kWh"


def test_stale_marks_are_in_the_file(replayed: Home) -> None:
    api = client(replayed.settings, utc("2025-01-20T09:00"))
    for row in table(api.get("/next-6h-predictions?format=csv")):
        assert row["about_is_stale"] == "true"
        assert (
            row["about_stale_reasons"] == "measured hours: 9.0 hours old; forecast: 9.0 hours old"
        )
