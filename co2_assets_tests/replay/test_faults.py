"""Each kind of fault, through the real server, client and parser: what it does to the data, or
what the error names."""

from __future__ import annotations

import re
import time
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, get_args

import polars as pl
import polars.testing
import pytest
import requests
import yaml

from co2_assets.errors import (
    RecordingError,
    SourceError,
    SourceMalformed,
    SourceRefused,
    SourceUnreachable,
)
from co2_assets.replay.fault_catalogue import CATALOGUE, faults_page
from co2_assets.replay.faults import AnyFault, FaultPlan
from co2_assets.replay.recordings import SERVED_NUMBERS
from co2_assets.source.datasets import (
    CO2_EMIS_PROG,
    DATASETS,
    ELSPOTPRICES,
    FORECASTS_HOUR,
    POWER_SYSTEM_RIGHT_NOW,
    Dataset,
)
from co2_assets.source.parse import parse
from co2_assets_tests.replay.serving import ask, client, server, utc

DATA = {"data_from": "2025-01-20T08:00:00Z", "data_to": "2025-01-20T10:00:00Z"}
HOUR = "2025-01-20T06:00"
"""The asked span of these tests begins two hours before the faulty data."""
DOCS = Path(__file__).parents[2] / "docs" / "recordings.md"
KINDS = {
    get_args(fault.model_fields["kind"].annotation)[0] for fault in get_args(get_args(AnyFault)[0])
}


def faulty(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(_inside())


def others(rows: pl.DataFrame) -> pl.DataFrame:
    return rows.filter(~_inside())


def _inside() -> pl.Expr:
    start, end = utc("2025-01-20T08:00"), utc("2025-01-20T10:00")
    return pl.col("minute_utc").is_between(start, end, closed="left")


@pytest.fixture(scope="module")
def honest() -> pl.DataFrame:
    return ask().frame


def refused(kind: type[SourceError], *faults: dict[str, Any], **options: Any) -> SourceError:
    with pytest.raises(kind) as caught:
        ask(*faults, **options)
    expected = options.get("dataset", POWER_SYSTEM_RIGHT_NOW)
    assert caught.value.dataset == expected.name
    return caught.value


def test_late_minutes_are_missing_until_their_time_and_then_there(honest: pl.DataFrame) -> None:
    late = {"kind": "late_minutes", "until": "2025-01-20T14:00:00Z", **DATA}
    assert ask(late, now="2025-01-20T13:59").frame.equals(others(honest))
    assert ask(late, now="2025-01-20T14:00").frame.equals(honest)


def test_gap_is_never_filled(honest: pl.DataFrame) -> None:
    assert ask({"kind": "gap", **DATA}, now="2025-01-31T00:00").frame.equals(others(honest))


def test_frozen_feed_repeats_the_last_row_before_it(honest: pl.DataFrame) -> None:
    frame = ask({"kind": "frozen_feed", **DATA}).frame
    values = pl.selectors.numeric()
    last = honest.filter(pl.col("minute_utc") == utc("2025-01-20T07:59")).select(values)
    assert faulty(frame).select(values).unique().equals(last)
    assert others(frame).equals(others(honest))
    assert frame["minute_utc"].equals(honest["minute_utc"])


def test_frozen_feed_stands_still_when_only_its_middle_is_asked_for(honest: pl.DataFrame) -> None:
    frame = ask({"kind": "frozen_feed", **DATA}, start="2025-01-20T09:00").frame
    before = honest.filter(pl.col("minute_utc") == utc("2025-01-20T07:59"))
    assert frame["co2_g_per_kwh"][0] == before["co2_g_per_kwh"][0]


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"factor": 4}, pl.col("local_plants_mw") * 4),
        ({"value": 5417}, pl.lit(5417.0)),
        ({}, pl.col("local_plants_mw") * 10),
    ],
)
def test_spike_leaps_in_one_column(
    honest: pl.DataFrame, parameters: dict[str, float], expected: pl.Expr
) -> None:
    spike = {"kind": "spike", "column": "ProductionLt100MW", **parameters, **DATA}
    frame = ask(spike).frame
    assert_equal(faulty(frame), faulty(honest).with_columns(local_plants_mw=expected))
    assert others(frame).equals(others(honest))


