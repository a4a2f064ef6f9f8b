"""Row-wise instructions against torch, in all kinds of rows that they write."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind

from sglang.srt.kernels import _native, reference
from tests.helpers.poison import poisoned
from tests.helpers.stored_blocks import Floats
from tests.kernels.row_program import RowProgram, as_read, packed, rounded_to_int8

ROWS = 9
SIZES = {"float": (1, 16, 33, 515, 1100), "bf16": (1, 2, 33, 515, 1030), "quantized": (32, 512, 544, 1120)}
KINDS_AND_SIZES = [(kind, size) for kind, sizes in SIZES.items() for size in sizes]
EVERY_SIZE = pytest.mark.parametrize(("kind", "size"), KINDS_AND_SIZES)
Append = Callable[[RowProgram, int], None]


def random_rows(rng: np.random.Generator, size: int) -> Floats:
    return (rng.standard_normal((ROWS, size)) * 10.0 ** rng.integers(-4, 4, (ROWS, 1))).astype(np.float32)


def outputs(level: str, kind: str, size: int, append: Append) -> tuple[Floats, Floats]:
    """What an instruction writes as floats, and what of another kind of rows, read back."""
    rows = RowProgram(level, num_threads=2)
    exact, rounded = rows.table(poisoned((ROWS, size))), rows.program.buffer(kind, size)
    append(rows, exact)
    append(rows, rounded)
    readable = rows.readable(rounded, kind, size)
    values = rows.run(np.arange(ROWS), exact)
    return values, rows.program.values(readable).copy()


@EVERY_SIZE
def test_convert(level: str, kind: str, size: int, rng: np.random.Generator) -> None:
    """Columns from the middle of a wider buffer."""
    source = random_rows(rng, size + 70)
    first_column = int(rng.integers(0, 71))

    def append(rows: RowProgram, output: int) -> None:
        rows.program.convert(rows.table(source), first_column, output)

    values, rounded = outputs(level, kind, size, append)
    assert values.tobytes() == np.ascontiguousarray(source[:, first_column:][:, :size]).tobytes()
    np.testing.assert_array_equal(rounded, as_read(values, kind))


def test_quantised_rows_at_the_limits_of_floats(level: str) -> None:
    blocks = np.zeros((ROWS, 32), np.float32)
    for row, size in enumerate((0.0, 1e-45, 1e-38, 5e-37, 2e-36, 1e-20, 1.0, 1e30, 3.4e38)):
        blocks[row] = size * np.linspace(-1, 1, 32, dtype=np.float32)

    def append(rows: RowProgram, output: int) -> None:
        rows.program.convert(rows.table(blocks), 0, output)

    _, rounded = outputs(level, "quantized", 32, append)
    assert (np.abs(rounded - blocks) <= 1e-36 + np.abs(blocks).max(1, keepdims=True) / 250).all()


@pytest.mark.parametrize("columns", [512, 511])
def test_rows_of_very_wide_products_are_rounded_with_care(level: str, columns: int, rng: np.random.Generator) -> None:
    """16 columns an input are many. No block has more error than the usual scale gives, and on average a fifth less."""
    x = rng.standard_normal((2000, 32)).astype(np.float32)
    model = RowProgram(level)
    codes = model.converted(model.table(x), "quantized", 32)
    identity_first = np.zeros((columns, 34), np.uint8)
    identity_first[:, :2] = np.ones(1, np.float16).view(np.uint8)
    identity_first[:32, 2:] = np.eye(32, dtype=np.uint8)
    output = model.program.buffer("float", columns)
    model.program.matmul(codes, packed(identity_first, Kind.Q8_0, 32), None, "store", output, 0)
    errors = np.square(model.run(np.arange(len(x)), output)[:, :32] - x).sum(-1)
    usual = np.square(rounded_to_int8(x) - x).sum(-1)
    if columns < 16 * 32:
        np.testing.assert_allclose(errors, usual, rtol=1e-3)
    else:
        assert (errors <= usual * 1.01).all()  # float32 does not tell closer ones apart
        assert errors.mean() < 0.8 * usual.mean()  # 0.767, with a standard deviation of 0.003 over draws of x


@EVERY_SIZE
@pytest.mark.parametrize("eps", [1e-5, 1e-6])
def test_rms_norm(level: str, kind: str, size: int, eps: float, rng: np.random.Generator) -> None:
    source, weight = random_rows(rng, size), rng.standard_normal(size, np.float32)

    def append(rows: RowProgram, output: int) -> None:
        rows.program.rms_norm(rows.table(source), _native.FloatVector(weight), eps, output)

    values, rounded = outputs(level, kind, size, append)
    exact = reference.rms_norm(torch.from_numpy(source).double(), torch.from_numpy(weight).double(), eps).numpy()
    np.testing.assert_allclose(values, exact, rtol=1e-6, atol=1e-30)
    np.testing.assert_array_equal(rounded, as_read(values, kind))


@EVERY_SIZE
def test_silu_and_mul(level: str, kind: str, size: int, rng: np.random.Generator) -> None:
    source = rng.uniform(-30, 30, (ROWS, 2 * size)).astype(np.float32)
    source[rng.random(source.shape) < 0.02] *= 10  # past where the exponential overflows, on both sides

    def append(rows: RowProgram, output: int) -> None:
        rows.program.silu_and_mul(rows.table(source), output)

    values, rounded = outputs(level, kind, size, append)
    exact = reference.silu_and_mul(torch.from_numpy(source).double()).numpy()
    np.testing.assert_allclose(values, exact, rtol=1e-6, atol=1e-30)
    np.testing.assert_array_equal(rounded, as_read(values, kind))


def test_add(level: str, rng: np.random.Generator) -> None:
    first, second = random_rows(rng, 77), random_rows(rng, 77)
    rows = RowProgram(level, num_threads=2)
    source, target = rows.table(first), rows.table(second)
    rows.program.add(source, target)
    assert rows.run(np.arange(ROWS), target).tobytes() == (second + first).tobytes()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", SIZES)
def test_what_is_not_finite_stays_so_in_its_row_alone(
    level: str, kind: str, bad: float, rng: np.random.Generator
) -> None:
    size, sick = 64, int(rng.integers(ROWS))
    source = random_rows(rng, size)
    healthy = as_read(source, kind)
    source[sick, rng.integers(size)] = bad

    def append(rows: RowProgram, output: int) -> None:
        rows.program.convert(rows.table(source), 0, output)

    _, rounded = outputs(level, kind, size, append)
    assert not np.isfinite(rounded[sick]).all()
    np.testing.assert_array_equal(np.delete(rounded, sick, 0), np.delete(healthy, sick, 0))

    def append_norm(rows: RowProgram, output: int) -> None:
        rows.program.rms_norm(rows.table(source), _native.FloatVector(np.ones(size, np.float32)), 1e-5, output)

    values, rounded = outputs(level, kind, size, append_norm)
    assert not np.isfinite(values[sick]).all() and not np.isfinite(rounded[sick]).all()
    assert np.isfinite(np.delete(values, sick, 0)).all() and np.isfinite(np.delete(rounded, sick, 0)).all()


def test_bits_of_rows_do_not_depend_on_the_rows_beside_them(level: str, rng: np.random.Generator) -> None:
    size = 545
    source = random_rows(rng, 2 * size)
    rows = RowProgram(level, num_threads=3)
    table, output = rows.table(source), rows.program.buffer("float", size)
    rows.program.silu_and_mul(table, output)
    rows.program.rms_norm(output, _native.FloatVector(rng.standard_normal(size, np.float32)), 1e-5, output)
    alone = np.concatenate([rows.run(np.array([row]), output) for row in range(ROWS)])
    for count in (2, 7, 100):
        chosen = rng.integers(0, ROWS, count)
        assert rows.run(chosen, output).tobytes() == alone[chosen].tobytes()
