"""Layers that models are made of. They hold parameters under the checkpoint's names and compute through `ops`.

A new layer's parameters are shapes; `checkpoint_parts` says where a checkpoint's tensors go.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from sglang.srt.kernels import ops
from sglang.srt.model.config import FactorsRope, LinearRope, Llama3Rope, ModelConfig
from sglang.srt.model.module import Module, parameter

if TYPE_CHECKING:
    from torch import Tensor

FloatArray = npt.NDArray[np.float32]


class Linear(Module):
    """[rows, in_features] to [rows, out_features]."""

    parameter_names = ("weight", "bias")

    def __init__(self, in_features: int, out_features: int, bias: bool = False) -> None:
        self.weight: Tensor = parameter(out_features, in_features)
        self.bias: Tensor | None = parameter(out_features) if bias else None

    def __call__(self, x: Tensor) -> Tensor:
        return ops.linear(x, self.weight, self.bias)


class MergedLinear(Linear):
    """Several projections of the same input computed as one, their outputs side by side.

    projections: the name of each beside this layer in the checkpoint, and its output features, in order.
    """

    def __init__(self, in_features: int, projections: Mapping[str, int], bias: bool = False) -> None:
        super().__init__(in_features, sum(projections.values()), bias)
        self.projections = dict(projections)


class Embedding(Module):
    parameter_names = ("weight",)

    def __init__(self, num_embeddings: int, embedding_dim: int) -> None:
        self.weight: Tensor = parameter(num_embeddings, embedding_dim)

    def __call__(self, token_ids: Tensor) -> Tensor:
        return ops.embedding(token_ids, self.weight)


class RMSNorm(Module):
    parameter_names = ("weight",)

    def __init__(self, hidden_size: int, eps: float) -> None:
        self.weight: Tensor = parameter(hidden_size)
        self.eps = eps

    def __call__(self, x: Tensor) -> Tensor:
        return ops.rms_norm(x, self.weight, self.eps)


class RotaryEmbedding(Module):
    """The cosines and sines of every position, looked up once per step for all layers.

    A table, so that an angle's bits depend on the position alone and not on how many rows are computed beside it.
    """

    buffer_names = ("cos_sin",)

    def __init__(self, config: ModelConfig) -> None:
        self.cos_sin: Any = rotary_table(config)  # a tensor where torch computes

    def __call__(self, positions: Tensor) -> Tensor:
        """positions: [rows] int64. Returns [2, rows, 1, head_dim], see `ops.rotary`."""
        return ops.rotary_angles(positions, self.cos_sin)


def rotary_table(config: ModelConfig) -> FloatArray:
    """[2, max_position_embeddings, 1, head_dim]: what `ops.rotary_angles` looks up."""
    positions = np.arange(config.max_position_embeddings, dtype=np.float32)
    angles = np.outer(positions, inverse_frequencies(config))
    cos, sin = np.cos(angles), np.sin(angles)
    table = np.stack((np.concatenate((cos, cos), axis=-1), np.concatenate((-sin, sin), axis=-1)))
    return table[:, :, np.newaxis]


def inverse_frequencies(config: ModelConfig) -> FloatArray:
    """Radians per position of each pair of a head: [head_dim / 2]."""
    exponents = np.arange(0, config.head_dim, 2, dtype=np.float32) / np.float32(config.head_dim)
    periods = (config.rope_theta ** exponents.astype(np.float64)).astype(np.float32)  # rounded as the models' makers do
    frequencies: FloatArray = np.float32(1.0) / periods
    match config.rope_scaling:
        case None:
            return frequencies
        case LinearRope(factor):
            return np.divide(frequencies, factor)
        case FactorsRope(factors):
            return np.divide(frequencies, np.array(factors, dtype=np.float32))
        case Llama3Rope() as scaling:
            return _llama3_frequencies(frequencies, scaling)


def _llama3_frequencies(frequencies: FloatArray, scaling: Llama3Rope) -> FloatArray:
    """Full turns within the original context: at least high_freq_factor, kept; at most low_freq_factor, divided."""
    turns = scaling.original_max_position_embeddings * frequencies / (2 * math.pi)
    kept = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    kept = kept.clip(0.0, 1.0)
    scaled: FloatArray = (1 - kept) * frequencies / scaling.factor + kept * frequencies
    return scaled


class CheckpointPart(NamedTuple):
    """A tensor of the checkpoint: its name there, the model's parameter it is rows of, and which rows."""

    name: str
    parameter: str
    first_row: int
    shape: tuple[int, ...]


def checkpoint_parts(model: Module) -> Iterator[CheckpointPart]:
    """Every tensor `model` needs. The parts of a parameter come in the order of its rows."""
    for path, module in model.named_modules():
        for name in module.parameter_names:
            if (value := getattr(module, name)) is None:
                continue
            full_name, shape = f"{path}.{name}", tuple(value.shape)
            if not isinstance(module, MergedLinear):
                yield CheckpointPart(full_name, full_name, 0, shape)
                continue
            parent, first_row = path.rpartition(".")[0], 0
            for projection, rows in module.projections.items():
                yield CheckpointPart(f"{parent}.{projection}.{name}", full_name, first_row, (rows, *shape[1:]))
                first_row += rows
