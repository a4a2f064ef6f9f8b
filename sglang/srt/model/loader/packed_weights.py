"""Weights as the native kernels read them: in the checkpoint's own precision, packed once at load."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType

from sglang.srt.args import Dtype
from sglang.srt.kernels._native import Weight
from sglang.srt.model.config import ModelConfig
from sglang.srt.model.layers import checkpoint_parts
from sglang.srt.model.loader.checkpoint import as_floats, converted, iterate_stored_weights
from sglang.srt.model.loader.stored_weights import StoredWeight, match_weights
from sglang.srt.model.module import Module

logger = logging.getLogger(__name__)

FloatArray = npt.NDArray[np.float32]

_PACKED = tuple(
    GGMLQuantizationType[name] for name in ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K")
)
"""What has a packed format that represents it exactly."""

_SUBSTITUTES = {GGMLQuantizationType.F64: GGMLQuantizationType.F32}
_SUBSTITUTE = GGMLQuantizationType.F16
"""What all other types, which are quantised ones, are converted to."""

_FLOAT_TYPES = {
    "float32": GGMLQuantizationType.F32,
    "float16": GGMLQuantizationType.F16,
    "bfloat16": GGMLQuantizationType.BF16,
}

_PANEL = 16
"""Columns that paired matrices take in turn."""


@dataclass(frozen=True, slots=True)
class PackedPart:
    """Columns of a layer's output that one packed matrix computes."""

    weight: Weight
    first_column: int


@dataclass(frozen=True, slots=True)
class PackedMatrix:
    """is_paired: the only part holds two matrices, 16 columns of the one and 16 of the other in turn."""

    parts: Sequence[PackedPart]
    columns: int
    is_paired: bool


@dataclass(frozen=True, slots=True)
class PackedWeights:
    """By the names of the model's parameters. type_name: of most matrices; see `_TypeChoice`."""

    matrices: Mapping[str, PackedMatrix]
    vectors: Mapping[str, FloatArray]
    type_name: str

    @property
    def num_bytes(self) -> int:
        return sum(part.weight.num_bytes for matrix in self.matrices.values() for part in matrix.parts)


def load_packed_weights(
    path: Path,
    config: ModelConfig,
    model: Module,
    paired: set[str],
    dtype: Dtype,
    num_threads: int,
    on_progress: Callable[[int, int], None] | None = None,
) -> PackedWeights:
    """The weights of `path` for `model`, whose parameters have shapes only.

    paired: parameters of two equal projections to be packed in turn, if both are stored alike. dtype: what to convert
    matrices to; ``auto`` keeps them as they are stored, as far as there are kernels for that. on_progress(done, total)
    is called with numbers of parameters. Raises ModelLoadError if a weight is missing, superfluous, of a wrong shape or
    too large for dtype.
    """
    parts = list(checkpoint_parts(model))
    shapes = {part.name: part.shape for part in parts}
    stored = {weight.name: weight for weight in match_weights(shapes, iterate_stored_weights(path, config), path)}
    members: dict[str, list[StoredWeight]] = {}
    for part in parts:
        members.setdefault(part.parameter, []).append(stored[part.name])
    vectors = {
        name: np.concatenate([as_floats(weight).reshape(-1) for weight in weights])
        for name, weights in members.items()
        if len(weights[0].shape) == 1
    }
    choice = _TypeChoice(None if dtype == "auto" else _FLOAT_TYPES[dtype])
    packable = {
        name: [choice.packable(weight) for weight in weights]
        for name, weights in members.items()
        if name not in vectors
    }
    choice.report(path)
    total = sum(math.prod(shape) for shape in shapes.values())
    done = sum(vector.size for vector in vectors.values())
    matrices: dict[str, PackedMatrix] = {}
    with ThreadPoolExecutor(num_threads, "packing") as workers:
        jobs = {name: workers.submit(_pack, weights, name in paired) for name, weights in packable.items()}
        for name, job in jobs.items():
            matrices[name] = job.result()
            done += sum(math.prod(weight.shape) for weight in members[name])
            if on_progress is not None:
                on_progress(done, total)
    return PackedWeights(matrices, vectors, choice.most_common())


class _Packable(NamedTuple):
    """A weight and the type to pack it in."""

    stored: StoredWeight
    type: GGMLQuantizationType


class _TypeChoice:
    """Decides in which type each matrix is packed, and remembers what it decided. wanted: None, if as stored."""

    def __init__(self, wanted: GGMLQuantizationType | None) -> None:
        self._wanted = wanted
        self._packed: Counter[str] = Counter()
        self._replaced: Counter[tuple[str, str]] = Counter()

    def packable(self, weight: StoredWeight) -> _Packable:
        kept = weight.type if weight.type in _PACKED else _SUBSTITUTES.get(weight.type, _SUBSTITUTE)
        type_ = kept if self._wanted is None else self._wanted  # F32 is 0
        self._packed[type_.name] += 1
        if self._wanted is None and type_ is not weight.type:
            self._replaced[weight.type.name, type_.name] += 1
        return _Packable(weight, type_)

    def most_common(self) -> str:
        """``q4_1`` and the like as GGUF calls it, other types as torch does."""
        name = self._packed.most_common(1)[0][0]
        dtypes = {type_.name: dtype for dtype, type_ in _FLOAT_TYPES.items()}
        return dtypes.get(name, name.lower())

    def report(self, path: Path) -> None:
        for (name, substitute), count in self._replaced.items():
            logger.warning(
                "%s: %d matrices of type %s, for which there are no kernels, are converted to %s",
                path.name, count, name, substitute,
            )  # fmt: skip


def _pack(members: Sequence[_Packable], is_paired: bool) -> PackedMatrix:
    weights = [converted(member.stored, member.type) for member in members]
    columns = sum(weight.shape[0] for weight in weights)
    types = {weight.type for weight in weights}
    if is_paired and len(weights) == 2 and len(types) == 1 and weights[0].shape == weights[1].shape:
        matrix = _empty(weights[0], columns)
        for first_column, weight in zip((0, _PANEL), weights, strict=True):
            matrix.put(weight.type.value, weight.blocks, first_column, panel_stride=2)
        return PackedMatrix([PackedPart(matrix, 0)], columns, is_paired=True)
    return PackedMatrix(list(_side_by_side(weights)), columns, is_paired=False)


def _side_by_side(weights: Sequence[StoredWeight]) -> Iterator[PackedPart]:
    """Neighbours of one type become one matrix."""
    begin = first_column = 0
    while begin < len(weights):
        end = begin + 1
        while end < len(weights) and weights[end].type is weights[begin].type:
            end += 1
        group = weights[begin:end]
        matrix = _empty(group[0], sum(weight.shape[0] for weight in group))
        column = 0
        for weight in group:
            matrix.put(weight.type.value, weight.blocks, column)
            column += weight.shape[0]
        yield PackedPart(matrix, first_column)
        first_column += column
        begin = end


def _empty(like: StoredWeight, columns: int) -> Weight:
    return Weight(like.type.value, like.shape[1], columns)
