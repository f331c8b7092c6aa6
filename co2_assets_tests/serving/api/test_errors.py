"""Every error has the one shape, says what to do, and lets nothing out."""

from __future__ import annotations

import logging
import re
from typing import Any

import duckdb
import pytest

from co2_assets.errors import WarehouseError
from co2_assets.serving.api.problems import CODES
from co2_assets.serving.api.routes import measured
from co2_assets_tests.homes import Home
from co2_assets_tests.serving.api.asking import DATA_ROUTES, Client, client, refused


@pytest.mark.parametrize(
    ("address", "code", "detail"),
    [
        ("/nobody/serves/this", "not_found", "no such path"),
        ("/forecasts/", "not_found", "no such path"),
        ("/forecasts?lead=2", "unknown_parameter", "'lead'; did you mean 'leads'"),
        ("/last-24h-emissions?hours=3", "unknown_parameter", "'hours'"),
        ("/health?format=csv", "unknown_parameter", "'format'"),
        ("/metrics?lead=1", "unknown_parameter", "'lead'"),
        ("/?x=1", "unknown_parameter", "'x'"),
        ("/forecasts?leads=1&leads=2", "unknown_parameter", "came 2 times"),
        ("/forecasts?leads=0", "bad_parameter", "leads"),
        ("/forecasts?leads=169", "bad_parameter", "leads"),
        ("/forecasts?leads=x", "bad_parameter", "leads"),
        ("/forecasts?leads=", "bad_parameter", "leads"),
        ("/forecasts?as_of=yesterday", "bad_parameter", "a time such as 2025-01-18T06:00Z"),
        ("/forecasts?as_of=", "bad_parameter", "a time such as"),
        ("/forecasts?as_of=2025-01-18T06:00+02:00", "bad_parameter", "%2B02:00"),
        ("/forecasts?as_of=0001-01-01T00:00%2B05:00", "bad_parameter", "a time such as"),
        (
            "/forecasts?as_of=2025-01-19&issue_time=2025-01-19",
            "bad_parameter",
            "exclude each other",
        ),
        ("/forecasts?issue_time=2025-01-19T05:00Z", "no_such_forecast", "2025-01-19T05:00"),
        ("/forecasts?as_of=2024-01-01", "no_such_forecast", "made by 2024-01-01"),
        ("/explain", "bad_parameter", "valid_time is missing"),
        ("/explain?valid_time=2024-01-01", "no_such_forecast", "no such forecast"),
        ("/accuracy?start=2025-01-20&end=2025-01-19", "bad_parameter", "before end"),
        ("/scoreboard?month=January", "bad_parameter", "a month such as 2025-01"),
        ("/retrain-ledger?limit=0", "bad_parameter", "limit"),
        ("/data-quality?format=xml", "bad_parameter", "format"),
        ("/greenest-window?duration=0", "bad_parameter", "duration"),
        ("/greenest-window?duration=1.5", "bad_parameter", "duration"),
        ("/greenest-window?quantile=0.6", "bad_parameter", "quantile"),
        ("/greenest-window?contiguous=maybe", "bad_parameter", "contiguous"),
        ("/greenest-window?duration=25", "window_does_not_fit", "longer than the time"),
        ("/greenest-window?earliest=2025-01-19T00:00Z", "window_does_not_fit", "past"),
        ("/greenest-window?deadline=2025-02-19T00:00Z", "window_does_not_fit", "beyond"),
    ],
)
def test_what_is_asked_wrongly_is_refused_in_the_one_shape(
    api: Client, address: str, code: str, detail: str
) -> None:
    found = refused(api.get(address), code)
    assert detail in found["detail"]
    assert found["instance"] == address.partition("?")[0]


