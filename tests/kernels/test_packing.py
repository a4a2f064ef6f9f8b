"""What was packed comes out again exactly, wherever it was put."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from sglang.srt.kernels import _native
from tests.helpers.stored_blocks import (
    FLOAT_KINDS,
    K_QUANTS,
    PACKED_KINDS,
    Floats,
    dequantized,
    fitting_inputs,
    random_blocks,
)
from tests.kernels.row_program import RowProgram, packed

PANEL = 16


def unpacked(level: str, weight: _native.Weight) -> Floats:
    """[columns, inputs]"""
    rows = RowProgram(level)
    output = rows.program.buffer("float", weight.inputs)
    rows.program.embed(weight, output)
    return rows.run(np.arange(weight.columns), output)


@pytest.mark.parametrize("columns", [1, 33, 70])
@pytest.mark.parametrize("kind", PACKED_KINDS, ids=lambda kind: kind.name)
def test_a_packed_matrix_is_the_checkpoint_s(level: str, kind: Kind, columns: int, rng: np.random.Generator) -> None:
    inputs = fitting_inputs(kind, int(rng.integers(1, 600)))
    blocks = random_blocks(rng, kind, columns, inputs)
    np.testing.assert_array_equal(unpacked(level, packed(blocks, kind, inputs)), dequantized(blocks, kind))


@pytest.mark.parametrize("kind", FLOAT_KINDS, ids=lambda kind: kind.name)
def test_rows_of_floats_may_have_any_length(level: str, kind: Kind, rng: np.random.Generator) -> None:
    for inputs in (1, 2, 31, 33):
        blocks = random_blocks(rng, kind, 5, inputs)
        np.testing.assert_array_equal(unpacked(level, packed(blocks, kind, inputs)), dequantized(blocks, kind))


@pytest.mark.parametrize("kind", FLOAT_KINDS[1:], ids=lambda kind: kind.name)
def test_every_half_is_read_as_the_same_number(level: str, kind: Kind) -> None:
    """Subnormals, infinities and all."""
    every = np.arange(1 << 16, dtype=np.uint16).reshape(256, 256)
    expected = dequantized(every.view(np.uint8), kind)
    np.testing.assert_array_equal(unpacked(level, packed(every.view(np.uint8), kind, 256)), expected)


@pytest.mark.parametrize("kind", PACKED_KINDS, ids=lambda kind: kind.name)
def test_parts_put_one_by_one_by_several_threads(level: str, kind: Kind, rng: np.random.Generator) -> None:
    inputs = fitting_inputs(kind, 64)
    blocks = random_blocks(rng, kind, 131, inputs)
    cuts = [0, *sorted(int(cut) for cut in rng.choice(np.arange(1, 131), 6, replace=False)), 131]
    weight = _native.Weight(kind, inputs, 131)
    with ThreadPoolExecutor(3) as threads:
        jobs = [threads.submit(weight.put, kind, blocks[a:b], a) for a, b in itertools.pairwise(cuts)]
        for job in jobs:
            job.result()
    np.testing.assert_array_equal(unpacked(level, weight), dequantized(blocks, kind))


@pytest.mark.parametrize("columns", [7, 16, 40, 48])
def test_two_matrices_in_turn(level: str, columns: int, rng: np.random.Generator) -> None:
    first, second = (random_blocks(rng, Kind.Q4_K, columns, 256) for _ in range(2))
    weight = _native.Weight(Kind.Q4_K, 256, -(-columns // PANEL) * 2 * PANEL)
    weight.put(Kind.Q4_K, first, 0, panel_stride=2)
    weight.put(Kind.Q4_K, second, PANEL, panel_stride=2)
    values = unpacked(level, weight)
    for column in range(columns):
        at = column // PANEL * 2 * PANEL + column % PANEL
        assert np.array_equal(values[at], dequantized(first, Kind.Q4_K)[column])
        assert np.array_equal(values[at + PANEL], dequantized(second, Kind.Q4_K)[column])


def test_columns_that_nothing_was_put_in_are_zero(level: str, rng: np.random.Generator) -> None:
    weight = _native.Weight(Kind.Q8_0, 64, 50)
    weight.put(Kind.Q8_0, random_blocks(rng, Kind.Q8_0, 3, 64), 20)
    values = unpacked(level, weight)
    assert not values[:20].any() and not values[23:].any() and values[20:23].any()


def test_memory_is_that_of_the_stored_blocks(rng: np.random.Generator) -> None:
    """Bytes for each of 256 x 32 weights: codes, scales and minima, of K-quants each as a float32. Before 32 columns of
    4-bit codes come the exponents of their units."""
    expected = {
        Kind.F32: 4.0, Kind.F16: 2.0, Kind.BF16: 2.0, Kind.Q4_0: 18 / 32, Kind.Q4_1: 20 / 32, Kind.Q8_0: 34 / 32,
        Kind.Q4_K: 24 / 32, Kind.Q5_K: 40 / 32, Kind.Q6_K: 40 / 32,
    }  # fmt: skip
    for kind, size in expected.items():
        units = 64 if kind in (Kind.Q4_0, Kind.Q4_1, Kind.Q4_K) else 0
        assert _native.Weight(kind, 256, 32).num_bytes == size * 256 * 32 + units, kind.name
        assert _native.Weight(kind, 256, 33).num_bytes == size * 256 * 64 + 2 * units, kind.name


@pytest.mark.parametrize("kind", [Kind.Q5_0, Kind.Q2_K, Kind.IQ4_XS, Kind.F64])
def test_other_types_are_refused(kind: Kind) -> None:
    with pytest.raises(ValueError, match=f"no packed format for GGUF type {kind.value}"):
        _native.Weight(kind, 256, 32)


@pytest.mark.parametrize(("inputs", "columns"), [(0, 4), (4, 0), (-1, 4), (4, -1)])
def test_a_weight_without_size_is_refused(inputs: int, columns: int) -> None:
    with pytest.raises(ValueError, match="at least one input and one column"):
        _native.Weight(Kind.F32, inputs, columns)


def test_inputs_that_fill_no_block_are_refused(rng: np.random.Generator) -> None:
    with pytest.raises(ValueError, match="a multiple of 32 inputs, not 48"):
        _native.Weight(Kind.Q4_0, 48, 4)
    for kind in K_QUANTS:
        weight = _native.Weight(kind, 96, 4)
        with pytest.raises(ValueError, match="a multiple of 256 inputs, not 96"):
            weight.put(kind, random_blocks(rng, kind, 4, 256), 0)


@pytest.mark.parametrize("first_column", [-1, 38, 40, 1 << 62])
@pytest.mark.parametrize("panel_stride", [1, 2])
def test_columns_outside_are_refused(first_column: int, panel_stride: int, rng: np.random.Generator) -> None:
    weight = _native.Weight(Kind.F32, 8, 40)
    blocks = random_blocks(rng, Kind.F32, 30, 8)
    with pytest.raises(ValueError, match="outside the weight"):
        weight.put(Kind.F32, blocks, first_column, panel_stride)
    with pytest.raises(ValueError, match="stride"):
        weight.put(Kind.F32, blocks, 0, panel_stride=0)


def test_rows_of_another_type_or_length_are_refused(rng: np.random.Generator) -> None:
    weight = _native.Weight(Kind.Q8_0, 64, 40)
    with pytest.raises(ValueError, match="another format"):
        weight.put(Kind.Q4_0, random_blocks(rng, Kind.Q4_0, 3, 64), 0)
    with pytest.raises(ValueError, match="the rows have 102 bytes, not 204"):
        weight.put(Kind.Q8_0, random_blocks(rng, Kind.Q8_0, 3, 32), 0)
