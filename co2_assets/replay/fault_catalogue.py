"""The catalogue of faults: an example of each that a source may have, and what becomes of it.

A test runs every example: ticks under its plan show the outcome that it claims. `co2 docs`
writes docs/faults.md from it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

import yaml

Outcome = Literal["source_failed", "marked", "healed", "harmless", "degraded", "drift", "unnoticed"]

MEANING: dict[Outcome, str] = {
    "source_failed": "the reply is refused as a whole and nothing of it is stored",
    "marked": "the hours are stored as reported and marked; inputs, training and scores leave them"
    " out",
    "healed": "what was lacking or wrong comes with a later tick, and the tables are then those"
    " of a day without the fault",
    "harmless": "the tables are those of a tick without the fault",
    "degraded": "the champion forecasts without the columns that are missing, and says which",
    "drift": "not wrong in itself: a true change would look the same",
    "unnoticed": "stored as reported, and nothing tells it from the truth at once",
}


class FaultExample(NamedTuple):
    """One fault of a source, from the tick of [2025-01-20T00:00, 06:00) UTC on."""

    name: str
    title: str
    plan: dict[str, Any]
    """What makes the recorded server do it: plain values of a `FaultPlan`."""
    caught_by: str
    """What notices it; names in backticks are checks, quality marks or metadata of the tick."""
    outcome: Outcome
    does: str
    ticks: int = 1
    """How many ticks in a row the fault has to last."""

    @property
    def faults(self) -> list[dict[str, Any]]:
        """The faults of its plan."""
        return list(self.plan["faults"])


def _plan(*faults: dict[str, Any]) -> dict[str, Any]:
    return {"faults": list(faults)}


def _data(start: str, end: str) -> dict[str, str]:
    return {"data_from": f"2025-01-20T{start}:00Z", "data_to": f"2025-01-20T{end}:00Z"}


CO2 = {"column": "CO2Emission"}
WIND = {"column": "OnshoreWindPower"}
HOUR = _data("02:00", "03:00")
WINDOW = _data("00:00", "06:00")
NEXT_TICK = {"until": "2025-01-20T12:00:00Z"}
LATER = {"until": "2025-01-22T00:00:00Z"}
TO_COME = {"data_from": "2025-01-20T06:00:00Z", "data_to": "2025-01-22T00:00:00Z"}
A_DAY = {"data_from": "2025-01-20T23:00:00Z", "data_to": "2025-01-23T00:00:00Z"}
FORECASTS = ("Forecasts_Hour", "CO2EmisProg", "Elspotprices")

STORES_NOTHING = (
    "Stores nothing of it and goes on. Damped climatology answers, marked as a fallback; the next"
    " tick asks again for all that is missing."
)
STORED_BEFORE = (
    "Keeps what earlier ticks stored, which reaches for hours: the forecast is the same. The next"
    " tick asks again."
)
MARKS = (
    "Stores the hours as reported and keeps them out of inputs, training, scores and the retrain"
    " rule."
)
TOO_LONG = " After more than three such hours damped climatology answers, marked as a fallback."


def _refused(
    name: str, title: str, says: str, *faults: dict[str, Any], does: str = STORES_NOTHING
) -> FaultExample:
    caught_by = f"`source_answered`: {says}"
    return FaultExample(name, title, _plan(*faults), caught_by, "source_failed", does)


_ROWS = (
    FaultExample(
        "late_rows",
        "Rows come hours late",
        _plan({"kind": "late_minutes", **_data("03:00", "06:00"), **NEXT_TICK}),
        "`missing` hours, until they come",
        "healed",
        "Carries the last good hour forward for at most three hours and forecasts from that; each"
        " tick asks for the last 12 hours again and fills the gap.",
    ),
    FaultExample(
        "missing_rows",
        "Rows never come",
        _plan({"kind": "gap", **_data("02:00", "05:00")}),
        "`missing` hours",
        "marked",
        "Reported values stay null. Inputs are carried forward for at most three hours, in columns"
        " of their own.",
    ),
    FaultExample(
        "partial_hour",
        "Some minutes of an hour are missing",
        _plan({"kind": "gap", **_data("02:10", "02:30")}),
        "`partial` hour",
        "marked",
        "With fewer than 45 minutes an hour is no actual: its mean is kept beside the count of its"
        " minutes and nothing is scored by it.",
    ),
    FaultExample(
        "duplicated_rows",
        "Rows come twice, exactly",
        _plan({"kind": "duplicated_rows", **HOUR}),
        "`rows rejected`",
        "harmless",
        "Stores each key once and counts what came again.",
    ),
    _refused(
        "contradicting_rows",
        "Rows come twice, with different values",
        "two records have one key and different values",
        {"kind": "contradicting_rows", **CO2, **HOUR},
    ),
    FaultExample(
        "reordered_rows",
        "Rows come in another order than asked for",
        _plan({"kind": "reordered_rows"}),
        "nothing has to",
        "harmless",
        "Merges by key and sorts by time before anything is computed.",
    ),
    FaultExample(
        "revised_rows",
        "Values are put right later",
        _plan({"kind": "revised_rows", **CO2, **HOUR, **NEXT_TICK}),
        "`rows revised`",
        "healed",
        "Each tick asks for the last 12 hours again: the revision replaces the value and the hours"
        " that depend on it are made anew. A forecast that was issued stays as it was.",
    ),
)

_VALUES = (
    FaultExample(
        "frozen_feed",
        "All values stand still",
        _plan({"kind": "frozen_feed", **WINDOW}),
        "`feed_not_frozen`, `frozen` hours",
        "marked",
        MARKS + " The third equal hour is the first that can be told; training leaves out the two"
        " before it as well." + TOO_LONG,
    ),
    FaultExample(
        "stuck_sensor",
        "One sensor is stuck at zero",
        _plan({"kind": "level_shift", **WIND, "factor": 0, **WINDOW}),
        "`feed_not_frozen`, `frozen` hours",
        "marked",
        MARKS + " The third equal hour of a column is the first that can be told." + TOO_LONG,
    ),
    FaultExample(
        "stuck_target",
        "CO2 is stuck at zero",
        _plan({"kind": "level_shift", **CO2, "factor": 0, **WINDOW}),
        "`feed_not_frozen`, `frozen` hours",
        "marked",
        MARKS + " The two zeros before the third count as values: a fallback of that tick starts"
        " from them.",
    ),
    FaultExample(
        "spike",
        "A value leaps for an hour",
        _plan({"kind": "spike", "column": "ProductionLt100MW", **HOUR}),
        "`no_spikes`, `spike` hours",
        "marked",
        MARKS + " CO2 of that hour is left out too, since it is computed from the others.",
    ),
    FaultExample(
        "negative_values",
        "Values are negative that cannot be",
        _plan({"kind": "level_shift", **CO2, "factor": -1, **WINDOW}),
        "`no_spikes`, `plausible_ranges`, `spike` hours",
        "marked",
        MARKS + TOO_LONG,
    ),
    FaultExample(
        "unit_error",
        "Another unit: a thousand times as much",
        _plan({"kind": "level_shift", **CO2, "factor": 1000, **WINDOW}),
        "`no_spikes`, `plausible_ranges`, `spike` hours",
        "marked",
        MARKS
        + " What is impossible never becomes the usual level, however long it lasts."
        + TOO_LONG,
    ),
    FaultExample(
        "unit_error_down",
        "Another unit: a thousandth of it",
        _plan({"kind": "level_shift", **WIND, "factor": 0.001, **WINDOW}),
        "the check of input drift, if it lasts for days",
        "unnoticed",
        "A calm looks like it: stores and uses it. CO2 itself is not affected, and day-ahead"
        " forecasts of wind outweigh the measured one.",
    ),
    FaultExample(
        "bias",
        "Values are a little too high",
        _plan({"kind": "level_shift", **CO2, "offset": 20, **WINDOW}),
        "the retrain rule, if the forecasts become worse by it",
        "drift",
        "Forecasts go on from the level that is reported and are scored against it.",
    ),
    FaultExample(
        "level_of_actuals",
        "CO2 stands at another level",
        _plan({"kind": "level_shift", **CO2, "factor": 1.5, **WINDOW}),
        "the retrain rule, if the forecasts become worse by it",
        "drift",
        "Forecasts go on from the new level, which their target is relative to; bands are"
        " calibrated by the newest errors.",
    ),
    FaultExample(
        "level_of_inputs",
        "An input stands at another level",
        _plan({"kind": "level_shift", **WIND, "factor": 0.5, **WINDOW}),
        "the check of input drift, if it lasts for days",
        "drift",
        "Stores and uses it.",
    ),
    FaultExample(
        "level_of_both",
        "CO2 and an input stand at other levels",
        _plan(
            {"kind": "level_shift", **CO2, "factor": 1.5, **WINDOW},
            {"kind": "level_shift", **WIND, "factor": 0.5, **WINDOW},
        ),
        "the retrain rule and the check of input drift, if it lasts for days",
        "drift",
        "Stores and uses both; a retraining learns how they belong together now.",
    ),
    FaultExample(
        "null_values",
        "A value is null",
        _plan({"kind": "null_values", **CO2, **HOUR}),
        "`missing` hours",
        "marked",
        "null stays null and is never zero; its minutes do not count.",
    ),
    _refused(
        "nan_text",
        "NaN, as text",
        "a wrong type",
        {"kind": "text_values", **CO2, "text": "NaN", **HOUR},
    ),
    _refused(
        "wrong_type",
        "A number is text",
        "a wrong type",
        {"kind": "text_values", **CO2, "text": "12,5", **HOUR},
    ),
)

_COLUMNS_AND_TIMES = (
    FaultExample(
        "extra_column",
        "A column is new",
        _plan({"kind": "extra_column", "column": "HydrogenPower"}),
        "`unknown columns`",
        "harmless",
        "Keeps it out and names it in the log and the metadata.",
    ),
    _refused(
        "missing_column",
        "A column is gone",
        "a required column is missing",
        {"kind": "missing_column", "column": "SolarPower"},
    ),
    _refused(
        "renamed_column",
        "A column has another name",
        "a required column is missing",
        {"kind": "renamed_column", "column": "SolarPower", "to": "SolarPowerMW"},
    ),
    _refused(
        "wrong_time_zone",
        "Times are Danish where they should be UTC",
        "a time lies outside the span that was asked for",
        {"kind": "shifted_clock", "minutes": 60, **WINDOW},
    ),
    _refused(
        "slow_clock",
        "A clock is 7 minutes slow",
        "two records have one key and different values",
        {"kind": "shifted_clock", "minutes": -7, **WINDOW},
    ),
    FaultExample(
        "fast_clock",
        "A clock is 7 minutes fast, and the server hides what would lie in the future",
        _plan(
            {"kind": "gap", **_data("05:53", "06:00")},
            {"kind": "shifted_clock", "minutes": 7, **WINDOW},
        ),
        "`minutes_missing`",
        "unnoticed",
        "Counts the minutes that lack, but no reply tells that a clock is wrong which is wrong in"
        " itself: hourly means hold seven minutes of the hour before.",
    ),
    _refused(
        "hour_twice",
        "The hour of the change of clocks comes twice",
        "two records have one key and different values",
        {"kind": "shifted_clock", "minutes": -60, **HOUR},
    ),
)

_REPLIES = (
    FaultExample(
        "empty_reply",
        "The reply has no rows",
        _plan({"kind": "empty_reply"}),
        "`missing` hours",
        "marked",
        "An honest reply without rows is no failure: the hours are missing." + TOO_LONG,
    ),
    _refused(
        "truncated_json",
        "The reply is cut short",
        "the reply is not JSON",
        {"kind": "truncated_json"},
    ),
    _refused(
        "html_reply",
        "An HTML page under status 200",
        "the reply is not JSON",
        {"kind": "html_reply"},
    ),
    _refused(
        "status_403",
        "Forbidden",
        "the API refused the request with status 403",
        {"kind": "status_403"},
    ),
    _refused(
        "status_404",
        "The dataset is gone",
        "the API refused the request with status 404",
        {"kind": "status_404"},
    ),
    FaultExample(
        "short_429",
        "Too many requests, with a short wait",
        _plan({"kind": "status_429", "retry_after_s": 1, "times": 1}),
        "nothing has to",
        "harmless",
        "Waits as asked and asks again.",
    ),
    _refused(
        "long_429",
        "Too many requests, with a long wait",
        "the API asks for more patience than this load has",
        {"kind": "status_429", "retry_after_s": 292},
    ),
    FaultExample(
        "burst_of_500",
        "The server fails twice",
        _plan({"kind": "status_500", "times": 2}),
        "nothing has to",
        "harmless",
        "Asks again, a little later each time.",
    ),
    _refused(
        "lasting_500",
        "The server fails and fails",
        "the API refused the request with status 500",
        {"kind": "status_500"},
    ),
    _refused(
        "time_out",
        "No answer comes in time",
        "no answer from the API",
        {"kind": "time_out", "sleep_s": 90},
    ),
    _refused(
        "slow_drip",
        "The reply trickles, no packet late",
        "the reply came too slowly",
        {"kind": "slow_drip", "chunk_bytes": 1, "pause_s": 0.2},
        does="Gives up after `CO2_REPLY_DEADLINE_S`. " + STORES_NOTHING,
    ),
    _refused(
        "connection_reset",
        "The connection breaks in the middle",
        "no answer from the API",
        {"kind": "connection_reset"},
    ),
)

_FORECASTS = (
    *(
        FaultExample(
            f"empty_{dataset}",
            f"{dataset} has no rows",
            _plan({"kind": "empty_reply", "dataset": dataset}),
            "nothing has to, for a tick",
            "harmless",
            STORED_BEFORE,
        )
        for dataset in FORECASTS
    ),
    *(
        _refused(
            f"down_{dataset}",
            f"{dataset} is down",
            "the API refused the request with status 500",
            {"kind": "status_500", "dataset": dataset},
            does=STORED_BEFORE,
        )
        for dataset in FORECASTS
    ),
    FaultExample(
        "stale_forecasts",
        "The forecasts of others have nothing of tomorrow for a day",
        _plan(*({"kind": "late_minutes", "dataset": name, **A_DAY, **LATER} for name in FORECASTS)),
        "`inputs_missing`: wind_solar, co2_prognosis, prices",
        "degraded",
        "The champion forecasts without the columns that are missing, as it was trained to; each"
        " forecast says which, and how old the newest value of each dataset is.",
        ticks=4,
    ),
    FaultExample(
        "nonsense_prognosis",
        "CO2EmisProg says 1,300 g/kWh for tomorrow",
        _plan(
            {"kind": "spike", "dataset": "CO2EmisProg", **CO2, "value": 1300, **A_DAY},
        ),
        "`inputs_missing`: co2_prognosis",
        "degraded",
        "Stores it as published; from 400 g/kWh on it is no forecast, and the champion does without"
        " it.",
        ticks=4,
    ),
    FaultExample(
        "wild_forecasts",
        "Forecasts of wind and prices are impossible: a thousand times as much",
        _plan(
            *(
                {"kind": "spike", "dataset": name, "column": column, "factor": 1000, **A_DAY}
                for name, column in (
                    ("Forecasts_Hour", "ForecastDayAhead"),
                    ("Elspotprices", "SpotPriceEUR"),
                )
            )
        ),
        "`inputs_missing`: offshore_wind_forecast_mw, onshore_wind_forecast_mw, prices",
        "degraded",
        "Stores them as reported and takes none for a forecast: beyond what Denmark can produce, or"
        " the exchange allows, they count as not published. The sun of a night is a thousand times"
        " nothing, and stays.",
        ticks=4,
    ),
    FaultExample(
        "nulls_of_wind",
        "Forecasts_Hour takes back what it had forecast",
        _plan(
            {
                "kind": "null_values",
                "dataset": "Forecasts_Hour",
                "column": "ForecastDayAhead",
                **TO_COME,
            }
        ),
        "`rows revised`",
        "drift",
        "Stores the null as one more vintage. It takes nothing back: what had been forecast goes on"
        " to count; hours that nothing had been said of lack the column.",
    ),
)

CATALOGUE: tuple[FaultExample, ...] = (
    *_ROWS,
    *_VALUES,
    *_COLUMNS_AND_TIMES,
    *_REPLIES,
    *_FORECASTS,
)
"""Every example, in the order of the page."""

INTRODUCTION = """\
# Faults

