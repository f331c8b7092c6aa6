"""Limits on body, address, rows and rate, the API key, CORS and headers; over real HTTP too."""

from __future__ import annotations

import hmac
import http.client
import socket
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from co2_assets.serving.api import guards
from co2_assets.serving.api.guards import LARGEST_BODY_BYTES, LONGEST_ADDRESS_BYTES, OPEN_PATHS
from co2_assets_tests.homes import Home
from co2_assets_tests.serving.api.asking import (
    KEY,
    REQUESTS,
    Client,
    answered,
    client,
    listening,
    refused,
    under,
)


@pytest.fixture(scope="module")
def locked(replayed: Home) -> Client:
    return client(under(replayed, api_key=SecretStr(KEY)))


@pytest.fixture(scope="module")
def port(replayed: Home) -> Iterator[int]:
    with listening(replayed.settings) as port:
        yield port


# Key


@pytest.mark.parametrize("request_", [*REQUESTS, "/metrics", "/nobody/serves/this"])
def test_without_the_key_nothing_is_answered(locked: Client, request_: str) -> None:
    refused(locked.get(request_), "unauthorized")
    response = locked.get(request_, x_api_key=KEY + "x")
    refused(response, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    assert KEY not in response.text


@pytest.mark.parametrize(
    "headers",
    [{"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}, {"authorization": f"bearer  {KEY}"}],
)
def test_either_header_opens(locked: Client, headers: dict[str, str]) -> None:
    response = locked.request("GET", "/forecasts", headers)
    answered(response)
    assert response.headers["cache-control"].startswith("private")


@pytest.mark.parametrize("wrong", ["", "Bearer", "Basic " + KEY, KEY, "Bearer æøå", "Bearer x y"])
def test_what_is_no_key_opens_nothing(locked: Client, wrong: str) -> None:
    headers = {"Authorization": wrong.encode("utf-8")}
    refused(locked.request("GET", "/forecasts", headers), "unauthorized")  # type: ignore[arg-type]


def test_how_to_use_it_and_whether_it_is_well_need_no_key(locked: Client) -> None:
    for path in OPEN_PATHS:
        assert locked.get(path).status_code == 200
    document = locked.get("/openapi.json").json()
    assert set(document["components"]["securitySchemes"]) == {"header", "bearer"}
    assert document["paths"]["/forecasts"]["get"]["security"]
    assert "401" in document["paths"]["/forecasts"]["get"]["responses"]
    assert "security" not in document["paths"]["/health"]["get"]


def test_the_key_is_compared_in_constant_time(
    locked: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared = []
    in_constant_time = hmac.compare_digest

    def noted(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return in_constant_time(one, other)

    monkeypatch.setattr(guards.hmac, "compare_digest", noted)
    locked.get("/models", x_api_key="short")
    locked.get("/models", x_api_key=KEY)
    locked.get("/models")
    assert compared == [(b"short", KEY.encode()), (KEY.encode(), KEY.encode()), (b"", KEY.encode())]


# Size


def test_an_address_that_is_too_long_is_refused(api: Client) -> None:
    room = LONGEST_ADDRESS_BYTES - len("/forecasts") - len("as_of=")
    assert refused(api.get("/forecasts?as_of=" + "x" * room), "bad_parameter")
    refused(api.get("/forecasts?as_of=" + "x" * (room + 1)), "query_too_long")
    refused(api.get("/" + "x" * LONGEST_ADDRESS_BYTES), "query_too_long")


def test_a_small_body_does_no_harm_and_a_large_one_is_refused(api: Client) -> None:
    assert api.request("GET", "/forecasts", content=b"x" * LARGEST_BODY_BYTES).status_code == 200
    response = api.request("GET", "/forecasts", content=b"x" * (LARGEST_BODY_BYTES + 1))
    refused(response, "body_too_large")
    assert response.headers["connection"] == "close"


def test_a_large_body_is_refused_before_it_is_sent(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(b"POST /forecasts HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n")
        answer = _until_closed(raw)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in answer


def test_a_body_in_chunks_is_read_no_further_than_its_limit(port: int) -> None:
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=10) as raw:
        raw.sendall(b"GET /forecasts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        sent = 0
        try:
            while sent < 1000:
                raw.sendall(chunk)
                sent += 1
        except OSError:
            pass  # it hung up, as it should
        assert sent < 1000
        answer = _until_closed(raw)
    assert answer.startswith(b"HTTP/1.1 413 ") or answer == b""


def test_a_body_that_never_comes_is_not_waited_for(
    replayed: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guards, "BODY_WITHIN_S", 0.1)
    with (
        listening(replayed.settings) as port,
        socket.create_connection(("127.0.0.1", port), timeout=10) as raw,
    ):
        raw.sendall(b"GET /forecasts HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
        answer = _until_closed(raw)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer


def _until_closed(raw: socket.socket) -> bytes:
    found = b""
    try:
        while part := raw.recv(65536):
            found += part
    except OSError:
        pass  # reset: what was sent after the answer was not read
    return found


def test_more_rows_than_allowed_are_refused_with_their_number(replayed: Home) -> None:
    api = client(under(replayed, api_max_rows=3))
    found = refused(api.get("/retrain-ledger"), "too_many_rows")
    assert "limit=3" in found["next_step"]
    assert len(answered(api.get("/retrain-ledger?limit=3"))) == 3
    found = refused(api.get("/data-quality?start=2024-01-01"), "too_many_rows")
    assert int(found["found"]) > 3
    assert "shorter span" in found["next_step"]
    refused(api.get("/scoreboard"), "too_many_rows")


# Rate


def test_a_client_that_asks_too_often_is_told_when_to_come_back(replayed: Home) -> None:
    api = client(under(replayed, api_requests_per_minute=3))
    assert [api.get("/forecasts").status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    response = api.get("/nobody/serves/this")
    found = refused(response, "too_many_requests")
    assert 1 <= int(response.headers["retry-after"]) <= 60
    assert "CO2_API_REQUESTS_PER_MINUTE" in found["expected"]


def test_one_client_does_not_use_up_the_limit_of_another(replayed: Home) -> None:
    rate = guards._Rate(1)
    rate.count("10.0.0.1")
    rate.count("10.0.0.2")
    with pytest.raises(guards.ProblemError, match="too many requests"):
        rate.count("10.0.0.1")


def test_no_limit_is_no_limit(replayed: Home) -> None:
    api = client(under(replayed, api_requests_per_minute=0))
    assert {api.get("/health").status_code for _ in range(50)} == {200}


# Headers


def test_pages_of_others_may_read_it_only_where_it_is_allowed(replayed: Home, api: Client) -> None:
    origin = "https://dashboard.example"
    assert "access-control-allow-origin" not in api.get("/forecasts", origin=origin).headers
    allowing = client(under(replayed, api_cors_origins=(origin,)))
    response = allowing.get("/forecasts", origin=origin)
    assert response.headers["access-control-allow-origin"] == origin
    assert "Co2-Is-Stale" in response.headers["access-control-expose-headers"]
    other = allowing.get("/forecasts", origin="https://other.example")
    assert "access-control-allow-origin" not in other.headers
    preflight = allowing.request(
        "OPTIONS",
        "/forecasts",
        {"Origin": origin, "Access-Control-Request-Method": "DELETE"},
    )
    assert preflight.status_code == 400


@pytest.mark.parametrize("path", ["/forecasts", "/docs", "/nobody", "/health", "/metrics"])
def test_every_answer_has_the_security_headers(api: Client, path: str) -> None:
    headers = api.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "default-src 'none'" in headers["content-security-policy"]


def test_over_real_http_it_says_not_what_it_is_made_of(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    for path, status in (("/forecasts", 200), ("/nobody", 404), ("/forecasts?x=1", 422)):
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        assert response.status == status
        assert response.getheader("server") is None
        assert int(response.headers["content-length"]) == len(body)
    connection.request("HEAD", "/forecasts")
    response = connection.getresponse()
    assert response.read() == b""
    assert int(response.headers["content-length"]) > 1000
    connection.close()
