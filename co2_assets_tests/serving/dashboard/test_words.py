"""What the dashboard says in words is what the numbers say."""

from __future__ import annotations

import polars as pl
import pytest

from co2_assets.errors import WindowDoesNotFit
from co2_assets.serving.dashboard import words
from co2_assets.serving.dashboard.times import DANISH, UTC_ZONE

USUAL = pl.Series([float(value) for value in range(100)])


@pytest.mark.parametrize(
    ("value", "said", "dirtier"),
    [(-1.0, "very green", 100), (29.0, "greener than usual", 70), (50.0, "about usual", 49),
     (75.0, "less green than usual", 24), (99.0, "far from green", 0)],
)  # fmt: skip
def test_greenness_is_told_by_how_many_hours_were_dirtier(
    value: float, said: str, dirtier: int
) -> None:
    assert words.greenness(value, USUAL) == (said, dirtier)


def test_a_refusal_says_why_and_what_to_ask_instead_in_the_zone_shown() -> None:
    error = WindowDoesNotFit(
        "the deadline lies beyond the forecast",
        where="deadline",
        found="2025-02-01T12:00 UTC",
        expected="at most the horizon end, 2025-02-01T00:00 UTC",
        next_step="ask for an earlier deadline",
    )
    assert words.refusal(error, DANISH) == (
        "The deadline lies beyond the forecast; found Sat 1 Feb 13:00 CET; expected at most the"
        " horizon end, Sat 1 Feb 01:00 CET. Ask for an earlier deadline."
    )
    assert "Sat 1 Feb 12:00 UTC" in words.refusal(error, UTC_ZONE)


def test_a_reason_is_told_in_the_zone_shown() -> None:
    assert (
        words.in_zone("cooldown after the last training until 2025-01-25T06:00", DANISH)
        == "cooldown after the last training until Sat 25 Jan 07:00 CET"
    )
    assert words.in_zone("no time in it", DANISH) == "no time in it"


@pytest.mark.parametrize(
    ("share", "said"),
    [(1.0, "more than 99 % chance"), (0.0, "less than 1 % chance"), (0.9, "90 % chance")],
)
def test_no_chance_is_certain(share: float, said: str) -> None:
    assert words.chance(share) == said


def leads(mae: float, persistence: float) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "lead_hours": [1, 6, 24],
            "n": [10, 30, 10],
            "mae": [mae, mae, 99.0],
            "persistence_mae": [persistence, persistence, 99.0],
            "coverage_80": [1.0, 0.8, 0.0],
        }
    )


def test_trust_is_of_the_first_six_hours_and_weighed_by_what_was_scored() -> None:
    figure, said = words.trust(leads(12.0, 20.0), 7)
    assert figure == "±12 g/kWh"
    assert "1 to 6 h ahead, last 7 days (40 hours)" in said
    assert "40 % closer than assuming that nothing changes" in said
    assert "85 % of hours lay in the 80 % band" in said


def test_a_forecast_that_loses_to_persistence_says_so() -> None:
    assert "50 % further off" in words.trust(leads(30.0, 20.0), 7)[1]


def test_without_a_scored_forecast_trust_is_not_known() -> None:
    assert words.trust(leads(1.0, 1.0).clear(), 7)[0] == "not known yet"
