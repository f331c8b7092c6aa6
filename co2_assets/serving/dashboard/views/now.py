"""How green is the power now, when will it be greenest, how far can that be trusted?"""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import NamedTuple

import polars as pl
import streamlit as st

from co2_assets.errors import WindowDoesNotFit
from co2_assets.forecasting.advice_calibration import NEAR_HOURS
from co2_assets.forecasting.greenest import (
    CALIBRATED_ON,
    Recommendation,
    WindowRequest,
    recommend,
)
from co2_assets.schema import QUANTILE_COLUMNS
from co2_assets.serving import contract
from co2_assets.serving.dashboard import figures, parts, words
from co2_assets.serving.dashboard.data import Source
from co2_assets.serving.dashboard.parts import Card
from co2_assets.serving.dashboard.tables import Shown, number
from co2_assets.serving.dashboard.times import DAY, HOUR, Zone

MEASURED_HOURS = 24
USUAL_DAYS = 30
TRUST_DAYS = 7

LONGEST_JOB = 12
CAUTION = {
    None: f"usual: 50 % within {NEAR_HOURS} h, else 75 %",
    0.5: "expected value (50 %)",
    0.75: "cautious (75 %)",
    0.9: "very cautious (90 %)",
}

OUTLOOK_COLUMNS = (
    Shown("hour_utc", "hour"),
    Shown("kind", "kind"),
    Shown("co2_g_per_kwh", "CO\N{SUBSCRIPT TWO}, g/kWh", ".0f"),
    *(
        Shown(name, f"{int(name[1:3])} % quantile, g/kWh", ".0f")
        for name in QUANTILE_COLUMNS
        if name != "p50_g_per_kwh"
    ),
)
START_COLUMNS = (
    Shown("start_utc", "start"),
    Shown("expected_g_per_kwh", "forecast, g/kWh", ".0f"),
    Shown("difference_g_per_kwh", "against now, g/kWh", "+.0f"),
)


class Picked(NamedTuple):
    """The answer to the picker: a recommendation, or why there is none."""

    duration: int
    found: Recommendation | None
    why: str = ""
    refusal: str = ""


def show(source: Source) -> None:
    """The page."""
    st.title("How green is Danish power?")
    now = contract.this_hour(source.about.now_utc)
    measured = source.read(contract.last_hours, now, MEASURED_HOURS)
    forecast = source.read(contract.newest_forecast)
    if measured.is_empty() and forecast.is_empty():
        st.info(
            "Nothing is measured or forecast yet. The first tick of `make run` or `make demo`"
            " changes that; this page follows by itself."
        )
        return

    on_top, drawn = st.container(), st.container()
    st.header("When should I run it?")
    picked = _pick(forecast, now, source)
    with on_top:
        parts.cards(
            (
                _now_card(source, measured, forecast, now),
                _window_card(picked, now, source.zone),
                _trust_card(source),
            )
        )
    with drawn:
        _draw(source, measured, forecast, picked)
    _answer(picked, now, source.zone)


# The three figures


def _now_card(
    source: Source, measured: pl.DataFrame, forecast: pl.DataFrame, now: datetime
) -> Card:
    zone = source.zone
    known = measured.drop_nulls("co2_g_per_kwh").tail(1)
    last = [
        f"last measured: {value:.0f} g/kWh, {zone.day_word(hour, source.about.now_utc)}"
        f" {zone.span(hour, hour + HOUR)}"
        for hour, value in known.select("hour_utc", "co2_g_per_kwh").iter_rows()
    ]
    current = forecast.filter(pl.col("valid_time_utc") == now)
    if current.is_empty():
        return Card("Now", "unknown", "", ("no forecast reaches this hour", *last))
    row = current.row(0, named=True)
    value = row["p50_g_per_kwh"]
    said = [
        f"forecast for {zone.span(now, now + HOUR)}; 80 % sure:"
        f" {row['p10_g_per_kwh']:.0f} to {row['p90_g_per_kwh']:.0f} g/kWh",
        *last,
    ]
    usual = source.read(contract.actuals, now - USUAL_DAYS * DAY, now)["co2_g_per_kwh"].drop_nulls()
    if len(usual):
        verdict, dirtier = words.greenness(value, usual)
        said.insert(0, f"{verdict}: greener than {dirtier} % of the past {USUAL_DAYS} days")
    return Card("Now", f"{value:.0f}", "g/kWh", said)


