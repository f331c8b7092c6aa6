"""The network: an LSTM encoder, and attention with one query per lead."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AttentionLSTM(nn.Module):
    """Lookback rows in, one value per lead out.

    The encoder's states of all rows are keys and values; each lead has a learned query
    that is moved by the last state, and attends to the rows that matter to it.
    Attention: Bahdanau et al., 2015, in the scaled dot-product form of Vaswani et al., 2017.

    Args:
        inputs: columns of a row.
        hidden: size of the encoder's state.
        layers: of the encoder.
        horizon: leads.
        dropout: between the encoder's layers and before the head.
    """

    def __init__(
        self, *, inputs: int, hidden: int, layers: int, horizon: int, dropout: float
    ) -> None:
        super().__init__()
        self.encoder = nn.LSTM(
            inputs, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0
        )
        self.queries = nn.Parameter(torch.randn(horizon, hidden) * hidden**-0.5)
        self.from_state = nn.Linear(hidden, hidden)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * hidden, 1)

    def forward(self, rows: Tensor) -> Tensor:
        """Scaled inputs (windows, lookback, inputs) to scaled values (windows, horizon)."""
        states, _ = self.encoder(rows)
        last = states[:, -1]
        queries = self.queries + self.from_state(last).unsqueeze(1)
        attended = nn.functional.scaled_dot_product_attention(queries, states, states)
        together = torch.cat([attended, last.unsqueeze(1).expand_as(attended)], dim=-1)
        return self.head(self.dropout(together)).squeeze(-1)  # type: ignore[no-any-return]
