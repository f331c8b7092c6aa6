"""The network of the default recipe: a small LSTM, four heads, one query per lead."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class SeededDropout(nn.Module):
    """Dropout with a random generator of its own: members train at the same time.

    Args:
        share: of what is dropped.
        per_sequence: one mask for all rows of a sequence (Gal and Ghahramani, 2016), which
            is also far cheaper.
    """

    def __init__(self, share: float, *, per_sequence: bool) -> None:
        super().__init__()
        self.share = share
        self.per_sequence = per_sequence
        self.generator: torch.Generator | None = None

    def forward(self, values: Tensor) -> Tensor:
        """Drop in training, pass in evaluation."""
        if not self.training or self.share == 0.0:
            return values
        shape = list(values.shape)
        if self.per_sequence:
            shape[1] = 1
        kept = torch.rand(shape, generator=self.generator) >= self.share
        return values * (kept.to(values.dtype) / (1.0 - self.share))


class LeadAttention(nn.Module):
    """Encoder rows and lead covariates in, quantiles of the log ratio out.

    The query of a lead is built from what is known of it at issue time and the last
    state. The last layer begins at zero beside a linear skip from the covariates, so that
    training starts from a linear forecast.

    Args:
        encoder_inputs: columns of an encoder row.
        lead_inputs: covariates of a lead.
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
        self.embed = nn.Linear(encoder_inputs, hidden)
        self.drop_rows = SeededDropout(dropout, per_sequence=True)
        self.encoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.query = nn.Linear(lead_inputs + hidden, hidden)
        self.attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.norm = nn.LayerNorm(2 * hidden)
        self.head = nn.Linear(2 * hidden, hidden)
        self.drop_head = SeededDropout(dropout, per_sequence=False)
        self.out = nn.Linear(hidden, quantiles)
        self.skip = nn.Linear(lead_inputs, 1)
        for last in (self.out, self.skip):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def use_generator(self, generator: torch.Generator) -> None:
        """Draw the dropout of training from this generator."""
        self.drop_rows.generator = self.drop_head.generator = generator

    def forward(self, rows: Tensor, leads: Tensor) -> Tensor:
        """Scaled inputs to scaled log ratios, shape (windows, leads, quantiles)."""
        states, _ = self.encoder(self.drop_rows(nn.functional.gelu(self.embed(rows))))
        last = states[:, -1:].expand(-1, leads.shape[1], -1)
        queries = self.query(torch.cat([leads, last], dim=-1))
        attended, _ = self.attention(queries, states, states, need_weights=False)
        hidden = nn.functional.gelu(self.head(self.norm(torch.cat([attended, queries], dim=-1))))
        correction: Tensor = self.out(self.drop_head(hidden))
        linear: Tensor = self.skip(leads)
        return correction + linear
