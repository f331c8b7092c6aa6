"""No forecaster sees the future: not when it forecasts, and not when it is fitted.

Everything at and after an hour is replaced by something else; what was made from the
hours before must not change in a single bit.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from co2_assets.forecasting.baselines import fit_climatology, fit_persistence, fit_seasonal_naive
from co2_assets.forecasting.fit_attention import fit_attention
from co2_assets.forecasting.forecaster import Forecaster
from co2_assets.forecasting.train import fit_seed
from co2_assets.schema import CO2_COLUMN, FEATURE_COLUMNS
from co2_assets_tests.forecasting.small import ATTENTION, HOUR, SEED, SPRING_END, SPRING_START

Fit = Callable[[pl.DataFrame, datetime, datetime], Any]

FITS: dict[str, Fit] = {
    "persistence": lambda history, start, end: fit_persistence(history, start, end, 6),
    "seasonal_naive": lambda history, start, end: fit_seasonal_naive(history, start, end, 6),
    "climatology": lambda history, start, end: fit_climatology(history, start, end, 6),
    "climatology, 30 leads": lambda history, start, end: fit_climatology(history, start, end, 30),
    "seed": lambda history, start, end: fit_seed(history, start, end, SEED),
    "attention_lstm": lambda history, start, end: fit_attention(history, start, end, ATTENTION),
}
KINDS = ("noise", "absent", "not a number", "constant")


def altered_from(history: pl.DataFrame, time: datetime, kind: str, seed: int = 0) -> pl.DataFrame:
    """The history with everything at and after a time replaced."""
    later = pl.col("hour_utc") >= time
    random = np.random.default_rng(seed)

    def other(name: str) -> pl.Expr | pl.Series:
        if kind == "noise":
            return pl.Series(name, random.uniform(1, 900, history.height))
        return pl.lit({"absent": None, "not a number": float("nan"), "constant": 333.0}[kind])

    replaced = [
        pl.when(later).then(other(name)).otherwise(name).cast(pl.Float64).alias(name)
        for name in (*FEATURE_COLUMNS, CO2_COLUMN)
    ]
    # Hours that may not be trained on as well as hours that suddenly may.
    flags = [
        pl.when(later).then(pl.lit(kind in ("noise", "constant"))).otherwise(name).alias(name)
        for name in ("is_usable", "is_trainable")
    ]
    return history.with_columns(*replaced, *flags)


@pytest.fixture(scope="session")
def fitted(history: pl.DataFrame) -> dict[str, Forecaster]:
    return {name: fit(history, SPRING_START, SPRING_END) for name, fit in FITS.items()}


@pytest.mark.parametrize("name", FITS)
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    first=st.integers(0, 24 * 200),
    more=st.lists(st.integers(1, 60), max_size=3),
    kind=st.sampled_from(KINDS),
    seed=st.integers(0, 2**31),
)
def test_forecasts_know_nothing_from_their_issue_time_on(
    name: str,
    first: int,
    more: list[int],
    kind: str,
    seed: int,
    history: pl.DataFrame,
    fitted: dict[str, Forecaster],
) -> None:
    newest = SPRING_END + first * HOUR
    issue_times = sorted({newest, *(newest - back * HOUR for back in more)})
    usable = [time for time in issue_times if is_whole(history, time)]
    if not usable:
        return
    known = fitted[name].predict(history, usable)
    # Altered after the newest of them: older issue times know what came before it.
    altered = altered_from(history, usable[-1], kind, seed)
    assert fitted[name].predict(altered, usable).equals(known)
    assert (
        fitted[name].predict(history.filter(pl.col("hour_utc") < usable[-1]), usable).equals(known)
    )


@pytest.mark.parametrize("name", FITS)
def test_each_issue_time_of_many_knows_nothing_from_itself_on(
    name: str, history: pl.DataFrame, fitted: dict[str, Forecaster]
) -> None:
    times = [SPRING_END + timedelta(hours=6 * step) for step in range(40)]
    together = fitted[name].predict(history, times)
    for time in times[::13]:
        cut = history.filter(pl.col("hour_utc") < time)
        alone = fitted[name].predict(cut, [time]).drop("issue_time_utc", "valid_time_utc")
        of_many = together.filter(pl.col("issue_time_utc") == time).drop(
            "issue_time_utc", "valid_time_utc"
        )
        # Not bit by bit: a batch of another size is multiplied in another order.
        np.testing.assert_allclose(alone.to_numpy(), of_many.to_numpy(), rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", FITS)
def test_a_fit_knows_nothing_from_the_end_of_its_range_on(
    name: str, kind: str, history: pl.DataFrame, fitted: dict[str, Forecaster]
) -> None:
    again = FITS[name](altered_from(history, SPRING_END, kind), SPRING_START, SPRING_END)
    assert numbers_of(again).keys() == numbers_of(fitted[name]).keys()
    for part, value in numbers_of(fitted[name]).items():
        assert np.array_equal(numbers_of(again)[part], value), part


@pytest.mark.parametrize("name", FITS)
def test_a_fit_does_depend_on_what_is_within_its_range(
    name: str, history: pl.DataFrame, fitted: dict[str, Forecaster]
) -> None:
    """The test above would pass if it looked at nothing."""
    altered = altered_from(history, SPRING_END - 48 * HOUR, "noise")
    again = FITS[name](altered, SPRING_START, SPRING_END)
    assert any(
        not np.array_equal(numbers_of(again)[part], value)
        for part, value in numbers_of(fitted[name]).items()
    )


def is_whole(history: pl.DataFrame, issue_time: datetime) -> bool:
    before = pl.col("hour_utc").is_between(issue_time - 24 * HOUR, issue_time, closed="left")
    return bool(history.filter(before)["is_usable"].all())


def numbers_of(forecaster: Any) -> dict[str, np.ndarray]:
    """Every number that a fitted forecaster consists of."""
    found: dict[str, np.ndarray] = {}
    for name, value in vars(forecaster).items():
        if isinstance(value, np.ndarray | float | int):
            found[name] = np.asarray(value)
        elif hasattr(value, "state_dict"):
            found |= {f"{name}.{key}": w.numpy() for key, w in value.state_dict().items()}
        elif isinstance(value, tuple):
            for index, network in enumerate(value):
                weights = network.state_dict().items()
                found |= {f"{name}.{index}.{key}": w.numpy() for key, w in weights}
        elif hasattr(value, "to_json"):
            found |= {
                f"{name}.{key}": np.asarray(kept)
                for key, kept in value.to_json().items()
                if not isinstance(kept, str)
            }
    return found
