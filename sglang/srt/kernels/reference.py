"""Every op in plain torch: the meaning that native kernels must reproduce, and what runs where there are none.

Rows are tokens. The formulations are the cheapest of several measured on one row, where an op costs its call.
"""

from __future__ import annotations

import torch
from torch.nn import functional


def argmax_rows(x: torch.Tensor) -> torch.Tensor:
    """The column of each row's highest value, the first of equals; NaN counts as highest. x: [rows, n] float32.

    Returns [rows] int64.
    """
    if x.is_cpu:  # numpy takes a tenth of torch's time
        return torch.from_numpy(x.numpy().argmax(axis=1))
    return x.argmax(dim=1)


def embedding(token_ids: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """token_ids: [rows] int64; weight: [vocab, hidden]. Returns [rows, hidden]."""
    return functional.embedding(token_ids, weight)


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x: [rows, in]; weight: [out, in]; bias: [out]. Returns [rows, out]."""
    return functional.linear(x, weight, bias)


def rms_norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """x / sqrt(mean(x^2) + eps) * weight over the last dimension, accumulated in float32 whatever x's dtype."""
    return functional.rms_norm(x, weight.shape, weight, eps)


def silu_and_mul(gate_up: torch.Tensor) -> torch.Tensor:
    """gate_up: [rows, 2 * n], the gate first. Returns silu(gate) * up, [rows, n]."""
    gate, up = gate_up.chunk(2, dim=-1)
    return functional.silu(gate).mul_(up)


def rotary_angles(positions: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """positions: [rows] int64; table: [2, positions, 1, head_dim]. Returns [2, rows, 1, head_dim], for `rotary`."""
    return table.index_select(1, positions)


def rotary(x: torch.Tensor, cos_sin: torch.Tensor) -> torch.Tensor:
    """Turn the pairs (x[i], x[i + head_dim / 2]) of every head by the angle of the row's position.

    x: [rows, heads, head_dim]; cos_sin: [2, rows, 1, head_dim], cosines and then sines, of which the first half is
    negative. Returns [rows, heads, head_dim], contiguous.
    """
    cos, sin = cos_sin
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin)
