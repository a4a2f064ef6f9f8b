"""A native program over rows of a table, for tests of single instructions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from gguf import GGMLQuantizationType as Kind

from sglang.srt.kernels import _native
from tests.helpers.stored_blocks import Bytes, Floats

Ints = npt.NDArray[np.int64]

NONE = np.empty(0, np.int64)
ZERO = np.zeros(1, np.int64)


def packed(blocks: Bytes, kind: Kind, inputs: int) -> _native.Weight:
    """All rows as columns side by side."""
    weight = _native.Weight(kind, inputs, len(blocks))
    weight.put(kind, blocks, 0)
    return weight


class RowProgram:
    """Instructions are appended through `program`. A token id is a row of every table."""

    def __init__(self, level: str, num_threads: int = 1) -> None:
        self.program = _native.Program(level, _native.ThreadPool(num_threads))

    def table(self, rows: Floats) -> int:
        """A float buffer that holds, when run over token ids, these of the rows."""
        buffer = self.program.buffer("float", rows.shape[1])
        self.overwrite(buffer, rows)
        return buffer

    def overwrite(self, buffer: int, rows: Floats) -> None:
        blocks = np.ascontiguousarray(rows, np.float32).view(np.uint8)
        self.program.embed(packed(blocks, Kind.F32, rows.shape[1]), buffer)

    def converted(self, buffer: int, kind: str, size: int, first_column: int = 0) -> int:
        target = self.program.buffer(kind, size)
        self.program.convert(buffer, first_column, target)
        return target

    def readable(self, buffer: int, kind: str, size: int) -> int:
        """A float buffer with the values that a buffer of any kind stands for, exactly."""
        if kind == "float":
            return buffer
        output = self.program.buffer("float", size)
        self.program.matmul(buffer, identity(kind, size), None, "store", output, 0)
        return output

    def run(self, token_ids: Ints, output: int, read_rows: Ints | None = None) -> Floats:
        """All rows, or after narrowing those that are read."""
        rows = np.arange(len(token_ids))
        read_rows = rows if read_rows is None else read_rows
        self.program.run(token_ids, rows, rows, NONE, NONE, ZERO, NONE, NONE, read_rows)
        values: Floats = self.program.values(output).copy()
        return values


def identity(kind: str, size: int) -> _native.Weight:
    """The weight that gives rows of a kind back."""
    if kind == "bf16":
        ones = (np.eye(size, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)
        return packed(ones.view(np.uint8), Kind.BF16, size)
    blocks = np.zeros((size, size // 32, 34), np.uint8)
    blocks[..., :2] = np.ones(1, np.float16).view(np.uint8)
    blocks[..., 2:] = np.eye(size, dtype=np.uint8).reshape(size, -1, 32)
    return packed(blocks.reshape(size, -1), Kind.Q8_0, size)


def rounded_to_bf16(x: Floats) -> Floats:
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def rounded_to_int8(x: Floats) -> Floats:
    """Blocks of 32 as codes from -127 to 127 times a scale."""
    blocks = np.ascontiguousarray(x, np.float32).reshape(len(x), -1, 32)
    largest = np.abs(blocks).max(-1, keepdims=True)
    with np.errstate(divide="ignore", over="ignore"):
        inverse = np.where(largest > 1e-36, np.float32(127) / largest, np.float32(0))
    codes = np.rint(blocks * inverse)
    rounded: Floats = (codes * (largest / np.float32(127))).reshape(x.shape)
    return rounded


def as_read(x: Floats, kind: str) -> Floats:
    """What products see of rows of floats."""
    match kind:
        case "bf16":
            return rounded_to_bf16(x)
        case "quantized":
            return rounded_to_int8(x)
    return x
