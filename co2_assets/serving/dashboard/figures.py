"""Plotly figures from frames: no Streamlit, no DuckDB.

The axis of time is UTC underneath, so that no hour comes twice; its labels are of the zone
that is asked for. A null is a gap. What lines mean is told by dash and marker as well as by
colour; the colours are those of Okabe and Ito.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import plotly.graph_objects as go
import polars as pl

from co2_assets.schema import MISSION_LEADS
from co2_assets.serving.chart import BLACK, BLUE
from co2_assets.serving.dashboard.times import HOUR, Zone, axis_title, clock_changes, ticks

VERMILLION, GREEN, PURPLE, SKY = "#D55E00", "#009E73", "#AA4499", "#56B4E9"
INK, GRID = "#333333", "#E3E3E3"
FONT = "Source Sans, Source Sans Pro, sans-serif"

CO2_AXIS = "CO\N{SUBSCRIPT TWO} emission, g/kWh"
BANDS = (
    (90, "p05_g_per_kwh", "p95_g_per_kwh", "#DCEAF4"),
    (80, "p10_g_per_kwh", "p90_g_per_kwh", "#B2D4E9"),
    (50, "p25_g_per_kwh", "p75_g_per_kwh", "#7DB7DA"),
)
"""Bands of a forecast, widest first: percent, lower and upper column, fill."""


@dataclass(frozen=True)
class Look:
    """How one predictor is drawn, and what it is called.

    Attributes:
        title: in the legend and in tables.
        color: of line and marker.
        dash: of the line.
        symbol: of the marker.
    """

    title: str
    color: str
    dash: str
    symbol: str


LOOKS = {
    "champion": Look("what was served", BLUE, "solid", "circle"),
    "challenger": Look("this version", BLUE, "solid", "circle"),
    "persistence": Look("persistence", VERMILLION, "dash", "square"),
    "climatology": Look("climatology", GREEN, "dot", "diamond"),
    "energinet": Look("Energinet", PURPLE, "dashdot", "triangle-up"),
    "energinet_recalibrated": Look(
        "Energinet, recalibrated", PURPLE, "longdash", "triangle-down-open"
    ),
}


def look(predictor: str) -> Look:
    """How a predictor is drawn; a version of the registry goes by its name."""
    return LOOKS.get(predictor, Look(predictor, INK, "longdashdot", "x"))


@dataclass(frozen=True)
class Marked:
    """Hours to point out on the outlook.

    Attributes:
        hours: UTC, beginning, ascending.
        label: what they are.
    """

    hours: tuple[datetime, ...]
    label: str


def outlook(
    actuals: pl.DataFrame,
    forecast: pl.DataFrame,
    now: datetime,
    zone: Zone,
    marked: Marked | None = None,
) -> go.Figure:
    """What was measured, now, and what is forecast with its bands.

    Args:
        actuals: `hour_utc`, `co2_g_per_kwh`.
        forecast: one issue time's rows: `valid_time_utc`, `lead_hours` and the quantiles.
        now: the platform's time; marked where it lies on the axis.
        zone: of the labels.
        marked: hours to point out.
    """
    figure = go.Figure()
    for percent, low, high, fill in BANDS:
        figure.add_trace(_band(forecast, low, high, fill, f"{percent} % band"))
    near = forecast.filter(pl.col("lead_hours") <= MISSION_LEADS)
    far = forecast.filter(pl.col("lead_hours") > MISSION_LEADS)
    for part, name, dash in (
        (near, f"forecast, {MISSION_LEADS} h", "solid"),
        (far, "outlook", "dot"),
    ):
        figure.add_trace(
            _steps(part, "valid_time_utc", "p50_g_per_kwh", name, Look(name, BLUE, dash, ""))
        )
    figure.add_trace(
        _steps(actuals, "hour_utc", "co2_g_per_kwh", "measured", Look("", BLACK, "solid", ""), 3)
    )
    figure.add_trace(_hover(actuals, "hour_utc", zone, measured=True))
    figure.add_trace(_hover(forecast, "valid_time_utc", zone, measured=False))

    times = [*actuals["hour_utc"], *forecast["valid_time_utc"]]
    if times:
        start, end = min(times), max(times) + HOUR
        _time_axis(figure, start, end, zone)
        if start <= now < end:
            _mark_now(figure, now)
        if marked is not None:
            _mark(figure, marked, end)
    return _laid_out(figure, CO2_AXIS)


def against_actual(
    hours: pl.DataFrame, start: datetime, end: datetime, zone: Zone, *, as_points: bool
) -> go.Figure:
    """Forecasts of some lead beside what followed, over [start, end).

    Args:
        hours: `valid_time_utc`, `actual_g_per_kwh` and the quantiles, one row per hour.
        start: of the axis, UTC.
        end: of the axis.
        zone: of the labels.
        as_points: one forecast in six hours, drawn as points with bars in place of a line.
    """
    figure = go.Figure()
    actual = Look("measured", BLACK, "solid", "")
    if as_points:
        made = hours.drop_nulls("p50_g_per_kwh")
        figure.add_trace(_steps(hours, "valid_time_utc", "actual_g_per_kwh", "measured", actual))
        figure.add_trace(_points(made))
    else:
        percent, low, high, fill = BANDS[1]
        figure.add_trace(_band(hours, low, high, fill, f"{percent} % band"))
        forecast = Look("forecast", BLUE, "dot", "")
        figure.add_trace(_steps(hours, "valid_time_utc", "p50_g_per_kwh", "forecast", forecast))
        figure.add_trace(_steps(hours, "valid_time_utc", "actual_g_per_kwh", "measured", actual))
    figure.add_trace(_hover_both(hours, zone))
    _time_axis(figure, start, end, zone)
    return _laid_out(figure, CO2_AXIS)


def error_by_lead(figures: pl.DataFrame) -> go.Figure:
    """Mean absolute error by lead, one line per predictor.

    Args:
        figures: `predictor`, `lead_hours`, `mae` in g/kWh, maybe null.
    """
    figure = go.Figure()
    for predictor in _in_order(figures["predictor"]):
        of_it = figures.filter(pl.col("predictor") == predictor).sort("lead_hours")
        figure.add_trace(_by_lead(of_it, "mae", look(predictor), ".1f", "g/kWh"))
    return _lead_axis(_laid_out(figure, "mean absolute error, g/kWh", names=140))


def coverage_by_lead(figures: pl.DataFrame) -> go.Figure:
    """Share of the hours that fell into the 80 % band, by lead, beside the 80 % aimed at.

    Args:
        figures: `lead_hours`, `coverage_80` as a share.
    """
    percent = figures.with_columns(coverage_80=100 * pl.col("coverage_80")).sort("lead_hours")
    figure = go.Figure(_by_lead(percent, "coverage_80", LOOKS["champion"], ".0f", "%"))
    figure.add_hline(
        y=80,
        line={"color": INK, "dash": "dash", "width": 1.5},
        annotation_text="80 % aimed at",
        annotation_position="bottom right",
    )
    return _lead_axis(
        _laid_out(figure, "hours within the band, %", height=280).update_yaxes(range=[0, 104])
    ).update_layout(showlegend=False)


# Parts


def _band(rows: pl.DataFrame, low: str, high: str, fill: str, name: str) -> go.Scatter:
    """A polygon for every run of hours without a gap: a fill between lines would bridge it."""
    x: list[str | None] = []
    y: list[float | None] = []
    for run in _runs(rows, "valid_time_utc", (low, high)):
        times = [_axis(edge) for time, *_ in run for edge in (time, time + HOUR)]
        lower = [value for _, value, _ in run for _ in range(2)]
        upper = [value for _, _, value in run for _ in range(2)]
        if x:
            x.append(None)
            y.append(None)
        x += [*times, *reversed(times)]
        y += [*lower, *reversed(upper)]
    return go.Scatter(
        x=x, y=y, mode="lines", fill="toself", fillcolor=fill, line_width=0, name=name,
        hoverinfo="skip",
    )  # fmt: skip


def _steps(
    rows: pl.DataFrame, time: str, value: str, name: str, drawn: Look, width: float = 2.5
) -> go.Scatter:
    """A step per hour, since a value is the mean of its hour; nothing where it is null."""
    x: list[str | None] = []
    y: list[float | None] = []
    for run in _runs(rows, time, (value,)):
        if x:
            x.append(None)
            y.append(None)
        for begin, mean in run:
            x += [_axis(begin), _axis(begin + HOUR)]
            y += [mean, mean]
    return go.Scatter(
        x=x, y=y, mode="lines", name=name, connectgaps=False, hoverinfo="skip",
        # Simplified, a small step becomes a slope.
        line={"color": drawn.color, "dash": drawn.dash, "width": width, "simplify": False},
    )  # fmt: skip


def _runs(rows: pl.DataFrame, time: str, values: Sequence[str]) -> list[list[tuple[Any, ...]]]:
    """Rows in runs of hours that follow each other and lack no value."""
    known = rows.drop_nulls(list(values)).sort(time).select(time, *values).rows()
    runs: list[list[tuple[Any, ...]]] = [[known[0]]] if known else []
    for before, row in pairwise(known):
        if row[0] - before[0] == HOUR:
            runs[-1].append(row)
        else:
            runs.append([row])
    return runs


def _points(made: pl.DataFrame) -> go.Scatter:
    median = made["p50_g_per_kwh"]
    return go.Scatter(
        x=[_axis(time + HOUR / 2) for time in made["valid_time_utc"]],
        y=median.to_list(),
        mode="markers",
        name="forecast with its 80 % band",
        hoverinfo="skip",
        marker={"symbol": "diamond", "size": 8, "color": BLUE},
        error_y={
            "array": (made["p90_g_per_kwh"] - median).to_list(),
            "arrayminus": (median - made["p10_g_per_kwh"]).to_list(),
            "color": BLUE,
            "thickness": 1.5,
        },
    )


def _hover(rows: pl.DataFrame, time: str, zone: Zone, *, measured: bool) -> go.Scatter:
    """Invisible points in the middle of the hours, which say their values."""
    value = "co2_g_per_kwh" if measured else "p50_g_per_kwh"
    known = rows.drop_nulls(value)
    said = (
        [f"measured: <b>{row[value]:.0f} g/kWh</b>" for row in known.iter_rows(named=True)]
        if measured
        else [_forecast_words(row) for row in known.iter_rows(named=True)]
    )
    return _carrier(known[time], known[value], said, zone)


def _hover_both(hours: pl.DataFrame, zone: Zone) -> go.Scatter:
    known = hours.filter(
        pl.col("p50_g_per_kwh").is_not_null() | pl.col("actual_g_per_kwh").is_not_null()
    )
    said = []
    for row in known.iter_rows(named=True):
        actual = row["actual_g_per_kwh"]
        parts = [f"measured: <b>{'unknown' if actual is None else f'{actual:.0f} g/kWh'}</b>"]
        if row["p50_g_per_kwh"] is not None:
            parts.append(_forecast_words(row, only_80=True))
        said.append("<br>".join(parts))
    height = known.select(pl.coalesce("actual_g_per_kwh", "p50_g_per_kwh")).to_series()
    return _carrier(known["valid_time_utc"], height, said, zone)


def _carrier(times: pl.Series, heights: pl.Series, said: list[str], zone: Zone) -> go.Scatter:
    return go.Scatter(
        x=[_axis(time + HOUR / 2) for time in times],
        y=heights.to_list(),
        mode="markers",
        marker={"opacity": 0, "size": 14},
        showlegend=False,
        text=[
            f"<b>{zone.hour(time)}</b><br>{words}" for time, words in zip(times, said, strict=True)
        ],
        hovertemplate="%{text}<extra></extra>",
    )


def _forecast_words(row: dict[str, Any], *, only_80: bool = False) -> str:
    lines = [f"forecast: <b>{row['p50_g_per_kwh']:.0f} g/kWh</b>"]
    for percent, low, high, _fill in reversed(BANDS):
        if percent == 80 or not only_80:
            lines.append(f"{percent} %: {row[low]:.0f} to {row[high]:.0f}")
    return "<br>".join(lines)


def _by_lead(rows: pl.DataFrame, value: str, drawn: Look, form: str, unit: str) -> go.Scatter:
    return go.Scatter(
        x=rows["lead_hours"].to_list(),
        y=rows[value].to_list(),
        mode="lines+markers",
        name=drawn.title,
        connectgaps=False,
        line={"color": drawn.color, "dash": drawn.dash, "width": 2},
        marker={"color": drawn.color, "symbol": drawn.symbol, "size": 7},
        hovertemplate=f"{drawn.title}, %{{x}} h ahead: %{{y:{form}}} {unit}<extra></extra>",
    )


def _in_order(predictors: pl.Series) -> list[str]:
    order = list(LOOKS)
    return sorted(
        predictors.unique().to_list(),
        key=lambda name: (order.index(name) if name in order else len(order), name),
    )


# Axes


def _time_axis(figure: go.Figure, start: datetime, end: datetime, zone: Zone) -> None:
    marks = ticks(start, end, zone)
    figure.update_xaxes(
        type="date",
        range=[_axis(start), _axis(end)],
        tickmode="array",
        tickvals=[_axis(time) for time, _label in marks],
        ticktext=[label for _time, label in marks],
        tickangle=0,
        title_text=axis_title(zone, start, end),
    )
    for time, words in clock_changes(start, end, zone):
        _mark_change(figure, time, words)


def _line(figure: go.Figure, time: datetime, dash: str) -> None:
    x = _axis(time)
    figure.add_shape(
        type="line", x0=x, x1=x, y0=0, y1=1, yref="paper",
        line={"color": INK, "width": 1.5, "dash": dash},
    )  # fmt: skip


def _mark_now(figure: go.Figure, now: datetime) -> None:
    _line(figure, now, "solid")
    figure.add_annotation(
        x=_axis(now), y=1, yref="paper", yanchor="bottom", text="now", showarrow=False,
        font={"color": INK},
    )  # fmt: skip


def _mark_change(figure: go.Figure, time: datetime, words: str) -> None:
    _line(figure, time, "dot")
    figure.add_annotation(  # below, where neither now nor the greenest hours are named
        x=_axis(time), y=0.01, yref="paper", yanchor="bottom", text=words, showarrow=False,
        font={"color": INK}, bgcolor="rgba(255, 255, 255, 0.8)",
    )  # fmt: skip


def _mark(figure: go.Figure, marked: Marked, axis_end: datetime) -> None:
    for start, end in blocks(marked.hours):
        figure.add_shape(
            type="rect", x0=_axis(start), x1=_axis(end), y0=0, y1=1, yref="paper", 
            fillcolor="rgba(0, 158, 115, 0.12)", line={"color": GREEN, "width": 2, "dash": "dash"},
        )  # fmt: skip
    # A label at the right edge would be cut off on a phone.
    last = marked.hours[-1] + HOUR
    at_edge = axis_end - last < timedelta(hours=8)
    figure.add_annotation(
        x=_axis(last if at_edge else marked.hours[0]), xanchor="right" if at_edge else "left",
        y=0.99, yref="paper", yanchor="top", text=marked.label, showarrow=False,
        font={"color": "#00573F"}, bgcolor="rgba(255, 255, 255, 0.8)",
    )  # fmt: skip


def blocks(hours: Sequence[datetime]) -> list[tuple[datetime, datetime]]:
    """Spans [start, end) of hours that follow each other."""
    spans: list[tuple[datetime, datetime]] = []
    for hour in hours:
        if spans and spans[-1][1] == hour:
            spans[-1] = (spans[-1][0], hour + HOUR)
        else:
            spans.append((hour, hour + HOUR))
    return spans


def _axis(time: datetime) -> str:
    """An instant for Plotly, which knows no zones: its UTC, unmarked."""
    return (time.replace(tzinfo=None) - (time.utcoffset() or timedelta())).isoformat()


def _lead_axis(figure: go.Figure) -> go.Figure:
    return figure.update_xaxes(title_text="hours ahead of the issue time", dtick=3, tick0=0)


def _laid_out(figure: go.Figure, y_title: str, *, height: int = 430, names: int = 90) -> go.Figure:
    """The common look; `names` is the width in the legend of each name, in pixels."""
    # The unit stands above the axis: beside it, it takes a fifth of a phone's width.
    figure.add_annotation(
        text=y_title, x=0, xref="paper", xanchor="left", xshift=-30, y=1, yref="paper",
        yanchor="bottom", yshift=16, showarrow=False, font={"color": INK},
    )  # fmt: skip
    figure.update_yaxes(rangemode="tozero", gridcolor=GRID, zerolinecolor=INK, fixedrange=True)
    figure.update_xaxes(
        gridcolor=GRID,
        fixedrange=True,
        ticks="outside",
        tickcolor=INK,
        title_standoff=8,
        title_font_size=13,
    )
    return figure.update_layout(
        template="plotly_white",
        height=height,
        margin={"l": 40, "r": 24, "t": 48, "b": 10},
        font={"size": 13, "color": INK, "family": FONT},
        hovermode="closest",
        hoverdistance=60,
        dragmode=False,
        legend={
            "orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0,
            "xanchor": "left", "entrywidth": names,
        },
    )  # fmt: skip
