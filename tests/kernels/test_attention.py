"""Native attention against attention in float64, and that its bits depend on a row's own context alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pytest

from sglang.srt.kernels import _native

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Layout = list[tuple[int, int]]

F32 = 0  # GGUF's number of the type
NUM_SLOTS = 1600
CONTEXT_BLOCK = 256
SCALED_DIMS = 16


@dataclass(frozen=True)
class Heads:
    dim: int
    group: int  # query heads that share a key/value head
    num_kv: int = 1

    @property
    def num_queries(self) -> int:
        return self.group * self.num_kv

    @property
    def width(self) -> int:
        return (self.num_queries + 2 * self.num_kv) * self.dim

    @property
    def query_scale(self) -> float:
        return float(self.dim**-0.5)


SHAPES = [Heads(64, 3, 2), Heads(128, 1), Heads(80, 4), Heads(100, 3), Heads(16, 9), Heads(6, 2, 2), Heads(256, 7)]


@dataclass(frozen=True)
class Sequence:
    """Some of a sequence's tokens, the first at `position`, and the slots of all its positions so far."""

    token_ids: Ints
    position: int
    layout: Layout


class Model:
    """One attention layer. A token's queries, keys and values are what a table says; slots start as NaN."""

    def __init__(self, level: str, heads: Heads, table: Floats, dtype: str, num_threads: int = 1) -> None:
        self.heads = heads
        cache = _native.KvCache(1, heads.num_kv, heads.dim, NUM_SLOTS, dtype)
        cos_sin = _native.FloatVector(rotary_table(heads.dim, NUM_SLOTS))
        nothing = np.full_like(table[:1], np.nan)
        embedding = _native.Weight(F32, heads.width, len(table) + 1)
        embedding.put(F32, np.concatenate([table, nothing]).view(np.uint8), 0)
        self.program = _native.Program(level, _native.ThreadPool(num_threads))
        qkv = self.program.buffer("float", heads.width)
        self.output = self.program.buffer("float", heads.num_queries * heads.dim)
        self.program.embed(embedding, qkv)
        self.program.attention(qkv, heads.num_queries, heads.query_scale, cos_sin, cache, 0, self.output)
        self.nan_token = len(table)
        self.run([Sequence(np.array([self.nan_token]), 0, [(slot, 1)]) for slot in range(NUM_SLOTS)])

    def run(self, sequences: list[Sequence]) -> Floats:
        """[rows, query heads, dim]"""
        counts = [len(sequence.token_ids) for sequence in sequences]
        positions = [np.arange(s.position, s.position + len(s.token_ids)) for s in sequences]
        slots = [slots_of(s.layout)[p] for s, p in zip(sequences, positions, strict=True)]
        runs = np.array([run for sequence in sequences for run in sequence.layout], dtype=np.int64)
        self.program.run(
            np.concatenate([sequence.token_ids for sequence in sequences]),
            np.concatenate(positions),
            np.concatenate(slots),
            np.cumsum([0, *counts[:-1]]),
            np.array(counts),
            np.cumsum([0, *(len(s.layout) for s in sequences)]),
            np.ascontiguousarray(runs[:, 0]),
            np.ascontiguousarray(runs[:, 1]),
            np.arange(sum(counts)),
        )
        output: Floats = self.program.values(self.output).reshape(-1, self.heads.num_queries, self.heads.dim).copy()
        return output


