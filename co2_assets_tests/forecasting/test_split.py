"""The validation tail shares no hour with what is trained on."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from co2_assets.forecasting.split import validation_tail


@given(
    st.sets(st.integers(0, 3000), max_size=400),
    st.floats(0.05, 0.5),
    st.integers(1, 48),
    st.integers(1, 24),
)
def test_no_hour_is_both_trained_on_and_validated_with(
    issued: set[int], share: float, lookback: int, horizon: int
) -> None:
    rows = np.array(sorted(issued), dtype=np.int64)
    fitting, tail = validation_tail(rows, share, lookback_hours=lookback, horizon_hours=horizon)
    assert set(fitting) | set(tail) <= issued
    if len(fitting) and len(tail):
        assert fitting.max() + horizon - 1 < tail.min() - lookback


def test_the_tail_is_the_newest_share() -> None:
    fitting, tail = validation_tail(np.arange(1000), 0.1, lookback_hours=24, horizon_hours=6)
    assert tail.tolist() == list(range(900, 1000))
    assert fitting.tolist() == list(range(871))
