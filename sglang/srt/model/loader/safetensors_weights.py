"""The weights of a Hugging Face folder: one safetensors file, or several named by an index."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType
from safetensors import SafetensorError, safe_open

from sglang.srt.errors import ModelLoadError
from sglang.srt.model.loader.gguf_file import map_file
from sglang.srt.model.loader.stored_weights import StoredWeight

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"

_HEADER_LENGTH_BYTES = 8
_VALUE_BYTES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8}


def iterate_safetensors_weights(folder: Path) -> Iterator[StoredWeight]:
    """Every weight as stored, mapped from its file. Raises ModelLoadError, also for one that is not floating-point."""
    for path in _files(folder):
        yield from _weights(path)


def _weights(path: Path) -> Iterator[StoredWeight]:
    """The library checks and reads the header. Values are read here, because it has no bfloat16 without torch: tensors
    fill the file from the header to its end, in the order of `offset_keys`.
    """
    data = map_file(path)  # not closed here: the arrays are views of it, and the last of them closes it
    try:
        with safe_open(path, framework="numpy") as file:
            tensors = [(name, file.get_slice(name)) for name in file.offset_keys()]
            described = [(name, tensor.get_dtype(), tuple(tensor.get_shape())) for name, tensor in tensors]
    except (SafetensorError, OSError) as error:
        raise ModelLoadError(f"cannot read {path}: {error}") from error
    offset = _HEADER_LENGTH_BYTES + int.from_bytes(data[:_HEADER_LENGTH_BYTES], "little")
    for name, type_name, shape in described:
        if type_name not in _VALUE_BYTES:
            raise ModelLoadError(f"{path}: {name} is of type {type_name}; possible are {', '.join(_VALUE_BYTES)}")
        num_bytes = math.prod(shape) * _VALUE_BYTES[type_name]
        blocks = np.frombuffer(data, np.uint8, num_bytes, offset)
        rows = shape[0] if shape else 1
        yield StoredWeight(
            name, shape, GGMLQuantizationType[type_name], blocks.reshape(rows, num_bytes // max(rows, 1))
        )
        offset += num_bytes


def _files(folder: Path) -> list[Path]:
    index = folder / _INDEX
    if index.exists():
        return _indexed_files(index)
    if (folder / _SINGLE).exists():
        return [folder / _SINGLE]
    found = sorted(folder.glob("*.safetensors"))
    if len(found) == 1:
        return found
    names = ", ".join(path.name for path in found) or "none"
    raise ModelLoadError(
        f"{folder} has neither {_SINGLE} nor {_INDEX}; safetensors files found: {names}. "
        "Weights in other formats (.bin, .pth) are not supported; save the model as safetensors or GGUF"
    )


def _indexed_files(index: Path) -> list[Path]:
    try:
        names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelLoadError(f"{index} is not an index of safetensors files: {error!r}") from error
    paths = []
    for name in names:
        path = index.parent / str(name)
        if path.name != name or not path.is_file():
            raise ModelLoadError(f"{index.name} names the file {name!r}, which is not in {index.parent}")
        paths.append(path)
    return paths
