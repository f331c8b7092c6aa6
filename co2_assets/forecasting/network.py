"""The network of the default recipe: a small LSTM, four heads, one query per lead, a wide head."""

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
    state. The head reads what the query attended to, and beside it, without a detour, the
    covariates of the lead and the newest measured values: through the narrow state alone
    much of them is lost. The last layer begins at zero beside a linear skip from the
    covariates, so that training starts from a linear forecast.

    Args:
        encoder_inputs: columns of an encoder row.
        value_inputs: the first of them, that are measured values.
        newest: rows of them that the head reads.
        lead_inputs: covariates of a lead.
        hidden: size of the state.
        wide: size of the two layers of the head; 0 is one layer of the size of the state,
            which reads nothing besides.
        heads: of the attention.
        dropout: after the input.
        head_dropout: after each layer of the head.
        quantiles: of the output.
    """

    def __init__(
        self,
        *,
        encoder_inputs: int,
        value_inputs: int,
        newest: int,
        lead_inputs: int,
        hidden: int,
        wide: int,
        heads: int,
        dropout: float,
        head_dropout: float,
        quantiles: int,
    ) -> None:
        super().__init__()
        self.value_inputs, self.newest = value_inputs, newest
        self.embed = nn.Linear(encoder_inputs, hidden)
        self.drop_rows = SeededDropout(dropout, per_sequence=True)
        self.encoder = nn.LSTM(hidden, hidden, batch_first=True)
        self.query = nn.Linear(lead_inputs + hidden, hidden)
        self.attention = nn.MultiheadAttention(hidden, heads, batch_first=True)
        self.norm = nn.LayerNorm(2 * hidden)
        besides = lead_inputs + newest * value_inputs if wide else 0
        size = wide or hidden
        self.head = nn.Linear(2 * hidden + besides, size)
        self.drop_head = SeededDropout(head_dropout, per_sequence=False)
        self.second = nn.Linear(wide, wide) if wide else None
        self.drop_second = SeededDropout(head_dropout, per_sequence=False)
        self.out = nn.Linear(size, quantiles)
        self.skip = nn.Linear(lead_inputs, 1)
        for last in (self.out, self.skip):
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)

    def use_generator(self, generator: torch.Generator) -> None:
        """Draw the dropout of training from this generator."""
        for dropout in (self.drop_rows, self.drop_head, self.drop_second):
            dropout.generator = generator

    def forward(self, rows: Tensor, leads: Tensor) -> Tensor:
        """Scaled inputs to scaled log ratios, shape (windows, leads, quantiles)."""
        count = leads.shape[1]
        states, _ = self.encoder(self.drop_rows(nn.functional.gelu(self.embed(rows))))
        last = states[:, -1:].expand(-1, count, -1)
        queries = self.query(torch.cat([leads, last], dim=-1))
        attended, _ = self.attention(queries, states, states, need_weights=False)
        seen = self.norm(torch.cat([attended, queries], dim=-1))
        if self.second is not None:
            values = rows[:, -self.newest :, : self.value_inputs].flatten(1)
            seen = torch.cat([seen, leads, values.unsqueeze(1).expand(-1, count, -1)], dim=-1)
        hidden = self.drop_head(nn.functional.gelu(self.head(seen)))
        if self.second is not None:
            hidden = self.drop_second(nn.functional.gelu(self.second(hidden)))
        correction: Tensor = self.out(hidden)
        linear: Tensor = self.skip(leads)
        return correction + linear
