"""The network of the default recipe: a small LSTM, four heads, one query per lead."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LeadAttention(nn.Module):
    """Encoder rows and lead covariates in, a correction of each quantile out.

    The query of a lead is built from what is known of it at issue time and the last
    state. The last layer begins at zero, so that training starts from the base forecast.

    Args:
        encoder_inputs: columns of an encoder row.
        lead_inputs: covariates of a lead, the base forecast among them.
        hidden: size of the state.
        heads: of the attention.
        dropout: after the input and before the output.
        quantiles: of the output.
    """

    def __init__(
        self,
        *,
        encoder_inputs: int,
        lead_inputs: int,
        hidden: int,
        heads: int,
        dropout: float,
        quantiles: int,
    ) -> None:
        super().__init__()
        self.embed = nn.Sequential(
            nn.Linear(encoder_inputs, hidden), nn.GELU(), nn.Dropout(dropout)
        )
        self.encoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.query = nn.Linear(lead_inputs + hidden, hidden)
        self.attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.norm = nn.LayerNorm(2 * hidden)
        self.head = nn.Sequential(
            nn.Linear(2 * hidden, hidden), nn.GELU(), nn.Dropout(dropout),
            nn.Linear(hidden, quantiles),
        )  # fmt: skip
        last = self.head[-1]
        if isinstance(last, nn.Linear):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def forward(self, rows: Tensor, leads: Tensor) -> Tensor:
        """Scaled inputs to corrections, shape (windows, leads, quantiles)."""
        states, _ = self.encoder(self.embed(rows))
        last = states[:, -1:].expand(-1, leads.shape[1], -1)
        queries = self.query(torch.cat([leads, last], dim=-1))
        attended, _ = self.attention(queries, states, states, need_weights=False)
        return self.head(self.norm(torch.cat([attended, queries], dim=-1)))  # type: ignore[no-any-return]
