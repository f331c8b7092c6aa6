"""Small pictures for asset metadata, drawn without a browser."""

from __future__ import annotations

import base64
import io
from datetime import datetime, timedelta

import polars as pl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from co2_assets.schema import CO2_COLUMN, POWER_COLUMNS

CREDIT = "Source: Energinet (energidataservice.dk), CC BY 4.0"
DPI = 72
"""Small enough for the event log, where each picture is kept."""

SMALL = 8
"""Points; smaller letters cannot be read at this resolution."""

LEFT_IN, RIGHT_IN, TOP_IN = 0.75, 0.2, 0.12
TIMES_IN, LABEL_IN = 0.58, 0.78
"""Inches below the axes, for times or for a labelled axis, with the credit under them."""

# Okabe and Ito's palette: told apart by colour-blind readers as well.
BLUE, ORANGE, GREEN, RED, SKY, PURPLE, GREY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#56B4E9",
    "#CC79A7",
    "#666666",
)

HALF_HOUR = timedelta(minutes=30)
QUALITY_COLORS = {"imputed": SKY, "missing": GREY, "spike": RED, "frozen": BLUE}
PREDICTOR_COLORS = {
    "challenger": BLUE,
    "champion": GREEN,
    "persistence": GREY,
    "climatology": ORANGE,
    "seasonal_naive": PURPLE,
}


def hours_plot(hours: pl.DataFrame) -> str:
    """Markdown with a picture of the hours: CO2 above, power by kind below.

    Args:
        hours: `hour_utc` and the seven reported columns; null is drawn as a gap. With
            `quality`, what is not ok is shaded.
    """
    figure = Figure(dpi=DPI, figsize=(8, 4.2))
    top, bottom = figure.subplots(2, 1, sharex=True)
    times = hours["hour_utc"].to_list()
    top.plot(times, _values(hours, CO2_COLUMN), color="black", linewidth=1.2)
    top.set_ylabel("CO2, g/kWh")
    if "quality" in hours.columns:
        _shade_doubtful(top, hours)
    for name, color in zip(POWER_COLUMNS, (GREY, PURPLE, ORANGE, BLUE, SKY, GREEN), strict=True):
        bottom.plot(
            times,
            _values(hours, name),
            label=name.removesuffix("_mw").replace("_", " "),
            color=color,
            linewidth=1,
        )
    bottom.set_ylabel("MW")
    # One line in a strip of its own: no line is hidden behind it.
    bottom.legend(fontsize=SMALL, ncols=6, loc="upper left", columnspacing=1, handlelength=1.2)
    bottom.margins(y=0.3)
    return _over_time(figure, times)


def _shade_doubtful(axes: Axes, hours: pl.DataFrame) -> None:
    """Shade each run of hours of one quality that is not ok."""
    runs = (
        hours.with_columns(run=pl.col("quality").rle_id())
        .group_by("run", maintain_order=True)
        .agg(
            pl.col("quality").first(), start=pl.col("hour_utc").min(), end=pl.col("hour_utc").max()
        )
        .filter(pl.col("quality") != "ok")
    )
    labelled = set()
    for quality, start, end in runs.select("quality", "start", "end").iter_rows():
        axes.axvspan(
            start - HALF_HOUR,
            end + HALF_HOUR,
            color=QUALITY_COLORS[quality],
            alpha=0.35,
            linewidth=0,
            label=None if quality in labelled else quality,
        )
        labelled.add(quality)
    if labelled:
        axes.legend(fontsize=SMALL)


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
    axes.legend(fontsize=SMALL)
    return _over_time(figure, frame[time].to_list())


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
    for low, high, alpha, band in (
        ("p05", "p95", 0.18, "90 % band"),
        ("p10", "p90", 0.25, "80 % band"),
        ("p25", "p75", 0.4, "50 % band"),
    ):
        axes.fill_between(
            times,
            _values(forecast, f"{low}_g_per_kwh"),
            _values(forecast, f"{high}_g_per_kwh"),
            color=BLUE,
            alpha=alpha,
            linewidth=0,
            label=band,
        )
    axes.plot(
        times,
        _values(forecast, "p50_g_per_kwh"),
        color=BLUE,
        marker="o",
        markersize=3,
        label="forecast (median)",
    )
    axes.axvline(issue_time, color=GREY, linestyle=":", label="issue time")
    axes.set_ylabel("CO2, g/kWh")
    # Beside the hours measured, where there is always room: not over the forecast.
    axes.legend(fontsize=SMALL, loc="upper left", ncols=2)
    axes.margins(y=0.2)
    return _over_time(figure, [*actuals["hour_utc"].to_list(), *times])


def compared_plot(compared: pl.DataFrame) -> str:
    """Markdown with forecasts and their 80 % bands against what was measured.

    Args:
        compared: `valid_time_utc` in order, `actual`, and `p10`, `p50`, `p90` (g/kWh).
    """
    figure = Figure(dpi=DPI, figsize=(8, 2.8))
    axes = figure.subplots()
    times = compared["valid_time_utc"].to_list()
    axes.fill_between(
        times,
        _values(compared, "p10"),
        _values(compared, "p90"),
        color=BLUE,
        alpha=0.25,
        linewidth=0,
        label="80 % band",
    )
    axes.plot(times, _values(compared, "p50"), color=BLUE, linewidth=1.2, label="forecast (median)")
    axes.plot(times, _values(compared, "actual"), color="black", linewidth=1.2, label="measured")
    axes.set_ylabel("CO2, g/kWh")
    axes.legend(fontsize=SMALL, ncols=3, loc="upper left")
    axes.margins(y=0.25)
    return _over_time(figure, times)


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
            color=PREDICTOR_COLORS.get(str(predictor)),
            label=str(predictor),
        )
    axes.set_xlabel("lead, hours")
    axes.set_ylabel(f"{title}, g/kWh")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=SMALL)
    return _picture(figure, "", below_in=LABEL_IN)


def _values(frame: pl.DataFrame, name: str) -> list[float]:
    return frame[name].cast(pl.Float64).fill_null(float("nan")).to_list()


def _over_time(figure: Figure, times: list[datetime]) -> str:
    """Format the lowest time axis, and say in words which times are shown."""
    axis = figure.axes[-1].xaxis
    axis.set_major_formatter(
        ConciseDateFormatter(
            axis.get_major_locator(),
            formats=["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%S.%f"],
            zero_formats=["", "%Y", "%b", "%d %b", "%H:%M", "%H:%M"],
            show_offset=False,
        )
    )
    said = f"{min(times):%Y-%m-%d %H:%M} to {max(times):%Y-%m-%d %H:%M} UTC" if times else "no rows"
    return _picture(figure, said, below_in=TIMES_IN)


def _picture(figure: Figure, said: str, *, below_in: float) -> str:
    width, height = figure.get_size_inches()
    # Fixed margins: a layout engine measures every label twice and takes half the time.
    figure.subplots_adjust(
        left=LEFT_IN / width,
        right=1 - RIGHT_IN / width,
        top=1 - TOP_IN / height,
        bottom=below_in / height,
        hspace=0.08,
    )
    figure.text(LEFT_IN / width, 0.08 / height, said, fontsize=SMALL, color=GREY)
    figure.text(1 - RIGHT_IN / width, 0.08 / height, CREDIT, fontsize=SMALL, color=GREY, ha="right")
    for axes in figure.axes:
        axes.grid(alpha=0.3)
        # Each tick costs a millisecond: half of a picture, where there are as many as usual.
        axes.yaxis.set_major_locator(MaxNLocator(4))
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    return f"![plot](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"
