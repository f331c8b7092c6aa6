"""API, command line, client, dashboard and receipts give the same advice on the same forecast."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

import pytest
from click.testing import CliRunner

from co2_assets.cli import main
from co2_assets.forecasting.advice_calibration import DEFAULTS, JOBS
from co2_assets.serving import contract
from co2_assets.warehouse.reader import open_published
from co2_assets_tests.homes import REPLAYED_UNTIL, Home
from co2_assets_tests.serving.api.asking import answered, client

HOUR = timedelta(hours=1)
SAID = (
    "expected_g_per_kwh",
    "expected_saving_g_per_kwh",
    "chance_beats_now",
    "quantile",
    "calibrated_on",
    "calibration_n",
)


@pytest.mark.parametrize(("duration", "within"), JOBS)
def test_api_command_line_and_receipt_agree(replayed: Home, duration: int, within: int) -> None:
    deadline = REPLAYED_UNTIL + within * HOUR
    api = answered(
        client(replayed.settings).get(
            f"/greenest-window?duration={duration}&deadline={deadline:%Y-%m-%dT%H:%MZ}"
        )
    )
    said = CliRunner().invoke(
        main,
        [
            "--home", str(replayed.settings.home), "greenest", "--duration", str(duration),
            "--deadline", f"{deadline:%Y-%m-%dT%H:%M}", "--json",
        ],
    )  # fmt: skip
    assert said.exit_code == 0, said.output
    command_line = json.loads(said.output)
    (receipt,) = replayed.rows(
        "SELECT recommended_start_utc, expected_g_per_kwh, expected_saving_g_per_kwh,"
        " chance_beats_now, quantile, calibrated_on, calibration_n FROM co2.window_receipts"
        " JOIN co2.advice_calibration USING (area, issue_time_utc, duration_hours, within_hours)"
        " WHERE issue_time_utc = $issue AND duration_hours = $duration AND within_hours = $within",
        issue=REPLAYED_UNTIL,
        duration=duration,
        within=within,
    )
    start, *figures = receipt
    expected = dict(zip(SAID, figures, strict=True))
    for face in (api, command_line):
        assert {name: face[name] for name in SAID} == expected
    assert datetime.fromisoformat(api["start_utc"]) == start
    assert datetime.fromisoformat(command_line["hours"][0]) == start


def test_a_copy_from_before_calibration_is_advised_by_the_defaults(fresh_copy: Home) -> None:
    with open_published(fresh_copy.settings.home) as con:
        assert set(contract.advice_calibrations(con)) == set(JOBS)
    with fresh_copy.store.write("test", "test") as transaction:
        transaction.execute("DELETE FROM ml.advice_calibration")
    fresh_copy.store.publish()
    with open_published(fresh_copy.settings.home) as con:
        assert contract.advice_calibrations(con) == DEFAULTS
    with fresh_copy.store.write("test", "test") as transaction:
        transaction.execute("DROP VIEW main.advice_calibration")
    fresh_copy.store.publish()
    found = answered(client(fresh_copy.settings).get("/greenest-window?duration=2"))
    assert found["calibrated_on"] == "default"
