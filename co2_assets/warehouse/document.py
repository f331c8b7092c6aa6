"""docs/warehouse.md, rendered from schema.py: what `co2 docs` writes and a test compares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from co2_assets.schema import TABLES, VIEWS, Column, Table, View

SCHEMAS = {
    "raw": "what Energi Data Service published",
    "core": "hours and encoder inputs, derived from raw",
    "ml": "models, forecasts, their scores, the retrain decisions",
    "ops": "audit of loads, transactions and migrations",
}
"""The schemas of the tables, by layer."""

INTRODUCTION = """\
# The warehouse

This page is generated: `co2 docs` writes it from `co2_assets/schema.py`; `make check` and a test
compare it.

`$CO2_HOME/co2.duckdb` is the newest published copy of the warehouse. Any DuckDB client from 1.5 on
opens it read-only, at any moment; its catalog is `co2`. How it comes about is in
[architecture.md](architecture.md#the-warehouse-one-head-published-generations).

- Times are UTC and mark the beginning of their interval. A column that ends in `_utc` is a
  `TIMESTAMPTZ`; set `SET TimeZone = 'UTC'` to have DuckDB print it so.
- A name ends in its unit: `_g_per_kwh`, `_mw`, `_hours`, `_eur_per_mwh`.
- **null**: the column may be null. **audit**: the column says how and when a row came to be; two
  warehouses hold the same if all other columns are equal.
- `area` is `DK` in hours and forecasts; price areas (DK1, DK2, ...) occur in the raw tables only.

The **views** are the contract: read them as `co2.actuals` or plain `actuals`. The tables are
documented as well, but a migration may change them."""


def warehouse_page() -> str:
    """The whole page: introduction, contents, views, then tables by schema; Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield INTRODUCTION
    yield ""
    yield "| view | holds |"
    yield "|---|---|"
    yield from (f"| [`{view.name}`](#{view.name}) | {view.meaning} |" for view in VIEWS)
    yield ""
    yield "| table | holds |"
    yield "|---|---|"
    yield from (
        f"| [`{table.qualified_name}`](#{_anchor(table)}) | {_cell(table.meaning)} |"
        for table in TABLES
    )
    yield ""
    yield "## Views"
    for view in VIEWS:
        yield from _view(view)
    for schema, meaning in SCHEMAS.items():
        yield ""
        yield f"## Tables of `{schema}`: {meaning}"
        for table in TABLES:
            if table.schema == schema:
                yield from _table(table)


def _view(view: View) -> Iterator[str]:
    yield ""
    yield f"### {view.name}"
    yield ""
    yield _sentence(view.meaning)
    yield ""
    yield "| column | type | unit | null | meaning |"
    yield "|---|---|---|---|---|"
    yield from _rows(view.columns)


def _table(table: Table) -> Iterator[str]:
    yield ""
    yield f"### {table.qualified_name}"
    yield ""
    yield f"{_sentence(table.meaning)} Key: {', '.join(f'`{name}`' for name in table.key)}."
    yield ""
    yield "| column | type | unit | null | audit | meaning |"
    yield "|---|---|---|---|---|---|"
    yield from _rows(table.columns, with_audit=True)


def _rows(columns: Iterable[Column], *, with_audit: bool = False) -> Iterator[str]:
    for column in columns:
        cells = [
            f"`{column.name}`",
            column.sql_type,
            column.unit,
            "null" if column.nullable else "",
            *(["audit" if column.audit else ""] if with_audit else []),
            _cell(column.meaning),
        ]
        yield "|" + "|".join(f" {cell} " if cell else " " for cell in cells) + "|"


def _anchor(table: Table) -> str:
    """The anchor that Markdown renderers give a heading: lower case, without the dot."""
    return table.qualified_name.replace(".", "")


def _sentence(meaning: str) -> str:
    return f"{meaning[0].upper()}{meaning[1:]}."


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
