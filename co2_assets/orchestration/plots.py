"""Small pictures for asset metadata, drawn without a browser."""

from __future__ import annotations

import base64
import io
from datetime import datetime

import polars as pl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure

from co2_assets.schema import CO2_COLUMN, POWER_COLUMNS

CREDIT = "Source: Energinet (energidataservice.dk), CC BY 4.0"
# Okabe and Ito's palette: told apart by colour-blind readers as well.
DPI = 72
"""Small enough for the event log, where each picture is kept."""

BLUE, ORANGE, GREEN, RED, SKY, PURPLE, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#777777",
)


def hours_plot(hours: pl.DataFrame) -> str:
    """Markdown with a picture of the hours: CO2 above, power by kind below.

    Args:
        hours: `hour_utc` and the seven reported columns; null is drawn as a gap.
    """
    figure = Figure(dpi=DPI, figsize=(8, 4.2))
    top, bottom = figure.subplots(2, 1, sharex=True)
    times = hours["hour_utc"].to_list()
    top.plot(times, _values(hours, CO2_COLUMN), color="black", linewidth=1.2)
    top.set_ylabel("CO2, g/kWh")
    for name, color in zip(POWER_COLUMNS, (GREY, PURPLE, ORANGE, BLUE, SKY, GREEN), strict=True):
        bottom.plot(
            times,
            _values(hours, name),
            label=name.removesuffix("_mw").replace("_", " "),
            color=color,
            linewidth=1,
        )
    bottom.set_ylabel("MW")
    bottom.legend(fontsize=7, ncols=3)
    return _markdown(figure, bottom)


def series_plot(frame: pl.DataFrame, time: str, columns: dict[str, str], unit: str) -> str:
    """Markdown with a picture of one or more series.

    Args:
        frame: rows in time order.
        time: name of the time column.
        columns: column name to label.
        unit: of all columns.
    """
    figure = Figure(dpi=DPI, figsize=(8, 2.8))
    axes = figure.subplots()
    for (name, label), color in zip(
        columns.items(), (BLUE, ORANGE, GREEN, RED, SKY, PURPLE), strict=False
    ):
        axes.plot(
            frame[time].to_list(), _values(frame, name), label=label, color=color, linewidth=1.2
        )
    axes.set_ylabel(unit)
    axes.legend(fontsize=8)
    return _markdown(figure, axes)


def forecast_plot(forecast: pl.DataFrame, actuals: pl.DataFrame, issue_time: datetime) -> str:
    """Markdown with a forecast's bands and what was known before its issue time.

    Args:
        forecast: served rows of one issue time, by lead, with quantile columns.
        actuals: `hour_utc`, `co2_g_per_kwh` of the hours before.
        issue_time: drawn as a line.
    """
    figure = Figure(dpi=DPI, figsize=(8, 3))
    axes = figure.subplots()
    axes.plot(
        actuals["hour_utc"].to_list(), _values(actuals, CO2_COLUMN), color="black", label="measured"
    )
    times = forecast["valid_time_utc"].to_list()
    for low, high, alpha in (("p05", "p95", 0.15), ("p10", "p90", 0.2), ("p25", "p75", 0.3)):
        axes.fill_between(
            times,
            _values(forecast, f"{low}_g_per_kwh"),
            _values(forecast, f"{high}_g_per_kwh"),
            color=BLUE,
            alpha=alpha,
            linewidth=0,
        )
    axes.plot(
        times,
        _values(forecast, "p50_g_per_kwh"),
        color=BLUE,
        marker="o",
        markersize=3,
        label="forecast (median; 50, 80 and 90 % bands)",
    )
    axes.axvline(issue_time, color=GREY, linestyle=":")
    axes.set_ylabel("CO2, g/kWh")
    axes.legend(fontsize=8)
    return _markdown(figure, axes)


def lead_plot(metrics: pl.DataFrame, title: str) -> str:
    """Markdown with a figure by lead and predictor.

    Args:
        metrics: `predictor`, `lead_hours`, `value` (g/kWh).
        title: what the figure is.
    """
    figure = Figure(dpi=DPI, figsize=(6, 3))
    axes = figure.subplots()
    for (predictor,), rows in sorted(metrics.group_by(["predictor"])):
        by_lead = rows.sort("lead_hours")
        axes.plot(
            by_lead["lead_hours"].to_list(),
            by_lead["value"].to_list(),
            marker="o",
            label=str(predictor),
        )
    axes.set_xlabel("lead, hours")
    axes.set_ylabel(f"{title}, g/kWh")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    return _picture(figure)


def _values(frame: pl.DataFrame, name: str) -> list[float]:
    return frame[name].cast(pl.Float64).fill_null(float("nan")).to_list()


def _markdown(figure: Figure, lowest_axes: object) -> str:
    axis = lowest_axes.xaxis  # type: ignore[attr-defined]
    axis.set_major_formatter(ConciseDateFormatter(axis.get_major_locator()))
    return _picture(figure)


def _picture(figure: Figure) -> str:
    # Fixed margins: a layout engine measures every label twice and takes half the time.
    figure.subplots_adjust(left=0.1, right=0.98, top=0.96, bottom=0.2, hspace=0.08)
    figure.text(0.98, 0.01, f"times are UTC. {CREDIT}", fontsize=6, color=GREY, ha="right")
    for axes in figure.axes:
        axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return f"![plot](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
