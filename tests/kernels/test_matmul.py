"""Matrix products of every packed type: against float64, and that an element's bits depend on its own inputs alone."""

from __future__ import annotations

from dataclasses import dataclass

import gguf
import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGMLQuantizationType as Kind

from sglang.srt.kernels import _native
from tests.helpers.poison import poisoned
from tests.helpers.stored_blocks import FLOAT_KINDS, PACKED_KINDS, Floats, dequantized, fitting_inputs, random_blocks
from tests.kernels.fixed_point import most_lost
from tests.kernels.row_program import RowProgram, as_read, packed

Doubles = npt.NDArray[np.float64]

MANY_ROWS = 200  # more than go through the weights together
PANEL = 16
TOLERANCE = 2e-6
"""Of the sum of magnitudes of what is added up."""

SHAPES = [(32, 1), (96, 33), (512, 64), (1536, 70), (4192, 40)]  # inputs, columns
FIXED_KINDS = (Kind.Q4_0, Kind.Q4_1, Kind.Q4_K)
OF_BLOCKS = pytest.mark.parametrize("kind", FIXED_KINDS[:2], ids=lambda kind: kind.name)
ALL_KINDS = pytest.mark.parametrize("kind", PACKED_KINDS, ids=lambda kind: kind.name)
ROW_KINDS = pytest.mark.parametrize("kind", [Kind.F32, Kind.F16, Kind.BF16, Kind.Q6_K], ids=lambda kind: kind.name)


@dataclass
class Exact:
    """A product in float64 of rows as the kernels read them, and what its rounding is measured by."""

    product: Doubles
    magnitude: Doubles

    @classmethod
    def of(cls, rows: Floats, matrix: Floats, bias: Floats | None = None) -> Exact:
        a, b = rows.astype(np.float64), matrix.astype(np.float64).T
        added = np.zeros(1) if bias is None else bias.astype(np.float64)
        return cls(a @ b + added, np.abs(a) @ np.abs(b) + np.abs(added))

    lost: Doubles | float = 0.0
    """What fixed point may lose beside rounding."""

    def of_rows(self, chosen: npt.NDArray[np.int64]) -> Exact:
        lost = self.lost if isinstance(self.lost, float) else self.lost[chosen]
        return Exact(self.product[chosen], self.magnitude[chosen], lost)

    def assert_close(self, output: Floats) -> None:
        error = (np.abs(output - self.product) - self.lost) / (self.magnitude + 1e-30)
        assert error.max() < TOLERANCE, f"row, column {np.unravel_index(error.argmax(), error.shape)}: {error.max()}"


class Product(RowProgram):
    """rows @ matrix.T over a table of rows, its output poisoned before each run."""

    def __init__(self, level: str, rows: Floats, weight: _native.Weight, num_threads: int = 1) -> None:
        super().__init__(level, num_threads)
        self.kind = self.program.input_kind(weight)
        self.input = self.converted(self.table(rows), self.kind, rows.shape[1])
        self.output = self.table(poisoned((len(rows), weight.columns)))
        self.program.matmul(self.input, weight, None, "store", self.output, 0)


def random_rows(rng: np.random.Generator, count: int, inputs: int) -> Floats:
    """Rows of very different sizes, with the outliers that models have."""
    rows = rng.standard_normal((count, inputs)) * 10.0 ** rng.integers(-3, 3, (count, 1))
    rows[rng.random(rows.shape) < 0.01] *= 50
    return rows.astype(np.float32)


@ALL_KINDS
@pytest.mark.parametrize(("inputs", "columns"), SHAPES)
def test_products_are_those_of_float64(
    level: str, kind: Kind, inputs: int, columns: int, rng: np.random.Generator
) -> None:
    inputs = fitting_inputs(kind, inputs)
    blocks = random_blocks(rng, kind, columns, inputs)
    rows, matrix = random_rows(rng, MANY_ROWS, inputs), dequantized(blocks, kind)
    product = Product(level, rows, packed(blocks, kind, inputs))
    exact = Exact.of(as_read(rows, product.kind), matrix)
    if kind in FIXED_KINDS:
        exact.lost = most_lost(rows, blocks, kind)
    exact.assert_close(product.run(np.arange(MANY_ROWS), product.output))
    for count in (*range(1, 14), 37):
        chosen = rng.integers(0, MANY_ROWS, count)
        exact.of_rows(chosen).assert_close(product.run(chosen, product.output))


