"""Both networks: one value or seven per lead, from every row, each window by itself."""

from __future__ import annotations

import pytest
import torch

from co2_assets.forecasting.attention import AttentionConfig, new_network
from co2_assets.forecasting.covariates import ENCODER_COLUMNS
from co2_assets.forecasting.inputs import covariate_names
from co2_assets.forecasting.model import AttentionLSTM
from co2_assets.schema import EXTERNAL_COLUMNS


@pytest.fixture
def rows() -> torch.Tensor:
    return torch.rand((3, 24, 16), generator=torch.Generator().manual_seed(0))


def seed_network(horizon: int = 6) -> AttentionLSTM:
    torch.manual_seed(0)
    return AttentionLSTM(inputs=16, hidden=8, layers=2, horizon=horizon, dropout=0.2).eval()


@pytest.mark.parametrize("horizon", [1, 6, 24])
def test_one_value_per_lead(horizon: int, rows: torch.Tensor) -> None:
    assert seed_network(horizon)(rows).shape == (3, horizon)


def test_every_row_of_the_lookback_matters(rows: torch.Tensor) -> None:
    network = seed_network()
    rows.requires_grad_()
    network(rows).sum().backward()
    assert rows.grad is not None
    assert (rows.grad.abs().sum(dim=2) > 0).all()


def test_a_window_is_not_told_of_the_others_in_its_batch(rows: torch.Tensor) -> None:
    network = seed_network()
    together = network(rows)
    assert torch.allclose(network(rows[1:2]), together[1:2], atol=1e-6)


def test_the_default_network_is_small_and_begins_at_no_change() -> None:
    config = AttentionConfig()
    covariates = len(covariate_names(external=True))
    network = new_network(config, covariates).eval()
    leads = covariates + 24 + len(EXTERNAL_COLUMNS)
    assert len(ENCODER_COLUMNS) == 17
    corrections = network(torch.rand(2, 24, 17), torch.rand(2, 24, leads))
    assert corrections.shape == (2, 24, 7)
    assert torch.equal(corrections, torch.zeros(2, 24, 7))
    assert sum(weight.numel() for weight in network.parameters()) < 200_000
