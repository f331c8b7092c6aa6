"""Every hour's forecast, made some hours ahead, beside what was measured then."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
import streamlit as st

from co2_assets.serving import contract
from co2_assets.serving.dashboard import data, figures, parts
from co2_assets.serving.dashboard.data import Source
from co2_assets.serving.dashboard.parts import Card
from co2_assets.serving.dashboard.tables import Shown, as_float, number
from co2_assets.serving.dashboard.times import DAY, HOUR
from co2_assets.settings import WINDOW

DAYS = (2, 7, 14, 30)
EVERY = WINDOW // HOUR
"""Hours between two issue times, so that this many leads give one forecast of every hour."""

COLUMNS = (
    Shown("valid_time_utc", "hour"),
    Shown("lead_hours", "hours ahead"),
    Shown("p50_g_per_kwh", "forecast, g/kWh", ".0f"),
    Shown("p10_g_per_kwh", "10 % quantile, g/kWh", ".0f"),
    Shown("p90_g_per_kwh", "90 % quantile, g/kWh", ".0f"),
    Shown("actual_g_per_kwh", "measured, g/kWh", ".0f"),
    Shown("error_g_per_kwh", "error, g/kWh", "+.0f"),
    Shown("model_version", "model"),
    Shown("is_fallback", "fallback"),
    Shown("inputs_missing", "without"),
    Shown("is_hindcast", "made afterwards"),
)


def show(source: Source) -> None:
    """The page."""
    st.title("Forecast against actual")
    end = source.about.data_until_utc
    longest = as_float(source.read(contract.newest_forecast)["lead_hours"].max())
    if end is None or longest is None:
        st.info("Nothing to compare yet: it takes a forecast, and the hours that it is for.")
        return
    left, right = st.columns((2, 1))
    leads = left.selectbox(
        "How far ahead it was made", _choices(int(longest)),
        format_func=_lead_words, key="leads", persist_state="session",
    )  # fmt: skip
    days = right.segmented_control(
        "Period", DAYS, default=7, format_func=lambda days: f"{days} days", required=True,
        key="days", persist_state="session",
    )  # fmt: skip
    start = end - days * DAY
    hours = _hours(source, start, end, leads)
    _figures(hours)
    parts.chart(
        figures.against_actual(hours, start, end, source.zone, as_points=len(leads) == 1),
        f"Forecasts made {_lead_words(leads)} and what was measured, by hour,"
        f" {source.zone.day(start)} to {source.zone.day(end)}, in grams per kWh",
        hours.drop_nulls("p50_g_per_kwh").sort("valid_time_utc", descending=True),
        COLUMNS,
        source.zone,
        "co2-forecast-against-actual",
    )


def _choices(longest: int) -> list[tuple[int, ...]]:
    """Leads that cover every hour, six by six; then each lead alone."""
    groups = [
        tuple(range(first, min(first + EVERY, longest + 1)))
        for first in range(1, longest + 1, EVERY)
    ]
    return [*groups, *((lead,) for lead in range(1, longest + 1))]


def _lead_words(leads: tuple[int, ...]) -> str:
    if len(leads) == 1:
        return f"exactly {leads[0]} h ahead"
    newest = ", the newest forecast of each hour" if leads[0] == 1 else ""
    return f"{leads[0]} to {leads[-1]} h ahead{newest}"


def _hours(source: Source, start: datetime, end: datetime, leads: tuple[int, ...]) -> pl.DataFrame:
    """Every hour of the period: its forecast and its actual, each null where there is none."""
    made = source.read(data.by_lead, start, end, leads)
    measured = source.read(contract.actuals, start, end).select(
        valid_time_utc="hour_utc", measured="co2_g_per_kwh"
    )
    every = pl.datetime_range(start, end, timedelta(hours=1), closed="left", eager=True)
    return (
        every.cast(measured.schema["valid_time_utc"])
        .alias("valid_time_utc")
        .to_frame()
        .join(made.drop("actual_g_per_kwh"), on="valid_time_utc", how="left")
        .join(measured, on="valid_time_utc", how="left")
        .rename({"measured": "actual_g_per_kwh"})
        .sort("valid_time_utc")
    )


def _figures(hours: pl.DataFrame) -> None:
    scored = hours.drop_nulls(("p50_g_per_kwh", "actual_g_per_kwh"))
    inside = scored["actual_g_per_kwh"].is_between(scored["p10_g_per_kwh"], scored["p90_g_per_kwh"])
    share = None if scored.is_empty() else 100 * (as_float(inside.mean()) or 0.0)
    error = scored["error_g_per_kwh"]
    unknown = len(hours) - hours["actual_g_per_kwh"].count()
    parts.cards(
        (
            Card(
                "Mean error",
                number(as_float(error.abs().mean()), ".1f"),
                "g/kWh",
                (f"over {len(scored)} hours that were forecast and measured",),
            ),
            Card(
                "Tendency",
                number(as_float(error.mean()), "+.1f"),
                "g/kWh",
                ("above 0: forecasts were too high",),
            ),
            Card(
                "Within the 80 % band",
                number(share),
                "%",
                (f"{unknown} hours of the period have no measured value: gaps in the chart",),
            ),
        )
    )
