"""Tables say what they hold, keep nulls, and let nothing through as HTML."""

from __future__ import annotations

import io

import polars as pl

from co2_assets.serving.dashboard.tables import NONE, Shown, csv, html_table, number
from co2_assets.serving.dashboard.times import DANISH, UTC_ZONE
from co2_assets_tests.homes import utc

ROWS = pl.DataFrame(
    {
        "hour_utc": [utc("2024-10-27T00:00"), utc("2024-10-27T01:00")],
        "co2_g_per_kwh": [101.6, None],
        "found": ["<script>alert(1)</script>", None],
    }
)
COLUMNS = (
    Shown("hour_utc", "hour"),
    Shown("co2_g_per_kwh", "CO2, g/kWh", ".0f"),
    Shown("found", "found", wide=True),
)


def test_a_null_is_a_dash_and_never_a_zero() -> None:
    table = html_table(ROWS, COLUMNS, DANISH, "hours")
    assert table.count(f">{NONE}<") == 2
    assert ">102<" in table
    assert ">0<" not in table
    assert number(None) == NONE


def test_a_text_from_elsewhere_cannot_become_markup() -> None:
    table = html_table(ROWS, COLUMNS, DANISH, 'found "here" <b>')
    assert "<script>" not in table
    assert "&lt;script&gt;" in table
    assert 'aria-label="found &quot;here&quot; &lt;b&gt;"' in table


def test_rows_and_columns_have_heads_and_the_table_can_be_reached_by_keyboard() -> None:
    table = html_table(ROWS, COLUMNS, DANISH, "hours")
    assert table.count('scope="col"') == 3
    assert table.count('scope="row"') == 2
    assert 'tabindex="0" role="region"' in table
    assert "Sun 27 Oct 02:00 CEST" in table
    assert "Sun 27 Oct 02:00 CET" in table


def test_the_file_has_each_time_in_utc_and_in_the_zone_shown() -> None:
    shown = pl.read_csv(io.BytesIO(csv(ROWS, DANISH)))
    assert shown["hour_utc"].to_list() == ["2024-10-27T00:00:00+00:00", "2024-10-27T01:00:00+00:00"]
    assert shown["hour_local"].to_list() == [
        "2024-10-27T02:00:00+02:00",
        "2024-10-27T02:00:00+01:00",
    ]
    assert shown["co2_g_per_kwh"].to_list() == [101.6, None]
    assert "hour_local" not in pl.read_csv(io.BytesIO(csv(ROWS, UTC_ZONE))).columns
