"""Layers that models are made of. They hold parameters under the checkpoint's names and compute through `ops`.

Parameters are created on the current default device, which the loader sets to ``meta``: a layer never initialises its
weights, `checkpoint_tensors` says where a checkpoint's tensors go.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import nn

from sglang.srt.device import HOST
from sglang.srt.kernels import ops
from sglang.srt.model.config import FactorsRope, LinearRope, Llama3Rope, ModelConfig


def _parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape), requires_grad=False)


class Linear(nn.Module):
    """[rows, in_features] to [rows, out_features]."""

    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = _parameter(out_features, in_features)
        self.bias = _parameter(out_features) if bias else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ops.linear(x, self.weight, self.bias)


class MergedLinear(Linear):
    """Several projections of the same input computed as one, their outputs side by side.

    projections: the name of each beside this layer in the checkpoint, and its output features, in order.
    """

    def __init__(self, in_features: int, projections: Mapping[str, int], bias: bool = False) -> None:
        super().__init__(in_features, sum(projections.values()), bias)
        self.projections = dict(projections)


class Embedding(nn.Module):
    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        super().__init__()
        self.weight = _parameter(num_embeddings, embedding_dim)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        return ops.embedding(token_ids, self.weight)


class RMSNorm(nn.Module):
    def __init__(self, hidden_size: int, eps: float) -> None:
        super().__init__()
        self.weight = _parameter(hidden_size)
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ops.rms_norm(x, self.weight, self.eps)


class RotaryEmbedding(nn.Module):
    """The cosines and sines of every position, looked up once per step for all layers.

    A table, so that an angle's bits depend on the position alone and not on how many rows are computed beside it.
    """

    cos_sin: torch.Tensor  # [2, max_position_embeddings, 1, head_dim], see `ops.rotary`

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        positions = torch.arange(config.max_position_embeddings, dtype=torch.float32, device=HOST)
        angles = torch.outer(positions, inverse_frequencies(config))
        cos, sin = angles.cos(), angles.sin()
        table = torch.stack((torch.cat((cos, cos), dim=-1), torch.cat((-sin, sin), dim=-1)))
        self.register_buffer("cos_sin", table.unsqueeze(2), persistent=False)

    def forward(self, positions: torch.Tensor) -> torch.Tensor:
        """positions: [rows] int64. Returns [2, rows, 1, head_dim]."""
        return self.cos_sin.index_select(1, positions)


def inverse_frequencies(config: ModelConfig) -> torch.Tensor:
    """Radians per position of each pair of a head: [head_dim / 2] float32 on the host."""
    exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device=HOST) / config.head_dim
    frequencies = 1.0 / config.rope_theta**exponents
    match config.rope_scaling:
        case None:
            return frequencies
        case LinearRope(factor):
            return frequencies / factor
        case FactorsRope(factors):
            return frequencies / torch.tensor(factors, dtype=torch.float32, device=HOST)
        case Llama3Rope() as scaling:
            return _llama3_frequencies(frequencies, scaling)


def _llama3_frequencies(frequencies: torch.Tensor, scaling: Llama3Rope) -> torch.Tensor:
    """Full turns within the original context: at least high_freq_factor, kept; at most low_freq_factor, divided."""
    turns = scaling.original_max_position_embeddings * frequencies / (2 * math.pi)
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = kept.clamp(0.0, 1.0)
    return (1 - kept) * frequencies / scaling.factor + kept * frequencies


class CheckpointPart(NamedTuple):
    """A tensor of the checkpoint: its name there, the model's parameter it is part of, and the storage it fills."""

    name: str
    parameter: str
    tensor: torch.Tensor


def checkpoint_parts(model: nn.Module) -> Iterator[CheckpointPart]:
    """Every tensor `model` needs. The parts of a parameter come in the order of its rows."""
    for path, module in model.named_modules():
        for name, parameter in module.named_parameters(recurse=False):
            if isinstance(module, MergedLinear):
                parent = path.rpartition(".")[0]
                parts = parameter.split(list(module.projections.values()))
                for projection, part in zip(module.projections, parts, strict=True):
                    yield CheckpointPart(f"{parent}.{projection}.{name}", f"{path}.{name}", part)
            else:
                yield CheckpointPart(f"{path}.{name}", f"{path}.{name}", parameter)


def checkpoint_tensors(model: nn.Module) -> dict[str, torch.Tensor]:
    """The storage that each tensor of the checkpoint fills, by its name there."""
    return {part.name: part.tensor for part in checkpoint_parts(model)}
