"""Scalers learn from what they are given alone, and undo themselves exactly once."""

from __future__ import annotations

import json

import numpy as np
import pytest

from co2_assets.forecasting.scaling import MinMax
from co2_assets.forecasting.standard import CLIP, Standard

VALUES = np.random.default_rng(1).normal(50, 20, (300, 4))


def test_min_max_takes_the_range_to_0_and_1_and_back() -> None:
    scaler = MinMax.fit(VALUES)
    scaled = scaler.transform(VALUES)
    assert scaled.min(axis=0) == pytest.approx(0.0)
    assert scaled.max(axis=0) == pytest.approx(1.0)
    assert scaler.inverse(scaled) == pytest.approx(VALUES)


def test_min_max_does_not_clip_what_lies_beyond_the_range() -> None:
    scaler = MinMax(np.array([0.0]), np.array([10.0]))
    assert scaler.transform(np.array([[20.0], [-10.0]])).tolist() == [[2.0], [-1.0]]


def test_a_column_that_never_varied_becomes_0_and_comes_back() -> None:
    scaler = MinMax.fit(np.full((5, 1), 3.0))
    assert scaler.transform(np.full((2, 1), 3.0)).tolist() == [[0.0], [0.0]]
    assert scaler.inverse(np.zeros((2, 1))).tolist() == [[3.0], [3.0]]


def test_standard_takes_mean_0_and_deviation_1() -> None:
    scaled = Standard.fit(VALUES).transform(VALUES)
    assert scaled.mean(axis=0) == pytest.approx(0.0, abs=1e-12)
    assert scaled.std(axis=0) == pytest.approx(1.0)


def test_standard_leaves_nan_out_and_makes_it_the_average() -> None:
    holed = VALUES.copy()
    holed[::3, 1] = np.nan
    scaler = Standard.fit(holed)
    assert scaler.mean[1] == pytest.approx(np.nanmean(holed[:, 1]))
    assert scaler.std[1] == pytest.approx(np.nanstd(holed[:, 1]))
    assert scaler.transform(holed)[0, 1] == 0.0


def test_standard_clips_what_is_out_of_all_proportion() -> None:
    scaler = Standard(np.array([0.0]), np.array([1.0]))
    assert scaler.transform(np.array([[1e6], [-1e6]])).tolist() == [[CLIP], [-CLIP]]


@pytest.mark.parametrize("kind", [MinMax, Standard])
def test_json_keeps_a_scaler_exactly(kind: type[MinMax] | type[Standard]) -> None:
    scaler = kind.fit(VALUES)
    again = kind.from_json(json.loads(json.dumps(scaler.to_json())))
    assert np.array_equal(again.transform(VALUES), scaler.transform(VALUES))
