"""Attention over token-granular slots with torch's own kernels.

Rows are grouped once per step. A sequence with several new rows (a prefill chunk) is a group of its own with a causal
mask. Sequences with one new row (decodes) are batched: where they share a prefix, its keys are read once for all of
them, densely; their own tails are padded to a common length; the two partial softmaxes are merged. The query heads
that share a key/value head are laid out as extra rows, so keys and values are never repeated.
"""

from __future__ import annotations

import bisect
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

IntArray = npt.NDArray[np.int64]
Index = slice | torch.Tensor

PADDING_LIMIT = 1.25
PADDING_ALLOWANCE = 32
"""A tail joins a batch if padding it costs at most this factor, or this many slots beyond it."""

SHARED_MINIMUM = 32
"""A common prefix shorter than this is read with the tails."""


@dataclass(frozen=True)
class Context:
    """One sequence of the step: its rows are [first_row, first_row + num_rows), its slots the runs (start, length)."""

    first_row: int
    num_rows: int
    runs: IntArray  # [runs, 2]

    @cached_property
    def slots(self) -> IntArray:
        """[length]"""
        return np.concatenate([np.arange(start, start + length) for start, length in self.runs.tolist()])

    @property
    def length(self) -> int:
        return len(self.slots)


class TorchAttention:
    """One step's attention, planned at construction and then called once per layer.

    keys, values: per layer [kv_heads, slots, head_dim]. slots: [rows], where each row of the step is stored.
    heads_per_kv_head: how many query heads share a key/value head.
    """

    def __init__(
        self,
        keys: Sequence[torch.Tensor],
        values: Sequence[torch.Tensor],
        slots: torch.Tensor,
        contexts: Sequence[Context],
        heads_per_kv_head: int,
    ) -> None:
        self._keys = keys
        self._values = values
        self._slots = slots
        self._groups: list[_DecodeGroup | _ChunkGroup] = [
            *_plan_decodes(contexts, keys[0]),
            *_plan_chunks(contexts, keys[0], heads_per_kv_head),
        ]

    def forward(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """query: [rows, heads, head_dim]; key, value: [rows, kv_heads, head_dim]. Returns [rows, heads * head_dim]."""
        keys, values = self._keys[layer], self._values[layer]
        keys.index_copy_(1, self._slots, key.transpose(0, 1))
        values.index_copy_(1, self._slots, value.transpose(0, 1))
        if len(self._groups) == 1 and self._groups[0].rows == slice(0, len(query)):
            return self._groups[0].attend(query, keys, values)
        output = torch.empty_like(query).flatten(1)
        for group in self._groups:
            output[group.rows] = group.attend(query[group.rows], keys, values)
        return output


@dataclass(frozen=True, slots=True)
class _Slots:
    """Slots that every layer reads: in place where they are one run, else by way of a buffer that all layers use."""

    index: Index
    buffers: tuple[torch.Tensor, torch.Tensor] | None

    @classmethod
    def plan(cls, slots: IntArray, storage: torch.Tensor) -> _Slots:
        """slots: [n], to be read from tensors like `storage`."""
        index = _index(slots)
        if isinstance(index, slice):
            return cls(index, None)
        shape = (storage.shape[0], len(slots), storage.shape[2])
        return cls(index, (storage.new_empty(shape), storage.new_empty(shape)))

    def read(self, keys: torch.Tensor, values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[kv_heads, slots, head_dim] -> [kv_heads, n, head_dim], valid until the next call."""
        if isinstance(self.index, slice) or self.buffers is None:
            return keys[:, self.index], values[:, self.index]
        torch.index_select(keys, 1, self.index, out=self.buffers[0])
        torch.index_select(values, 1, self.index, out=self.buffers[1])
        return self.buffers


@dataclass(frozen=True, slots=True)
class _DecodeGroup:
    """Sequences with one row each."""

    rows: Index
    shared: _Slots | None  # the prefix that all members have in common
    tails: _Slots  # members * longest tail, member by member
    mask: torch.Tensor | None  # [members, 1, longest tail] bool: where a tail has a slot; None if none is padded

    def attend(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """query: [members, heads, head_dim]. Returns [members, heads * head_dim]."""
        members, _, head_dim = query.shape
        kv_heads = keys.shape[0]
        folded = query.view(members, kv_heads, -1, head_dim).transpose(0, 1)
        tails = self.tails.read(keys, values)
        tail_keys, tail_values = (tensor.view(kv_heads, members, -1, head_dim) for tensor in tails)
        if self.shared is None and self.mask is None:
            attended = functional.scaled_dot_product_attention(folded, tail_keys, tail_values)
        else:
            attended, scale = _attend_partly(folded, tail_keys, tail_values, self.mask)
            if self.shared is not None:
                flat = folded.reshape(kv_heads, -1, head_dim)
                common, common_scale = _attend_partly(flat, *self.shared.read(keys, values), None)
                weight = torch.sigmoid(scale - common_scale.view_as(scale)).to(attended.dtype)
                attended = torch.lerp(common.view_as(attended), attended, weight)
        return attended.transpose(0, 1).reshape(members, -1)


@dataclass(frozen=True, slots=True)
class _ChunkGroup:
    """Several rows of one sequence."""

    rows: slice
    slots: _Slots
    mask: torch.Tensor  # [1, heads per kv head * rows, length], added to the scores

    def attend(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """query: [rows, heads, head_dim]. Returns [rows, heads * head_dim]."""
        rows, heads, head_dim = query.shape
        kv_heads = keys.shape[0]
        folded = query.transpose(0, 1).reshape(kv_heads, 1, -1, head_dim)
        context_keys, context_values = self.slots.read(keys, values)
        attended = functional.scaled_dot_product_attention(
            folded, context_keys[:, None], context_values[:, None], attn_mask=self.mask
        )
        return attended.view(heads, rows, head_dim).transpose(0, 1).reshape(rows, -1)


def _attend_partly(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attention over part of a context, and the logarithm of its softmax denominator: [..., 1], float32.

    Two parts (a, la), (b, lb) merge to a weighted by sigmoid(la - lb) and b by the rest.
    """
    scores = (query @ keys.transpose(-1, -2)).float() / math.sqrt(query.shape[-1])
    if mask is not None:
        scores.masked_fill_(~mask, -math.inf)
    scale = scores.logsumexp(-1, keepdim=True)
    return (scores - scale).exp_().to(values.dtype) @ values, scale


def _plan_decodes(contexts: Sequence[Context], storage: torch.Tensor) -> Iterator[_DecodeGroup]:
    relatives: dict[int, list[Context]] = defaultdict(list)  # by first slot: equal first slots mean a shared prefix
    for context in contexts:
        if context.num_rows == 1:
            relatives[int(context.slots[0])].append(context)
    alone: list[Context] = []
    for members in relatives.values():
        shared = _shared_length(members)
        if shared < SHARED_MINIMUM:
            alone.extend(members)
        else:
            yield from (_decode_group(batch, shared, storage) for batch in _of_similar_length(members))
    yield from (_decode_group(batch, 0, storage) for batch in _of_similar_length(alone))


def _shared_length(members: Sequence[Context]) -> int:
    """How many first slots all members have in common; 0 for a single member."""
    if len(members) == 1:
        return 0
    first, length = members[0].slots, min(member.length for member in members)
    for member in members[1:]:
        differs = first[:length] != member.slots[:length]
        length = int(differs.argmax()) if differs.any() else length
    return min(length, min(member.length for member in members) - 1)


def _of_similar_length(contexts: Sequence[Context]) -> Iterator[Sequence[Context]]:
    left = sorted(contexts, key=lambda context: context.length)
    while left:
        limit = max(left[0].length * PADDING_LIMIT, left[0].length + PADDING_ALLOWANCE)
        count = bisect.bisect_right(left, limit, key=lambda context: context.length)
        yield left[:count]
        left = left[count:]


def _decode_group(members: Sequence[Context], shared: int, storage: torch.Tensor) -> _DecodeGroup:
    rows = np.array([context.first_row for context in members])
    lengths = np.array([context.length - shared for context in members])
    slots = np.zeros((len(members), lengths.max()), dtype=np.int64)
    for tail, context, length in zip(slots, members, lengths.tolist(), strict=True):
        tail[:length] = context.slots[shared:]
        tail[length:] = tail[0]  # padding reads finite values, and is masked
    mask = None
    if lengths.min() < lengths.max():
        mask = torch.from_numpy(np.arange(lengths.max()) < lengths[:, None])[:, None]
    common = _Slots.plan(members[0].slots[:shared], storage) if shared else None
    return _DecodeGroup(_index(rows), common, _Slots.plan(slots.ravel(), storage), mask)


def _plan_chunks(contexts: Sequence[Context], storage: torch.Tensor, heads_per_kv_head: int) -> Iterator[_ChunkGroup]:
    for context in contexts:
        if context.num_rows > 1:
            num_rows, length = context.num_rows, context.length
            future = torch.ones(num_rows, length, dtype=torch.bool).triu(length - num_rows + 1)
            mask = torch.zeros(num_rows, length, dtype=storage.dtype).masked_fill_(future, -math.inf)
            rows = slice(context.first_row, context.first_row + num_rows)
            yield _ChunkGroup(rows, _Slots.plan(context.slots, storage), mask.repeat(heads_per_kv_head, 1)[None])


def _index(values: IntArray) -> Index:
    """Consecutive values become a slice."""
    first = int(values[0])
    if int(values[-1]) - first == len(values) - 1 and (np.diff(values) == 1).all():
        return slice(first, first + len(values))
    return torch.from_numpy(np.ascontiguousarray(values))
