"""The weights of a Hugging Face folder: one safetensors file, or several named by an index."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import torch
from gguf import GGMLQuantizationType
from safetensors import SafetensorError, safe_open

from sglang.srt.errors import ModelLoadError
from sglang.srt.model.loader.stored_weights import StoredWeight

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


_TYPES = {
    torch.float32: GGMLQuantizationType.F32,
    torch.float16: GGMLQuantizationType.F16,
    torch.bfloat16: GGMLQuantizationType.BF16,
    torch.float64: GGMLQuantizationType.F64,
}


def iterate_safetensors_weights(folder: Path) -> Iterator[StoredWeight]:
    """Every weight as stored, mapped from its file. Raises ModelLoadError, also for one that is not floating-point."""
    for path in _files(folder):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118  not a mapping
                    yield _stored(name, file.get_tensor(name), path)
        except (SafetensorError, OSError) as error:
            raise ModelLoadError(f"cannot read {path}: {error}") from error


def _stored(name: str, tensor: torch.Tensor, path: Path) -> StoredWeight:
    if tensor.dtype not in _TYPES:
        names = ", ".join(str(dtype).removeprefix("torch.") for dtype in _TYPES)
        raise ModelLoadError(
            f"{path}: {name} is of type {str(tensor.dtype).removeprefix('torch.')}; possible are {names}"
        )
    shape = tuple(tensor.shape)
    rows = tensor.contiguous().view(torch.uint8) if shape else tensor.reshape(1).view(torch.uint8)
    return StoredWeight(name, shape, _TYPES[tensor.dtype], rows.numpy().reshape(shape[0] if shape else 1, -1))


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
