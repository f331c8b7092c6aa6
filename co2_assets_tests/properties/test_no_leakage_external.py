"""No forecaster sees what others published after the issue time, nor after the end of its fit.

Everything that was not available by then is replaced, withdrawn or added to; what was made
from the rest must not change in a single bit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from co2_assets.errors import InputsMissing
from co2_assets.forecasting.external import GROUPS
from co2_assets.forecasting.fit_attention import fit_attention
from co2_assets.forecasting.forecaster import Forecaster
from co2_assets.forecasting.log_ridge import fit_log_ridge
from co2_assets.forecasting.prognosis import fit_prognosis
from co2_assets.schema import EXTERNAL_COLUMNS, EXTERNAL_GROUPS, available_column
from co2_assets_tests.forecasting.conftest import trained_external
from co2_assets_tests.forecasting.small import EXTERNAL, HOUR, SPRING_END, SPRING_START
from co2_assets_tests.properties.test_no_leakage_core import KINDS as HISTORY_KINDS
from co2_assets_tests.properties.test_no_leakage_core import altered_from, is_whole

__all__ = ["trained_external"]

INSTANT = timedelta(microseconds=1)
KINDS = ("other values", "absent", "withdrawn", "added")


def altered_after(external: pl.DataFrame, time: datetime, kind: str, seed: int = 0) -> pl.DataFrame:
    """The frame with everything that was not available by a time made other; see `KINDS`."""
    random = np.random.default_rng(seed)
    changes = []
    for name in EXTERNAL_COLUMNS:
        available = pl.col(available_column(name))
        later = available.is_null() | (available > time)
        noise = pl.Series(random.uniform(1, 900, external.height))
        if kind == "added":
            later |= pl.col(name).is_null()
            changes.append(
                pl.when(later)
                .then(pl.lit(time + INSTANT))
                .otherwise(available)
                .alias(available_column(name))
            )
        elif kind == "withdrawn":
            changes.append(pl.when(~later).then(available))
        is_gone = kind in ("absent", "withdrawn")
        changes.append(
            pl.when(later).then(None if is_gone else noise).otherwise(pl.col(name)).alias(name)
        )
    made = external.with_columns(changes)
    nothing = pl.all_horizontal(pl.col(EXTERNAL_COLUMNS).is_null())
    return made.filter(~nothing) if kind == "withdrawn" else made


Fit = Callable[[pl.DataFrame, pl.DataFrame], Any]

WINTER = SPRING_START - 20 * 24 * HOUR
"""So that the newest 15 % of the range, whose errors it measures, has enough windows."""


def _prognosis(*, recalibrated: bool) -> Fit:
    return lambda history, external: fit_prognosis(
        history, external, SPRING_START, SPRING_END, 8, recalibrated=recalibrated
    )


FITS: dict[str, Fit] = {
    "attention_lstm": lambda history, external: fit_attention(
        history, SPRING_START, SPRING_END, EXTERNAL, external=external
    ),
    "log_ridge": lambda history, external: fit_log_ridge(
        history, WINTER, SPRING_END, lookback_hours=24, horizon_hours=8, external=external
    ),
    "energinet": _prognosis(recalibrated=False),
    "energinet_recalibrated": _prognosis(recalibrated=True),
}


@pytest.fixture(scope="module")
def fitted(
    history: pl.DataFrame,
    external: pl.DataFrame,
    trained_external: Forecaster,  # noqa: F811
) -> dict[str, Forecaster]:
    others = {name: fit(history, external) for name, fit in list(FITS.items())[1:]}
    return {"attention_lstm": trained_external, **others}


@pytest.mark.parametrize("name", FITS)
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    late=st.integers(0, 45),
    first=st.integers(0, 24 * 30),
    more=st.lists(st.integers(1, 60), max_size=3),
    kinds=st.tuples(st.sampled_from(KINDS), st.sampled_from(HISTORY_KINDS)),
    seed=st.integers(0, 2**31),
)
def test_forecasts_know_nothing_that_was_published_after_the_newest_issue_time(
    name: str,
    late: int,
    first: int,
    more: list[int],
    kinds: tuple[str, str],
    seed: int,
    history: pl.DataFrame,
    external: pl.DataFrame,
    fitted: dict[str, Forecaster],
) -> None:
    newest = SPRING_END + first * HOUR
    times = sorted({newest, *(newest - back * HOUR for back in more)})
    times = [time for time in times if is_whole(history, time)]
    if not times:
        return
    # Published late, next hours are often unknown; in time, the models' leads seldom are.
    external = external.with_columns(
        pl.col(available_column(column)) + late * HOUR for column in EXTERNAL_COLUMNS
    )

    def made(past: pl.DataFrame, beside: pl.DataFrame) -> list[tuple[Any, ...]] | str:
        try:
            return fitted[name].predict(past, times, beside).rows()
        except InputsMissing as refusal:
            return str(refusal)

    known = made(history, external)
    others = altered_after(external, times[-1], kinds[0], seed)
    assert made(altered_from(history, times[-1], kinds[1], seed), others) == known
    assert made(history.filter(pl.col("hour_utc") < times[-1]), others) == known


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("name", FITS)
def test_a_value_that_was_available_changes_the_forecasts_of_whoever_reads_its_group(
    name: str,
    group: str,
    history: pl.DataFrame,
    external: pl.DataFrame,
    fitted: dict[str, Forecaster],
) -> None:
    issue = SPRING_END + 30 * HOUR
    first = pl.col("hour_utc") == issue
    known = external.filter(first)
    assert (known[available_column(EXTERNAL_GROUPS[group][0])] <= issue).all()
    other = external.with_columns(
        pl.when(first).then(pl.col(column) * 1.3 + 5).otherwise(column).alias(column)
        for column in EXTERNAL_GROUPS[group]
    )
    made, again = (fitted[name].predict(history, [issue], frame) for frame in (external, other))
    assert again.equals(made) != (EXTERNAL_GROUPS[group][0] in fitted[name].reads)


@pytest.mark.parametrize("name", FITS)
def test_each_issue_time_of_many_knows_only_what_was_published_by_then(
    name: str, history: pl.DataFrame, external: pl.DataFrame, fitted: dict[str, Forecaster]
) -> None:
    times = [SPRING_END + 7 * HOUR * step for step in range(12)]
    together = fitted[name].predict(history, times, external)
    for time in times[::3]:
        others = altered_after(external, time, "other values")
        alone = fitted[name].predict(history, [time], others)
        of_many = together.filter(pl.col("issue_time_utc") == time)
        assert alone["valid_time_utc"].equals(of_many["valid_time_utc"])
        # Not bit by bit: a batch of another size is multiplied in another order.
        np.testing.assert_allclose(
            *(frame.select(pl.selectors.float()).to_numpy() for frame in (alone, of_many)),
            rtol=1e-5,
        )


@pytest.mark.parametrize("kind", ["other values", "added"])
@pytest.mark.parametrize("name", FITS)
def test_a_fit_knows_nothing_that_was_published_after_the_end_of_its_range(
    name: str,
    kind: str,
    history: pl.DataFrame,
    external: pl.DataFrame,
    fitted: dict[str, Forecaster],
) -> None:
    again = numbers_of(FITS[name](history, altered_after(external, SPRING_END, kind)))
    for part, value in numbers_of(fitted[name]).items():
        assert np.array_equal(again[part], value), part


@pytest.mark.parametrize("name", FITS)
def test_a_fit_does_depend_on_what_was_published_within_its_range(
    name: str, history: pl.DataFrame, external: pl.DataFrame, fitted: dict[str, Forecaster]
) -> None:
    """The test above would pass if it looked at nothing."""
    altered = altered_after(external, SPRING_END - 72 * HOUR, "other values")
    again = numbers_of(FITS[name](history, altered))
    assert any(not np.array_equal(again[k], v) for k, v in numbers_of(fitted[name]).items())


def numbers_of(thing: Any, path: str = "") -> dict[str, np.ndarray]:
    """Every number that a fitted forecaster consists of, by where it is."""
    parts: dict[str, Any] = {}
    if isinstance(thing, np.ndarray | float | int):
        return {path: np.asarray(thing)}
    if isinstance(thing, torch.nn.Module):
        return {f"{path}.{key}": value.numpy() for key, value in thing.state_dict().items()}
    if is_dataclass(thing):
        parts = {field.name: getattr(thing, field.name) for field in fields(thing)}
    elif isinstance(thing, tuple):
        parts = {str(index): part for index, part in enumerate(thing)}
    return {
        key: value
        for name, part in parts.items()
        for key, value in numbers_of(part, f"{path}.{name}").items()
    }