def test_level_shift_moves_one_column(honest: pl.DataFrame) -> None:
    shift = {"kind": "level_shift", "column": "CO2Emission", "factor": 2, "offset": 30, **DATA}
    frame = ask(shift).frame
    assert_equal(
        faulty(frame), faulty(honest).with_columns(co2_g_per_kwh=pl.col("co2_g_per_kwh") * 2 + 30)
    )
    assert others(frame).equals(others(honest))


def test_duplicated_rows_are_collapsed_and_counted(honest: pl.DataFrame) -> None:
    parsed = ask({"kind": "duplicated_rows", **DATA})
    assert parsed.frame.equals(honest)
    assert (parsed.rows_read, parsed.rows_repeated) == (honest.height + 120, 120)


def test_contradicting_rows_are_refused_with_field_row_and_both_values() -> None:
    error = refused(
        SourceMalformed,
        {"kind": "contradicting_rows", "column": "OnshoreWindPower", **DATA},
    )
    assert error.field == "OnshoreWindPower"
    # The rows are sorted by minute: 08:00 is row 120, and comes again right after.
    assert error.row == 121
    assert "as in row 120" in str(error.expected)


def test_revised_rows_are_off_until_their_time(honest: pl.DataFrame) -> None:
    revised = {
        "kind": "revised_rows",
        "column": "OnshoreWindPower",
        "until": "2025-01-20T14:00:00Z",
        **DATA,
    }
    first = ask(revised, now="2025-01-20T13:59").frame
    expected = faulty(honest).with_columns(onshore_wind_mw=pl.col("onshore_wind_mw") * 1.2)
    assert_equal(faulty(first), expected)
    assert ask(revised, now="2025-01-20T14:00").frame.equals(honest)


def test_reordered_rows_are_the_same_rows_in_an_order_of_their_own(honest: pl.DataFrame) -> None:
    first, again = (ask({"kind": "reordered_rows"}).frame for _ in range(2))
    assert first["minute_utc"].to_list() != honest["minute_utc"].to_list()
    assert first.sort("minute_utc").equals(honest)
    assert first.equals(again)
    assert not ask({"kind": "reordered_rows", "seed": 1}).frame.equals(first)


def test_shifted_clock_says_other_times_of_the_same_values(honest: pl.DataFrame) -> None:
    # Nothing else is at the times that it says.
    empty = {"kind": "gap", "data_from": DATA["data_to"], "data_to": "2025-01-20T12:00:00Z"}
    frame = ask(empty, {"kind": "shifted_clock", "minutes": 90, **DATA}).frame
    moved = frame.filter(pl.col("minute_utc") >= utc("2025-01-20T09:30"))
    values = pl.selectors.numeric()
    assert moved.height == 120
    assert moved.select(values).equals(faulty(honest).select(values))
    assert (
        moved["minute_dk"] == moved["minute_utc"].dt.replace_time_zone(None).dt.offset_by("1h")
    ).all()


def test_shifted_clock_beyond_the_span_is_refused() -> None:
    zone = {"kind": "shifted_clock", "data_from": DATA["data_from"]}
    error = refused(SourceMalformed, {**zone, "data_to": "2025-01-20T12:00:00Z"})
    assert error.field == "Minutes1UTC"
    assert "outside the span" in str(error)


def test_an_hour_that_is_sent_under_the_time_of_another_is_refused() -> None:
    hour = {"data_from": DATA["data_from"], "data_to": "2025-01-20T09:00:00Z"}
    error = refused(SourceMalformed, {"kind": "shifted_clock", "minutes": -60, **hour})
    assert "one key and different values" in str(error)
    assert "2025-01-20 07:00" in str(error.found)


