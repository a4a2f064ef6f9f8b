"""Attention over token-granular slots with torch's own kernels.

Rows are grouped once per step. A sequence with several new rows (a prefill chunk) is a group of its own with a causal
mask. Sequences with one new row (decodes) are batched: where they share a prefix, its keys are read once for all of
them, densely; their own tails are padded to a common length; the two partial softmaxes are merged. The query heads
that share a key/value head are laid out as extra rows, so keys and values are never repeated.
"""

from __future__ import annotations

import itertools
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
            *_plan_decodes(contexts),
            *_plan_chunks(contexts, keys[0].dtype, heads_per_kv_head),
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
class _DecodeGroup:
    """Sequences with one row each."""

    rows: Index
    shared: Index | None  # slots of the prefix that all members have in common
    tails: Index  # [members * longest tail], member by member
    mask: torch.Tensor | None  # [members, 1, longest tail] bool: where a tail has a slot; None if none is padded

    def attend(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """query: [members, heads, head_dim]. Returns [members, heads * head_dim]."""
        members, _, head_dim = query.shape
        kv_heads = keys.shape[0]
        folded = query.view(members, kv_heads, -1, head_dim).transpose(0, 1)
        tail_keys, tail_values = (_read(t, self.tails).view(kv_heads, members, -1, head_dim) for t in (keys, values))
        if self.shared is None and self.mask is None:
            attended = functional.scaled_dot_product_attention(folded, tail_keys, tail_values)
        else:
            attended, scale = _attend_partly(folded, tail_keys, tail_values, self.mask)
            if self.shared is not None:
                flat = folded.reshape(kv_heads, -1, head_dim)
                common, common_scale = _attend_partly(flat, _read(keys, self.shared), _read(values, self.shared), None)
                weight = torch.sigmoid(scale - common_scale.view_as(scale))
                attended = torch.lerp(common.view_as(attended), attended, weight)
        return attended.transpose(0, 1).reshape(members, -1)


@dataclass(frozen=True, slots=True)
class _ChunkGroup:
    """Several rows of one sequence."""

    rows: slice
    slots: Index
    mask: torch.Tensor  # [1, heads per kv head * rows, length], added to the scores

    def attend(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """query: [rows, heads, head_dim]. Returns [rows, heads * head_dim]."""
        rows, heads, head_dim = query.shape
        kv_heads = keys.shape[0]
        folded = query.transpose(0, 1).reshape(kv_heads, 1, -1, head_dim)
        attended = functional.scaled_dot_product_attention(
            folded, _read(keys, self.slots)[:, None], _read(values, self.slots)[:, None], attn_mask=self.mask
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


def _read(storage: torch.Tensor, slots: Index) -> torch.Tensor:
    """[kv_heads, slots, head_dim] -> [kv_heads, len(slots), head_dim]; without a copy where the slots are one run."""
    return storage[:, slots] if isinstance(slots, slice) else storage.index_select(1, slots)


def _plan_decodes(contexts: Sequence[Context]) -> Iterator[_DecodeGroup]:
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
            yield from (_decode_group(batch, shared) for batch in _of_similar_length(members))
    yield from (_decode_group(batch, 0) for batch in _of_similar_length(alone))


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
        batch = list(itertools.takewhile(lambda context, limit=limit: context.length <= limit, left))  # type: ignore[misc]
        left = left[len(batch) :]
        yield batch


def _decode_group(members: Sequence[Context], shared: int) -> _DecodeGroup:
    rows = np.array([context.first_row for context in members])
    lengths = np.array([context.length - shared for context in members])
    slots = np.zeros((len(members), lengths.max()), dtype=np.int64)
    for tail, context, length in zip(slots, members, lengths.tolist(), strict=True):
        tail[:length] = context.slots[shared:]
        tail[length:] = tail[0]  # padding reads finite values, and is masked
    mask = None
    if lengths.min() < lengths.max():
        mask = torch.from_numpy(np.arange(lengths.max()) < lengths[:, None])[:, None]
    common = _index(members[0].slots[:shared]) if shared else None
    return _DecodeGroup(_index(rows), common, _index(slots.ravel()), mask)


def _plan_chunks(contexts: Sequence[Context], dtype: torch.dtype, heads_per_kv_head: int) -> Iterator[_ChunkGroup]:
    for context in contexts:
        if context.num_rows > 1:
            num_rows, length = context.num_rows, context.length
            future = torch.ones(num_rows, length, dtype=torch.bool).triu(length - num_rows + 1)
            mask = torch.zeros(num_rows, length, dtype=dtype).masked_fill_(future, -math.inf)
            rows = slice(context.first_row, context.first_row + num_rows)
            yield _ChunkGroup(rows, _index(context.slots), mask.repeat(heads_per_kv_head, 1)[None])


def _index(values: IntArray) -> Index:
    """Consecutive values become a slice, which reads in place."""
    first = int(values[0])
    if int(values[-1]) - first == len(values) - 1 and (np.diff(values) == 1).all():
        return slice(first, first + len(values))
    return torch.from_numpy(np.ascontiguousarray(values))
