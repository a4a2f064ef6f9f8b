"""The highest logit from halves of the codes is that of all logits, also of weights and rows made to mislead."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from gguf import GGMLQuantizationType as Kind

from sglang.srt.kernels import _native
from tests.helpers.stored_blocks import PACKED_KINDS, Bytes, Floats, random_blocks
from tests.kernels.row_program import Ints, RowProgram, packed

ROWS = 12
UNKNOWN = -1
SHAPES = [(32, 1), (64, 300), (96, 33), (128, 256), (544, 515), (1056, 90), (32, 700), (576, 2049)]  # inputs, columns


class Search(RowProgram):
    """Logits of a table of rows and the highest of each, from the same rounded rows."""

    def __init__(self, level: str, rows: Floats, weight: _native.Weight, num_threads: int = 1) -> None:
        super().__init__(level)
        pool = _native.ThreadPool(num_threads)
        self.program = _native.Program(level, pool)
        quantized = self.converted(self.table(rows), "quantized", rows.shape[1])
        self.logits = self.program.buffer("float", weight.columns)
        self.program.matmul(quantized, weight, None, "store", self.logits, 0)
        self.highest = self.program.buffer("float", 1)
        self.program.highest(quantized, _native.SplitHead(weight, pool), self.highest)

    def found(self, rows: Ints) -> tuple[Ints, Floats]:
        """The columns found, and the logits."""
        columns = self.run(rows, self.highest)[:, 0].astype(np.int64)
        logits: Floats = self.program.values(self.logits).copy()
        return columns, logits


def assert_found(level: str, rows: Floats, blocks: Bytes, num_threads: int = 1) -> None:
    """The first of equals; nothing only where a logit is not finite, or as good as."""
    search = Search(level, rows, packed(blocks, Kind.Q8_0, rows.shape[1]), num_threads)
    columns, logits = search.found(np.arange(len(rows)))
    for row, (column, values) in enumerate(zip(columns.tolist(), logits, strict=True)):
        if not np.isfinite(values).all():
            assert column == UNKNOWN, row
        elif column != UNKNOWN or np.abs(values).max() < 1e30:
            assert column == values.argmax(), (row, values[column], values.max())


def random_rows(rng: np.random.Generator, inputs: int) -> Floats:
    """Rows of very different sizes, with the outliers that models have, and one of zeros."""
    rows = rng.standard_normal((ROWS, inputs)) * 10.0 ** rng.integers(-3, 3, (ROWS, 1))
    rows[rng.random(rows.shape) < 0.02] *= 50
    rows[0] = 0
    return rows.astype(np.float32)


def by_block(blocks: Bytes) -> Bytes:
    """A copy as [columns, blocks, 2 bytes of scale and 32 codes]."""
    shaped: Bytes = blocks.reshape(len(blocks), -1, 34).copy()
    return shaped


def by_column(shaped: Bytes) -> Bytes:
    blocks: Bytes = shaped.reshape(len(shaped), -1)
    return blocks


def with_scales(blocks: Bytes, scales: Floats) -> Bytes:
    """scales: what broadcasts to [columns, blocks]."""
    shaped = by_block(blocks)
    halves = np.broadcast_to(scales, shaped.shape[:2]).astype(np.float16)
    shaped[..., :2] = np.ascontiguousarray(halves)[..., None].view(np.uint8)
    return by_column(shaped)


@pytest.mark.parametrize("num_threads", [1, 2, 3])
@pytest.mark.parametrize(("inputs", "columns"), SHAPES)
def test_the_highest_is_that_of_all_logits(
    level: str, inputs: int, columns: int, num_threads: int, rng: np.random.Generator
) -> None:
    assert_found(level, random_rows(rng, inputs), random_blocks(rng, Kind.Q8_0, columns, inputs), num_threads)


def test_one_row_and_many_find_the_same(level: str, rng: np.random.Generator) -> None:
    weight = packed(random_blocks(rng, Kind.Q8_0, 700, 96), Kind.Q8_0, 96)
    search = Search(level, random_rows(rng, 96), weight, 3)
    together = search.found(np.arange(ROWS))[0]
    for row in range(ROWS):
        assert search.found(np.array([row]))[0] == together[row]


Columns = Callable[[np.random.Generator, Bytes], Bytes]


def _equal(rng: np.random.Generator, blocks: Bytes) -> Bytes:
    return np.repeat(blocks[:1], len(blocks), axis=0)


def _copies_of_a_few(rng: np.random.Generator, blocks: Bytes) -> Bytes:
    return blocks[rng.integers(0, 5, len(blocks))]


def _almost_equal(rng: np.random.Generator, blocks: Bytes) -> Bytes:
    """One code differs by one from its neighbour: logits within rounding of each other."""
    copies = by_block(_equal(rng, blocks))
    block, place = rng.integers(0, copies.shape[1], len(copies)), rng.integers(2, 34, len(copies))
    copies[np.arange(len(copies)), block, place] ^= rng.integers(0, 2, len(copies)).astype(np.uint8)
    return by_column(copies)


def _scales_almost_equal(rng: np.random.Generator, blocks: Bytes) -> Bytes:
    copies = by_block(_equal(rng, blocks))
    copies[..., 0] ^= rng.integers(0, 2, copies.shape[:2]).astype(np.uint8)
    return by_column(copies)


def _opposite(rng: np.random.Generator, blocks: Bytes) -> Bytes:
    """Blocks that take each other's products away, so that logits are small beside what they are made of."""
    shaped = by_block(_almost_equal(rng, blocks))
    shaped[:, 1::2, 1] ^= 0x80
    return by_column(shaped)


