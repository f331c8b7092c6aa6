"""The client against real sockets: the recorded server, and a stub for what it never says."""

from __future__ import annotations

import hashlib
import json
import socket
from datetime import timedelta, timezone

import pytest

from co2_assets.errors import SourceMalformed, SourceRefused, SourceUnreachable
from co2_assets.source.datasets import (
    CO2_EMIS_PROG,
    DATASETS,
    FORECASTS_HOUR,
    POWER_SYSTEM_RIGHT_NOW,
    Dataset,
)
from co2_assets_tests.replay.serving import client, server, utc
from co2_assets_tests.source.stub import Said, envelope, stub

START, END = utc("2025-01-20T06:00"), utc("2025-01-20T12:00")
RATE_LIMIT = b'{"statusCode":429,"message":"Rate limit is exceeded. Try again in 292 seconds."}'


@pytest.mark.parametrize("dataset", DATASETS.values(), ids=list(DATASETS))
def test_every_dataset_is_answered_by_the_recorded_server(dataset: Dataset) -> None:
    with server(now="2026-08-01T00:00") as running, client(running.url) as asking:
        at = utc("2026-03-01T00:00") if dataset.name == "DayAheadPrices" else START
        reply = asking.fetch(dataset, at, at + timedelta(hours=6))
    steps = timedelta(hours=6) / dataset.step * dataset.rows_per_step
    assert len(reply.records) == steps
    assert set(reply.records[0]) <= {field.api_name for field in dataset.fields}


def test_reply_says_what_was_asked_and_hashes_the_body() -> None:
    said = envelope([{"Minutes5UTC": "2025-01-20T06:00:00", "PriceArea": "DK1", "CO2Emission": 7}])
    seen: list[int] = []
    with stub(said) as heard, client(heard.url) as asking:
        reply = asking.fetch(CO2_EMIS_PROG, START, END, seen.append)
    assert (reply.dataset, reply.start, reply.end) == (CO2_EMIS_PROG, START, END)
    assert reply.url.startswith(f"{heard.url}/dataset/CO2EmisProg?")
    assert reply.body_sha256 == hashlib.sha256(said.body).hexdigest()
    assert reply.bytes_read == len(said.body) == seen[-1]


def test_query_is_absolute_utc_sorted_and_unlimited() -> None:
    with stub(envelope([])) as heard, client(heard.url) as asking:
        asking.fetch(FORECASTS_HOUR, START, END)
    assert heard.paths == ["/dataset/Forecasts_Hour"]
    (query,) = heard.queries
    assert json.loads(query.pop("filter")) == {"PriceArea": ["DK1", "DK2"]}
    assert query.pop("columns").split(",") == [field.api_name for field in FORECASTS_HOUR.fields]
    assert query == {
        "start": "2025-01-20T06:00",
        "end": "2025-01-20T12:00",
        "timezone": "UTC",
        "sort": "HourUTC,PriceArea,ForecastType",
        "limit": "0",
    }


def test_times_of_another_zone_are_asked_for_in_utc() -> None:
    danish = timezone(timedelta(hours=1))
    with stub(envelope([])) as heard, client(heard.url) as asking:
        asking.fetch(CO2_EMIS_PROG, START.astimezone(danish), END.astimezone(danish))
    assert heard.queries[0]["start"] == "2025-01-20T06:00"


def test_columns_that_come_and_go_are_not_asked_for_by_name() -> None:
    """A column that PowerSystemRightNow has lost would be a 400, a new one never be seen."""
    with stub(envelope([])) as heard, client(heard.url) as asking:
        asking.fetch(POWER_SYSTEM_RIGHT_NOW, START, END)
    assert "columns" not in heard.queries[0]


def test_progress_counts_up_while_a_large_reply_arrives() -> None:
    seen: list[int] = []
    with server() as running, client(running.url) as asking:
        reply = asking.fetch(POWER_SYSTEM_RIGHT_NOW, utc("2025-01-10T00:00"), END, seen.append)
    assert len(seen) > 3
    assert seen == sorted(seen)
    assert seen[-1] == reply.bytes_read


@pytest.mark.parametrize("status", [400, 403, 404])
def test_refusal_is_not_sent_again(status: int) -> None:
    said = Said(b"Invalid column Solar", status)
    with (
        stub(said) as heard,
        client(heard.url, retries=3) as asking,
        pytest.raises(SourceRefused, match="Invalid column Solar") as caught,
    ):
        asking.fetch(CO2_EMIS_PROG, START, END)
    assert caught.value.status_code == status
    assert caught.value.dataset == "CO2EmisProg"
    assert len(heard.paths) == 1


def test_server_error_is_sent_again_until_it_is_answered() -> None:
    with stub(Said(b"oops", 500), envelope([])) as heard, client(heard.url, retries=1) as asking:
        assert asking.fetch(CO2_EMIS_PROG, START, END).records == []
    assert len(heard.paths) == 2