def test_a_window_that_does_not_fit_says_what_would(api: Client) -> None:
    found = refused(api.get("/greenest-window?duration=25"), "window_does_not_fit")
    assert "24 hours whole" in found["found"]
    assert "horizon end 2025-01-21T00:00" in found["expected"]
    assert found["next_step"]


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
@pytest.mark.parametrize("path", ["/forecasts", "/", "/health", "/metrics"])
def test_every_method_that_could_write_is_refused(api: Client, method: str, path: str) -> None:
    response = api.request(method, path)
    refused(response, "method_not_allowed")
    assert response.headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize("path", [*DATA_ROUTES, "/", "/health", "/metrics", "/docs"])
def test_head_is_get_without_its_body(api: Client, path: str) -> None:
    address = path + DATA_ROUTES.get(path, "")
    head, get = api.request("HEAD", address), api.get(address)
    assert head.status_code == get.status_code == 200
    assert head.content == b""
    assert head.headers["content-type"] == get.headers["content-type"]
    assert head.headers.get("etag") == get.headers.get("etag")


@pytest.mark.parametrize(
    "attempt",
    [
        "2025-01-19'; DROP TABLE ml.forecasts; --",
        "' OR 1=1 --",
        "1; ATTACH '/etc/passwd' AS x",
        "read_csv('/etc/passwd')",
        "$valid",
        "\x00",
        "../../../etc/passwd",
        "%00",
        "🌱",
        "NaN",
        "1e400",
        "-1",
        "9" * 400,
    ],
)
def test_no_parameter_reaches_sql_as_text(replayed: Home, api: Client, attempt: str) -> None:
    for path, operations in api.app.openapi()["paths"].items():
        for parameter in operations["get"].get("parameters", []):
            given = {"valid_time": "2025-01-19T12:00Z"} if path == "/explain" else {}
            response = api.request("GET", path, params={**given, parameter["name"]: attempt})
            if parameter["name"] == "predictor" and len(attempt) <= 100:
                assert response.json()["data"] == []
            else:
                refused(response, "bad_parameter")
    assert api.get("/forecasts").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/../co2.duckdb",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/docs/../../etc/passwd",
        "/forecasts/..%2f..%2fstate%2fhead.duckdb",
        "//etc/passwd",
        "/\\..\\state",
        "/co2.duckdb",
        "/state/head.duckdb",
        "/static/app.py",
    ],
)
def test_no_path_reaches_a_file(api: Client, path: str) -> None:
    refused(api.get(path), "not_found")


def test_a_fault_of_ours_is_logged_by_an_id_and_shows_nothing(
    replayed: Home, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_args: Any) -> None:
        raise RuntimeError("the secret at /home/somebody")

    monkeypatch.setattr(measured, "last_hours", fails)
    with caplog.at_level(logging.ERROR):
        response = client(replayed.settings).get("/last-24h-emissions")
    found = refused(response, "internal_error")
    assert "secret" not in response.text
    assert re.fullmatch(r"urn:uuid:[0-9a-f-]{36}", found["instance"])
    (record,) = caplog.records
    assert found["instance"] in record.getMessage()
    assert record.exc_info is not None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (duckdb.IOException("block 7 at /data/x is torn"), "unreadable"),
        (duckdb.CatalogException("no view window_receipts"), "unreadable"),
        (duckdb.BinderException("a query of ours is wrong"), "internal_error"),
        (WarehouseError("there is no published warehouse"), "nothing_published"),
    ],
)
def test_what_the_warehouse_does_becomes_the_right_problem(
    replayed: Home, monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
) -> None:
    def fails(*_args: Any) -> None:
        raise error

    monkeypatch.setattr(measured, "last_hours", fails)
    response = client(replayed.settings).get("/last-24h-emissions")
    refused(response, code)
    assert "/data/x" not in response.text
    if code != "internal_error":
        assert int(response.headers["retry-after"]) > 0


def test_every_code_is_explained_where_its_type_points(api: Client) -> None:
    page = api.get("/docs").text
    for code in CODES:
        assert f'id="{code}"' in page


def test_a_parameter_that_is_repeated_back_is_cut(api: Client) -> None:
    found = refused(api.get("/forecasts?as_of=" + "x" * 1500), "bad_parameter")
    assert len(found["found"]) <= 200