@pytest.mark.parametrize("text", ["NaN", "12,5", "", "n/a"])
def test_text_values_are_refused_with_field_row_and_text(text: str) -> None:
    error = refused(
        SourceMalformed, {"kind": "text_values", "column": "SolarPower", "text": text, **DATA}
    )
    assert (error.field, error.row, error.found) == ("SolarPower", 120, repr(text))
    assert "a number or null" in str(error)


def test_text_values_outside_the_asked_span_do_nothing(honest: pl.DataFrame) -> None:
    day_before = {"data_from": "2025-01-19T00:00:00Z", "data_to": "2025-01-20T00:00:00Z"}
    assert ask({"kind": "text_values", "column": "SolarPower", **day_before}).frame.equals(honest)


def test_missing_column_is_named() -> None:
    error = refused(SourceMalformed, {"kind": "missing_column", "column": "SolarPower"})
    assert (error.field, error.row) == ("SolarPower", 0)
    assert "required column is missing" in str(error)


def test_missing_column_that_is_asked_for_by_name_is_a_400() -> None:
    gone = {"kind": "missing_column", "dataset": "CO2EmisProg", "column": "CO2Emission"}
    error = refused(SourceRefused, gone, dataset=CO2_EMIS_PROG)
    assert isinstance(error, SourceRefused)
    assert error.status_code == 400
    assert "Invalid column CO2Emission" in str(error)


def test_renamed_column_is_named_beside_those_that_are_there() -> None:
    error = refused(
        SourceMalformed, {"kind": "renamed_column", "column": "SolarPower", "to": "Solar"}
    )
    assert error.field == "SolarPower"
    assert ", Solar" in str(error.found)


def test_renamed_column_that_is_asked_for_by_name_is_a_400() -> None:
    renamed = {"kind": "renamed_column", "dataset": "Elspotprices", "column": "SpotPriceEUR"}
    error = refused(SourceRefused, renamed, dataset=ELSPOTPRICES)
    assert isinstance(error, SourceRefused)
    assert error.status_code == 400


def test_extra_column_is_kept_out_and_named(honest: pl.DataFrame) -> None:
    parsed = ask({"kind": "extra_column", "column": "BatteryPower", "value": 3})
    assert parsed.unknown_columns == ("BatteryPower",)
    assert parsed.frame.equals(honest)


def test_null_values_stay_null(honest: pl.DataFrame) -> None:
    frame = ask({"kind": "null_values", "column": "CO2Emission", **DATA}).frame
    assert faulty(frame)["co2_g_per_kwh"].null_count() == 120
    assert frame.drop("co2_g_per_kwh").equals(honest.drop("co2_g_per_kwh"))


def test_empty_reply_has_no_rows() -> None:
    parsed = ask({"kind": "empty_reply"})
    assert (parsed.rows_read, parsed.frame.height) == (0, 0)


def test_status_403_is_refused_and_not_sent_again() -> None:
    error = refused(SourceRefused, {"kind": "status_403", "times": 1}, retries=2)
    assert isinstance(error, SourceRefused)
    assert error.status_code == 403
    assert "Forbidden" in str(error)


def test_status_404_is_refused_and_not_sent_again() -> None:
    error = refused(SourceRefused, {"kind": "status_404", "times": 1}, retries=2)
    assert isinstance(error, SourceRefused)
    assert error.status_code == 404
    assert "dataset not found PowerSystemRightNow" in str(error)


def test_status_429_is_refused_with_the_wait_that_was_asked_for() -> None:
    error = refused(SourceRefused, {"kind": "status_429"}, retries=2, retry_after_max_s=60)
    assert isinstance(error, SourceRefused)
    assert (error.status_code, error.retry_after_s) == (429, 292.0)


def test_status_429_is_waited_for_when_it_is_short(honest: pl.DataFrame) -> None:
    waits: list[tuple[str, float]] = []
    parsed = ask(
        {"kind": "status_429", "retry_after_s": 1, "times": 1},
        retries=1,
        retry_after_max_s=5,
        on_wait=lambda name, seconds: waits.append((name, seconds)),
    )
    assert waits == [("PowerSystemRightNow", 1.0)]
    assert parsed.frame.equals(honest)