def test_server_error_that_stays_is_a_refusal() -> None:
    with (
        stub(Said(b"oops", 503)) as heard,
        client(heard.url, retries=1) as asking,
        pytest.raises(SourceRefused, match="status 503.*oops") as caught,
    ):
        asking.fetch(CO2_EMIS_PROG, START, END)
    assert caught.value.status_code == 503
    assert len(heard.paths) == 2


def test_short_retry_after_is_waited_for_and_announced() -> None:
    waits: list[tuple[str, float]] = []
    with (
        stub(Said(RATE_LIMIT, 429, {"Retry-After": "1"}), envelope([])) as heard,
        client(
            heard.url,
            retries=1,
            retry_after_max_s=5,
            on_wait=lambda name, seconds: waits.append((name, seconds)),
        ) as asking,
    ):
        asking.fetch(CO2_EMIS_PROG, START, END)
    assert waits == [("CO2EmisProg", 1.0)]
    assert len(heard.paths) == 2


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retries", [0, 3])
def test_long_retry_after_is_refused_at_once(status: int, retries: int) -> None:
    waits: list[float] = []
    with (
        stub(Said(RATE_LIMIT, status, {"Retry-After": "292"})) as heard,
        client(
            heard.url,
            retries=retries,
            retry_after_max_s=60,
            on_wait=lambda _, seconds: waits.append(seconds),
        ) as asking,
        pytest.raises(SourceRefused, match="292") as caught,
    ):
        asking.fetch(CO2_EMIS_PROG, START, END)
    assert (caught.value.status_code, caught.value.retry_after_s) == (status, 292.0)
    assert (len(heard.paths), waits) == (1, [])


@pytest.mark.parametrize("header", ["soon", "-3", ""])
def test_unreadable_retry_after_is_retried_and_then_a_refusal(header: str) -> None:
    with (
        stub(Said(RATE_LIMIT, 429, {"Retry-After": header})) as heard,
        client(heard.url, retries=1) as asking,
        pytest.raises(SourceRefused, match="Rate limit") as caught,
    ):
        asking.fetch(CO2_EMIS_PROG, START, END)
    assert (caught.value.status_code, caught.value.retry_after_s) == (429, None)
    assert len(heard.paths) == 2


def test_nobody_listening_is_unreachable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        with client(url) as asking, pytest.raises(SourceUnreachable, match="PowerSystemRightNow"):
            asking.fetch(POWER_SYSTEM_RIGHT_NOW, START, END)


def test_silence_is_unreachable_after_the_time_out() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with (
            client(url, timeout_s=0.2) as asking,
            pytest.raises(SourceUnreachable, match=r"within 0\.2 s"),
        ):
            asking.fetch(POWER_SYSTEM_RIGHT_NOW, START, END)


def test_reply_that_breaks_off_is_unreachable() -> None:
    with (
        stub(Said(b'{"records": [', promised_bytes=1000)) as heard,
        client(heard.url) as asking,
        pytest.raises(SourceUnreachable, match="IncompleteRead"),
    ):
        asking.fetch(CO2_EMIS_PROG, START, END)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b"", "not JSON.*0 characters"),
        (b"<html><body>Maintenance</body></html>", "Maintenance"),
        (b'{"total": 2, "records": [{"CO2Emission": 1}', "not JSON.*characters"),
        (b"[" * 100_000, "not JSON"),
        (b'{"total": 0}', "records"),
        (b"[]", "records"),
        (b'{"records": {"a": 1}}', "records"),
        (b"\xff\xfe\x00broken", "not text.*9 bytes.*UTF-8"),
    ],
    ids=[
        "empty",
        "html",
        "truncated",
        "too-deep",
        "no-records",
        "a-list",
        "records-no-list",
        "not-utf8",
    ],
)
def test_body_that_is_no_envelope_is_malformed(body: bytes, found: str) -> None:
    with (
        stub(Said(body)) as heard,
        client(heard.url) as asking,
        pytest.raises(SourceMalformed, match=found) as caught,
    ):
        asking.fetch(CO2_EMIS_PROG, START, END)
    assert caught.value.dataset == "CO2EmisProg"


def test_total_that_differs_from_the_records_is_malformed() -> None:
    with (
        stub(envelope([{"CO2Emission": 1}], total=5)) as heard,
        client(heard.url) as asking,
        pytest.raises(SourceMalformed, match="cut short.*1 records.*5") as caught,
    ):
        asking.fetch(CO2_EMIS_PROG, START, END)
    assert caught.value.field == "total"


def test_raw_newlines_inside_strings_are_read() -> None:
    """The API sends them, and strict JSON parsers fail on them."""
    with stub(Said(b'{"records": [{"a": "two\nlines"}]}')) as heard, client(heard.url) as asking:
        assert asking.fetch(CO2_EMIS_PROG, START, END).records == [{"a": "two\nlines"}]