@ALL_KINDS
def test_rounding_the_rows_costs_little(level: str, kind: Kind, rng: np.random.Generator) -> None:
    blocks = random_blocks(rng, kind, 64, 768)
    rows, matrix = rng.standard_normal((20, 768), np.float32), dequantized(blocks, kind)
    product = Product(level, rows, packed(blocks, kind, 768))
    error = product.run(np.arange(20), product.output) - rows.astype(np.float64) @ matrix.T
    spread = np.sqrt((rows**2).astype(np.float64) @ (matrix**2).T)
    assert np.sqrt(np.mean((error / spread) ** 2)) < {"float": 1e-6, "bf16": 2e-3, "quantized": 1e-2}[product.kind]


@pytest.mark.parametrize("kind", FLOAT_KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("inputs", [1, 2, 3, 33, 35])
def test_floats_may_have_any_number_of_inputs(level: str, kind: Kind, inputs: int, rng: np.random.Generator) -> None:
    blocks, rows = random_blocks(rng, kind, 40, inputs), random_rows(rng, 9, inputs)
    product = Product(level, rows, packed(blocks, kind, inputs))
    exact = Exact.of(as_read(rows, product.kind), dequantized(blocks, kind))
    exact.assert_close(product.run(np.arange(9), product.output))


# --- what becomes of a product --------------------------------------------------------------------------------------


@ROW_KINDS
@pytest.mark.parametrize("with_bias", [False, True])
@pytest.mark.parametrize("epilogue", ["store", "add"])
@pytest.mark.parametrize("columns", [5, 16, 45, 70])
def test_epilogues_write_their_own_columns_only(
    level: str, kind: Kind, epilogue: str, with_bias: bool, columns: int, rng: np.random.Generator
) -> None:
    inputs, first_column, width = 256, int(rng.integers(0, 40)), columns + 50
    blocks, rows = random_blocks(rng, kind, columns, inputs), random_rows(rng, 7, inputs)
    before = rng.standard_normal((7, width), np.float32)
    bias = rng.standard_normal(columns, np.float32) if with_bias else None
    program = RowProgram(level, num_threads=2)
    weight = packed(blocks, kind, inputs)
    row_kind = program.program.input_kind(weight)
    source = program.converted(program.table(rows), row_kind, inputs)
    output = program.table(before)
    shared = None if bias is None else _native.FloatVector(bias)
    program.program.matmul(source, weight, shared, epilogue, output, first_column)
    after = program.run(np.arange(7), output)
    exact = Exact.of(as_read(rows, row_kind), dequantized(blocks, kind), bias)
    target = slice(first_column, first_column + columns)
    if epilogue == "add":
        exact = Exact(exact.product + before[:, target], exact.magnitude + np.abs(before[:, target]))
    exact.assert_close(after[:, target])
    untouched = np.delete(np.arange(width), target)
    assert after[:, untouched].tobytes() == before[:, untouched].tobytes()


@ROW_KINDS
@pytest.mark.parametrize("columns", [7, 16, 40, 48])
def test_silu_and_mul_of_matrices_in_turn(level: str, kind: Kind, columns: int, rng: np.random.Generator) -> None:
    gate, up = (random_blocks(rng, kind, columns, 256) for _ in range(2))
    rows = rng.standard_normal((11, 256), np.float32)
    rows[0] *= 1e4  # past where exponentials overflow, on both sides
    weight = _native.Weight(kind, 256, 2 * columns)
    weight.put(kind, gate, 0, panel_stride=2)
    weight.put(kind, up, PANEL, panel_stride=2)
    program = RowProgram(level)
    row_kind = program.program.input_kind(weight)
    source = program.converted(program.table(rows), row_kind, 256)
    output = program.table(poisoned((11, columns + 3)))
    program.program.matmul(source, weight, None, "silu_and_mul", output, 2)
    result = program.run(np.arange(11), output)
    gates, ups = (Exact.of(as_read(rows, row_kind), dequantized(blocks, kind)) for blocks in (gate, up))
    silu = gates.product / (1 + np.exp(np.clip(-gates.product, -700, 700)))
    # |silu'| < 1.1; the rounding of either side shows in the other's proportion
    magnitude = 1.1 * gates.magnitude * np.abs(ups.product) + np.abs(silu) * ups.magnitude
    Exact(silu * ups.product, magnitude).assert_close(result[:, 2:-1])
    assert np.isnan(result[:, :2]).all() and np.isnan(result[:, -1]).all()


# --- bits -----------------------------------------------------------------------------------------------------------


@ALL_KINDS
@pytest.mark.parametrize("columns", [40, 520])
def test_bits_depend_on_nothing_but_the_row(level: str, kind: Kind, columns: int, rng: np.random.Generator) -> None:
    """Any rows beside it, in any order, by any number of threads."""
    inputs = fitting_inputs(kind, 160)
    weight = packed(random_blocks(rng, kind, columns, inputs), kind, inputs)
    rows = random_rows(rng, MANY_ROWS + 3, inputs)
    alone = Product(level, rows, weight)
    expected = np.concatenate([alone.run(np.array([row]), alone.output) for row in range(len(rows))])
    for num_threads in (1, 2, 3):
        product = Product(level, rows, weight, num_threads)
        for count in (len(rows), *rng.integers(2, 64, 6).tolist()):
            chosen = rng.permutation(len(rows))[:count]
            assert product.run(chosen, product.output).tobytes() == expected[chosen].tobytes(), (num_threads, chosen)


@ALL_KINDS
def test_bits_of_a_column_do_not_depend_on_its_place(level: str, kind: Kind, rng: np.random.Generator) -> None:
    """So a projection may be packed beside others, or not."""
    inputs = fitting_inputs(kind, 256)
    blocks, rows = random_blocks(rng, kind, 70, inputs), random_rows(rng, 8, inputs)
    whole = Product(level, rows, packed(blocks, kind, inputs))
    expected = whole.run(np.arange(8), whole.output)
    begin, end = sorted(rng.choice(70, 2, replace=False).tolist())
    part = Product(level, rows, packed(blocks[begin:end], kind, inputs))
    assert part.run(np.arange(8), part.output).tobytes() == expected[:, begin:end].tobytes()


@ALL_KINDS
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_shows_in_its_row_and_nowhere_else(
    level: str, kind: Kind, bad: float, rng: np.random.Generator
) -> None:
    inputs = fitting_inputs(kind, 64)
    weight = packed(random_blocks(rng, kind, 40, inputs), kind, inputs)
    rows = random_rows(rng, 12, inputs)
    good = Product(level, rows, weight)
    expected = good.run(np.arange(12), good.output)
    sick = int(rng.integers(12))
    rows[sick, rng.integers(inputs)] = bad
    product = Product(level, rows, weight)
    output = product.run(np.arange(12), product.output)
    assert not np.isfinite(output[sick]).any()
    assert product.kind != "quantized" or np.isnan(output[sick]).all()
    assert np.delete(output, sick, 0).tobytes() == np.delete(expected, sick, 0).tobytes()


# --- fixed point ----------------------------------------------------------------------------------------------------


@OF_BLOCKS
@pytest.mark.parametrize("inputs", [64, 2048, 2080, 8192])
def test_the_largest_sums_do_not_overflow(level: str, kind: Kind, inputs: int, rng: np.random.Generator) -> None:
    """Every code at its limit, and all of one sign; centres too, where the minimum is -12 times the scale."""
    blocks = random_blocks(rng, kind, 32, inputs).reshape(32, inputs // 32, -1)
    scale = np.array([0.5, 60000.0 if kind == Kind.Q4_0 else 5000.0, 4094.0], np.float16)
    chosen = rng.integers(0, 3, 32)
    chosen[:2] = 2  # 4,094: all but 2^-11 of what a unit can count
    blocks[:, :, :2] = scale[chosen, None, None].view(np.uint8)
    if kind == Kind.Q4_1:
        minimum = np.array([-60000.0, -60000.0, -49120.0], np.float16)
        blocks[:, :, 2:4] = minimum[chosen, None, None].view(np.uint8)
    blocks[:, :, -16:] = np.array([0x00, 0xFF], np.uint8)[[0, 1, *rng.integers(0, 2, 30)], None, None]
    stored = blocks.reshape(32, -1)
    rows = np.full((4, inputs), 3.0, np.float32) * np.array([[1], [-1], [1e20], [1e-20]], np.float32)
    product = Product(level, rows, packed(stored, kind, inputs))
    exact = Exact.of(as_read(rows, product.kind), dequantized(stored, kind))
    exact.lost = most_lost(rows, stored, kind)
    exact.assert_close(product.run(np.arange(4), product.output))


def lost_beside_rounding(level: str, kind: Kind, weights: Floats, rows: Floats) -> Doubles:
    """Of each row what fixed point costs, in parts of what rounding the row costs."""
    inputs = rows.shape[1]
    stored = gguf.quantize(weights, kind).view(np.uint8)
    product = Product(level, rows, packed(stored, kind, inputs))
    output = product.run(np.arange(len(rows)), product.output)
    matrix = dequantized(stored, kind).astype(np.float64)
    read = as_read(rows, product.kind).astype(np.float64) @ matrix.T
    by_rounding = np.sqrt(np.mean((rows @ matrix.T - read) ** 2, axis=1))
    share: Doubles = np.sqrt(np.mean((output - read) ** 2, axis=1)) / by_rounding
    return share


@OF_BLOCKS
def test_fixed_point_loses_little_beside_rounding_the_rows(level: str, kind: Kind, rng: np.random.Generator) -> None:
    """With outliers, whose blocks leave few steps to the others."""
    weights, rows = rng.standard_normal((64, 1536), np.float32), random_rows(rng, 50, 1536)
    assert (lost_beside_rounding(level, kind, weights, rows) < 0.05).all()


@OF_BLOCKS
@pytest.mark.parametrize("largest", [300, 1000, 1e4, 1e6])
def test_fixed_point_with_an_input_far_above_the_others(
    level: str, kind: Kind, largest: float, rng: np.random.Generator
) -> None:
    """As a prompt's first token has them. The worst are multiplied in floats."""
    weights, rows = rng.standard_normal((64, 2048), np.float32), rng.standard_normal((20, 2048), np.float32)
    rows[np.arange(20), rng.integers(0, 2048, 20)] = largest
    assert (lost_beside_rounding(level, kind, weights, rows) < 0.2).all()


@OF_BLOCKS
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_not_finite_shows_in_its_column(
    level: str, kind: Kind, bad: float, rng: np.random.Generator
) -> None:
    stored, rows = random_blocks(rng, kind, 40, 96), random_rows(rng, 8, 96)
    expected = Product(level, rows, packed(stored, kind, 96))
    good = expected.run(np.arange(8), expected.output)
    sick = int(rng.integers(40))
    block_bytes = stored.shape[1] // 3
    stored[sick, block_bytes : block_bytes + 2] = np.array([bad], np.float16).view(np.uint8)
    product = Product(level, rows, packed(stored, kind, 96))
    output = product.run(np.arange(8), product.output)
    assert not np.isfinite(output[:, sick]).any()
    assert np.delete(output, sick, 1).tobytes() == np.delete(good, sick, 1).tobytes()
