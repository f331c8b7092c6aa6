"""Figures of recorded hours: gaps stay gaps, no hour comes twice, bands are as asked."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import plotly.graph_objects as go
import polars as pl
import pytest

from co2_assets.schema import CO2_COLUMN, QUANTILE_COLUMNS, QUANTILES
from co2_assets.serving.dashboard import figures
from co2_assets.serving.dashboard.times import DANISH, HOUR, UTC_ZONE, Zone
from co2_assets_tests.homes import utc

FROZEN = utc("2025-01-02T12:00")
"""A day in whose midst the feed froze for some hours: they are null in the history."""


def measured_from(history: pl.DataFrame, start: datetime, hours: int = 24) -> pl.DataFrame:
    return history.filter(pl.col("hour_utc").is_between(start, start + (hours - 1) * HOUR)).select(
        "hour_utc", CO2_COLUMN
    )


def forecast_of(history: pl.DataFrame, start: datetime, hours: int = 24) -> pl.DataFrame:
    """A forecast whose median is what was measured, with bands around it."""
    known = measured_from(history, start, hours).drop_nulls()
    return known.select(
        valid_time_utc="hour_utc",
        lead_hours=((pl.col("hour_utc") - start).dt.total_hours() + 1).cast(pl.Int64),
        **{
            column: pl.col(CO2_COLUMN) * (0.5 + level)
            for column, level in zip(QUANTILE_COLUMNS, QUANTILES, strict=True)
        },
    )


def trace(figure: go.Figure, name: str) -> go.Scatter:
    (found,) = (one for one in figure.data if one.name == name)
    return found


def outlook(history: pl.DataFrame, now: datetime, zone: Zone = DANISH) -> go.Figure:
    return figures.outlook(
        measured_from(history, now - 24 * HOUR), forecast_of(history, now), now, zone
    )


def test_a_null_hour_is_a_gap_neither_bridged_nor_zero(history: pl.DataFrame) -> None:
    measured = measured_from(history, FROZEN)
    lacking = measured.filter(pl.col(CO2_COLUMN).is_null())["hour_utc"].to_list()
    assert lacking, "the recording has frozen hours on this day"
    drawn = trace(
        figures.outlook(measured, forecast_of(history, FROZEN).clear(), FROZEN, UTC_ZONE),
        "measured",
    )
    assert drawn.connectgaps is False
    assert None in drawn.y
    assert 0 not in drawn.y
    for hour in lacking:
        middle = (hour + HOUR / 2).replace(tzinfo=None)
        for (x, _y), (next_x, _next_y) in pairwise(zip(drawn.x, drawn.y, strict=True)):
            if x is not None and next_x is not None:
                assert not (datetime.fromisoformat(x) < middle < datetime.fromisoformat(next_x))


def test_a_band_is_one_polygon_per_run_of_hours(history: pl.DataFrame) -> None:
    forecast = forecast_of(history, FROZEN)
    gaps = sum(
        late - early > HOUR for early, late in pairwise(forecast["valid_time_utc"].to_list())
    )
    assert gaps
    band = trace(
        figures.outlook(measured_from(history, FROZEN).clear(), forecast, FROZEN, UTC_ZONE),
        "80 % band",
    )
    assert list(band.x).count(None) == gaps
    assert band.fill == "toself"


@pytest.mark.parametrize(
    ("percent", "low", "high"),
    [(50, "p25_g_per_kwh", "p75_g_per_kwh"), (80, "p10_g_per_kwh", "p90_g_per_kwh"),
     (90, "p05_g_per_kwh", "p95_g_per_kwh")],
)  # fmt: skip
def test_each_band_spans_its_quantiles(
    history: pl.DataFrame, percent: int, low: str, high: str
) -> None:
    now = utc("2025-01-15T00:00")
    forecast = forecast_of(history, now)
    band = trace(outlook(history, now), f"{percent} % band")
    assert set(band.y) == {*forecast[low], *forecast[high]}


def test_now_is_marked_where_it_is_on_the_axis(history: pl.DataFrame) -> None:
    now = utc("2025-01-15T00:20")
    figure = figures.outlook(
        measured_from(history, utc("2025-01-14T00:00")),
        forecast_of(history, utc("2025-01-15T00:00")),
        now,
        DANISH,
    )
    (label,) = (one for one in figure.layout.annotations if one.text == "now")
    assert label.x == "2025-01-15T00:20:00"
    late = figures.outlook(
        measured_from(history, utc("2025-01-14T00:00")),
        forecast_of(history, utc("2025-01-15T00:00")),
        now + timedelta(days=3),
        DANISH,
    )
    assert not [one for one in late.layout.annotations if one.text == "now"]


@pytest.mark.parametrize("change", ["2024-10-27T01:00", "2024-03-31T01:00"])
def test_every_instant_of_a_clock_change_has_its_own_place(
    history: pl.DataFrame, change: str
) -> None:
    figure = outlook(history, utc(change))
    carriers = [one for one in figure.data if one.text is not None]
    places = [x for one in carriers for x in one.x]
    said = [text.split("</b>")[0] for one in carriers for text in one.text]
    assert len(places) == len(set(places)) >= 40
    assert len(set(said)) == len(places), "each hour is called by a name of its own"
    assert [one for one in figure.layout.annotations if "02:00" in (one.text or "")]
    labels = figure.layout.xaxis.ticktext
    assert len(labels) == len(figure.layout.xaxis.tickvals)


def test_lines_differ_by_dash_or_marker_and_not_by_colour_alone() -> None:
    looks = list(figures.LOOKS.values())
    seen = {(one.dash, one.symbol) for one in looks if one.title != "this version"}
    assert len(seen) == len(looks) - 1


def test_the_recommended_hours_are_outlined_and_named(history: pl.DataFrame) -> None:
    now = utc("2025-01-15T00:00")
    apart = (utc("2025-01-15T03:00"), utc("2025-01-15T04:00"), utc("2025-01-15T09:00"))
    figure = figures.outlook(
        measured_from(history, now - 24 * HOUR),
        forecast_of(history, now),
        now,
        DANISH,
        figures.Marked(apart, "greenest 3 h"),
    )
    outlined = [(one.x0, one.x1) for one in figure.layout.shapes if one.type == "rect"]
    assert outlined == [
        ("2025-01-15T03:00:00", "2025-01-15T05:00:00"),
        ("2025-01-15T09:00:00", "2025-01-15T10:00:00"),
    ]
    assert "greenest 3 h" in [one.text for one in figure.layout.annotations]


def test_every_axis_has_its_unit(history: pl.DataFrame) -> None:
    figure = outlook(history, utc("2025-01-15T00:00"))
    assert figures.CO2_AXIS in [one.text for one in figure.layout.annotations]
    assert figure.layout.xaxis.title.text == "Danish time (CET)"
    by_lead = figures.error_by_lead(
        pl.DataFrame({"predictor": ["champion"], "lead_hours": [1], "mae": [9.0]})
    )
    assert "mean absolute error, g/kWh" in [one.text for one in by_lead.layout.annotations]
    assert by_lead.layout.xaxis.title.text == "hours ahead of the issue time"


def test_nothing_to_draw_is_an_empty_figure_and_no_error(history: pl.DataFrame) -> None:
    nothing = measured_from(history, FROZEN).clear()
    figure = figures.outlook(nothing, forecast_of(history, FROZEN).clear(), FROZEN, DANISH)
    assert all(len(one.x) == 0 for one in figure.data)
