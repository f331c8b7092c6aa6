"""What every page is made of: banner, cards, charts with their table and file, footer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from html import escape
from typing import NamedTuple

import plotly.graph_objects as go
import polars as pl
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from co2_assets.serving.contract import ATTRIBUTION, LICENCE, About
from co2_assets.serving.dashboard.tables import Shown, csv, html_table
from co2_assets.serving.dashboard.times import Zone
from co2_assets.serving.dashboard.words import as_of, in_zone

CHART = {"displayModeBar": False, "scrollZoom": False}


class Card(NamedTuple):
    """One of the figures on top of a page."""

    title: str
    figure: str
    unit: str
    words: Sequence[str]


def marks(about: About) -> list[tuple[str, str]]:
    """What a reader must know of the numbers before reading them: kind and words."""
    found = []
    if about.source == "recorded":
        found.append(("recorded", "RECORDED DATA"))
    if about.data_until_utc is None:
        found.append(("missing", "NO DATA YET"))
    elif about.issue_time_utc is None:
        found.append(("missing", "NO FORECAST YET"))
    elif about.is_stale:
        found.append(("stale", "STALE: " + "; ".join(about.stale_reasons)))
    else:
        found.append(("fresh", "UP TO DATE"))
    if about.is_fallback:
        found.append(("fallback", f"FALLBACK FORECAST: {about.fallback_reason or 'see Model'}"))
    if about.inputs_missing:
        found.append(("fallback", f"DEGRADED FORECAST: without {', '.join(about.inputs_missing)}"))
    found += [("note", note) for note in about.notes]
    return found


def banner(about: About, zone: Zone) -> str:
    """The marks, and what the numbers are as of, as HTML."""
    said = "".join(
        f'<span class="co2-mark {kind}">{escape(in_zone(words, zone))}</span>'
        for kind, words in marks(about)
    )
    clock = (
        f" · the replay's clock shows {zone.hour(about.now_utc)}"
        if about.source == "recorded"
        else ""
    )
    return f'<div class="co2-banner">{said}<span>{escape(as_of(about, zone) + clock)}</span></div>'


def cards(shown: Sequence[Card]) -> None:
    """Figures side by side, below each other where there is no room."""
    st.html(f'<div class="co2-cards">{"".join(map(_card, shown))}</div>')


def chart(
    figure: go.Figure,
    alt: str,
    frame: pl.DataFrame,
    columns: Sequence[Shown],
    zone: Zone,
    name: str,
) -> None:
    """A chart, the table of what it shows, and the same as a file.

    Args:
        figure: the chart.
        alt: what it shows, for those who do not see it.
        frame: its numbers.
        columns: of them, those for the table; the file has these too.
        zone: of the times.
        name: of the file, without its ending.
    """
    st.plotly_chart(figure, theme=None, config=CHART, alt=alt, key=f"chart-{name}")
    folded_table("The same as a table", frame, columns, zone, alt, name)


def folded_table(
    title: str,
    frame: pl.DataFrame,
    columns: Sequence[Shown],
    zone: Zone,
    caption: str,
    name: str,
) -> None:
    """A table that opens on demand, and its file beside it."""
    left, right = st.columns((3, 1))
    with left, st.expander(title):
        table(frame, columns, zone, caption)
    with right:
        download(frame, columns, zone, name)


def table(frame: pl.DataFrame, columns: Sequence[Shown], zone: Zone, caption: str) -> None:
    """A table of the page."""
    st.html(html_table(frame, columns, zone, caption))


def download(frame: pl.DataFrame, columns: Sequence[Shown], zone: Zone, name: str) -> None:
    """A button that saves what is shown as CSV."""
    st.download_button(
        f"Download {name}.csv",
        csv(frame.select(column.name for column in columns), zone),
        file_name=f"{name}.csv",
        mime="text/csv",
        on_click="ignore",
        key=f"csv-{name}",
        icon=":material/download:",
    )


def pick_hour(
    place: DeltaGenerator,
    label: str,
    hours: Sequence[datetime],
    name: str,
    zone: Zone,
    say: Callable[[datetime], str],
    *,
    open_end: str,
) -> datetime | None:
    """A choice of one hour, or of none; it outlives another page, generation and zone.

    Args:
        place: where it stands.
        label: what is chosen.
        hours: to choose from; a chosen one that is no longer among them is given up.
        name: under which the choice is kept.
        zone: in which the hours are said: the browser keeps the words that were picked, so
            another zone is another widget.
        say: an hour in words.
        open_end: what choosing none is called.
    """
    key = f"{name}, {zone.title}"
    options: list[datetime | str] = [open_end, *hours]
    state = st.session_state
    if key not in state or state[key] not in options:
        kept = state.get(name, open_end)
        state[key] = kept if kept in options else open_end
    picked = place.selectbox(
        label,
        options,
        key=key,
        format_func=lambda option: option if isinstance(option, str) else say(option),
    )
    state[name] = picked
    return None if isinstance(picked, str) else picked


def facts(named: Sequence[tuple[str, str]]) -> None:
    """Names and what they are."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(said)}</dd>" for name, said in named)
    st.html(f'<dl class="co2-facts">{rows}</dl>')


def footer(about: About | None, api_url: str | None) -> None:
    """Source, licence, and where else the numbers are."""
    copy = "" if about is None else f" Published copy number {about.generation}."
    api = "the API (<code>co2 api</code>)"
    if api_url is not None:
        api = f'<a href="{escape(api_url)}/docs">the API</a> (<code>co2 api</code>)'
    st.html(
        f'<div class="co2-footer">Source: {escape(ATTRIBUTION)}, licence {escape(LICENCE)}; hourly'
        " means of the CO<sub>2</sub> emission of the electricity consumed in Denmark, in grams"
        " per kWh. Forecasts are this platform's own and no advice of Energinet."
        f"{copy}<br>The same numbers: as JSON and CSV from {api}, in SQL from"
        " <code>co2.duckdb</code> (<code>co2 sql</code>), and with their lineage in Dagster's UI."
        "</div>"
    )


def _card(card: Card) -> str:
    unit = f' <span class="unit">{escape(card.unit)}</span>' if card.unit else ""
    words = "".join(f"<p>{escape(line)}</p>" for line in card.words)
    return (
        f'<section class="co2-card"><h2>{escape(card.title)}</h2>'
        f'<div class="figure">{escape(card.figure)}{unit}</div>{words}</section>'
    )
