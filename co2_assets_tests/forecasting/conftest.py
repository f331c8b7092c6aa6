"""Small trained forecasters on a real spring, made once."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from co2_assets.forecasting.attention import AttentionForecaster
from co2_assets.forecasting.fit_attention import fit_attention
from co2_assets.forecasting.predict import SeedForecaster
from co2_assets.forecasting.train import fit_seed
from co2_assets_tests.forecasting.small import ATTENTION, EXTERNAL, SEED, SPRING_END, SPRING_START


@pytest.fixture(scope="session")
def spring() -> tuple[datetime, datetime]:
    return SPRING_START, SPRING_END


@pytest.fixture(scope="session")
def trained_seed(history: pl.DataFrame) -> SeedForecaster:
    return fit_seed(history, SPRING_START, SPRING_END, SEED)


@pytest.fixture(scope="session")
def trained_attention(history: pl.DataFrame) -> AttentionForecaster:
    return fit_attention(history, SPRING_START, SPRING_END, ATTENTION)


@pytest.fixture(scope="session")
def trained_external(history: pl.DataFrame, external: pl.DataFrame) -> AttentionForecaster:
    return fit_attention(history, SPRING_START, SPRING_END, EXTERNAL, external=external)