def test_status_500_is_sent_again_until_it_passes(honest: pl.DataFrame) -> None:
    fails = {"kind": "status_500", "times": 1}
    assert ask(fails, retries=1).frame.equals(honest)
    error = refused(SourceRefused, fails, retries=0)
    assert isinstance(error, SourceRefused)
    assert error.status_code == 500


def test_time_out_is_unreachable() -> None:
    started = time.monotonic()
    refused(SourceUnreachable, {"kind": "time_out", "sleep_s": 1.5}, timeout_s=0.2)
    assert time.monotonic() - started < 10


def test_time_out_whose_client_went_does_not_hold_up_the_server() -> None:
    started = time.monotonic()
    refused(SourceUnreachable, {"kind": "time_out", "sleep_s": 60.0}, timeout_s=0.2)
    assert time.monotonic() - started < 10


def test_slow_drip_is_given_up_at_the_deadline_although_no_packet_is_late() -> None:
    started = time.monotonic()
    drip = {"kind": "slow_drip", "chunk_bytes": 100, "pause_s": 0.1}
    error = refused(SourceUnreachable, drip, deadline_s=0.5)
    assert time.monotonic() - started < 10
    assert re.search(r"[\d,]+ bytes in (0\.[5-9]|[1-9]\.\d) s", str(error.found)), error.found
    assert "within 0.5 s" in str(error.expected)


def test_slow_drip_of_bytes_that_decode_to_nothing_yet_is_given_up_too() -> None:
    drip = {"kind": "slow_drip", "chunk_bytes": 1, "pause_s": 0.1}
    error = refused(SourceUnreachable, drip, deadline_s=0.5)
    assert str(error.found).startswith("0 bytes in ")


def test_slow_drip_within_the_deadline_is_the_honest_reply(honest: pl.DataFrame) -> None:
    drip = {"kind": "slow_drip", "chunk_bytes": 500, "pause_s": 0.01}
    assert ask(drip).frame.equals(honest)


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
def test_slow_drip_comes_in_pieces_zipped_or_not(encoding: str) -> None:
    with server({"kind": "slow_drip", "chunk_bytes": 700, "pause_s": 0.02}) as running:
        address = f"{running.url}/dataset/PowerSystemRightNow?start=2025-01-20&end=2025-01-21"
        with requests.get(
            address, headers={"Accept-Encoding": encoding}, stream=True, timeout=20
        ) as reply:
            first = reply.raw.read1(1 << 20, decode_content=False)
            assert len(first) < int(reply.headers["Content-Length"]) / 2
            assert reply.headers.get("Content-Encoding", "identity") == encoding


@pytest.mark.parametrize("keep_share", [0.01, 0.5, 0.99])
def test_connection_reset_is_unreachable_and_the_server_says_nothing(
    keep_share: float, capfd: pytest.CaptureFixture[str]
) -> None:
    error = refused(SourceUnreachable, {"kind": "connection_reset", "keep_share": keep_share})
    assert "reset by peer" in str(error.found)
    assert "".join(capfd.readouterr()) == ""


def test_html_reply_is_refused_with_its_beginning() -> None:
    error = refused(SourceMalformed, {"kind": "html_reply"})
    assert "the reply is not JSON" in str(error)
    assert "<!DOCTYPE html>" in str(error.found)


def test_truncated_json_is_refused() -> None:
    error = refused(SourceMalformed, {"kind": "truncated_json"})
    assert "the reply is not JSON" in str(error)


def test_fault_acts_only_in_its_time_and_on_its_dataset() -> None:
    refuses = {
        "kind": "status_403",
        "dataset": "forecasts_hour",
        "active_from": "2025-01-20T13:00:00Z",
        "active_to": "2025-01-20T14:00:00Z",
    }
    refused(SourceRefused, refuses, dataset=FORECASTS_HOUR, now="2025-01-20T13:00")
    ask(refuses, dataset=FORECASTS_HOUR, now="2025-01-20T12:59")
    ask(refuses, dataset=FORECASTS_HOUR, now="2025-01-20T14:00")
    ask(refuses, dataset=CO2_EMIS_PROG, now="2025-01-20T13:00")


