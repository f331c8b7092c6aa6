"""Reading for the pages: one generation a run of the script, each query once a generation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, cast

import duckdb
import polars as pl
import streamlit as st

from co2_assets.errors import WarehouseError
from co2_assets.serving import contract
from co2_assets.serving.contract import About
from co2_assets.serving.dashboard.times import Zone
from co2_assets.serving.generations import Generations, Reading
from co2_assets.settings import Settings, load_settings
from co2_assets.source.clock import kept_now
from co2_assets.warehouse.query import Connection, value

P = ParamSpec("P")
T = TypeVar("T")

KEPT = 200
"""Answers of queries that are kept, over all generations and sessions."""


@dataclass(frozen=True)
class Source:
    """What a page reads from, while its script runs.

    Attributes:
        reading: the generation.
        settings: of the home.
        about: provenance of all that is shown.
        zone: in which times are shown.
    """

    reading: Reading
    settings: Settings
    about: About
    zone: Zone

    def read(
        self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The answer of one query of `contract`, kept for as long as the generation lasts."""
        name = f"{query.__module__}.{query.__qualname__}"
        key = (str(self.settings.home), self.reading.generation, name, args, kwargs)
        return cast(T, _kept(key, query, self.reading.con))


@contextmanager
def opened(zone: Zone) -> Iterator[Source]:
    """The newest generation of the home that the environment names.

    Raises:
        SettingsError: the settings, or the clock of a recorded home.
        WarehouseError: nothing is published or readable.
    """
    settings = load_settings()
    with generations(settings.home).reading() as reading:
        yield Source(reading, settings, _about(reading, settings), zone)


def _about(reading: Reading, settings: Settings) -> About:
    now = kept_now(settings)
    try:
        return contract.about(reading.con, settings, now, reading.generation, reading.notes)
    except duckdb.Error as error:
        raise WarehouseError(
            "the published warehouse is not one that this version can read",
            where=f"generation {reading.generation} of {settings.home}",
            found=error,
            expected="the views of this version",
            next_step="run a tick, or `co2 publish`, with this version",
        ) from error


@st.cache_resource(show_spinner=False)
def generations(home: Path) -> Generations:
    """The one reader of a home, shared by all sessions."""
    return Generations(home)


@st.cache_data(show_spinner=False, max_entries=KEPT)
def _kept(
    key: tuple[Any, ...], _query: Callable[..., Any], _con: Connection
) -> Any:  # what starts with an underscore is not part of Streamlit's key
    *_names, args, kwargs = key
    return _query(_con, *args, **kwargs)


def has_receipts(con: Connection) -> bool:
    """Whether this warehouse settles its recommendations yet."""
    return bool(
        value(
            con,
            "SELECT count(*) FROM information_schema.tables"
            " WHERE table_schema = 'main' AND table_name = 'window_receipts'",
        )
    )


def by_lead(
    con: Connection, start: datetime, end: datetime, leads: tuple[int, ...]
) -> pl.DataFrame:
    """Served forecasts of these leads beside what followed, by valid time."""
    parts = [contract.forecast_against_actual(con, start, end, lead) for lead in leads]
    return pl.concat(parts).sort("valid_time_utc")
