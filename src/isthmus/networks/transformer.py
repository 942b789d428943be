"""A small transformer over sequences of unequal length.

Shapes: `n` rows, `T` steps, `C` channels, `F` features, `H` heads.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isthmus.batch import Masked
from isthmus.networks.sequence import pool, with_steps


class TransformerEncoder(nn.Module):
    """Pre-norm self-attention (Vaswani et al. 2017, arXiv:1706.03762; norm first: Xiong et al. 2020, arXiv:2002.04745)
    over the steps that are there, then mean and maximum over time.

    Positions are sinusoids (section 3.5 of the former), so that no longest length has to be known.

    Args:
        num_inputs: Channels `C` of a step.
        width: Features of the answer.
        num_features: Features `F` of a step inside; a multiple of `2 num_heads`.
        num_layers: Blocks.
        num_heads: Attention heads `H`.
    """

    def __init__(self, num_inputs: int, width: int, num_features: int = 128, num_layers: int = 2, num_heads: int = 4):
        super().__init__()
        if num_features % (2 * num_heads):
            raise ValueError(
                f"TransformerEncoder got {num_features} features for {num_heads} heads. Expected multiples of 2 heads."
            )
        self.input = nn.Linear(num_inputs, num_features)
        self.blocks = nn.ModuleList(TransformerBlock(num_features, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(num_features)
        self.output = nn.Linear(2 * num_features, width)

    def forward(self, values: Masked) -> Tensor:
        """`Masked (n, T, C)` -> `(n, width)`."""
        values = with_steps(values)
        hidden = self.input(values.value)
        hidden = hidden + sinusoids(hidden.shape[1], hidden.shape[2], like=hidden)
        for block in self.blocks:
            hidden = block(hidden, values.mask)
        return self.output(pool(self.norm(hidden), values.mask))


class TransformerBlock(nn.Module):
    """Self-attention and a two-layer network, each added to what comes in: `(n, T, F)` -> `(n, T, F)`."""

    def __init__(self, num_features: int, num_heads: int):
        super().__init__()
        if num_features % num_heads:
            raise ValueError(f"Attention got {num_features} features for {num_heads} heads. Expected a multiple.")
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(num_features)
        self.query_key_value = nn.Linear(num_features, 3 * num_features)
        self.attended = nn.Linear(num_features, num_features)
        self.dense = nn.Sequential(
            nn.LayerNorm(num_features),
            nn.Linear(num_features, 2 * num_features),
            nn.SiLU(),
            nn.Linear(2 * num_features, num_features),
        )

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        rows, steps, features = hidden.shape
        heads = (rows, steps, 3, self.num_heads, features // self.num_heads)
        query, key, value = self.query_key_value(self.attention_norm(hidden)).view(heads).permute(2, 0, 3, 1, 4)
        # A row without any step attends to everything: a softmax over nothing is NaN. Pooling leaves it out anyway.
        seen = mask | ~mask.any(dim=1, keepdim=True)
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=seen[:, None, None, :])
        hidden = hidden + self.attended(attended.transpose(1, 2).reshape(rows, steps, features))
        return hidden + self.dense(hidden)


def sinusoids(num_steps: int, num_features: int, like: Tensor) -> Tensor:
    """Positions as sines and cosines, `(T, F)`, with wavelengths from 2 pi to 10,000 times that."""
    rate = torch.exp(torch.arange(0, num_features, 2, device=like.device) * (-math.log(10000.0) / num_features))
    angle = torch.arange(num_steps, device=like.device)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], dim=1).to(like)
