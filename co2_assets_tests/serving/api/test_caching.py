"""Answers are kept by generation and minute, and say so to whoever keeps them as well."""

from __future__ import annotations

import asyncio
import gzip
import threading
from datetime import timedelta

import httpx
import polars as pl
import pytest

from co2_assets.serving.api import caching
from co2_assets.serving.api.app import create_app
from co2_assets.serving.api.caching import Answers, Kept, Key, Moment
from co2_assets.serving.api.routes import forecasts, measured
from co2_assets.warehouse.query import Connection
from co2_assets_tests.homes import REPLAYED_UNTIL, Home
from co2_assets_tests.serving.api.asking import REQUESTS, Client, answered, client, raw

NOW = REPLAYED_UNTIL + timedelta(minutes=5)


@pytest.mark.parametrize("request_", REQUESTS)
def test_what_has_not_changed_is_304(api: Client, request_: str) -> None:
    first = api.get(request_)
    etag = first.headers["etag"]
    assert etag.startswith('"') and not etag.startswith("W/")
    again = api.get(request_, if_none_match=etag)
    assert again.status_code == 304
    assert again.content == b""
    assert again.headers["etag"] == etag
    assert again.headers["co2-generation"] == first.headers["co2-generation"]
    assert api.get(request_, if_none_match=f'"x", W/{etag}').status_code == 304
    assert api.get(request_, if_none_match="*").status_code == 304
    assert api.get(request_, if_none_match='"other"').status_code == 200
    assert "Accept" in first.headers["vary"]


def test_json_csv_and_other_queries_have_other_tags(api: Client) -> None:
    tags = {
        api.get(address).headers["etag"]
        for address in ("/forecasts", "/forecasts?format=csv", "/forecasts?leads=1")
    }
    assert len(tags) == 3


def test_the_order_of_parameters_is_no_other_request(api: Client) -> None:
    one = api.get("/scoreboard?lead=1&predictor=champion")
    other = api.get("/scoreboard?predictor=champion&lead=1")
    assert one.headers["etag"] == other.headers["etag"]


def test_another_minute_is_another_answer(replayed: Home) -> None:
    now = [NOW]
    api = client(replayed.settings, lambda: now[0])
    first = api.get("/forecasts")
    now[0] += timedelta(seconds=59)
    assert api.get("/forecasts").headers["etag"] == first.headers["etag"]
    now[0] += timedelta(seconds=1)
    later = api.get("/forecasts", if_none_match=first.headers["etag"])
    assert later.status_code == 200
    assert later.json()["about"]["forecast_age_minutes"] == 6


def test_another_generation_is_another_answer(fresh_copy: Home) -> None:
    api = client(fresh_copy.settings)
    first = api.get("/forecasts")
    fresh_copy.store.publish()
    with fresh_copy.store.write("test", "test") as tx:
        tx.execute(
            "UPDATE ml.forecasts SET fallback_reason = 'a test'"
            " WHERE issue_time_utc = '2025-01-20 00:00:00+00'"
        )
    fresh_copy.store.publish()
    later = api.get("/forecasts", if_none_match=first.headers["etag"])
    assert {row["fallback_reason"] for row in answered(later)} == {"a test"}
    assert later.json()["about"]["generation"] > first.json()["about"]["generation"]