def _window_card(picked: Picked, now: datetime, zone: Zone) -> Card:
    title = f"Greenest {_hours(picked.duration)} to come"
    if picked.found is None:
        return Card(title, "none", "", (picked.why, "more of it under the picker below"))
    found = picked.found
    return Card(
        title,
        "now" if found.is_now else _when(found, now, zone),
        "",
        (
            f"{found.expected_g_per_kwh:.0f} g/kWh expected, {found.now_g_per_kwh:.0f} if run now",
            words.saving(found),
        ),
    )


def _trust_card(source: Source) -> Card:
    until = source.about.data_until_utc or source.about.now_utc
    leads = source.read(contract.accuracy_by_lead, until - TRUST_DAYS * DAY, until)
    figure, said = words.trust(leads, TRUST_DAYS)
    return Card("How far to trust it", figure, "", said.split(" · "))


# The chart


def _draw(source: Source, measured: pl.DataFrame, forecast: pl.DataFrame, picked: Picked) -> None:
    zone, now = source.zone, source.about.now_utc
    marked = (
        None
        if picked.found is None
        else figures.Marked(picked.found.hours, f"greenest {picked.duration} h")
    )
    parts.chart(
        figures.outlook(measured, forecast, now, zone, marked),
        _in_words(measured, forecast, zone),
        _rows(measured, forecast),
        OUTLOOK_COLUMNS,
        zone,
        "co2-outlook",
    )


def _in_words(measured: pl.DataFrame, forecast: pl.DataFrame, zone: Zone) -> str:
    said = ["CO2 emission of Danish electricity by hour, in grams per kWh"]
    for rows, time, value, what in (
        (measured, "hour_utc", "co2_g_per_kwh", "measured"),
        (forecast, "valid_time_utc", "p50_g_per_kwh", "forecast"),
    ):
        known = rows.drop_nulls(value)
        if known.is_empty():
            said.append(f"nothing {what}")
            continue
        lowest = known.row(known[value].arg_min() or 0, named=True)
        highest = known.row(known[value].arg_max() or 0, named=True)
        said.append(
            f"{what} {zone.hour(known[time][0])} to {zone.hour(known[time][-1] + HOUR)}:"
            f" lowest {lowest[value]:.0f} at {zone.clock(lowest[time])},"
            f" highest {highest[value]:.0f} at {zone.clock(highest[time])}"
        )
    return "; ".join(said) + "."


def _rows(measured: pl.DataFrame, forecast: pl.DataFrame) -> pl.DataFrame:
    return pl.concat(
        (
            measured.select("hour_utc", "co2_g_per_kwh", kind=pl.lit("measured")),
            forecast.select(
                *QUANTILE_COLUMNS,
                hour_utc="valid_time_utc",
                co2_g_per_kwh="p50_g_per_kwh",
                kind=pl.lit("forecast"),
            ).drop("p50_g_per_kwh"),
        ),
        how="diagonal",
    )


# The picker


