"""The regression that goes on learning: the closed form, day by day, each hour once it is over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from co2_assets.forecasting.online import Examples, OnlineRidge, with_constant

LEADS, COLUMNS, DAYS = 3, 4, 6
FIRST_DAY = 20_000
HALF_LIFE = 2.0


def examples(seed: int = 0, hours: int = 24 * DAYS) -> Examples:
    """Generated: what is shown is arithmetic, not data."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(hours, LEADS, COLUMNS))
    return Examples(
        hours=FIRST_DAY * 24 + np.arange(hours),
        inputs=lambda rows, lead: x[rows, lead],
        targets=random.normal(size=(hours, LEADS)),
        weights=random.uniform(0.5, 2.0, hours),
    )


def empty() -> OnlineRidge:
    return OnlineRidge.empty(FIRST_DAY, LEADS, COLUMNS, HALF_LIFE)


def by_hand(learned: Examples, lead: int, until: int, columns: list[int]) -> np.ndarray:
    """Weighted ridge of every target whose hour was over at the start of day `until`."""
    rows = np.flatnonzero(learned.hours + lead < until * 24)
    age = until - 1 - (learned.hours[rows] + lead) // 24
    weights = learned.weights[rows] ** 2 * 0.5 ** (age / HALF_LIFE)
    x = with_constant(learned.inputs(rows, lead)[:, columns])
    penalty = np.diag([3.0] * len(columns) + [0.0])
    gram = (x * weights[:, None]).T @ x + penalty
    return np.linalg.solve(gram, (x * weights[:, None]).T @ learned.targets[rows, lead])


@pytest.mark.parametrize("lead", range(LEADS))
def test_it_is_the_weighted_ridge_of_what_was_over_by_midnight(lead: int) -> None:
    learned = examples()
    found = empty().until(FIRST_DAY + 4, learned).coefficients(3.0)
    expected = by_hand(learned, lead, FIRST_DAY + 4, list(range(COLUMNS)))
    np.testing.assert_allclose(found[lead], expected, rtol=1e-6)


def test_fewer_columns_are_a_regression_on_those_alone() -> None:
    learned = examples()
    used = np.array([True, False, True, True])
    state = empty().until(FIRST_DAY + 5, learned)
    found = state.coefficients(3.0, used, np.array([1]))[0]
    expected = by_hand(learned, 1, FIRST_DAY + 5, [0, 2, 3])
    np.testing.assert_allclose(found[[0, 2, 3, 4]], expected, rtol=1e-6)
    assert found[1] == 0.0


@given(st.integers(0, DAYS), st.integers(0, DAYS), st.integers(0, 99))
def test_learning_in_two_steps_is_learning_in_one(first: int, second: int, seed: int) -> None:
    learned = examples(seed)
    once = empty().until(FIRST_DAY + max(first, second), learned)
    twice = empty().until(FIRST_DAY + first, learned).until(FIRST_DAY + second, learned)
    np.testing.assert_allclose(twice.gram, once.gram, atol=1e-9)
    np.testing.assert_allclose(twice.moment, once.moment, atol=1e-9)


def test_nothing_is_learned_twice_or_backwards() -> None:
    learned = examples()
    state = empty().until(FIRST_DAY + 3, learned)
    assert state.until(FIRST_DAY + 3, learned) is state
    assert state.until(FIRST_DAY + 1, learned) is state


def test_an_hour_that_is_not_over_teaches_nothing() -> None:
    learned = examples()
    changed = learned.targets.copy()
    for lead in range(LEADS):
        changed[learned.hours + lead >= (FIRST_DAY + 3) * 24, lead] = 999.0
    other = Examples(learned.hours, learned.inputs, changed, learned.weights)
    before, after = (empty().until(FIRST_DAY + 3, one) for one in (learned, other))
    assert np.array_equal(before.gram, after.gram)
    assert np.array_equal(before.moment, after.moment)
    assert not np.array_equal(before.moment, empty().until(FIRST_DAY + 4, other).moment)


def test_a_target_that_is_not_known_is_left_out() -> None:
    learned = examples()
    holes = learned.targets.copy()
    holes[5:30, 1] = np.nan
    state = empty().until(
        FIRST_DAY + 4, Examples(learned.hours, learned.inputs, holes, learned.weights)
    )
    assert np.isfinite(state.gram).all()
    whole = empty().until(FIRST_DAY + 4, learned)
    assert np.array_equal(state.gram[0], whole.gram[0])
    assert not np.array_equal(state.gram[1], whole.gram[1])


def test_the_days_come_in_order_each_as_of_its_midnight() -> None:
    learned = examples()
    asked = np.array([FIRST_DAY + 4, FIRST_DAY + 2, FIRST_DAY + 4])
    states = dict(empty().days(asked, learned))
    assert list(states) == [FIRST_DAY + 2, FIRST_DAY + 4]
    for day, state in states.items():
        np.testing.assert_allclose(state.gram, empty().until(day, learned).gram, atol=1e-9)


def test_columns_that_say_the_same_still_give_a_forecast() -> None:
    learned = examples()
    first = learned.inputs

    def alike(rows: np.ndarray, lead: int) -> np.ndarray:
        return np.repeat(1e4 * first(rows, lead)[:, :1], COLUMNS, axis=1)

    state = empty().until(FIRST_DAY + DAYS, replace(learned, inputs=alike))
    found = state.coefficients(1e-6)
    assert np.isfinite(found).all()
    x = with_constant(alike(np.arange(24), 0))
    alone = np.zeros(COLUMNS, dtype=bool)
    alone[0] = True
    assert x @ found[0] == pytest.approx(x @ state.coefficients(1e-6, alone)[0], rel=1e-3)
