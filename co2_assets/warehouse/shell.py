"""`co2 sql`: one query, or a read-only shell, on the published copy."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TextIO

import duckdb

from co2_assets.errors import WarehouseError
from co2_assets.warehouse.query import Connection
from co2_assets.warehouse.reader import open_published

PROMPT, CONTINUED = "co2> ", "...> "
GREETING = (
    "Read-only, on the newest published generation. Try: SHOW TABLES;"
    " FROM co2.forecasts LIMIT 6; Ctrl-D ends."
)


def run_query(home: Path, query: str, form: str, out: TextIO) -> None:
    """Run one query and write its rows as `table`, `csv` or `json`.

    Raises:
        WarehouseError: DuckDB refuses the query; its message, with the place.
    """
    with open_published(home) as con:
        _answer(con, query, form, out)


def run_shell(home: Path, lines: TextIO, out: TextIO) -> None:
    """Answer statements that end with `;` until the input ends; an error ends only one."""
    with open_published(home) as con:
        print(GREETING, file=out)  # noqa: T201
        statement = ""
        while True:
            print(CONTINUED if statement else PROMPT, end="", file=out, flush=True)  # noqa: T201
            line = lines.readline()
            if not line:
                break
            statement += line
            if not statement.rstrip().endswith(";"):
                continue
            try:
                _answer(con, statement, "table", out)
            except WarehouseError as error:
                print(error, file=out)  # noqa: T201
            statement = ""
        print(file=out)  # noqa: T201


def _answer(con: Connection, query: str, form: str, out: TextIO) -> None:
    try:
        relation = con.sql(query)
        if relation is None:
            return
        if form == "table":
            print(relation, file=out)  # noqa: T201
            return
        names, found = relation.columns, relation.fetchall()
    except duckdb.Error as error:
        raise WarehouseError(
            "DuckDB refuses the query",
            where=query.strip()[:200],
            found=str(error),
            next_step="the copy is read-only; docs/warehouse.md has every table and view",
        ) from error
    if form == "csv":
        writer = csv.writer(out)
        writer.writerow(names)
        writer.writerows(found)
    else:
        rows = [dict(zip(names, row, strict=True)) for row in found]
        json.dump(rows, out, indent=2, default=_plain)
        out.write("\n")


def _plain(value: object) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