def rotary_table(dim: int, positions: int) -> Floats:
    angles = np.outer(np.arange(positions), 10000.0 ** (-np.arange(dim // 2) / (dim // 2)))
    return np.concatenate([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def slots_of(layout: Layout) -> Ints:
    return np.concatenate([np.arange(start, start + length) for start, length in layout])


def random_layout(rng: np.random.Generator, length: int, longest_run: int, slots: range = range(NUM_SLOTS)) -> Layout:
    """Slots for `length` positions in runs of 1 to `longest_run`, here and there in `slots`."""
    lengths: list[int] = []
    while (left := length - sum(lengths)) > 0:
        lengths.append(min(left, int(rng.integers(1, longest_run + 1))))
    gaps = rng.multinomial(len(slots) - length, np.full(len(lengths) + 1, 1 / (len(lengths) + 1)))
    layout: Layout = [(0, 0)] * len(lengths)
    start = slots.start
    for gap, index in zip(gaps, rng.permutation(len(lengths)), strict=False):
        layout[index] = (start + int(gap), lengths[index])
        start = sum(layout[index])
    return layout


def random_table(rng: np.random.Generator, heads: Heads, tokens: int, size: float = 1.0) -> Floats:
    return (size * rng.standard_normal((tokens, heads.width))).astype(np.float32)


def rounded_to_bf16(x: Floats) -> Floats:
    bits = x.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)


def as_stored(x: Floats, dtype: str) -> Floats:
    if dtype == "int8":
        x = np.concatenate([in_units_of_a_scale(group) for group in in_groups(x)], axis=-1)
    return rounded_to_bf16(x)


def in_groups(x: Floats) -> list[Floats]:
    """The last one may have fewer than SCALED_DIMS dimensions."""
    return np.split(x, range(SCALED_DIMS, x.shape[-1], SCALED_DIMS), axis=-1)


def in_units_of_a_scale(group: Floats) -> Floats:
    scale = rounded_to_bf16(np.abs(group).max(axis=-1, keepdims=True) / np.float32(127))
    rounded: Floats = np.rint(group / scale) * scale
    return rounded


def exact_attention(heads: Heads, table: Floats, dtype: str) -> tuple[Doubles, Doubles]:
    """Every row's output in float64 from what a cache holds, and the largest magnitude of the values, by head."""
    rows = len(table)
    cos, sin = np.split(rotary_table(heads.dim, rows)[:, None], 2, axis=-1)

    def turned(x: Floats) -> Floats:
        first, second = np.split(x, 2, axis=-1)
        return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)

    parts = np.split(table.reshape(rows, -1, heads.dim), [heads.num_queries, heads.num_queries + heads.num_kv], axis=1)
    log2_e = np.float32(np.log2(np.e))
    queries = rounded_to_bf16(turned(parts[0]) * (np.float32(heads.query_scale) * log2_e)).astype(np.float64)
    keys = as_stored(turned(parts[1]), dtype).astype(np.float64).repeat(heads.group, axis=1)
    values = as_stored(np.ascontiguousarray(parts[2]), dtype).astype(np.float64).repeat(heads.group, axis=1)
    scores = np.einsum("qhd,khd->hqk", queries, keys)
    scores[:, ~np.tri(rows, dtype=bool)] = -np.inf
    weights = np.exp2(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return np.einsum("hqk,khd->qhd", weights, values), np.abs(values).max(axis=(0, 2))[None, :, None]


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("heads", SHAPES, ids=str)
def test_attention_is_close_to_exact_attention(level: str, heads: Heads, dtype: str, rng: np.random.Generator) -> None:
    length = int(rng.integers(CONTEXT_BLOCK + 1, 2 * CONTEXT_BLOCK))
    table = random_table(rng, heads, length, size=rng.choice([0.1, 1.0, 3.0]))
    layout = random_layout(rng, length, longest_run=int(rng.choice([1, 12, 100])))
    output = Model(level, heads, table, dtype).run([Sequence(np.arange(length), 0, layout)])
    exact, largest = exact_attention(heads, table, dtype)
    error = (output - exact) / largest
    assert np.abs(error).max() < 4e-3  # probabilities are rounded to 8 bits: at most 2^-8 of the largest value
    assert np.sqrt(np.mean(error**2)) < 5e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("heads", SHAPES[:4], ids=str)
def test_bits_depend_on_nothing_but_the_context(level: str, heads: Heads, dtype: str, rng: np.random.Generator) -> None:
    """Other slots, chunks, threads and company give the same bits. Many threads read a context in parts."""
    length = 5 * CONTEXT_BLOCK // 2
    table = random_table(rng, heads, length)
    whole = Model(level, heads, table, dtype).run([Sequence(np.arange(length), 0, [(16, length)])])

    model = Model(level, heads, table, dtype, num_threads=int(rng.choice([2, 3, 8])))
    layout = random_layout(rng, length, longest_run=int(rng.choice([1, 12, 100])), slots=range(NUM_SLOTS // 2))
    company = random_layout(rng, length, longest_run=30, slots=range(NUM_SLOTS // 2, NUM_SLOTS))
    model.run([Sequence(np.arange(length), 0, company)])
    ends = sorted({int(end) for end in rng.integers(1, length, size=8)} | {length - 5, length - 1, length})
    for begin, end in zip([0, *ends], ends, strict=False):
        again = length - int(rng.choice([1, 3, length]))
        other = Sequence(np.arange(again, length), again, company)
        mine = Sequence(np.arange(begin, end), begin, layout)
        is_alone = bool(rng.integers(2))
        rows = model.run([mine] if is_alone else [other, mine])
        expected = whole[begin:end] if is_alone else np.concatenate([whole[again:], whole[begin:end]])
        assert rows.tobytes() == expected.tobytes(), f"rows {begin} to {end} of {ends}, others from {again}"


@pytest.mark.parametrize("dtype", ["bfloat16", "int8"])
def test_a_bad_position_shows_in_later_rows_only(level: str, dtype: str, rng: np.random.Generator) -> None:
    heads = Heads(64, 3)
    length = int(rng.integers(2, 2 * CONTEXT_BLOCK))
    bad = 1 + 2 * int(rng.integers(length // 2))  # read together with the position before
    table = random_table(rng, heads, length)
    layout = random_layout(rng, length, longest_run=20)
    expected = Model(level, heads, table, dtype).run([Sequence(np.arange(length), 0, layout)])
    model = Model(level, heads, table, dtype)
    token_ids = np.arange(length)
    token_ids[bad] = model.nan_token
    output = model.run([Sequence(token_ids, 0, layout)])
    assert output[:bad].tobytes() == expected[:bad].tobytes()
    assert np.isnan(output[bad:]).all()


@pytest.mark.parametrize("heads", [Heads(64, 3, 2), Heads(80, 4), Heads(128, 1)], ids=str)
def test_large_values_cost_only_those_that_share_their_scale(
    level: str, heads: Heads, rng: np.random.Generator
) -> None:
    length, first_of_last = 100, (heads.dim - 1) // SCALED_DIMS * SCALED_DIMS
    table = random_table(rng, heads, length)
    small = output_of(level, heads, table)
    table[:, -heads.num_kv * heads.dim :].reshape(length, heads.num_kv, heads.dim)[..., :first_of_last] *= 1000
    large = output_of(level, heads, table)
    assert large[..., first_of_last:].tobytes() == small[..., first_of_last:].tobytes()


def test_large_keys_cost_only_those_that_share_their_scale(level: str, rng: np.random.Generator) -> None:
    heads, length = Heads(128, 2), 100
    table = random_table(rng, heads, length)
    parts = table.reshape(length, heads.num_queries + 2 * heads.num_kv, heads.dim)
    turned_together = np.arange(heads.dim) % (heads.dim // 2) < SCALED_DIMS
    parts[:, : heads.num_queries, turned_together] = 0
    small = output_of(level, heads, table)
    parts[:, heads.num_queries, turned_together] *= 1000
    assert output_of(level, heads, table).tobytes() == small.tobytes()


def output_of(level: str, heads: Heads, table: Floats) -> Floats:
    """Of all the table's tokens, with an int8 cache."""
    length = len(table)
    return Model(level, heads, table, "int8").run([Sequence(np.arange(length), 0, [(3, length)])])


def test_equal_values_are_given_back_exactly(level: str, rng: np.random.Generator) -> None:
    """The weights of the values add up to one although each was rounded."""
    heads = Heads(64, 2)
    table = random_table(rng, heads, 300)
    table[:, -heads.dim :] = 0.5
    output = Model(level, heads, table, "bfloat16").run([Sequence(np.arange(300), 0, [(3, 300)])])
    np.testing.assert_allclose(output, 0.5, rtol=1e-6)