def _largest_codes(rng: np.random.Generator, blocks: Bytes) -> Bytes:
    shaped = by_block(blocks)
    shaped[..., 2:] = rng.choice(np.array([127, 128, 129, 0, 15, 16, 255], np.uint8), shaped[..., 2:].shape)
    return by_column(shaped)


def _zeros(rng: np.random.Generator, blocks: Bytes) -> Bytes:
    return np.zeros_like(blocks)


def _negative(rng: np.random.Generator, blocks: Bytes) -> Bytes:
    return with_scales(blocks, -np.abs(rng.standard_normal((len(blocks), 1))).astype(np.float32))


def _tiny_scales(rng: np.random.Generator, blocks: Bytes) -> Bytes:
    return with_scales(blocks, (rng.integers(-3, 4, (len(blocks), 1)) * 6e-8).astype(np.float32))


def _huge_scales(rng: np.random.Generator, blocks: Bytes) -> Bytes:
    return with_scales(blocks, rng.choice(np.array([65504, -65504, 60000, 1], np.float32), (len(blocks), 1)))


COLUMNS: dict[str, Columns] = {
    function.__name__.strip("_").replace("_", " "): function
    for function in (
        _equal, _copies_of_a_few, _almost_equal, _scales_almost_equal, _opposite, _largest_codes, _zeros, _negative,
        _tiny_scales, _huge_scales,
    )
}  # fmt: skip


@pytest.mark.parametrize("kind_of_rows", ["usual", "tiny", "huge", "mixed"])
@pytest.mark.parametrize("columns", COLUMNS)
def test_weights_that_mislead(level: str, columns: str, kind_of_rows: str, rng: np.random.Generator) -> None:
    blocks = COLUMNS[columns](rng, random_blocks(rng, Kind.Q8_0, 333, 128))
    rows = random_rows(rng, 128)
    match kind_of_rows:
        case "tiny":
            rows *= np.float32(10) ** rng.integers(-42, -30, (ROWS, 1)).astype(np.float32)
        case "huge":
            rows *= np.float32(10) ** rng.integers(20, 34, (ROWS, 1)).astype(np.float32)
        case "mixed":
            rows *= np.float32(10) ** np.repeat(rng.integers(-30, 20, (ROWS, 4)), 32, axis=1).astype(np.float32)
    assert_found(level, rows, blocks, 2)


def with_codes(codes: npt.NDArray[np.int64]) -> Bytes:
    """codes: [columns, inputs]. All scales are 1/64."""
    shaped = np.zeros((len(codes), codes.shape[1] // 32, 34), np.uint8)
    shaped[..., 2:] = codes.astype(np.int8).view(np.uint8).reshape(len(codes), -1, 32)
    return with_scales(by_column(shaped), np.full(1, 1 / 64, np.float32))


def test_low_halves_that_say_the_opposite_of_the_high_ones(level: str, rng: np.random.Generator) -> None:
    """The highest logits reach their bound, and the highest estimates fall short as far as they can."""
    inputs = 192
    for share in np.linspace(0.8, 0.935, 40):  # of inputs raised; 15 / 16 would bring an estimate to the same logit
        row = rng.standard_normal(inputs).astype(np.float32)
        sign = np.where(row > 0, 1, -1)
        high = rng.integers(-6, 6, inputs)
        raised = np.where(rng.random((20, inputs)) < share, sign, 0)
        misleading = 16 * (high + raised) + np.where(sign > 0, 0, 15)
        hidden = np.tile(16 * high + np.where(sign > 0, 15, 0), (20, 1))
        hidden -= sign * (rng.random((20, inputs)) < 0.02)
        assert_found(level, row[None], with_codes(rng.permutation(np.concatenate((misleading, hidden)))))


@pytest.mark.parametrize("num_blocks", [2, 5, 18, 40])
def test_columns_that_only_rounding_tells_apart(level: str, num_blocks: int, rng: np.random.Generator) -> None:
    """All blocks of the row are the same, and a column's are another's in another order."""
    rows = np.tile(rng.standard_normal((ROWS, 32)), num_blocks).astype(np.float32)
    shaped = by_block(random_blocks(rng, Kind.Q8_0, 1, 32 * num_blocks))
    blocks = by_column(np.concatenate([shaped[:, rng.permutation(num_blocks)] for _ in range(500)]))
    assert_found(level, rows, blocks)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nothing_is_found_where_a_value_is_not_finite(level: str, value: float, rng: np.random.Generator) -> None:
    rows = random_rows(rng, 96)
    rows[3, 50] = value
    blocks = random_blocks(rng, Kind.Q8_0, 300, 96)
    assert_found(level, rows, blocks)
    sick = by_block(blocks)
    sick[200, 1, :2] = np.array([value], np.float16).view(np.uint8)
    search = Search(level, rows, packed(by_column(sick), Kind.Q8_0, 96))
    assert (search.found(np.arange(ROWS))[0] == UNKNOWN).all()


@pytest.mark.parametrize("kind", [kind for kind in PACKED_KINDS if kind is not Kind.Q8_0], ids=lambda kind: kind.name)
def test_other_weights_are_refused(kind: Kind, rng: np.random.Generator) -> None:
    weight = packed(random_blocks(rng, kind, 40, 256), kind, 256)
    assert not _native.SplitHead.is_possible(weight)
    with pytest.raises(ValueError, match="only a head of Q8_0"):
        _native.SplitHead(weight, _native.ThreadPool(1))
