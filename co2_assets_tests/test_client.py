"""The client gives what SQL over co2.* gives, typed, and says clearly what went wrong."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import FrozenInstanceError, dataclass, fields
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, get_args, get_type_hints

import polars as pl
import pytest
from pydantic import SecretStr

from co2_assets import client as co2_client
from co2_assets.client import Co2ApiError, Co2ApiUnreachable, Co2Client, Table
from co2_assets.client import http as client_http
from co2_assets.errors import Co2Error, SettingsError
from co2_assets.serving.api import models
from co2_assets_tests.homes import FIRST, REPLAYED_UNTIL, Home, free_port
from co2_assets_tests.serving.api.asking import KEY, listening, sql, text, under

HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def address(replayed: Home) -> Iterator[str]:
    with listening(replayed.settings) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def co2(address: str) -> Iterator[Co2Client]:
    with Co2Client(address) as client:
        yield client


# The fields


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (co2_client.About, models.AboutAnswer),
        (co2_client.EmissionHour, models.EmissionHour),
        (co2_client.ForecastHour, models.ForecastHour),
        (co2_client.ComparedHour, models.ComparedHour),
        (co2_client.LeadAccuracy, models.LeadAccuracy),
        (co2_client.ScoreboardRow, models.ScoreboardRow),
        (co2_client.ModelVersion, models.ModelVersion),
        (co2_client.Champion, models.Champion),
        (co2_client.LedgerRow, models.LedgerRow),
        (co2_client.QualityFinding, models.QualityFinding),
        (co2_client.Receipt, models.Receipt),
        (co2_client.Candidate, models.WindowCandidate),
        (co2_client.Window, models.GreenestWindow.model_fields["data"].annotation),
        (co2_client.FeatureHour, models.FeatureHour),
        (co2_client.Load, models.Load),
        (co2_client.Origin, models.Explanation.model_fields["data"].annotation),
    ],
    ids=lambda kind: kind.__name__,
)
def test_a_class_has_the_fields_of_the_api_with_their_types(ours: type, theirs: Any) -> None:
    def kinds(hint: Any) -> set[Any]:
        """The plain types of a field, None where it may be null."""
        if hint is Any:
            return {Any}
        plain = {int, float, str, bool, datetime, type(None)}
        return ({hint} & plain) or {kind for part in get_args(hint) for kind in kinds(part)}

    hints = get_type_hints(ours)
    found = {field.name: kinds(hints[field.name]) for field in fields(ours)}
    expected = {name: kinds(field.annotation) for name, field in theirs.model_fields.items()}
    assert found.keys() == expected.keys()
    for name, kind in found.items():
        if Any not in kind:
            # A literal of text is text, and what is nested is tested by itself.
            assert kind - {str} == expected[name] - {str}, name


# Every route, beside SQL


NEWEST = (
    "FROM co2.forecast_history WHERE is_served AND issue_time_utc ="
    " (SELECT max(issue_time_utc) FROM co2.forecast_history WHERE is_served)"
)


def plain(row: object) -> dict[str, Any]:
    """A dataclass as `sql` gives a row."""
    found = {field.name: getattr(row, field.name) for field in fields(row)}  # type: ignore[arg-type]
    return {
        name: text(value) if isinstance(value, datetime) else value for name, value in found.items()
    }


def same(table: Table[Any], rows: list[dict[str, Any]]) -> None:
    """Every field of every row is that of SQL, which may have more columns."""
    assert len(table) == len(rows) > 0
    for mine, row in zip(table, rows, strict=True):
        found = plain(mine)
        assert found == {name: row[name] for name in found}


def test_the_next_hours(replayed: Home, co2: Co2Client) -> None:
    hours = co2.next_hours()
    same(hours, sql(replayed, f"SELECT * {NEWEST} ORDER BY lead_hours LIMIT 6"))
    assert hours[0].valid_time_utc == REPLAYED_UNTIL
    assert hours[0].valid_time_utc.tzinfo is not None
    assert [hour.lead_hours for hour in hours[1:3]] == [2, 3]


def test_every_answer_says_where_it_comes_from(co2: Co2Client) -> None:
    about = co2.next_hours().about
    assert about.issue_time_utc == about.data_until_utc == REPLAYED_UNTIL
    assert about.now_utc == REPLAYED_UNTIL + timedelta(minutes=5)
    assert about.model_version == "v0001"
    assert (about.unit, about.source, about.is_stale) == ("g/kWh", "recorded", False)
    assert about.stale_reasons == ()
    assert co2.health() == about


def test_a_forecast_by_nothing_by_issue_time_and_by_what_was_known(
    replayed: Home, co2: Co2Client
) -> None:
    same(co2.forecast(), sql(replayed, f"SELECT * {NEWEST} ORDER BY lead_hours"))
    issued = FIRST + 18 * HOUR
    rows = sql(
        replayed,
        f"SELECT * FROM co2.forecast_history WHERE is_served AND issue_time_utc = '{issued}'"
        " ORDER BY lead_hours LIMIT 3",
    )
    same(co2.forecast(issued, leads=3), rows)
    danish = (issued + HOUR).astimezone(timezone(HOUR))
    same(co2.forecast(as_of=danish, leads=3), rows)
    assert co2.forecast(issued).about.issue_time_utc == issued


def test_what_was_measured(replayed: Home, co2: Co2Client) -> None:
    same(
        co2.last_24h(),
        sql(
            replayed,
            f"SELECT * FROM co2.actuals WHERE hour_utc >= '{REPLAYED_UNTIL - 24 * HOUR}'"
            f" AND hour_utc < '{REPLAYED_UNTIL}' ORDER BY hour_utc",
        ),
    )
    same(
        co2.last_6h_compared(),
        sql(
            replayed,
            "SELECT * FROM co2.forecast_vs_actual WHERE is_served AND"
            f" issue_time_utc = '{REPLAYED_UNTIL - 6 * HOUR}' ORDER BY lead_hours LIMIT 6",
        ),
    )


def test_the_greenest_window(replayed: Home, co2: Co2Client) -> None:
    medians = {
        row["valid_time_utc"]: row["p50_g_per_kwh"]
        for row in sql(replayed, f"SELECT valid_time_utc, p50_g_per_kwh {NEWEST}")
    }
    deadline = REPLAYED_UNTIL + 12 * HOUR
    window = co2.greenest_window(2, deadline=deadline, quantile=0.5).data
    assert window.hours == (window.start_utc, window.start_utc + HOUR)
    assert window.end_utc <= deadline
    means = {
        start: (medians[text(start)] + medians[text(start + HOUR)]) / 2
        for start in (REPLAYED_UNTIL + hours * HOUR for hours in range(11))
    }
    assert means[window.start_utc] == min(means.values())
    assert window.now_g_per_kwh == pytest.approx(means[REPLAYED_UNTIL])
    assert {one.start_utc: one.expected_g_per_kwh for one in window.candidates} == pytest.approx(
        means
    )
    assert window.expected_g_per_kwh == pytest.approx(
        window.now_g_per_kwh - window.expected_saving_g_per_kwh
    )
    assert window.calibrated_on in ("receipts", "holdout", "default")
    lowest = co2.greenest_window(3, contiguous=False, quantile=0.5).data
    assert sorted(medians, key=lambda hour: medians[hour])[:3] == sorted(
        (text(hour) for hour in lowest.hours), key=lambda hour: medians[str(hour)]
    )


def test_what_can_be_trusted(replayed: Home, co2: Co2Client) -> None:
    accuracy = co2.accuracy(FIRST, REPLAYED_UNTIL)
    assert len(accuracy) == replayed.settings.horizon_hours
    for row in accuracy:
        (expected,) = sql(
            replayed,
            "SELECT count(*) AS n, avg(abs(error_g_per_kwh)) AS mae FROM co2.forecast_vs_actual"
            f" WHERE is_served AND NOT is_hindcast AND lead_hours = {row.lead_hours}"
            f" AND valid_time_utc < '{REPLAYED_UNTIL}' AND actual_g_per_kwh IS NOT NULL",
        )
        assert row.n == expected["n"]
        assert row.mae == pytest.approx(expected["mae"])
    same(
        co2.scoreboard(month="2025-01", lead=1),
        sql(replayed, "SELECT * FROM co2.scoreboard WHERE lead_hours = 1 ORDER BY predictor"),
    )
    ledger = co2.retrain_ledger(limit=3)
    same(
        ledger,
        sql(replayed, "SELECT * FROM co2.retrain_ledger ORDER BY window_start_utc DESC LIMIT 3"),
    )
    (champion,) = sql(replayed, "SELECT * FROM co2.champion")
    best = co2.best_model().data
    assert best.model_version == champion["model_version"]
    assert best.metrics == json.loads(champion["metrics"])
    assert {model.model_version for model in co2.models()} == {
        row["model_version"] for row in sql(replayed, "SELECT model_version FROM co2.models")
    }
    quality = co2.data_quality(FIRST, REPLAYED_UNTIL)
    assert [plain(finding) for finding in quality] == sql(
        replayed,
        f"SELECT * FROM co2.data_quality WHERE hour_utc >= '{FIRST}'"
        f" AND hour_utc < '{REPLAYED_UNTIL}' ORDER BY hour_utc DESC, dataset, kind, column_name",
    )
    receipts = co2.window_receipts(duration=2, within=24)
    assert [plain(receipt) for receipt in receipts] == sql(
        replayed,
        "SELECT * FROM co2.window_receipts WHERE duration_hours = 2 AND within_hours = 24"
        " ORDER BY issue_time_utc DESC",
    )


def test_from_a_number_back_to_what_it_was_made_from(replayed: Home, co2: Co2Client) -> None:
    valid = REPLAYED_UNTIL - HOUR
    origin = co2.explain(valid, REPLAYED_UNTIL - 6 * HOUR).data
    (row,) = sql(
        replayed,
        f"SELECT * FROM co2.forecast_origin WHERE valid_time_utc = '{valid}'"
        f" AND issue_time_utc = '{REPLAYED_UNTIL - 6 * HOUR}' AND is_served",
    )
    assert (origin.p50_g_per_kwh, origin.lead_hours) == (row["p50_g_per_kwh"], 6)
    assert origin.hours[-1].hour_utc == REPLAYED_UNTIL - 7 * HOUR
    assert {load.etl_run_id for load in origin.loads} <= set(origin.etl_run_ids or ())


def test_answers_cannot_be_changed(co2: Co2Client) -> None:
    with pytest.raises(FrozenInstanceError):
        co2.next_hours()[0].p50_g_per_kwh = 0.0  # type: ignore[misc]


# Frames


def test_rows_become_frames_with_typed_columns(replayed: Home, co2: Co2Client) -> None:
    frame = co2.forecast().to_polars()
    assert frame.schema["valid_time_utc"] == pl.Datetime("us", "UTC")
    assert frame.schema["p50_g_per_kwh"] == pl.Float64
    assert frame.schema["lead_hours"] == pl.Int64
    assert frame.schema["is_fallback"] == pl.Boolean
    assert frame.schema["fallback_reason"] == pl.String
    (row,) = sql(replayed, f"SELECT avg(p50_g_per_kwh) AS mean {NEWEST}")
    assert frame["p50_g_per_kwh"].mean() == pytest.approx(row["mean"])
    pandas = co2.forecast().to_pandas()
    assert str(pandas.valid_time_utc.dt.tz) == "UTC"
    assert pandas.p50_g_per_kwh.mean() == pytest.approx(row["mean"])


def test_no_rows_become_an_empty_frame_of_the_same_types(co2: Co2Client) -> None:
    none = co2.data_quality(datetime(2001, 1, 1, tzinfo=UTC), datetime(2001, 1, 2, tzinfo=UTC))
    assert len(none) == 0
    assert none.to_polars().is_empty()
    assert none.to_polars().schema["hour_utc"] == pl.Datetime("us", "UTC")


def test_what_json_nests_is_text_in_a_frame(co2: Co2Client) -> None:
    frame = co2.models().to_polars()
    assert frame.schema["hyperparameters"] == pl.String
    assert json.loads(frame["hyperparameters"][0])


# What goes wrong


def test_a_refusal_says_all_that_the_api_says(co2: Co2Client) -> None:
    with pytest.raises(Co2ApiError) as caught:
        co2.greenest_window(30)
    error = caught.value
    assert (error.status, error.code) == (422, "window_does_not_fit")
    assert error.where and error.found and error.expected and error.next_step
    assert isinstance(error, Co2Error)
    assert error.next_step in str(error)


def test_a_time_without_a_zone_is_refused_before_it_is_sent(co2: Co2Client) -> None:
    with pytest.raises(ValueError, match="deadline has no time zone"):
        co2.greenest_window(deadline=datetime(2025, 1, 20, 6))  # noqa: DTZ001, the fault


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(SettingsError, match="base_url"):
        Co2Client("127.0.0.1:8000")


def test_nobody_listening_is_said() -> None:
    address = f"http://127.0.0.1:{free_port()}"
    with Co2Client(address) as client, pytest.raises(Co2ApiUnreachable, match="co2 api") as caught:
        client.next_hours()
    assert address in str(caught.value.where)


def test_a_platform_that_is_not_well_raises(fresh_copy: Home) -> None:
    clock = {"now_utc": (REPLAYED_UNTIL + 9 * HOUR).isoformat()}
    fresh_copy.settings.clock_file.write_text(json.dumps(clock))
    with (
        listening(fresh_copy.settings) as port,
        Co2Client(f"http://127.0.0.1:{port}") as client,
    ):
        with pytest.raises(Co2ApiError, match="9.0 hours old") as caught:
            client.health()
        assert (caught.value.status, caught.value.code) == (503, "stale")
        about = client.forecast().about
        assert about.is_stale
        assert len(about.stale_reasons) == 2


def test_the_key_is_sent(replayed: Home) -> None:
    with listening(under(replayed, api_key=SecretStr(KEY))) as port:
        address = f"http://127.0.0.1:{port}"
        with (
            Co2Client(address) as keyless,
            pytest.raises(Co2ApiError, match="asks for a key") as caught,
        ):
            keyless.next_hours()
        assert caught.value.status == 401
        with Co2Client(address, api_key=KEY) as keyed:
            assert len(keyed.next_hours()) == 6


# The wire, against a server that answers as it is told


@dataclass
class Told:
    """Answers in order, the last one for ever; what was asked, with its headers."""

    answers: list[tuple[int, dict[str, str], bytes]]
    asked: list[tuple[str, dict[str, str]]]
    address: str = ""


@contextmanager
def telling(*answers: tuple[int, dict[str, str], bytes]) -> Iterator[Told]:
    told = Told(list(answers), [])

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.asked.append((self.path, dict(self.headers.items())))
            status, headers, body = told.answers[min(len(told.asked), len(told.answers)) - 1]
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    told.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield told
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def answer(replayed: Home) -> tuple[int, dict[str, str], bytes]:
    """A real answer of `/next-6h-predictions`, with a tag."""
    from co2_assets_tests.serving.api.asking import client

    real = client(replayed.settings).get("/next-6h-predictions")
    return 200, {"ETag": '"one"', "Content-Type": "application/json"}, real.content


def problem(status: int, code: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    body = {"detail": "later", "status": status, "code": code}
    return status, headers, json.dumps(body).encode()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_http, "LONGEST_WAIT_S", 0)


def test_what_has_not_changed_is_not_sent_again(answer: tuple[int, dict[str, str], bytes]) -> None:
    with telling(answer, (304, {"ETag": '"one"'}, b"")) as told, Co2Client(told.address) as co2:
        first, again = co2.next_hours(), co2.next_hours()
        assert again == first
        assert len(again) == 6
        tags = [headers.get("If-None-Match") for _, headers in told.asked]
        assert tags == [None, '"one"']


def test_the_answers_kept_are_bounded(
    answer: tuple[int, dict[str, str], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_http, "ANSWERS_KEPT", 2)
    with telling(answer) as told, Co2Client(told.address) as co2:
        for leads in (1, 2, 3, 1, 3):
            co2.forecast(leads=leads)
        tags = [headers.get("If-None-Match") for _, headers in told.asked]
        assert tags == [None, None, None, None, '"one"']


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("status", "code"), [(429, "too_many_requests"), (503, "no_forecast")])
def test_a_wait_is_waited_for_and_no_longer_than_the_cap(
    answer: tuple[int, dict[str, str], bytes], status: int, code: str
) -> None:
    busy = problem(status, code, **{"Retry-After": "3600"})
    with telling(busy, answer) as told, Co2Client(told.address) as co2:
        assert len(co2.next_hours()) == 6
        assert len(told.asked) == 2


@pytest.mark.usefixtures("impatient")
def test_patience_ends_and_the_last_refusal_is_raised() -> None:
    with telling(problem(429, "too_many_requests")) as told, Co2Client(told.address) as co2:
        with pytest.raises(Co2ApiError) as caught:
            co2.next_hours()
        assert (caught.value.status, caught.value.code) == (429, "too_many_requests")
        assert len(told.asked) == 1 + client_http.RETRIES


@pytest.mark.parametrize(
    ("status", "ask"),
    [(503, Co2Client.health), (422, Co2Client.next_hours), (500, Co2Client.next_hours)],
)
def test_what_waiting_does_not_mend_is_asked_once(
    status: int, ask: Callable[[Co2Client], object]
) -> None:
    with telling(problem(status, "stale")) as told, Co2Client(told.address) as co2:
        with pytest.raises(Co2ApiError):
            ask(co2)
        assert len(told.asked) == 1


def test_a_key_does_not_follow_a_redirect() -> None:
    with telling((200, {}, b"{}")) as other:
        moved = (302, {"Location": other.address}, b"")
        with telling(moved) as told, Co2Client(told.address, api_key=KEY) as co2:
            with pytest.raises(Co2ApiError) as caught:
                co2.next_hours()
            assert caught.value.code == "not_this_api"
            assert told.asked[0][1]["X-API-Key"] == KEY
        assert other.asked == []


@pytest.mark.parametrize(
    "body",
    [b"<html>a router</html>", b"[]", b'{"about": {}, "data": []}', b'{"data": []}', b"", b"null"],
)
def test_an_answer_of_something_else_is_not_taken_for_one(body: bytes) -> None:
    with telling((200, {}, body)) as told, Co2Client(told.address) as co2:
        with pytest.raises(Co2ApiError, match="not of this API") as caught:
            co2.next_hours()
        assert caught.value.code == "not_this_api"


def test_a_newer_api_may_say_more(answer: tuple[int, dict[str, str], bytes]) -> None:
    status, headers, body = answer
    newer = json.loads(body)
    newer["about"]["mood"] = "fine"
    newer["data"][0]["p99_g_per_kwh"] = 1.0
    with (
        telling((status, headers, json.dumps(newer).encode())) as told,
        Co2Client(told.address) as co2,
    ):
        assert len(co2.next_hours()) == 6


def test_the_client_is_light() -> None:
    heavy = ["fastapi", "pydantic", "polars", "pandas", "duckdb", "dagster", "torch", "numpy"]
    code = (
        "import sys, co2_assets.client;"
        f" print(sorted(set({heavy}) & set(sys.modules)),"
        " sorted(name for name in sys.modules if name.startswith('co2_assets')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split("] ")[0] == "[", found.stdout
    assert "'co2_assets', 'co2_assets.client'" in found.stdout
    assert "serving" not in found.stdout
