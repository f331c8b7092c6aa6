"""What holds for every history: no hour looks ahead, and a part is worth the whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from co2_assets.schema import CO2_COLUMN, VALUE_COLUMNS, cleaned, imputed
from co2_assets.transform.features import FEATURE_CONTEXT_HOURS, engineer
from co2_assets.transform.hourly import hourly_means
from co2_assets.transform.quality import IMPUTED_HOURS, QUALITY_CONTEXT_HOURS, assess

START = datetime(2024, 5, 1, tzinfo=UTC)
SOME = settings(max_examples=40, deadline=None)


@st.composite
def histories(draw: st.DrawFn, fewest: int = 2, most: int = 110) -> pl.DataFrame:
    """Contiguous hours with everything that goes wrong: holes, freezes, leaps, shifts."""
    length = draw(st.integers(fewest, most))
    step = st.sampled_from(["move", "move", "move", "move", "freeze", "leap", "hole", "partial"])
    rows: list[dict[str, float | int | None]] = []
    level = dict.fromkeys(VALUE_COLUMNS, 300.0)
    random = draw(st.randoms(use_true_random=False))
    for kind in draw(st.lists(step, min_size=length, max_size=length)):
        if kind != "freeze":
            level = {name: value + random.uniform(-9, 9) for name, value in level.items()}
        row: dict[str, float | int | None] = {**level, "minutes_seen": 60}
        if kind == "leap":
            row[random.choice(VALUE_COLUMNS)] = random.choice([-9000.0, 9000.0])
        elif kind == "hole":
            row = {**dict.fromkeys(VALUE_COLUMNS), "minutes_seen": 0}
        elif kind == "partial":
            row["minutes_seen"] = random.choice([1, 44, 45])
        rows.append(row)
    return pl.DataFrame(
        rows, schema={**dict.fromkeys(VALUE_COLUMNS, pl.Float64), "minutes_seen": pl.Int32}
    ).insert_column(
        0,
        pl.datetime_range(
            START, START + timedelta(hours=length), "1h", closed="left", eager=True
        ).alias("hour_utc"),
    )


@SOME
@given(histories(), st.data())
def test_what_comes_later_changes_no_verdict_and_no_input(
    hours: pl.DataFrame, data: st.DataObject
) -> None:
    now = data.draw(st.integers(1, hours.height), label="now")
    later = data.draw(histories(), label="what comes instead")
    other = pl.concat([hours.head(now), later]).with_columns(
        hour_utc=pl.lit(START) + pl.duration(hours=pl.int_range(pl.len()))
    )
    known = assess(hours).head(now)
    assert assess(other.cast(dict(hours.schema))).head(now).equals(known)
    assert engineer(assess(hours)).head(now).equals(engineer(known))


@SOME
@given(histories(fewest=60), st.data())
def test_assessing_a_part_with_its_context_equals_assessing_all(
    hours: pl.DataFrame, data: st.DataObject
) -> None:
    first = data.draw(st.integers(QUALITY_CONTEXT_HOURS, hours.height - 1), label="first")
    part = assess(hours.slice(first - QUALITY_CONTEXT_HOURS)).slice(QUALITY_CONTEXT_HOURS)
    assert part.equals(assess(hours).slice(first))


@SOME
@given(histories(fewest=60), st.data())
def test_inputs_of_a_part_with_its_context_equal_those_of_all(
    hours: pl.DataFrame, data: st.DataObject
) -> None:
    assessed = assess(hours)
    first = data.draw(st.integers(FEATURE_CONTEXT_HOURS, hours.height - 1), label="first")
    part = engineer(assessed.slice(first - FEATURE_CONTEXT_HOURS)).slice(FEATURE_CONTEXT_HOURS)
    assert part.equals(engineer(assessed).slice(first))


@SOME
@given(histories())
def test_a_cleaned_value_is_the_reported_one_or_none(hours: pl.DataFrame) -> None:
    assessed = assess(hours)
    for name in VALUE_COLUMNS:
        kept = assessed.filter(pl.col(cleaned(name)).is_not_null())
        assert kept[cleaned(name)].equals(kept[name], check_names=False)
        assert kept["is_complete"].all()
    actual = assessed.filter(pl.col(cleaned(CO2_COLUMN)).is_not_null())
    assert not set(actual["quality"]) & {"frozen", "spike"}


@SOME
@given(histories())
def test_an_imputed_value_is_the_last_cleaned_one_of_the_last_three_hours(
    hours: pl.DataFrame,
) -> None:
    assessed = assess(hours)
    filled = [False] * hours.height
    for name in VALUE_COLUMNS:
        values = assessed[cleaned(name)].to_list()
        expected: list[float | None] = []
        for row, value in enumerate(values):
            near = [v for v in values[max(0, row - IMPUTED_HOURS) : row + 1] if v is not None]
            expected.append(near[-1] if near else None)
            filled[row] |= value is None and bool(near)
        assert assessed[imputed(name)].to_list() == expected
    assert assessed["is_imputed"].to_list() == filled


@SOME
@given(histories())
def test_an_ok_hour_has_every_cleaned_value_and_no_other_has(hours: pl.DataFrame) -> None:
    has_all = pl.all_horizontal(pl.col(cleaned(name)).is_not_null() for name in VALUE_COLUMNS)
    assessed = assess(hours).select(ok=pl.col("quality") == "ok", has_all=has_all)
    assert assessed["ok"].equals(assessed["has_all"], check_names=False)


@SOME
@given(st.integers(1, 48), st.integers(0, 47), st.integers(0, 2**31 - 1))
def test_hours_made_window_by_window_equal_those_made_at_once(
    length: int, cut: int, seed: int
) -> None:
    cut = min(cut, length)
    minutes = pl.DataFrame(
        {"minute_utc": [START + timedelta(minutes=m) for m in range(60 * length)]},
        schema={"minute_utc": pl.Datetime("us", "UTC")},
    ).with_columns(
        (pl.int_range(pl.len()).hash(seed + place) % 10_000_000 / 7).alias(name)
        for place, name in enumerate(VALUE_COLUMNS)
    )
    kept = minutes.filter(pl.col("minute_utc").hash(seed) % 5 > 0)
    middle, end = START + timedelta(hours=cut), START + timedelta(hours=length)
    before = pl.col("minute_utc") < middle
    parts = pl.concat(
        [
            hourly_means(kept.filter(before), START, middle),
            hourly_means(kept.filter(~before), middle, end),
        ]
    )
    assert parts.equals(hourly_means(kept, START, end))