This page is generated: `co2 docs` writes it from `co2_assets/replay/fault_catalogue.py`;
`make check` and a test compare it, and another test runs every example.

What may be wrong with a source, an example of each for the recorded server, and what the platform
does about it. The plans act on the tick of 2025-01-20T00:00 to 06:00 UTC, some also on the three
after it. To try one, put its lines under `faults:` in a file:
[recordings.md](recordings.md#fault-plans).

A source that fails never ends a tick, and a forecast is always issued. What becomes of a fault is
one of these:
"""


def faults_page() -> str:
    """The whole page, docs/faults.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield INTRODUCTION
    yield from (f"- **{_words(outcome)}**: {MEANING[outcome]}." for outcome in get_args(Outcome))
    yield ""
    yield "| fault | example plan | what catches it | what the platform does |"
    yield "|---|---|---|---|"
    for example in CATALOGUE:
        plan = "<br>".join(f"`- {as_yaml(fault)}`" for fault in example.faults)
        does = f"**{_words(example.outcome)}**: {example.does}"
        yield f"| {example.title} | {plan} | {example.caught_by} | {does} |"


def as_yaml(fault: dict[str, Any]) -> str:
    """A fault on one line, as a plan file has it."""
    text = yaml.safe_dump(fault, default_flow_style=True, sort_keys=False, width=10_000).strip()
    # Times need no quotes in YAML, and are easier to read without.
    return re.sub(r"'(\d{4}-\d\d-\d\dT[\d:]+Z)'", r"\1", text)


def _words(outcome: str) -> str:
    return outcome.replace("_", " ")