def test_fault_acts_as_often_as_it_says() -> None:
    span = (POWER_SYSTEM_RIGHT_NOW, utc(HOUR), utc("2025-01-20T07:00"))
    with server({"kind": "status_403", "times": 2}) as running, client(running.url) as asking:
        for _ in range(2):
            with pytest.raises(SourceRefused):
                asking.fetch(*span)
        assert parse(asking.fetch(*span)).rows_read == 60


def test_faults_of_one_plan_add_up(honest: pl.DataFrame) -> None:
    gap = {"kind": "gap", "data_from": "2025-01-20T10:00:00Z", "data_to": "2025-01-20T11:00:00Z"}
    frame = ask({"kind": "null_values", "column": "SolarPower", **DATA}, gap).frame
    assert frame.height == honest.height - 60
    assert frame["solar_mw"].null_count() == 120


DATA_FAULTS: list[dict[str, Any]] = [
    {"kind": "gap"},
    {"kind": "late_minutes", "until": "2025-01-30T00:00:00Z"},
    {"kind": "frozen_feed"},
    {"kind": "duplicated_rows"},
    {"kind": "null_values", "column": True},
    {"kind": "spike", "column": True},
    {"kind": "level_shift", "column": True, "offset": 5},
    {"kind": "revised_rows", "column": True, "until": "2025-01-30T00:00:00Z"},
]


@pytest.mark.parametrize("fault", DATA_FAULTS, ids=lambda fault: fault["kind"])
@pytest.mark.parametrize(
    "dataset", [FORECASTS_HOUR, CO2_EMIS_PROG, ELSPOTPRICES], ids=lambda d: d.name
)
def test_faults_of_the_data_act_on_every_dataset(dataset: Dataset, fault: dict[str, Any]) -> None:
    number = next(field.api_name for field in dataset.fields if field.kind == "number")
    plan = {**fault, "dataset": dataset.name, **DATA}
    if "column" in fault:
        plan["column"] = number
    without, under = ask(dataset=dataset), ask(plan, dataset=dataset)
    if fault["kind"] == "duplicated_rows":
        assert under.rows_repeated > 0
        assert under.frame.equals(without.frame)
    else:
        assert not under.frame.equals(without.frame)


def plan_refused(content: object) -> str:
    with pytest.raises(RecordingError) as caught:
        FaultPlan.of(content)
    return str(caught.value)


def test_unknown_kind_is_refused_with_the_list_of_kinds() -> None:
    message = plan_refused({"faults": [{"kind": "earthquake"}]})
    assert "earthquake" in message
    for kind in KINDS:
        assert f"'{kind}'" in message


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ({"kind": "gap", "data_from": "2025-01-20T08:00:00Z"}, "faults.0.gap.data_to"),
        ({"kind": "status_403", "tmies": 2}, "faults.0.status_403.tmies"),
        ({"kind": "status_403", "times": 0}, "greater than or equal to 1"),
        ({"kind": "status_403", "dataset": "CO2Emis"}, "no dataset 'CO2Emis'; there are Power"),
        ({"kind": "spike", "column": "Solar", **DATA}, "no column 'Solar'.*there are CO2Emission"),
        ({"kind": "missing_column", "column": "HourUTC"}, "no column 'HourUTC'"),
        (
            {"kind": "gap", "data_from": DATA["data_to"], "data_to": DATA["data_from"]},
            r"data_from \(2025-01-20T10.*must be before data_to \(2025-01-20T08",
        ),
        (
            {"kind": "status_500", "active_from": DATA["data_to"], "active_to": DATA["data_to"]},
            "active_from .*must be before active_to",
        ),
        ({"kind": "truncated_json", "keep_share": 1.5}, "less than 1"),
        ({"dataset": "CO2EmisProg"}, "kind"),
    ],
)
def test_fault_that_is_none_is_named(fault: dict[str, Any], text: str) -> None:
    message = plan_refused({"faults": [fault]})
    assert re.search(text, message), message
    assert "docs/recordings.md" in message