def _pick(forecast: pl.DataFrame, now: datetime, source: Source) -> Picked:
    zone = source.zone
    ahead = forecast.filter(pl.col("valid_time_utc") >= now)["valid_time_utc"].to_list()
    say = partial(_hour_words, now=now, zone=zone)
    with st.container(key="picker"):
        left, middle, right = st.columns(3)
        duration = left.selectbox(
            "The job takes", range(1, LONGEST_JOB + 1), index=1, format_func=_hours,
            key="duration", persist_state="session",
        )  # fmt: skip
        earliest = parts.pick_hour(
            middle, "It may start", ahead[1:], "earliest", zone,
            lambda hour: f"{say(hour)} or later", open_end="now",
        )  # fmt: skip
        deadline = parts.pick_hour(
            right, "It must be done", [hour + HOUR for hour in ahead], "deadline", zone,
            lambda hour: f"by {say(hour)}", open_end="any time",
        )  # fmt: skip
        left, right = st.columns((1, 2), vertical_alignment="bottom")
        quantile = left.selectbox(
            "Choose by", list(CAUTION), format_func=lambda level: CAUTION[level], key="caution",
            persist_state="session",
            help="A cautious choice prefers hours whose high values, too, are low. The usual one"
            " also says to run at once where nothing is likely to be saved by waiting.",
        )  # fmt: skip
        may_pause = right.toggle(
            "It may pause: take the greenest single hours", key="may_pause",
            persist_state="session",
        )  # fmt: skip
    request = WindowRequest(duration, earliest, deadline, not may_pause, quantile)
    calibrations = source.read(contract.advice_calibrations)
    try:
        return Picked(duration, recommend(forecast, request, now, calibrations))
    except WindowDoesNotFit as error:
        return Picked(duration, None, error.what, words.refusal(error, zone))


def _answer(picked: Picked, now: datetime, zone: Zone) -> None:
    found = picked.found
    if found is None:
        st.warning(picked.refusal)
        return
    if found.is_now:
        st.success(
            f"**Run it now.** {found.now_g_per_kwh:.0f} g/kWh are expected"
            f" ({_range(found)} in 8 of 10 cases), and no later hours are likely to be greener."
            f" {_horizon(found, now, zone)}"
        )
    else:
        st.success(
            f"**Run it {_when(found, now, zone)}.** {found.expected_g_per_kwh:.0f} g/kWh are"
            f" expected ({_range(found)} in 8 of 10 cases), against {found.now_g_per_kwh:.0f} g/kWh"
            f" when run at once: {_saved(found)}. There is a"
            f" {words.chance(found.chance_beats_now)} that it beats running now"
            f" ({CALIBRATED_ON[found.calibrated_on].format(n=found.calibration_n)})."
            f" {_horizon(found, now, zone)}"
        )
    starts = pl.DataFrame(
        {
            "start_utc": [one.start_utc for one in found.candidates],
            "expected_g_per_kwh": [one.expected_g_per_kwh for one in found.candidates],
        }
    ).with_columns(difference_g_per_kwh=pl.col("expected_g_per_kwh") - found.now_g_per_kwh)
    parts.folded_table(
        "Every start that was considered",
        starts,
        START_COLUMNS,
        zone,
        "Possible starts and the forecast of each; the lowest is often a little low by mistake, so"
        " more is expected of it",
        "co2-starts",
    )


def _when(found: Recommendation, now: datetime, zone: Zone) -> str:
    """The chosen hours in words: `tomorrow 03:00-05:00`."""
    said: list[str] = []
    day = ""
    for start, end in figures.blocks(found.hours):
        word = zone.day_word(start, now)
        said.append(f"{'' if word == day else word + ' '}{zone.span(start, end)}")
        day = word
    return ", ".join(said)


def _saved(found: Recommendation) -> str:
    grams, percent = found.expected_saving_g_per_kwh, found.expected_saving_percent
    word = "less" if grams >= 0 else "more"
    return f"{abs(grams):.0f} g/kWh or {abs(percent):.0f} % {word}"


def _range(found: Recommendation) -> str:
    return f"{number(found.low_g_per_kwh)} to {number(found.high_g_per_kwh)}"


def _horizon(found: Recommendation, now: datetime, zone: Zone) -> str:
    return f"The forecast ends {_hour_words(found.horizon_end_utc, now, zone)}."


def _hour_words(hour: datetime, now: datetime, zone: Zone) -> str:
    return f"{zone.day_word(hour, now)} {zone.clock(hour)}"


def _hours(count: int) -> str:
    return f"{count} hour" + ("" if count == 1 else "s")
