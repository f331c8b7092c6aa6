"""Advice is calibrated on what came of earlier advice, and on nothing that came later."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from co2_assets.forecasting.advice_calibration import (
    DEFAULTS,
    EVIDENCE_DAYS,
    JOBS,
    LOWEST_SHIFT,
    NEAR_HOURS,
    ON_DEFAULTS,
    ON_HOLDOUT,
    Calibration,
    Calibrations,
    calibration_for,
    fit,
    from_rows,
    known_receipts,
    rows,
)
from co2_assets.forecasting.advice_holdout import (
    advice_metrics,
    holdout_calibrations,
    holdout_receipts,
)
from co2_assets.forecasting.greenest import HOUR
from co2_assets.schema import QUANTILE_COLUMNS

START = datetime(2024, 7, 1, tzinfo=UTC)
WEEKS = 12
SOME = settings(max_examples=60, deadline=None)


def receipts(
    *, shift: float = 0.0, factor: float | None = None, days: int = 7 * WEEKS, seed: int = 1
) -> pl.DataFrame:
    """Settled receipts of six-hourly issue times, whose truth is known.

    Whether now was beaten has log odds that differ by `shift` from those that were said. What
    came is the saving that was said, or as much lost; with a factor it is that share of it.
    """
    random = np.random.default_rng(seed)
    made = (
        pl.DataFrame({"issue_time_utc": [START + index * 6 * HOUR for index in range(4 * days)]})
        .join(
            pl.DataFrame(JOBS, schema=["duration_hours", "within_hours"], orient="row"), how="cross"
        )
        .with_columns(
            preferred_start_utc=pl.col("issue_time_utc") + 2 * HOUR,
            quantile=pl.when(pl.col("within_hours") == 6).then(0.5).otherwise(0.75),
            is_settled=True,
            is_hindcast=False,
            is_fallback=False,
        )
    )
    chance = random.uniform(0.5, 0.99, made.height)
    saving = random.uniform(5, 30, made.height)
    beats = random.random(made.height) < 1 / (1 + (1 / chance - 1) * np.exp(-shift))
    came = np.where(beats, saving, -saving) if factor is None else factor * saving
    return made.with_columns(
        raw_chance_beats_now=pl.Series(chance),
        raw_saving_g_per_kwh=pl.Series(saving),
        preferred_saving_g_per_kwh=pl.Series(came),
    )


def test_what_was_said_too_well_is_learned_from_receipts() -> None:
    learned = fit(receipts(shift=-0.4), DEFAULTS, ON_HOLDOUT, "receipts")
    saved = fit(receipts(factor=0.7), DEFAULTS, ON_HOLDOUT, "receipts")
    assert set(learned) == set(JOBS)
    for job, calibration in learned.items():
        assert calibration.chance_shift == pytest.approx(-0.4, abs=0.2)
        assert calibration.calibrated_on == "receipts"
        assert calibration.calibration_n == 4 * 7 * WEEKS
        assert 0.7 < saved[job].saving_factor < 0.8 < DEFAULTS[job].saving_factor
    assert learned[2, 6].chance(0.66) == pytest.approx(0.57, abs=0.04)
    assert learned[2, 6].chance(0.5) == 0.5


def test_the_fewer_receipts_the_nearer_to_the_prior() -> None:
    prior: Calibrations = dict.fromkeys(JOBS, Calibration(0.3, 0.9, "holdout", 112))
    for figure, truth in (
        ("chance_shift", receipts(shift=-0.2)),
        ("saving_factor", receipts(factor=0.5)),
    ):
        learned = [
            fit(
                truth.filter(pl.col("issue_time_utc") < START + timedelta(days=days)),
                prior,
                ON_HOLDOUT,
                "receipts",
            )
            for days in (0, 7, 84)
        ]
        assert learned[0] == prior
        found = np.array([[getattr(one[job], figure) for job in JOBS] for one in learned])
        assert np.all(np.diff(found, axis=0) < 0)


def test_a_job_without_receipts_of_its_own_keeps_its_prior() -> None:
    near = receipts().filter(pl.col("within_hours") == 6, pl.col("duration_hours") == 1)
    learned = fit(near, DEFAULTS, ON_HOLDOUT, "receipts")
    assert learned[1, 6].calibrated_on == "receipts"
    for job in JOBS[1:]:
        assert learned[job] == DEFAULTS[job]


def test_selection_flatters_so_a_saving_is_never_made_larger() -> None:
    for factor, expected in ((2.0, 1.0), (-1.0, 0.0)):
        learned = fit(receipts(factor=factor), DEFAULTS, ON_HOLDOUT, "receipts")
        assert {c.saving_factor for c in learned.values()} == {expected}


@SOME
@given(st.floats(LOWEST_SHIFT, 5), st.floats(0, 1), st.floats(0, 1))
def test_a_calibrated_chance_rises_with_the_raw_one_and_keeps_its_side_of_even(
    shift: float, one: float, other: float
) -> None:
    calibration = Calibration(shift, 1.0, "receipts", 100)
    low, high = (calibration.chance(raw) for raw in sorted((one, other)))
    assert 0 < low <= high + 1e-12 < 1 + 1e-9
    for raw in (one, other):
        assert (calibration.chance(raw) >= 0.5 - 1e-12) == (raw >= 0.5 - 1e-12)
        assert Calibration().chance(raw) == raw


def test_no_shift_is_learned_with_which_a_chance_would_fall_as_the_raw_one_rises() -> None:
    learned = fit(receipts(shift=-3.0), DEFAULTS, ON_HOLDOUT, "receipts")
    assert {calibration.chance_shift for calibration in learned.values()} == {LOWEST_SHIFT}


@SOME
@given(st.floats(0, 1), st.floats(-200, 200), st.floats(-200, 200))
def test_a_calibrated_saving_rises_with_the_raw_one_and_keeps_its_sign(
    factor: float, one: float, other: float
) -> None:
    calibration = Calibration(0.0, factor)
    low, high = sorted((one, other))
    assert calibration.saving(low) <= calibration.saving(high) <= max(high, 0)
    assert (calibration.saving(low) < 0) == (low < 0)


@SOME
@given(st.integers(0, 4 * 7 * WEEKS), st.integers(0, 10**6))
def test_receipts_that_settle_after_the_issue_time_change_nothing(after: int, seed: int) -> None:
    issue_time = START + after * 6 * HOUR
    truth, otherwise = receipts(), receipts(shift=-2.0, seed=seed)
    over = pl.col("issue_time_utc") + pl.duration(hours="within_hours")
    mixed = pl.concat([truth.filter(over <= issue_time), otherwise.filter(over > issue_time)])
    told = fit(known_receipts(truth, issue_time), DEFAULTS, ON_HOLDOUT, "receipts")
    assert fit(known_receipts(mixed, issue_time), DEFAULTS, ON_HOLDOUT, "receipts") == told


def test_only_live_settled_receipts_of_the_model_itself_under_todays_rule_are_evidence() -> None:
    all_of_them = receipts(days=200)
    end = START + timedelta(days=200)
    known = known_receipts(all_of_them, end)
    assert known["issue_time_utc"].min() == end - timedelta(days=EVIDENCE_DAYS)
    newest = known.filter(pl.col("within_hours") == 24)["issue_time_utc"].max()
    assert newest == end - 24 * HOUR
    for spoilt in (
        {"is_settled": False},
        {"is_hindcast": True},
        {"is_fallback": True},
        {"quantile": 0.9},
    ):
        assert known_receipts(all_of_them.with_columns(**spoilt), end).is_empty()
    # Until now the upper quartile decided all jobs: those within 24 hours are as today.
    old = known_receipts(all_of_them.with_columns(quantile=0.75), end)
    assert old["within_hours"].unique().to_list() == [24]


def test_the_nearest_kind_of_job_is_that_of_its_reach_first() -> None:
    assert {job: calibration_for(DEFAULTS, *job) for job in JOBS} == DEFAULTS
    for (duration, reach), kind in {
        (1, 3): (1, 6),
        (5, 6): (3, 6),
        (2, NEAR_HOURS): (2, 6),
        (1, NEAR_HOURS + 1): (1, 24),
        (12, 24): (3, 24),
        (2, 48): (2, 24),
    }.items():
        assert calibration_for(DEFAULTS, duration, reach) is DEFAULTS[kind]
    assert calibration_for({}, 1, 6) == Calibration()


def test_what_is_written_down_is_read_back() -> None:
    learned = fit(receipts(), DEFAULTS, ON_HOLDOUT, "receipts")
    assert from_rows(rows(learned)) == learned
    assert from_rows(rows(DEFAULTS)) == DEFAULTS
    assert from_rows([]) == {}


@pytest.fixture(scope="module")
def paired(history: pl.DataFrame) -> pl.DataFrame:
    """Four weeks of six-hourly forecasts of real hours, each wrong by its own noise."""
    random = np.random.default_rng(3)
    start = datetime(2024, 3, 1, tzinfo=UTC)
    issues = pl.DataFrame({"issue_time_utc": [start + index * 6 * HOUR for index in range(4 * 28)]})
    leads = pl.DataFrame({"lead_hours": range(1, 25)}, schema={"lead_hours": pl.Int32})
    actuals = history.select(
        valid_time_utc="hour_utc", actual_g_per_kwh="co2_g_per_kwh"
    ).drop_nulls()
    made = (
        issues.join(leads, how="cross")
        .with_columns(pl.col("issue_time_utc").dt.cast_time_unit("us"))
        .with_columns(
            valid_time_utc=pl.col("issue_time_utc") + pl.duration(hours=pl.col("lead_hours") - 1)
        )
        .join(actuals, on="valid_time_utc")
        .sort("issue_time_utc", "lead_hours")
    )
    wrong = made["actual_g_per_kwh"] * np.exp(0.2 * random.normal(size=made.height))
    return made.with_columns(
        (wrong * (1 + (index - 3) / 20)).alias(name) for index, name in enumerate(QUANTILE_COLUMNS)
    )


def test_the_holdout_of_a_version_is_the_prior_of_its_advice(paired: pl.DataFrame) -> None:
    metrics = advice_metrics(paired)
    prior = holdout_calibrations({row["metric"]: row["value"] for row in metrics})
    assert {row["scope"] for row in metrics} == {"holdout"}
    assert set(prior) == set(JOBS)
    for job, calibration in prior.items():
        assert calibration.calibrated_on == "holdout"
        assert 100 < calibration.calibration_n <= 4 * 28
        # Independent errors of 20 %: the lowest of many is mostly low by mistake.
        assert calibration.saving_factor < DEFAULTS[job].saving_factor
    told = holdout_receipts(paired)
    assert fit(told, DEFAULTS, ON_DEFAULTS, "holdout") == prior


def test_without_figures_of_its_holdout_a_version_has_the_defaults(paired: pl.DataFrame) -> None:
    assert holdout_calibrations({}) == DEFAULTS
    short = paired.filter(pl.col("lead_hours") <= 6)
    prior = holdout_calibrations({row["metric"]: row["value"] for row in advice_metrics(short)})
    assert {job for job in JOBS if prior[job].calibrated_on == "holdout"} == set(JOBS[:3])
    assert all(prior[job] == DEFAULTS[job] for job in JOBS[3:])
    # Forecasts of one hour have no room for any of the jobs.
    assert advice_metrics(paired.filter(pl.col("lead_hours") == 1)) == []
