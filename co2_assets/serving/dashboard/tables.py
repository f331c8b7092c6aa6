"""Tables for the page and for a file: the same rows, as HTML and as CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from html import escape
from typing import Any

import polars as pl

from co2_assets.serving.dashboard.times import UTC_ZONE, Zone

NONE = "\N{EN DASH}"
"""A null: never a zero, never empty."""


@dataclass(frozen=True)
class Shown:
    """One column of a table.

    Attributes:
        name: in the frame, and in the file.
        title: its head, with the unit.
        form: format of a number, such as `.1f`; times and texts need none.
        say: from value to text, in place of `form`.
        wide: a text that wraps.
        dated: a time with its year.
    """

    name: str
    title: str
    form: str = ""
    say: Callable[[Any], str] | None = None
    wide: bool = False
    dated: bool = False


def number(value: float | None, form: str = ".0f") -> str:
    """A number as text; a null as a dash."""
    return NONE if value is None else format(value, form)


def as_float(value: object) -> float | None:
    """What polars says of a column of numbers, whose type it does not know."""
    return float(value) if isinstance(value, int | float) else None


def html_table(frame: pl.DataFrame, columns: Sequence[Shown], zone: Zone, caption: str) -> str:
    """The frame as an accessible HTML table that scrolls by itself where it is too wide.

    Args:
        frame: its rows.
        columns: those to show, in order; the first one names the row.
        zone: for times.
        caption: what the table holds, read out by screen readers.
    """
    classes = [_class(frame.schema[column.name].is_numeric(), column.wide) for column in columns]
    heads = "".join(
        f'<th scope="col"{attributes}>{escape(column.title)}</th>'
        for column, attributes in zip(columns, classes, strict=True)
    )
    rows = "".join(_row(row, columns, classes, zone) for row in frame.iter_rows(named=True))
    label = escape(caption, quote=True)
    return (
        f'<div class="co2-table" tabindex="0" role="region" aria-label="{label}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def csv(frame: pl.DataFrame, zone: Zone) -> bytes:
    """The frame as CSV; each time is in UTC and, where another zone is shown, in that too."""
    shown: list[pl.Series] = []
    for column in frame.iter_columns():
        if isinstance(column.dtype, pl.Datetime):
            shown.append(_iso(column, UTC_ZONE, column.name))
            if zone != UTC_ZONE:
                shown.append(_iso(column, zone, column.name.removesuffix("_utc") + "_local"))
        else:
            shown.append(column)
    return pl.DataFrame(shown).write_csv().encode()


def _iso(column: pl.Series, zone: Zone, name: str) -> pl.Series:
    return pl.Series(
        name, [None if time is None else zone.iso(time) for time in column], dtype=pl.String
    )


def _row(row: dict[str, Any], columns: Sequence[Shown], classes: Sequence[str], zone: Zone) -> str:
    cells: list[str] = []
    for column, attributes in zip(columns, classes, strict=True):
        tag, scope = ("td", "") if cells else ("th", ' scope="row"')
        text = escape(_text(row[column.name], column, zone))
        cells.append(f"<{tag}{scope}{attributes}>{text}</{tag}>")
    return f"<tr>{''.join(cells)}</tr>"


def _text(value: Any, column: Shown, zone: Zone) -> str:
    if value is None:
        return NONE
    if column.say is not None:
        return column.say(value)
    if isinstance(value, datetime):
        return zone.moment(value) if column.dated else zone.hour(value)
    if isinstance(value, date):
        return f"{value:%-d %b %Y}"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return format(value, column.form)


def _class(is_number: bool, wide: bool) -> str:
    names = [name for name, is_so in (("number", is_number), ("wide", wide)) if is_so]
    return f' class="{" ".join(names)}"' if names else ""
