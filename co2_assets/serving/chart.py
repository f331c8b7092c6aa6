"""An interactive chart of forecasts and what followed, as one HTML file that needs no network."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from co2_assets.errors import WarehouseError
from co2_assets.warehouse.query import value
from co2_assets.warehouse.reader import open_published

BLUE, BAND, BLACK = "#0072B2", "rgba(0, 114, 178, 0.2)", "#000000"
CREDIT = "Source: Energinet (energidataservice.dk), CC BY 4.0. Times are UTC."


def write_chart(home: Path, out: Path, *, days: int) -> int:
    """Write the chart of the newest days; returns how many hours it shows.

    Each hour has its newest served forecast (median and 80 % band) and its actual; an
    hour without an actual is a gap, not a zero.

    Args:
        home: whose published copy to read.
        out: the HTML file.
        days: before the newest forecast hour.

    Raises:
        WarehouseError: nothing is published, or nothing is forecast yet.
    """
    hours = _read(home, days)
    out.write_text(figure(hours).to_html(include_plotlyjs=True), encoding="utf-8")
    return len(hours)


def _read(home: Path, days: int) -> pd.DataFrame:
    with open_published(home) as con:
        end = value(con, "SELECT max(valid_time_utc) FROM main.forecasts")
        if end is None:
            raise WarehouseError(
                "there is no forecast to show",
                where=str(home),
                found="an empty co2.forecasts",
                next_step="run a tick first: `co2 tick`",
            )
        hours: pd.DataFrame = con.sql(
            """
            SELECT made.valid_time_utc, made.p10_g_per_kwh, made.p50_g_per_kwh,
                made.p90_g_per_kwh, actuals.co2_g_per_kwh AS actual_g_per_kwh
            FROM main.forecasts AS made
            LEFT JOIN main.actuals AS actuals ON actuals.hour_utc = made.valid_time_utc
            WHERE made.valid_time_utc > $start ORDER BY made.valid_time_utc
            """,
            params={"start": end - timedelta(days=days)},
        ).df()
        return hours


def figure(hours: pd.DataFrame) -> go.Figure:
    """The chart of a frame with the columns that `write_chart` reads."""
    time = hours["valid_time_utc"]
    chart = go.Figure(
        [
            go.Scatter(x=time, y=hours["p90_g_per_kwh"], line_width=0, showlegend=False),
            go.Scatter(
                x=time,
                y=hours["p10_g_per_kwh"],
                line_width=0,
                fill="tonexty",
                fillcolor=BAND,
                name="80 % band",
            ),
            go.Scatter(x=time, y=hours["p50_g_per_kwh"], line_color=BLUE, name="forecast, median"),
            go.Scatter(
                x=time,
                y=hours["actual_g_per_kwh"],
                line_color=BLACK,
                name="actual",
                connectgaps=False,
            ),
        ]
    )
    return chart.update_layout(
        title="CO2 emission of Danish electricity: newest forecast of each hour, and what followed",
        yaxis_title="g/kWh",
        xaxis_title=CREDIT,
        template="plotly_white",
        hovermode="x unified",
    )
