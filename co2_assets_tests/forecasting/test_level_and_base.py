"""First stage and base: what they read, and that they learn each day up to its midnight."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from itertools import product

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from co2_assets.forecasting import level
from co2_assets.forecasting.attention import AttentionForecaster
from co2_assets.forecasting.base import (
    FAR,
    FEWEST_BESIDES,
    NEAR,
    VALUE_COLUMNS,
    base_design,
    fit_base,
)
from co2_assets.forecasting.external import GROUPS, group_columns
from co2_assets.forecasting.inputs import Inputs, Known, covariate_names, read_training_set
from co2_assets.forecasting.level import Level
from co2_assets.forecasting.online import with_constant
from co2_assets.schema import EXTERNAL_COLUMNS, EXTERNAL_GROUPS, price_column
from co2_assets_tests.forecasting.small import HOUR, SPRING_END
from co2_assets_tests.properties.test_no_leakage_core import altered_from

DAY = 24 * HOUR
MIDNIGHT = SPRING_END + 30 * DAY
ISSUE = MIDNIGHT + 9 * HOUR
"""A month after the training, in the morning."""

SUBSETS = list(product([False, True], repeat=len(GROUPS)))


def columns_of(present: tuple[bool, ...]) -> tuple[bool, ...]:
    """Which external columns are present when these groups are."""
    groups = zip(EXTERNAL_GROUPS.values(), present, strict=True)
    return tuple(there for columns, there in groups for _ in columns)


Read = tuple[Known, Inputs]


@pytest.fixture(scope="module")
def model(trained_external: AttentionForecaster) -> AttentionForecaster:
    return trained_external


@pytest.fixture(scope="module")
def read(
    history: pl.DataFrame, external: pl.DataFrame, model: AttentionForecaster
) -> Callable[..., Read]:
    """What the model reads at issue times, as recorded or beside another external frame."""
    return lambda *times, beside=external: model.reader.read(history, list(times), beside)


def ratio_of(model: AttentionForecaster, found: Read) -> np.ndarray:
    return model.base.log_ratio(model.reader, *found)


def levels_of(taught: Level | None, found: Read, learned: np.ndarray | None = None) -> np.ndarray:
    """Covariates of the first stage; `learned` in place of the log CO2 that it learns from."""
    known, inputs = found
    assert taught is not None
    assert known.external is not None
    learned = known.log_actual if learned is None else learned
    return taught.covariates(known.series, known.external, learned, inputs.rows)


def without(external: pl.DataFrame, group: str, hours: pl.Expr) -> pl.DataFrame:
    """The frame as if a group had never said anything of some hours."""
    return external.with_columns(
        pl.when(~hours).then(pl.col(name)).alias(name) for name in EXTERNAL_GROUPS[group]
    )


@pytest.mark.parametrize(
    ("present", "linear", "keys", "far_keys", "hourly"),
    [
        # 41 covariates of its own and 2 lags of 7 values; 6 of them are keys beside the sun, 3
        # of the later leads, 1 by the hour.
        ((False, False, False), 41 + 14, 7, 3, 1),
        ((True, False, False), 41 + 14 + 22 + 3, 7 + 2, 3 + 2, 1 + 2),
        ((False, True, False), 41 + 14 + 7 + 3, 7 + 1, 3 + 1, 1 + 1),
        ((False, False, True), 41 + 14 + 13, 7 + 2, 3 + 2, 1),
        ((True, True, False), 41 + 14 + 22 + 7 + 11, 7 + 2 + 1 + 2, 3 + 2 + 1 + 1, 1 + 4),
        ((True, True, True), 41 + 14 + 22 + 7 + 11 + 13, 7 + 5 + 2, 3 + 4 + 2, 1 + 4),
    ],
)
def test_the_base_reads_inputs_products_of_keys_and_keys_by_the_hour(
    present: tuple[bool, ...], linear: int, keys: int, far_keys: int, hourly: int
) -> None:
    for terms, many, by_hour in ((NEAR, keys, hourly), (FAR, far_keys, 0)):
        expected = linear + many * (many + 1) // 2 + 4 * by_hour
        design = base_design(covariate_names(external=True), terms)
        assert design.usable(columns_of(present)).sum() == expected
        if all(present):
            assert design.columns == expected
        if not any(present):
            assert base_design(covariate_names(external=False), terms).columns == expected


@settings(max_examples=40, deadline=None)
@given(st.lists(st.booleans(), min_size=9, max_size=9).map(tuple))
def test_usable_columns_are_exactly_those_that_no_absent_one_reaches(
    present: tuple[bool, ...],
) -> None:
    there = {column for column, has in zip(EXTERNAL_COLUMNS, present, strict=True) if has}
    names = covariate_names(external=True)
    needs = {name: need for group in group_columns() for name, need in group.items()}
    for name in level.COVARIATES:
        read = [group for group in GROUPS[:2] if "_both_" in name or group in name]
        needs[name] = tuple(column for group in read for column in EXTERNAL_GROUPS[group])
    absent = {name for name, need in needs.items() if not set(need) <= there}
    missing = np.array([name in absent for name in names])
    covariates = np.where(missing, np.nan, 1.0).astype(np.float32)[None]
    values = np.ones((1, NEAR.lags, VALUE_COLUMNS), dtype=np.float32)
    design = base_design(names, NEAR)
    assert np.array_equal(np.isfinite(design(covariates, values))[0], design.usable(present))


def test_on_the_day_that_training_ends_the_base_is_the_trained_regression(
    model: AttentionForecaster, read: Callable[..., Read]
) -> None:
    names = covariate_names(external=True)
    near, far, unpublished = model.base.parts
    assert [part.hours for part in model.base.parts] == ["all", "published", "unpublished"]
    assert [part.state.first_lead for part in model.base.parts] == [0, 6, 6]
    alpha = model.base.alpha
    fitted = {
        # Alone where the wind is published, with the others where it is not.
        published: [*near.state.coefficients(alpha), *later.coefficients(alpha)]
        for published, later in (
            (True, far.state),
            (False, far.state.plus(unpublished.state)),
        )
    }

    def moved(issue: datetime) -> np.ndarray:
        known, inputs = read(issue)
        assert inputs.present.all()
        by_hand = []
        for lead in range(8):
            design = base_design(names, NEAR if lead < 6 else FAR)
            x = with_constant(design(inputs.leads[:, lead], inputs.encoder))
            by_hand.append(float(x[0] @ fitted[bool(inputs.published[0, lead])][lead]))
        return ratio_of(model, (known, inputs))[0] - np.array(by_hand)

    assert np.abs(moved(SPRING_END + 9 * HOUR)).max() < 1e-12
    # In the evening, the last two leads are of tomorrow, whose wind is not published yet.
    late = SPRING_END + 15 * HOUR
    assert read(late)[1].published[0].tolist() == [True] * 7 + [False]
    assert np.abs(moved(late)).max() < 1e-12
    # A month later it has moved on.
    assert np.abs(moved(ISSUE)).min() > 1e-4


@pytest.mark.parametrize("kind", ["noise", "absent", "constant"])
def test_a_day_forecasts_with_what_was_over_at_its_midnight(
    kind: str,
    history: pl.DataFrame,
    external: pl.DataFrame,
    model: AttentionForecaster,
    read: Callable[..., Read],
) -> None:
    """The same inputs over another past: only what was learned can differ."""
    known, inputs = read(ISSUE)
    first = known.series.first_hour - int(history["hour_utc"][0].timestamp()) // 3600

    def taught_with(altered: pl.DataFrame) -> np.ndarray:
        part = altered.slice(first, len(known.log_actual))
        other = Known.of(part, external, lookback_hours=24, horizon_hours=8)
        return ratio_of(model, (other, inputs))

    made = taught_with(history)
    assert np.array_equal(taught_with(altered_from(history, MIDNIGHT, kind)), made)
    other = taught_with(altered_from(history, MIDNIGHT - 30 * HOUR, kind))
    assert not np.isclose(other, made, rtol=1e-6).any()


def test_the_base_of_an_issue_time_is_the_same_alone_and_among_many(
    model: AttentionForecaster, read: Callable[..., Read]
) -> None:
    times = [SPRING_END + 11 * HOUR * step for step in range(60)]
    together = ratio_of(model, read(*times))
    assert np.isfinite(together).all()
    for index in (0, 7, 30, 59):
        assert ratio_of(model, read(times[index]))[0] == pytest.approx(together[index], rel=1e-9)


def test_with_every_subset_of_groups_there_is_a_base_and_each_says_something_else(
    external: pl.DataFrame, model: AttentionForecaster, read: Callable[..., Read]
) -> None:
    found = []
    for present in SUBSETS:
        frame = external
        for group in (name for name, there in zip(GROUPS, present, strict=True) if not there):
            frame = without(frame, group, pl.col("hour_utc") >= ISSUE)
        known, inputs = read(ISSUE, beside=frame)
        assert (inputs.present == columns_of(present)).all()
        found.append(ratio_of(model, (known, inputs))[0])
    assert np.isfinite(found).all()
    assert len(np.unique(np.round(found, 9), axis=0)) == len(SUBSETS)


def test_a_group_that_is_absent_at_one_lead_is_done_without_at_that_lead_alone(
    external: pl.DataFrame, model: AttentionForecaster, read: Callable[..., Read]
) -> None:
    hour = pl.col("hour_utc")
    whole, fourth, never = (
        ratio_of(model, read(ISSUE, beside=without(external, "wind_solar", hours)))[0]
        for hours in (pl.lit(value=False), hour == ISSUE + 3 * HOUR, hour >= ISSUE)
    )
    expected = np.where(np.arange(8) == 3, never, whole)
    # The hours beside it are compared with it, and see what stands in for it.
    others = [lead for lead in range(8) if lead not in (2, 4)]
    assert fourth[others] == pytest.approx(expected[others], rel=1e-9)
    assert np.abs(fourth - expected).max() < 0.1
    assert not np.isclose(never, whole, rtol=1e-6).any()


def test_base_and_level_say_nothing_before_they_know_two_weeks(
    model: AttentionForecaster, read: Callable[..., Read]
) -> None:
    reader = model.reader
    assert reader.level is not None
    empty = tuple(replace(part, state=part.state.untaught()) for part in model.base.parts)
    found = read(*(SPRING_END + days * DAY for days in (5, 14, 24)))
    made = replace(model.base, parts=empty).log_ratio(reader, *found)
    assert np.isfinite(made[:, :6]).all(axis=1).tolist() == [False, False, True]
    levels = levels_of(Level.untaught(reader.level.scale, reader.taught_day), found)
    assert np.isfinite(levels).all(axis=(1, 2)).tolist() == [False, False, True]


def test_covariates_of_the_level_are_its_change_its_gap_and_its_error(
    model: AttentionForecaster, read: Callable[..., Read]
) -> None:
    found = read(*(SPRING_END + 5 * HOUR * step for step in range(200)))
    made = levels_of(model.reader.level, found)
    assert made.shape == (200, 8, len(level.COVARIATES)) == (200, 8, 11)
    change, gap, error = (made[..., index:9:3] for index in range(3))
    # In single precision, as they are kept.
    assert change + error == pytest.approx(gap, abs=1e-6, nan_ok=True)
    # What it says of the last hour is closer to what was measured than the mean is.
    assert np.nanmean(np.abs(error)) < 0.75 * np.std(found[0].series.log_co2)
    # Means of errors of three hours and a day: ever smoother.
    last, three_hours, day = (np.nanstd(made[:, 0, index]) for index in (8, 9, 10))
    assert last > three_hours > day > 0
    assert model.reader.level is not None
    again = levels_of(Level.from_json(model.reader.level.to_json()), found)
    assert np.array_equal(again, made, equal_nan=True)


def test_the_level_of_a_day_is_taught_by_what_was_over_at_its_midnight(
    model: AttentionForecaster, read: Callable[..., Read]
) -> None:
    found = read(ISSUE)
    midnight = int(MIDNIGHT.timestamp()) // 3600 - found[0].series.first_hour
    made = levels_of(model.reader.level, found)
    for first, is_same in ((midnight, True), (midnight - 1, False)):
        learned = found[0].log_actual.copy()
        learned[first:] += 1.0
        assert np.array_equal(levels_of(model.reader.level, found, learned), made) == is_same


@pytest.mark.parametrize(
    ("group", "unknown"),
    [
        ("wind_solar", [True, False, True]),
        ("co2_prognosis", [False, True, True]),
        ("prices", [False, False, False]),
    ],
)
def test_a_level_is_unknown_without_the_groups_that_it_reads(
    group: str,
    unknown: list[bool],
    external: pl.DataFrame,
    model: AttentionForecaster,
    read: Callable[..., Read],
) -> None:
    # From two days before on, so that neither a day before nor the last known hour stands in.
    frame = without(external, group, pl.col("hour_utc") >= ISSUE - 2 * DAY)
    gaps = levels_of(model.reader.level, read(ISSUE, beside=frame))[0, :, 1:9:3]
    assert np.isnan(gaps).tolist() == [unknown] * 8


NO2, SE3 = price_column("NO2"), price_column("SE3")


def gone(external: pl.DataFrame, columns: list[str], start: datetime) -> pl.DataFrame:
    """The frame as if columns had ended at a time."""
    before = pl.col("hour_utc") < start
    return external.with_columns(pl.when(before).then(name).alias(name) for name in columns)


def test_two_areas_without_a_price_cost_what_needs_them_and_no_more(
    external: pl.DataFrame, model: AttentionForecaster, read: Callable[..., Read]
) -> None:
    design = base_design(model.reader.covariates, NEAR)
    _, inputs = read(ISSUE, beside=gone(external, [NO2, SE3], ISSUE))
    present = tuple(inputs.present[0, 0].tolist())
    assert [name for name, has in zip(EXTERNAL_COLUMNS, present, strict=True) if not has] == [
        NO2, SE3
    ]  # fmt: skip
    usable = zip(design.linear.tolist(), design.usable(present), strict=False)
    lost = {model.reader.covariates[index] for index, ok in usable if not ok}
    assert lost == {NO2, f"{NO2}_change", SE3, f"{SE3}_change", "price_dk1_less_no2"}


def test_learning_goes_on_without_what_has_ended(
    external: pl.DataFrame,
    history: pl.DataFrame,
    model: AttentionForecaster,
    read: Callable[..., Read],
) -> None:
    """Hours that lack a column teach the regression that does without it."""
    ended = gone(external, [NO2, SE3], SPRING_END)
    found = read(ISSUE, beside=ended)
    frozen = replace(found[0], log_actual=np.full_like(found[0].log_actual, np.nan))
    learned, stood_still = (ratio_of(model, (known, found[1])) for known in (found[0], frozen))
    assert not np.isclose(learned, stood_still, rtol=1e-3).any()
    # Whole hours teach the same, with or without the regression on the rest.
    whole = read(ISSUE)
    assert ratio_of(model, whole) == pytest.approx(
        ratio_of(model, read(ISSUE, beside=gone(external, [NO2], ISSUE + 40 * HOUR))), rel=1e-12
    )


def test_a_day_without_a_column_is_not_worth_sums_of_its_own(
    external: pl.DataFrame, model: AttentionForecaster, read: Callable[..., Read]
) -> None:
    hours = (FEWEST_BESIDES // 2) * HOUR
    alone = ratio_of(model, read(ISSUE, beside=gone(external, [NO2], ISSUE)))
    after_half_a_day = ratio_of(
        model,
        read(
            ISSUE,
            beside=gone(external, [NO2], ISSUE).with_columns(
                pl.when(pl.col("hour_utc").is_between(ISSUE - hours, ISSUE))
                .then(None)
                .otherwise(NO2)
                .alias(NO2)
            ),
        ),
    )
    assert np.isfinite(after_half_a_day).all()
    assert np.abs(after_half_a_day - alone).max() < 0.2


def test_a_training_learns_from_hours_that_lack_what_had_ended_before_it_did(
    external: pl.DataFrame, history: pl.DataFrame
) -> None:
    ended = gone(external, list(EXTERNAL_GROUPS["co2_prognosis"]), SPRING_END - 70 * DAY)
    start = SPRING_END - 120 * DAY
    fits = {
        name: fit_base(
            read_training_set(
                history, start, SPRING_END, lookback_hours=24, horizon_hours=2, external=frame
            ),
            alpha=600.0,
            half_life_days=120.0,
        )
        for name, frame in (("whole", external), ("ended", ended))
    }
    read = {name: [c for c, has in zip(EXTERNAL_COLUMNS, base.columns, strict=True) if has]
            for name, base in fits.items()}  # fmt: skip
    assert read["whole"] == list(EXTERNAL_COLUMNS)
    assert read["ended"] == [c for c in EXTERNAL_COLUMNS if c != "co2_prognosis_g_per_kwh"]
    ended_days, whole_days = (fits[name].parts[0].state.knows_days for name in ("ended", "whole"))
    assert ended_days == pytest.approx(whole_days, rel=0.02)
