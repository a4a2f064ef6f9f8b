"""A checkpoint's weights, whatever kind of checkpoint it is, and their values."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType, dequantize, quantize

from sglang.srt.errors import ModelLoadError
from sglang.srt.model.config import ModelConfig
from sglang.srt.model.loader.gguf_weights import iterate_gguf_weights
from sglang.srt.model.loader.safetensors_weights import iterate_safetensors_weights
from sglang.srt.model.loader.stored_weights import StoredWeight, is_wanted

_FLOAT16_MAX = float(np.finfo(np.float16).max)


def iterate_stored_weights(path: Path, config: ModelConfig) -> Iterator[StoredWeight]:
    """Every weight that the checkpoint needs to hold, as it is stored. Raises ModelLoadError if it cannot be read."""
    weights = iterate_safetensors_weights(path) if path.is_dir() else iterate_gguf_weights(path, config)
    return (weight for weight in weights if is_wanted(weight.name, config))


def as_floats(weight: StoredWeight) -> npt.NDArray[np.float32]:
    """Its values, in its shape. Raises ModelLoadError for a type without a dequantiser."""
    if weight.type is GGMLQuantizationType.F64:
        return weight.blocks.view(np.float64).astype(np.float32).reshape(weight.shape)
    try:
        values = dequantize(weight.blocks, weight.type)
    except NotImplementedError as error:
        raise ModelLoadError(f"{weight.name} has type {weight.type.name}: {error}") from error
    return np.require(values, np.float32, ["C", "W"]).reshape(weight.shape)


def converted(weight: StoredWeight, type_: GGMLQuantizationType) -> StoredWeight:
    """The weight in one of the floating-point types. Raises ModelLoadError if its values do not fit."""
    if type_ is weight.type:
        return weight
    values = as_floats(weight)
    if type_ is GGMLQuantizationType.F16:
        check_float16(weight.name, values)
    return StoredWeight(weight.name, weight.shape, type_, quantize(values, type_).view(np.uint8))


def check_float16(name: str, values: npt.NDArray[np.float32]) -> None:
    """Raises ModelLoadError if a finite value becomes infinite in float16."""
    largest = float(np.abs(values).max(initial=0.0))
    if _FLOAT16_MAX < largest < np.inf:
        raise ModelLoadError(
            f"{name} has a value of magnitude {largest:.6g}; float16 ends at {_FLOAT16_MAX:.0f}. "
            "Use dtype='bfloat16' or 'float32', or 'auto' to keep weights as they are stored"
        )
