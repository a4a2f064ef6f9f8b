"""Attention over slots against one row at a time in float64. Slots that no sequence owns hold NaN."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sglang.srt.cache.slot_runs import SlotRuns
from sglang.srt.model.attention.torch_attention import SHARED_MINIMUM, Context, TorchAttention

IntArray = npt.NDArray[np.int64]

TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 4e-3}
NUM_LAYERS = 2
TOTAL = 2000


@dataclass(frozen=True)
class Heads:
    kv_heads: int = 2
    per_kv_head: int = 3
    head_dim: int = 16


@dataclass
class Slots:
    """Hands out slots: in one piece, in runs of up to `longest_run` at random places, or backwards."""

    longest_run: int = TOTAL
    seed: int = 0
    backwards: bool = False
    _order: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        runs = [list(range(at, min(at + self.longest_run, TOTAL))) for at in range(0, TOTAL, self.longest_run)]
        self._order = [slot for index in rng.permutation(len(runs)) for slot in runs[index]]
        if self.backwards:
            self._order.reverse()

    def take(self, count: int) -> list[int]:
        taken, self._order = self._order[:count], self._order[count:]
        return taken


@dataclass(frozen=True)
class Member:
    """The slots of a context, the last `num_rows` of which are written in this step."""

    slots: list[int]
    num_rows: int = 1


def check(sequences: Sequence[Member], heads: Heads | None = None, dtype: torch.dtype = torch.float32) -> None:
    """Run one step of these sequences and compare every row of every layer."""
    heads = heads or Heads()
    row_slots = [slot for sequence in sequences for slot in sequence.slots[-sequence.num_rows :]]
    assert len(set(row_slots)) == len(row_slots), "two rows write one slot"
    keys, values = _storage(sequences, row_slots, heads, dtype), _storage(sequences, row_slots, heads, dtype)
    before = [(key.clone(), value.clone()) for key, value in zip(keys, values, strict=True)]
    attention = TorchAttention(keys, values, torch.tensor(row_slots), _contexts(sequences), heads.per_kv_head)
    rows, kv_heads = len(row_slots), heads.kv_heads
    for layer in range(NUM_LAYERS):
        query = torch.randn(rows, kv_heads * heads.per_kv_head, heads.head_dim).to(dtype)
        key, value = torch.randn(2, rows, kv_heads, heads.head_dim).to(dtype)
        output = attention.forward(layer, query, key, value)
        for storage, old, new in zip((keys[layer], values[layer]), before[layer], (key, value), strict=True):
            expected = old.index_copy(1, torch.tensor(row_slots), new.transpose(0, 1))
            assert torch.equal(storage.nan_to_num(7.0), expected.nan_to_num(7.0)), "stored in other slots"
        expected = _row_by_row(sequences, query, keys[layer], values[layer])
        assert output.shape == (rows, kv_heads * heads.per_kv_head * heads.head_dim) and output.dtype == dtype
        torch.testing.assert_close(output.double(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


def _storage(sequences: Sequence[Member], row_slots: list[int], heads: Heads, dtype: torch.dtype) -> list[torch.Tensor]:
    """NaN but for what earlier steps computed."""
    earlier = sorted({slot for sequence in sequences for slot in sequence.slots} - set(row_slots))
    layers = []
    for _ in range(NUM_LAYERS):
        layer = torch.full((heads.kv_heads, TOTAL, heads.head_dim), math.nan, dtype=dtype)
        layer[:, earlier] = torch.randn(heads.kv_heads, len(earlier), heads.head_dim).to(dtype)
        layers.append(layer)
    return layers


def _contexts(sequences: Sequence[Member]) -> list[Context]:
    contexts, row = [], 0
    for sequence in sequences:
        runs = SlotRuns(np.array(sequence.slots)).as_array()
        contexts.append(Context(row, sequence.num_rows, runs))
        row += sequence.num_rows
    return contexts


def _row_by_row(
    sequences: Sequence[Member], query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor
) -> torch.Tensor:
    outputs: list[torch.Tensor] = []
    per_kv_head = query.shape[1] // keys.shape[0]
    for sequence in sequences:
        for end in range(len(sequence.slots) - sequence.num_rows + 1, len(sequence.slots) + 1):
            visible = sequence.slots[:end]
            heads = []
            for head, vector in enumerate(query[len(outputs)].double()):
                kv_head = head // per_kv_head
                scores = keys[kv_head, visible].double() @ vector / math.sqrt(len(vector))
                heads.append(scores.softmax(0) @ values[kv_head, visible].double())
            outputs.append(torch.cat(heads))
    return torch.stack(outputs)


@pytest.fixture(autouse=True)
def _seed_and_one_thread() -> Iterator[None]:
    """On tensors this small a second thread costs more than it gives, and much more on a busy machine."""
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


LAYOUTS = [
    pytest.param(Slots(), id="one piece"),
    pytest.param(Slots(longest_run=7), id="fragments"),
    pytest.param(Slots(longest_run=1), id="scattered"),
    pytest.param(Slots(backwards=True), id="backwards"),
]


def fresh(layout: Slots) -> Slots:
    return Slots(layout.longest_run, layout.seed, layout.backwards)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("length", [1, 2, 33, 300])
def test_one_decode(layout: Slots, dtype: torch.dtype, length: int) -> None:
    check([Member(fresh(layout).take(length))], dtype=dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_ragged_decodes(layout: Slots, dtype: torch.dtype) -> None:
    """Of lengths that are batched together, padded, and of some that are not."""
    slots = fresh(layout)
    check([Member(slots.take(length)) for length in (300, 1, 40, 5, 41, 1, 100, 301, 72)], dtype=dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shared", [1, SHARED_MINIMUM - 1, SHARED_MINIMUM, SHARED_MINIMUM + 1, 200])
@pytest.mark.parametrize("tails", [(1, 1), (1, 2, 3), (5, 80, 20, 200), (60, 60, 60)])
def test_decodes_with_a_shared_prefix(layout: Slots, shared: int, tails: tuple[int, ...]) -> None:
    slots = fresh(layout)
    prefix = slots.take(shared)
    check([Member(prefix + slots.take(tail)) for tail in tails])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_prefixes_that_branch_more_than_once(dtype: torch.dtype) -> None:
    """64 tokens in common, then 40 more for two of them; another family; and one alone."""
    slots = Slots(longest_run=9)
    trunk, other = slots.take(64), slots.take(50)
    branch = trunk + slots.take(40)
    contexts = [trunk, branch, other, branch, trunk, other, []]
    check([Member(context + slots.take(3)) for context in contexts], dtype=dtype)


@pytest.mark.parametrize("length", [SHARED_MINIMUM - 1, SHARED_MINIMUM, SHARED_MINIMUM + 1, 100])
def test_a_context_that_is_the_beginning_of_another(length: int) -> None:
    """The longer one reads the slot that the shorter one writes in this step."""
    slots = Slots()
    short = slots.take(length)
    check([Member(short), Member(short + slots.take(1)), Member(short + slots.take(50))])


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("length", "num_rows"), [(2, 2), (3, 2), (70, 70), (70, 69), (200, 30)])
def test_one_chunk(layout: Slots, dtype: torch.dtype, length: int, num_rows: int) -> None:
    check([Member(fresh(layout).take(length), num_rows)], dtype=dtype)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_chunks_among_decodes(layout: Slots, dtype: torch.dtype) -> None:
    slots = fresh(layout)
    check(
        [
            Member(slots.take(50)),
            Member(slots.take(20), 20),
            Member(slots.take(7)),
            Member(slots.take(90), 11),
            Member(slots.take(60)),
        ],
        dtype=dtype,
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shared", [10, 50, 99, 100])
def test_rows_read_what_other_rows_of_the_step_write(layout: Slots, shared: int) -> None:
    """One sequence computes a prompt; the others share it, as a chunk and as decodes, before and after it."""
    slots = fresh(layout)
    prompt = slots.take(100)
    check(
        [
            Member(prompt[:shared] + slots.take(1)),
            Member(prompt[:shared] + slots.take(5), 5),
            Member(prompt, 60),
            Member(prompt[:shared] + slots.take(1)),
            Member(prompt[:shared] + slots.take(40), 2),
        ]
    )


@pytest.mark.parametrize("heads", [Heads(1, 1, 8), Heads(1, 4, 64), Heads(3, 1, 32), Heads(3, 3, 64)], ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_head_layouts(heads: Heads, dtype: torch.dtype) -> None:
    slots = Slots(longest_run=20)
    prefix = slots.take(40)
    sequences = [Member(prefix + slots.take(tail), rows) for tail, rows in ((3, 1), (9, 9), (30, 1), (5, 2))]
    check([*sequences, Member(slots.take(12))], heads, dtype)


@st.composite
def steps(draw: st.DrawFn) -> list[Member]:
    """Sequences that share the beginnings of earlier ones, whether or not those are computed in this very step."""
    slots = Slots(draw(st.sampled_from([1, 5, 40, TOTAL])), draw(st.integers(0, 99)))
    sequences: list[Member] = []
    for _ in range(draw(st.integers(1, 6))):
        shared: list[int] = []
        if len(sequences) > 0 and draw(st.booleans()):
            relative = draw(st.sampled_from(sequences)).slots
            shared = relative[: draw(st.integers(1, len(relative)))]
        own = slots.take(draw(st.one_of(st.just(1), st.integers(1, 80))))
        num_rows = draw(st.one_of(st.just(1), st.integers(1, len(own))))
        sequences.append(Member(shared + own, num_rows))
    order: list[Member] = draw(st.permutations(sequences))
    return order


@settings(max_examples=60, deadline=None)
@given(sequences=steps())
def test_any_step(sequences: list[Member]) -> None:
    torch.manual_seed(0)
    check(sequences, Heads(head_dim=8))