@pytest.mark.parametrize("content", [[], "faults", {"fault": []}, None])
def test_plan_that_is_no_plan_is_refused(content: object) -> None:
    assert "a fault plan is malformed" in plan_refused(content)


def test_plan_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"nowhere\.yaml"):
        FaultPlan.load(tmp_path / "nowhere.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("faults: [")
    with pytest.raises(RecordingError, match=r"broken\.yaml"):
        FaultPlan.load(broken)


def test_plan_cannot_make_python_objects(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text("faults: !!python/object/apply:os.getcwd []")
    with pytest.raises(RecordingError, match="cannot be read"):
        FaultPlan.load(plan)


def test_times_of_a_plan_are_utc_whether_they_say_so_or_not(tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        "faults:\n"
        "  - {kind: gap, data_from: 2025-01-20T08:00:00, data_to: 2025-01-20T10:00:00Z}\n"
        "  - {kind: gap, data_from: '2025-01-20T08:00', data_to: 2025-01-20T11:00:00+01:00}\n"
    )
    for fault in FaultPlan.load(plan).faults:
        assert (fault.data_from, fault.data_to) == (  # type: ignore[union-attr]
            utc("2025-01-20T08:00"),
            utc("2025-01-20T10:00"),
        )


def test_example_plan_is_a_plan_of_the_demos_windows() -> None:
    example = resources.files("co2_assets") / "replay" / "plans" / "example.yaml"
    with resources.as_file(example) as path:
        faults = FaultPlan.load(path).faults
    times = [
        time
        for fault in faults
        for time in fault.model_dump().values()
        if isinstance(time, datetime)
    ]
    assert len(faults) > 10
    assert utc("2025-01-18T00:00") <= min(times) < max(times) <= utc("2025-01-31T18:00")


def test_documentation_lists_every_kind_with_its_parameters() -> None:
    text = DOCS.read_text()
    shared = {"kind", "dataset", "active_from", "active_to", "times"}
    for fault in get_args(get_args(AnyFault)[0]):
        kind = get_args(fault.model_fields["kind"].annotation)[0]
        (line,) = re.findall(rf"^\| `{kind}` \|.*$", text, re.MULTILINE)
        assert (
            set(re.findall(r"`(\w+)`", line.rsplit("|", 2)[1])) == set(fault.model_fields) - shared
        )
    for name in shared:
        assert f"`{name}`" in text or f"{name}:" in text


def test_documentation_lists_every_recorded_column() -> None:
    text = DOCS.read_text()
    recorded = resources.files("co2_assets") / "replay" / "recorded"
    for file in recorded.iterdir():
        if file.name.endswith(".parquet") and "prices" not in file.name:
            with resources.as_file(file) as path:
                names = set(pl.read_parquet_schema(path)) - {"HourDK"}
            assert all(f"`{name}`" in text for name in names), file.name


def test_faults_speak_of_the_datasets_that_are_read() -> None:
    assert set(SERVED_NUMBERS) == set(DATASETS)


def assert_equal(found: pl.DataFrame, expected: pl.DataFrame) -> None:
    polars.testing.assert_frame_equal(found, expected)


def test_page_of_faults_is_current_and_its_plans_are_plans() -> None:
    page = DOCS.with_name("faults.md").read_text()
    assert page == faults_page(), "run `make docs`"
    plans = [
        "\n".join(["faults:", *re.findall(r"`(- \{.*?\})`", line)])
        for line in page.splitlines()
        if "`- {" in line
    ]
    assert [FaultPlan.of(yaml.safe_load(plan)) for plan in plans] == [
        FaultPlan.of(example.plan) for example in CATALOGUE
    ]


def test_catalogue_has_an_example_of_every_kind() -> None:
    assert {fault["kind"] for example in CATALOGUE for fault in example.faults} == KINDS
