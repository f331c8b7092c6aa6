"""How wrong the forecasts are, by how far ahead they look, beside simple ones."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import streamlit as st

from co2_assets.schema import MISSION_LEADS
from co2_assets.serving import contract
from co2_assets.serving.dashboard import figures, parts
from co2_assets.serving.dashboard.data import Source
from co2_assets.serving.dashboard.figures import look
from co2_assets.serving.dashboard.tables import Shown
from co2_assets.serving.dashboard.times import DAY

DAYS = (7, 14, 30, 365)

LEAD_COLUMNS = (
    Shown("lead_hours", "hours ahead"),
    Shown("n", "hours scored"),
    Shown("mae", "mean error, g/kWh", ".1f"),
    Shown("persistence_mae", "persistence, g/kWh", ".1f"),
    Shown("climatology_mae", "climatology, g/kWh", ".1f"),
    Shown("skill", "better than persistence, share", ".2f"),
    Shown("coverage_80", "within the 80 % band, share", ".2f"),
    Shown("crps", "CRPS, g/kWh", ".1f"),
)
_NEAR = f"1\N{EN DASH}{MISSION_LEADS} h ahead"
POOLED_COLUMNS = (
    Shown("predictor", "forecast by", say=lambda name: look(name).title),
    Shown("mae", f"mean error, {_NEAR}, g/kWh", ".1f"),
    Shown("crps", f"CRPS, {_NEAR}, g/kWh", ".1f"),
    Shown("n", f"values, {_NEAR}"),
    Shown("mae_all", "mean error, all leads, g/kWh", ".1f"),
    Shown("n_all", "values, all leads"),
)
BOARD_COLUMNS = (
    Shown("predictor", "forecast by", say=lambda name: look(name).title),
    Shown("lead_hours", "hours ahead"),
    Shown("n", "values"),
    Shown("mae", "mean error, g/kWh", ".1f"),
    Shown("crps", "CRPS, g/kWh", ".1f"),
    Shown("skill", "better than persistence, share", ".2f"),
)


def show(source: Source) -> None:
    """The page."""
    st.title("How far can the forecast be trusted?")
    end = source.about.data_until_utc
    if end is None:
        st.info("Nothing is scored yet: it takes a forecast, and the hours that it is for.")
        return
    st.markdown(
        "Each forecast is compared with what was measured later. **Persistence** says that nothing"
        " changes from the last measured hour; **climatology** drifts from there to what is usual"
        " at that hour. A forecast earns its keep by beating both."
    )
    _by_lead(source, end)
    _scoreboard(source)


def _by_lead(source: Source, end: datetime) -> None:
    st.header("By hours ahead")
    days = st.segmented_control(
        "Period", DAYS, default=30, required=True, key="accuracy-days", persist_state="session",
        format_func=lambda days: "a year" if days == 365 else f"{days} days",
    )  # fmt: skip
    leads = source.read(contract.accuracy_by_lead, end - days * DAY, end)
    if leads.is_empty():
        st.info("No forecast of this period has been scored.")
        return
    long = pl.concat(
        leads.select("lead_hours", predictor=pl.lit(predictor), mae=pl.col(column))
        for predictor, column in (
            ("champion", "mae"),
            ("persistence", "persistence_mae"),
            ("climatology", "climatology_mae"),
        )
    )
    parts.chart(
        figures.error_by_lead(long),
        f"Mean absolute error by hours ahead over the last {days} days, of what was served, of"
        " persistence and of climatology, in grams per kWh",
        leads,
        LEAD_COLUMNS,
        source.zone,
        "co2-accuracy-by-lead",
    )
    st.subheader("Do the bands hold what they promise?")
    st.markdown("8 of 10 measured hours should lie in the 80 % band, at every lead.")
    st.plotly_chart(
        figures.coverage_by_lead(leads),
        theme=None,
        config=parts.CHART,
        alt="Share of measured hours within the 80 % band by hours ahead, in percent; the table"
        " above has the numbers",
        key="chart-coverage",
    )


def _scoreboard(source: Source) -> None:
    st.header("Scoreboard by month")
    board = source.read(contract.scoreboard)
    if board.is_empty():
        st.info("No month has been scored yet.")
        return
    months = board["month_utc"].unique().sort(descending=True).to_list()
    month = st.selectbox(
        "Month", months, format_func=lambda month: f"{month:%B %Y}", key="month",
        persist_state="session",
    )  # fmt: skip
    of_it = board.filter(pl.col("month_utc") == month)
    table = _pooled(of_it)
    caption = f"Scoreboard of {month:%B %Y}, the smallest error first"
    parts.table(table, POOLED_COLUMNS, source.zone, caption)
    parts.download(table, POOLED_COLUMNS, source.zone, f"co2-scoreboard-{month:%Y-%m}")
    st.caption(
        "Energinet publishes no history of its prognosis: it is scored on the vintages that this"
        " platform saw before their hour, so on fewer values than the others."
    )
    # A version that served is drawn as what was served.
    drawn = of_it.filter(~pl.col("predictor").str.contains(r"^v\d"))
    parts.chart(
        figures.error_by_lead(drawn),
        f"Mean absolute error by hours ahead in {month:%B %Y}, of every forecaster, in grams per"
        " kWh",
        drawn,
        BOARD_COLUMNS,
        source.zone,
        f"co2-leads-{month:%Y-%m}",
    )


def _pooled(of_month: pl.DataFrame) -> pl.DataFrame:
    """Figures by predictor, each lead by how many values it has; the smallest error first."""
    near = pl.col("lead_hours") <= MISSION_LEADS
    n = pl.col("n")
    return (
        of_month.group_by("predictor")
        .agg(
            n=n.filter(near).sum(),
            mae=(pl.col("mae") * n).filter(near).sum() / n.filter(near).sum(),
            crps=(pl.col("crps") * n).filter(near).sum() / n.filter(near).sum(),
            n_all=n.sum(),
            mae_all=(pl.col("mae") * n).sum() / n.sum(),
        )
        .with_columns(pl.col("mae", "crps").fill_nan(None))
        .sort("mae", "predictor", nulls_last=True)
    )