def test_a_kept_answer_is_not_made_again(replayed: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = measured.last_hours

    def counted(*args: object) -> object:
        made.append(args)
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(measured, "last_hours", counted)
    app = create_app(replayed.settings)

    async def ask_at_once() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as asking:
            return await asyncio.gather(*(asking.get("/last-24h-emissions") for _ in range(20)))

    answers = asyncio.run(ask_at_once())
    assert len({answer.content for answer in answers}) == 1
    assert len(made) == 1
    Client(app).get("/last-24h-emissions")
    assert len(made) == 1


def test_errors_are_not_kept(replayed: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    api = client(replayed.settings)
    with monkeypatch.context() as broken:
        broken.setattr(measured, "last_hours", lambda *_args: 1 / 0)
        failed = api.get("/last-24h-emissions")
    assert failed.status_code == 500
    assert failed.headers["cache-control"] == "no-store"
    assert "etag" not in failed.headers
    assert api.get("/last-24h-emissions").status_code == 200


def test_gzip_is_given_to_those_who_take_it(api: Client) -> None:
    plain = api.get("/forecasts", accept_encoding="identity")
    zipped = api.get("/forecasts", accept_encoding="gzip")
    assert "content-encoding" not in plain.headers
    assert zipped.headers["content-encoding"] == "gzip"
    assert int(zipped.headers["content-length"]) < len(plain.content) / 3
    assert zipped.json() == plain.json()
    assert plain.headers["etag"] != zipped.headers["etag"]
    assert "Accept-Encoding" in zipped.headers["vary"]
    refused = api.get("/forecasts", accept_encoding="gzip;q=0, br")
    assert "content-encoding" not in refused.headers
    assert (
        api.get(
            "/forecasts", accept_encoding="gzip", if_none_match=zipped.headers["etag"]
        ).status_code
        == 304
    )
    assert "content-encoding" not in api.get("/health").headers


def test_a_client_keeps_live_answers_for_the_minute_and_asks_again_on_recorded_ones(
    replayed: Home, api: Client
) -> None:
    assert api.get("/forecasts").headers["cache-control"] == "public, no-cache"
    live = client(replayed.settings.model_copy(update={"source": "live"}), NOW)
    directives = live.get("/forecasts").headers["cache-control"].split(", ")
    assert directives[0] == "public"
    assert 1 <= int(directives[1].removeprefix("max-age=")) <= 60


def test_health_and_metrics_are_never_kept(api: Client) -> None:
    for path in ("/health", "/metrics"):
        response = api.get(path)
        assert response.headers["cache-control"] == "no-store"
        assert "etag" not in response.headers


def test_memory_of_answers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "MOST_BYTES", 20_000)
    answers = Answers()
    keys = [Key(Moment(number, NOW), "/", (), "") for number in range(10)]

    def kept(good_until: float = float("inf")) -> Kept:
        return Kept(b"x" * 3000, [], "etag", good_until, {})

    for key in keys:
        answers.put(key, kept())
    assert [answers.get(key) is not None for key in keys] == [False] * 7 + [True] * 3
    answers.get(keys[7])
    answers.put(keys[0], kept())
    assert answers.get(keys[7]) is not None, "used last, kept"
    assert answers.get(keys[8]) is None
    assert len(answers.used_last(10)) == 1, "one request, whatever the generation"
    answers.put(keys[1], kept(good_until=0.0))
    assert answers.get(keys[1]) is None


def test_a_busy_client_gets_the_former_answer_until_the_new_one_is_made(
    replayed: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "BEHIND_S", 600.0)
    monkeypatch.setattr(caching, "BUSY_WITHIN_S", 600.0)
    may_be_made = threading.Event()
    may_be_made.set()
    real = forecasts.newest_forecast

    def slow(con: Connection) -> pl.DataFrame:
        assert may_be_made.wait(60)
        return real(con)

    monkeypatch.setattr(forecasts, "newest_forecast", slow)
    now = [NOW]
    app = create_app(replayed.settings, lambda: now[0])

    async def ask() -> list[list[str]]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as asking:

            async def told(path: str) -> str:
                response = await asking.get(path)
                return str(response.json()["about"]["now_utc"])

            first = [await told("/forecasts"), await told("/models")]
            may_be_made.clear()
            now[0] += timedelta(minutes=1)
            second = [await told("/forecasts"), await told("/best-model"), await told("/models")]
            may_be_made.set()
            while await told("/forecasts") == first[0]:
                await asyncio.sleep(0.01)
            third = [await told("/models"), await told("/best-model")]
            return [first, second, third]

    former, later = "2025-01-20T00:05:00Z", "2025-01-20T00:06:00Z"
    first, second, third = asyncio.run(ask())
    assert first == [former, former]
    assert second == [former, later, former], "what was never asked before is made of the newest"
    assert third == [later, later]


def test_after_a_pause_nothing_old_is_given(
    replayed: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caching, "BEHIND_S", 600.0)
    monkeypatch.setattr(caching, "BUSY_WITHIN_S", 0.0)
    now = [NOW]
    api = client(replayed.settings, lambda: now[0])
    api.get("/forecasts")
    now[0] += timedelta(minutes=1)
    assert api.get("/forecasts").json()["about"]["now_utc"] == "2025-01-20T00:06:00Z"


def test_compressed_answers_are_the_same_bytes_each_time(api: Client) -> None:
    first, second = (raw(api.app, "/models", {"accept-encoding": "gzip"}) for _ in range(2))
    assert first == second
    assert gzip.decompress(first).startswith(b'{"about"')
