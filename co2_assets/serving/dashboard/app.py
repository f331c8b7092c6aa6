"""The dashboard's script, run by Streamlit once per interaction: the frame around the pages."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime
from functools import partial

import streamlit as st

from co2_assets.errors import Co2Error
from co2_assets.serving import contract
from co2_assets.serving.dashboard import parts
from co2_assets.serving.dashboard.data import Source, opened
from co2_assets.serving.dashboard.style import CSS
from co2_assets.serving.dashboard.times import DANISH, UTC_ZONE, Zone
from co2_assets.serving.dashboard.views import accuracy, against_actual, decisions, model, now

# Path in the URL, title, and what shows it; the first is the default.
PAGES: tuple[tuple[str, str, Callable[[Source], None]], ...] = (
    ("now", "Now", now.show),
    ("against-actual", "Forecast against actual", against_actual.show),
    ("accuracy", "Accuracy", accuracy.show),
    ("model", "Model", model.show),
    ("decisions", "Data and decisions", decisions.show),
)

# How often an open page looks for a new generation: a symlink and three queries of a ms.
REFRESH_S = 20


def main() -> None:
    """One run: banner, the chosen page, footer."""
    st.set_page_config(
        page_title="CO\N{SUBSCRIPT TWO} of Danish electricity", page_icon="🌬️", layout="wide"
    )
    st.html(CSS)
    links = st.container(key="pages", horizontal=True, gap="xsmall")
    with st.container(key="banner", horizontal=True, vertical_alignment="center"):
        place = st.container()
        wants_utc = st.toggle(
            "UTC", key="utc", bind="query-params", help="Show all times in UTC, not Danish time"
        )
    zone = UTC_ZONE if wants_utc else DANISH
    with ExitStack() as stack:
        try:
            source = stack.enter_context(opened(zone))
        except Co2Error as error:
            run: Callable[[Callable[[Source], None]], None] = partial(_say, error)
            about, api_url = None, None
            with place:
                _waiting()
        else:
            run = partial(_show, source)
            about, api_url = source.about, source.settings.serving_url
            with place:
                _banner(about.generation, contract.this_hour(about.now_utc), zone)
        pages = [
            st.Page(partial(run, show), title=title, url_path=path, default=index == 0)
            for index, (path, title, show) in enumerate(PAGES)
        ]
        chosen = st.navigation(pages, position="hidden")
        with links:  # not Streamlit's own menu, which a phone hides behind a button
            for page in pages:
                st.page_link(page, width="content")
        chosen.run()
    parts.footer(about, api_url)


@st.fragment(run_every=REFRESH_S)
def _banner(generation: int, hour: datetime, zone: Zone) -> None:
    """What is shown and how old it is; the page follows when there is something newer."""
    try:
        with opened(zone) as source:
            about = source.about
    except Co2Error:
        st.rerun()
    st.html(parts.banner(about, zone))
    if (about.generation, contract.this_hour(about.now_utc)) != (generation, hour):
        st.rerun()


@st.fragment(run_every=REFRESH_S)
def _waiting() -> None:
    """Looks whether there is something to show by now."""
    try:
        with opened(UTC_ZONE):
            pass
    except Co2Error:
        st.html('<div class="co2-banner"><span class="co2-mark missing">NO DATA YET</span></div>')
    else:
        st.rerun()


def _show(source: Source, show: Callable[[Source], None]) -> None:
    try:
        show(source)
    except Exception:  # a page must never end in a traceback on the screen
        logging.getLogger(__name__).exception("a page of the dashboard failed")
        st.error(
            "This page could not be shown. The published copy may just have changed: reload the"
            " page. If that does not help, the dashboard's log has the reason."
        )


def _say(error: Co2Error, _show: Callable[[Source], None]) -> None:
    """In place of a page: why there is nothing to show, and what to do."""
    st.title("Nothing to show yet")
    st.markdown(
        "This dashboard reads what the platform has published, and found nothing that it can read."
        " It looks again by itself; this page can stay open."
    )
    st.markdown(
        "- **Try it with recorded data:** `make demo` (or `co2 demo`) replays two recorded weeks,"
        " offline, in about three minutes.\n"
        "- **Run it on live data:** `make run` (or `co2 run`) loads Energinet's data and makes a"
        " first forecast at once.\n"
        "- **It runs already?** Then this dashboard looks at another home: start it with"
        " `co2 --home FOLDER dashboard`."
    )
    parts.facts(
        [
            (name, said.replace("`", ""))
            for name, said in (
                ("What failed", error.what),
                ("Where", error.where),
                ("Found", error.found),
                ("Expected", error.expected),
                ("Next", error.next_step),
            )
            if said
        ]
    )


main()
