"""Programs refuse what does not fit, when they are built or before anything is computed, and go on working."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from sglang.srt.kernels import _native
from tests.helpers.stored_blocks import Floats, random_blocks
from tests.kernels.row_program import NONE, ZERO, Ints, RowProgram, packed

HEAD_DIM = 4
POSITIONS = 10
SLOTS = 16


def weight(kind: Kind = Kind.F32, inputs: int = 64, columns: int = 32) -> _native.Weight:
    return packed(random_blocks(np.random.default_rng(0), kind, columns, inputs), kind, inputs)


def vector(size: int) -> _native.FloatVector:
    return _native.FloatVector(np.ones(size, np.float32))


def split_head(inputs: int = 64) -> _native.SplitHead:
    return _native.SplitHead(weight(Kind.Q8_0, inputs), _native.ThreadPool(1))


class Buffers:
    """A program with a buffer of each kind, and a small and a large one of floats."""

    def __init__(self, level: str) -> None:
        self.program = _native.Program(level, _native.ThreadPool(1))
        self.small, self.large = self.program.buffer("float", 32), self.program.buffer("float", 64)
        self.bf16, self.quantized = self.program.buffer("bf16", 64), self.program.buffer("quantized", 64)
        self.cache = _native.KvCache(2, 2, HEAD_DIM, SLOTS, "bfloat16")

    def attention(self, **changes: Any) -> None:
        fitting = {
            "qkv": self.large, "num_heads": 4, "query_scale": 0.5, "cos_sin": vector(POSITIONS * HEAD_DIM),
            "cache": self.cache, "layer": 0, "output": self.program.buffer("float", 4 * HEAD_DIM),
        }  # fmt: skip
        self.program.attention(**{**fitting, **changes})


Build = Callable[[Buffers], Any]

MISFITS: dict[str, tuple[Build, str]] = {
    "buffer of no size": (lambda b: b.program.buffer("float", 0), "at least one column"),
    "buffer of blocks": (lambda b: b.program.buffer("quantized", 48), "a multiple of 32 columns"),
    "buffer of ints": (lambda b: b.program.buffer("int", 32), "no such kind of rows: int"),
    "embed size": (lambda b: b.program.embed(weight(), b.small), "narrow"),
    "embed too wide": (lambda b: b.program.embed(weight(inputs=48), b.large), "another size"),
    "embed kind": (lambda b: b.program.embed(weight(), b.bf16), "must be of floats"),
    "gather kind": (lambda b: b.program.gather(b.quantized), "must be of floats"),
    "norm weight": (lambda b: b.program.rms_norm(b.large, vector(32), 1e-5, b.large), "differ in size"),
    "norm output": (lambda b: b.program.rms_norm(b.large, vector(64), 1e-5, b.small), "differ in size"),
    "norm input": (lambda b: b.program.rms_norm(b.bf16, vector(64), 1e-5, b.large), "must be of floats"),
    "convert input": (lambda b: b.program.convert(b.small, 0, b.bf16), "narrow"),
    "convert columns": (lambda b: b.program.convert(b.large, 33, b.small), "narrow"),
    "convert before": (lambda b: b.program.convert(b.large, -1, b.small), "count from 0"),
    "convert itself": (lambda b: b.program.convert(b.large, 0, b.large), "two buffers"),
    "silu": (lambda b: b.program.silu_and_mul(b.large, b.large), "narrow"),
    "add sizes": (lambda b: b.program.add(b.small, b.large), "of one size"),
    "add itself": (lambda b: b.program.add(b.large, b.large), "two buffers"),
    "matmul kind": (lambda b: b.program.matmul(b.bf16, weight(), None, "store", b.small, 0), "another kind"),
    "matmul inputs": (lambda b: b.program.matmul(b.small, weight(), None, "store", b.small, 0), "inputs"),
    "matmul columns": (lambda b: b.program.matmul(b.large, weight(), None, "store", b.small, 1), "narrow"),
    "matmul before": (lambda b: b.program.matmul(b.large, weight(), None, "store", b.small, -1), "count from 0"),
    "matmul itself": (
        lambda b: b.program.matmul(b.large, weight(columns=64), None, "add", b.large, 0), "two buffers",
    ),
    "matmul output": (lambda b: b.program.matmul(b.large, weight(), None, "store", b.bf16, 0), "must be of floats"),
    "matmul bias": (lambda b: b.program.matmul(b.large, weight(), vector(31), "store", b.small, 0), "bias"),
    "paired bias": (lambda b: b.program.matmul(b.large, weight(), vector(32), "silu_and_mul", b.small, 0), "bias"),
    "paired odd": (
        lambda b: b.program.matmul(b.large, weight(columns=31), None, "silu_and_mul", b.small, 0), "even",
    ),
    "epilogue": (lambda b: b.program.matmul(b.large, weight(), None, "relu", b.small, 0), "no such epilogue: relu"),
    "highest kind": (lambda b: b.program.highest(b.large, split_head(), b.program.buffer("float", 1)), "another kind"),
    "highest inputs": (
        lambda b: b.program.highest(b.quantized, split_head(96), b.program.buffer("float", 1)), "of inputs",
    ),
    "highest output": (lambda b: b.program.highest(b.quantized, split_head(), b.small), "one highest column"),
    "attention layer": (lambda b: b.attention(layer=2), "no such layer"),
    "attention heads": (lambda b: b.attention(num_heads=3), "multiple of key/value heads"),
    "attention qkv": (lambda b: b.attention(qkv=b.program.buffer("float", 31)), "narrow"),
    "attention output": (lambda b: b.attention(output=b.large), "as wide as its queries"),
    "attention table": (lambda b: b.attention(cos_sin=vector(41)), "rotary table"),
    "narrow kind": (lambda b: b.program.narrow([b.large, b.bf16]), "must be of floats"),
}  # fmt: skip


@pytest.mark.parametrize("misfit", MISFITS)
def test_what_does_not_fit_is_refused(level: str, misfit: str) -> None:
    build, message = MISFITS[misfit]
    buffers = Buffers(level)
    with pytest.raises(ValueError, match=message):
        build(buffers)
    assert buffers.program.num_instructions == 0


@pytest.mark.parametrize("buffer", [-1, 4, 1 << 30])
def test_buffers_that_do_not_exist_are_refused(level: str, buffer: int) -> None:
    calls: list[Build] = [
        lambda b: b.program.embed(weight(), buffer),
        lambda b: b.program.gather(buffer),
        lambda b: b.program.rms_norm(buffer, vector(64), 1e-5, b.large),
        lambda b: b.program.rms_norm(b.large, vector(64), 1e-5, buffer),
        lambda b: b.program.convert(buffer, 0, b.small),
        lambda b: b.program.convert(b.large, 0, buffer),
        lambda b: b.program.silu_and_mul(buffer, b.small),
        lambda b: b.program.silu_and_mul(b.large, buffer),
        lambda b: b.program.add(buffer, b.small),
        lambda b: b.program.add(b.small, buffer),
        lambda b: b.program.matmul(buffer, weight(), None, "store", b.small, 0),
        lambda b: b.program.matmul(b.large, weight(), None, "store", buffer, 0),
        lambda b: b.program.values(buffer),
        lambda b: b.program.narrow([b.large, buffer]),
    ]
    buffers = Buffers(level)
    for call in calls:
        with pytest.raises(ValueError, match="no such buffer"):
            call(buffers)


def test_values_are_floats_of_the_last_run_and_cannot_be_written(level: str) -> None:
    buffers = Buffers(level)
    assert buffers.program.values(buffers.large).shape == (0, 64)
    with pytest.raises(ValueError, match="must be of floats"):
        buffers.program.values(buffers.bf16)
    rows = RowProgram(level)
    output = rows.table(np.ones((5, 3), np.float32))
    rows.run(np.arange(5), output)
    with pytest.raises(ValueError, match="read-only"):
        rows.program.values(output)[0] = 1
    later = rows.program.buffer("float", 7)
    assert rows.program.values(later).shape == (0, 7)


def test_more_rows_than_ever_before(level: str, rng: np.random.Generator) -> None:
    table = rng.standard_normal((50, 5)).astype(np.float32)
    rows = RowProgram(level, num_threads=2)
    output = rows.table(table)
    for count in (0, 3, 1, 400, 2, 1000):
        chosen = rng.integers(0, 50, count)
        assert np.array_equal(rows.run(chosen, output), table[chosen])


@pytest.mark.parametrize("token_id", [-1, 5, 1 << 40])
def test_a_token_outside_the_vocabulary_is_refused(level: str, token_id: int) -> None:
    rows = RowProgram(level)
    output = rows.table(np.ones((5, 3), np.float32))
    with pytest.raises(ValueError, match="outside the vocabulary"):
        rows.run(np.array([0, token_id, 1]), output)
    assert rows.run(np.arange(5), output).all()


# --- rows of another program ----------------------------------------------------------------------------------------


def gathering(level: str, size: int) -> tuple[_native.Program, int]:
    program = _native.Program(level, _native.ThreadPool(1))
    output = program.buffer("float", size)
    program.gather(output)
    return program, output


def test_rows_of_another_program(level: str, rng: np.random.Generator) -> None:
    table = rng.standard_normal((9, 3)).astype(np.float32)
    source = RowProgram(level)
    buffer = source.table(table)
    source.run(np.arange(9), buffer)
    program, output = gathering(level, 3)
    for chosen in ([4], [8, 0, 0, 3], []):
        program.run_rows(source.program, buffer, np.array(chosen, np.int64))
        assert np.array_equal(program.values(output), table[chosen])


def test_rows_that_do_not_fit_are_refused(level: str) -> None:
    source = RowProgram(level)
    buffer = source.table(np.ones((9, 3), np.float32))
    source.run(np.arange(4), buffer)
    program, _ = gathering(level, 3)
    for row in (-1, 4):
        with pytest.raises(ValueError, match="outside the source"):
            program.run_rows(source.program, buffer, np.array([0, row]))
    wider, _ = gathering(level, 4)
    with pytest.raises(ValueError, match="another size"):
        wider.run_rows(source.program, buffer, np.array([0]))
    with pytest.raises(ValueError, match="two programs"):
        program.run_rows(program, 0, np.array([0]))
    with pytest.raises(ValueError, match="needs token ids"):
        source.program.run_rows(program, 0, ZERO)
    with pytest.raises(ValueError, match="rows of another program"):
        program.run(np.array([0]), ZERO, ZERO, NONE, NONE, ZERO, NONE, NONE, ZERO)


# --- rows that are read ---------------------------------------------------------------------------------------------


def test_after_narrowing_only_the_rows_that_are_read_are_there(level: str, rng: np.random.Generator) -> None:
    table = rng.standard_normal((50, 5)).astype(np.float32)
    rows = RowProgram(level, num_threads=2)
    first, second = rows.table(table), rows.table(2 * table)
    rows.program.narrow([first, second])
    sums = rows.program.buffer("float", 5)
    rows.program.convert(first, 0, sums)
    rows.program.add(second, sums)
    token_ids = rng.integers(0, 50, 40)
    for read in ([], [39], [0, 1, 2], [3, 17, 18, 30], list(range(40))):
        values = rows.run(token_ids, sums, np.array(read, np.int64))
        assert np.array_equal(values, table[token_ids[read]] + 2 * table[token_ids[read]])


@pytest.mark.parametrize("read", [[-1], [3], [1, 1], [2, 0], [1 << 62]])
def test_rows_to_read_that_are_none_of_the_step_are_refused(level: str, read: list[int]) -> None:
    rows = RowProgram(level)
    output = rows.table(np.ones((5, 3), np.float32))
    rows.program.narrow([output])
    with pytest.raises(ValueError, match="the rows to be read"):
        rows.run(np.arange(3), output, np.array(read))
    assert rows.run(np.arange(3), output).all()
    with pytest.raises(ValueError, match="the rows to be read"):
        rows.run(NONE, output, np.array(read))


def test_what_concerns_all_rows_comes_before_narrowing(level: str) -> None:
    buffers = Buffers(level)
    buffers.program.narrow([buffers.large])
    calls: list[Build] = [
        lambda b: b.program.embed(weight(), b.large),
        lambda b: b.program.gather(b.large),
        lambda b: b.attention(),
        lambda b: b.program.narrow([b.large]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="narrowed"):
            call(buffers)


# --- steps ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def attention(level: str) -> Callable[..., Floats]:
    """Runs a program with attention in its second layer alone, over arrays of which some are changed."""
    buffers = Buffers(level)
    table = np.random.default_rng(0).standard_normal((5, 64)).astype(np.float32)
    buffers.program.embed(packed(table.view(np.uint8), Kind.F32, 64), buffers.large)
    output = buffers.program.buffer("float", 4 * HEAD_DIM)
    buffers.attention(layer=1, output=output)

    def run(**changes: list[int]) -> Floats:
        arrays: dict[str, list[int]] = {
            "token_ids": [0, 1, 2], "positions": [0, 1, 0], "slots": [3, 4, 9], "first_row": [0, 2],
            "row_count": [2, 1], "run_begin": [0, 1, 2], "run_start": [3, 9], "run_length": [2, 1],
            "read_rows": [0, 1, 2],
        }  # fmt: skip
        given: dict[str, Ints] = {name: np.array(values) for name, values in {**arrays, **changes}.items()}
        buffers.program.run(**given)
        values: Floats = buffers.program.values(output).copy()
        return values

    return run


STEPS: dict[str, dict[str, list[int]]] = {
    "fewer tokens": {"token_ids": [0, 1]},
    "fewer slots": {"slots": [3, 4]},
    "fewer counts": {"row_count": [2]},
    "fewer begins": {"run_begin": [0, 2]},
    "fewer lengths": {"run_length": [2]},
    "begins after 0": {"run_begin": [1, 1, 2]},
    "begins past the end": {"run_begin": [0, 1, 3]},
    "begins going back": {"run_begin": [0, 3, 2]},
    "no begins": {"run_begin": [], "first_row": [], "row_count": []},
    "position before 0": {"positions": [-1, 1, 0]},
    "position past the table": {"positions": [0, POSITIONS, 0]},
    "position past the runs": {"positions": [0, 2, 0]},
    "positions going back": {"positions": [1, 0, 0]},
    "slot before 0": {"slots": [-1, 4, 9]},
    "slot outside": {"slots": [3, SLOTS, 9]},
    "run before 0": {"run_start": [-1, 9]},
    "run outside": {"run_start": [SLOTS - 1, 9]},
    "run far outside": {"run_start": [(1 << 63) - 1, 9]},
    "endless run": {"run_length": [(1 << 63) - 1, 1]},
    "empty run": {"run_length": [2, 0]},
    "rows that overlap": {"first_row": [0, 1], "row_count": [2, 2]},
    "rows left out": {"row_count": [1, 1]},
    "too many rows": {"row_count": [2, 2]},
    "no rows": {"row_count": [3, 0]},
    "endless rows": {"row_count": [2, (1 << 63) - 1]},
}


@pytest.mark.parametrize("step", STEPS)
def test_a_step_that_does_not_add_up_is_refused(attention: Callable[..., Floats], step: str) -> None:
    before = attention()
    assert np.isfinite(before).all()
    with pytest.raises(ValueError, match=r"differ in length|outside|add up|out of order"):
        attention(**STEPS[step])
    assert attention().tobytes() == before.tobytes()


def test_attention_needs_a_step(level: str) -> None:
    buffers = Buffers(level)
    buffers.program.gather(buffers.large)
    buffers.attention()
    source = RowProgram(level)
    buffer = source.table(np.ones((3, 64), np.float32))
    source.run(np.arange(3), buffer)
    with pytest.raises(ValueError, match="needs positions"):
        buffers.program.run_rows(source.program, buffer, np.arange(3))


def test_attention_with_other_heads_in_another_layer_is_refused(level: str) -> None:
    buffers = Buffers(level)
    buffers.attention()
    with pytest.raises(ValueError, match="same heads"):
        buffers.attention(layer=1, num_heads=2, output=buffers.program.buffer("float", 2 * HEAD_DIM))
    wide = 20
    with pytest.raises(ValueError, match="same heads"):
        buffers.attention(
            layer=1,
            qkv=buffers.program.buffer("float", 8 * wide),
            cos_sin=vector(wide),
            cache=_native.KvCache(2, 2, wide, SLOTS, "bfloat16"),
            output=buffers.program.buffer("float", 4 * wide),
        )


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((0, 1, 4, 4), "bfloat16", "needs layers"),
        ((1, 0, 4, 4), "bfloat16", "needs layers"),
        ((1, 1, 5, 4), "int8", "even head size"),
        ((1, 1, 4, 0), "int8", "needs layers"),
        ((1, 1, 258, 4), "bfloat16", "head size of at most 256"),
        ((1, 1, 4, 4), "float16", "no such cache dtype: float16"),
    ],
)
def test_a_cache_without_size_is_refused(shape: tuple[int, int, int, int], dtype: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _native.KvCache(*shape, dtype)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="sse2"):
        _native.Program("sse2", _native.ThreadPool(1))
