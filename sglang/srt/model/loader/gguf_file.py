"""Reads the header of a GGUF file: its metadata and where each tensor lies. Imports no torch.

The layout, all little-endian, strings and arrays preceded by a 64-bit count:

    "GGUF" | version u32 | number of tensors u64 | number of keys u64
    per key:     name string | value type u32 | value
    per tensor:  name string | dimensions u32 | sizes u64..., innermost first | tensor type u32 | offset u64
    padding to general.alignment, then the tensors' data, each at its offset from here

Every length is checked against the end of the file before anything is read or allocated by it, so a damaged file
gives a ModelLoadError and costs no more memory than its own size.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sglang.srt.errors import ModelLoadError

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType

_T = TypeVar("_T")

_MAGIC = b"GGUF"
_VERSIONS = (2, 3)
_DEFAULT_ALIGNMENT = 32
_MAX_DIMENSIONS = 4

_BOOL, _STRING, _ARRAY = 7, 8, 9
_NUMBER_FORMATS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", _BOOL: "?", 10: "Q", 11: "q", 12: "d"}

_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """shape is outermost dimension first, as in torch; offset and num_bytes are places in the file."""

    name: str
    shape: tuple[int, ...]
    type: GGMLQuantizationType
    offset: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class GGUFHeader:
    """metadata maps keys to numbers, booleans, strings, or lists of one of these."""

    metadata: dict[str, Any]
    tensors: dict[str, TensorInfo]


def read_gguf_metadata(path: Path) -> dict[str, Any]:
    """The keys and values of the file, its list of tensors left unread. Raises ModelLoadError."""
    return _read(path, _read_metadata)


def read_gguf_header(path: Path) -> GGUFHeader:
    """Metadata and tensors; every tensor is known to lie inside the file. Raises ModelLoadError."""
    return _read(path, _read_header)


def map_file(path: Path) -> mmap.mmap:
    """The file's bytes, read-only. Raises ModelLoadError if the file cannot be read or is empty."""
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise ModelLoadError(f"cannot read {path}: {error}") from error


class _DamagedError(Exception):
    """What is wrong with the file; `_read` adds the file's name."""


@dataclass(slots=True)
class _Cursor:
    """Reads values one after the other, never past the end."""

    data: mmap.mmap
    end: int
    position: int = 0

    def take(self, length: int) -> bytes:
        start = self.position
        if length > self.end - start:
            raise _DamagedError(f"it ends at byte {self.end}, inside a value of {length} bytes at byte {start}")
        self.position = start + length
        return self.data[start : self.position]

    def u32(self) -> int:
        return int(_U32.unpack(self.take(4))[0])

    def u64(self) -> int:
        return int(_U64.unpack(self.take(8))[0])

    def string(self) -> str:
        start = self.position
        try:
            return self.take(self.u64()).decode()
        except UnicodeDecodeError as error:
            raise _DamagedError(f"the string at byte {start} is not UTF-8") from error


def _read(path: Path, parse: Callable[[_Cursor], _T]) -> _T:
    with map_file(path) as data:
        try:
            return parse(_Cursor(data, len(data)))
        except _DamagedError as error:
            raise ModelLoadError(f"{path} is not a readable GGUF file: {error}") from error


def _read_metadata(cursor: _Cursor) -> dict[str, Any]:
    return _read_counts_and_metadata(cursor)[1]


def _read_counts_and_metadata(cursor: _Cursor) -> tuple[int, dict[str, Any]]:
    """The number of tensors, and the metadata; leaves the cursor at the first tensor's description."""
    magic = cursor.take(len(_MAGIC))
    if magic != _MAGIC:
        raise _DamagedError(f"it starts with {magic!r}, not {_MAGIC!r}")
    version = cursor.u32()
    if version not in _VERSIONS:
        known = " and ".join(map(str, _VERSIONS))
        raise _DamagedError(f"its version is {version}; little-endian versions {known} are supported")
    num_tensors, num_keys = cursor.u64(), cursor.u64()
    metadata: dict[str, Any] = {}
    for _ in range(num_keys):
        key = cursor.string()
        if key in metadata:
            raise _DamagedError(f"the key {key!r} occurs twice")
        metadata[key] = _read_value(cursor, cursor.u32())
    return num_tensors, metadata


def _read_value(cursor: _Cursor, value_type: int) -> Any:
    if value_type == _STRING:
        return cursor.string()
    if value_type == _ARRAY:
        return _read_array(cursor, cursor.u32(), cursor.u64())
    return _read_numbers(cursor, value_type, 1)[0]


def _read_array(cursor: _Cursor, value_type: int, count: int) -> list[Any]:
    if value_type == _ARRAY:
        raise _DamagedError(f"an array of arrays at byte {cursor.position} is not supported")
    if value_type == _STRING:
        return [cursor.string() for _ in range(count)]
    return list(_read_numbers(cursor, value_type, count))


def _read_numbers(cursor: _Cursor, value_type: int, count: int) -> tuple[Any, ...]:
    code = _NUMBER_FORMATS.get(value_type)
    if code is None:
        raise _DamagedError(f"unknown value type {value_type} before byte {cursor.position}")
    raw = cursor.take(count * struct.calcsize(f"<{code}"))
    return struct.unpack(f"<{count}{code}", raw)


def _read_header(cursor: _Cursor) -> GGUFHeader:
    num_tensors, metadata = _read_counts_and_metadata(cursor)
    described = [_read_tensor(cursor) for _ in range(num_tensors)]
    data_start = _aligned(cursor.position, metadata.get("general.alignment", _DEFAULT_ALIGNMENT))
    tensors: dict[str, TensorInfo] = {}
    for name, shape, type_id, offset in described:
        if name in tensors:
            raise _DamagedError(f"the tensor {name!r} occurs twice")
        tensors[name] = _locate(name, shape, type_id, data_start + offset, cursor.end)
    return GGUFHeader(metadata, tensors)


def _read_tensor(cursor: _Cursor) -> tuple[str, tuple[int, ...], int, int]:
    """(name, shape outermost first, type number, offset from the start of the data)"""
    name = cursor.string()
    num_dimensions = cursor.u32()
    if not 1 <= num_dimensions <= _MAX_DIMENSIONS:
        raise _DamagedError(f"tensor {name!r} has {num_dimensions} dimensions; 1 to {_MAX_DIMENSIONS} are possible")
    shape = tuple(cursor.u64() for _ in range(num_dimensions))[::-1]
    return name, shape, cursor.u32(), cursor.u64()


def _aligned(position: int, alignment: Any) -> int:
    if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
        raise _DamagedError(f"general.alignment is {alignment!r}, which is not a power of two")
    return (position + alignment - 1) // alignment * alignment


def _locate(name: str, shape: tuple[int, ...], type_id: int, offset: int, file_size: int) -> TensorInfo:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    try:
        tensor_type = GGMLQuantizationType(type_id)
    except ValueError as error:
        raise _DamagedError(f"tensor {name!r} has the unknown type {type_id}") from error
    block_size, block_bytes = GGML_QUANT_SIZES[tensor_type]
    if 0 in shape or shape[-1] % block_size:
        raise _DamagedError(f"tensor {name!r} has shape {shape}, not whole blocks of {block_size} {tensor_type.name}")
    num_bytes = prod(shape) // block_size * block_bytes
    if offset + num_bytes > file_size:
        raise _DamagedError(
            f"tensor {name!r} ends at byte {offset + num_bytes} but the file has {file_size}; it was cut short, "
            "so fetch it again"
        )
    return TensorInfo(name, shape, tensor_type, offset, num_bytes)
