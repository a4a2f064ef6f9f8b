"""Attention over token-granular slots with torch's own kernels.

Rows are grouped once per step. Sequences with one new row (decodes) of similar length are padded into one batch; a
sequence with several new rows (a prefill chunk) is a group of its own with a causal mask. The query heads that share
a key/value head are laid out as extra rows, so keys and values are never repeated.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

IntArray = npt.NDArray[np.int64]

PADDING_LIMIT = 1.25
"""A decode joins a group only if padding it to the group's longest context costs at most this factor."""


@dataclass(frozen=True, slots=True)
class Context:
    """One sequence of the step: its rows are [first_row, first_row + num_rows), its slots the runs (start, length)."""

    first_row: int
    num_rows: int
    runs: IntArray  # [runs, 2]

    @property
    def length(self) -> int:
        return int(self.runs[:, 1].sum())


@dataclass(frozen=True, slots=True)
class _Group:
    """Sequences attended to in one call: [sequences] x [rows each] queries over [sequences, length] slots."""

    rows: slice | torch.Tensor  # of the step, sequence by sequence
    num_sequences: int
    rows_each: int
    slots: slice | torch.Tensor  # [sequences * length]
    mask: torch.Tensor | None  # [sequences, 1, rows_each * heads per key/value head or 1, length], added to the scores


class TorchAttention:
    """One step's attention, planned at construction and then called once per layer, in order of layers."""

    def __init__(
        self,
        keys: Sequence[torch.Tensor],
        values: Sequence[torch.Tensor],
        slots: torch.Tensor,
        contexts: Sequence[Context],
        heads_per_kv_head: int,
    ) -> None:
        """keys, values: per layer [slots, kv_heads, head_dim]. slots: [rows], where each row of the step is stored.

        heads_per_kv_head: how many query heads share a key/value head.
        """
        self._keys = keys
        self._values = values
        self._slots = slots
        self._groups = list(_plan(contexts, keys[0].dtype, heads_per_kv_head))

    def forward(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        keys, values = self._keys[layer], self._values[layer]
        keys.index_copy_(0, self._slots, key)
        values.index_copy_(0, self._slots, value)
        if len(self._groups) == 1 and self._groups[0].rows == slice(0, len(query)):
            return _attend(self._groups[0], query, keys, values)
        output = torch.empty_like(query).flatten(1)
        for group in self._groups:
            output[group.rows] = _attend(group, query[group.rows], keys, values)
        return output


def _attend(group: _Group, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """query: [sequences * rows_each, heads, head_dim]. Returns [sequences * rows_each, heads * head_dim]."""
    num_sequences, rows_each = group.num_sequences, group.rows_each
    kv_heads, head_dim = keys.shape[1:]
    shared = query.shape[1] // kv_heads  # query heads per key/value head
    grouped_query = query.view(num_sequences, rows_each, kv_heads, shared, head_dim)
    # [sequences, kv_heads, shared * rows_each, head_dim]: the rows of one key/value head
    folded_query = grouped_query.permute(0, 2, 3, 1, 4).reshape(num_sequences, kv_heads, shared * rows_each, head_dim)
    gathered = [
        (tensor[group.slots] if isinstance(group.slots, slice) else tensor.index_select(0, group.slots))
        .view(num_sequences, -1, kv_heads, head_dim)
        .transpose(1, 2)
        for tensor in (keys, values)
    ]
    attended = functional.scaled_dot_product_attention(folded_query, gathered[0], gathered[1], attn_mask=group.mask)
    unfolded = attended.view(num_sequences, kv_heads, shared, rows_each, head_dim).permute(0, 3, 1, 2, 4)
    return unfolded.reshape(num_sequences * rows_each, -1)


def _plan(contexts: Sequence[Context], dtype: torch.dtype, heads_per_kv_head: int) -> Iterator[_Group]:
    decodes = sorted((context for context in contexts if context.num_rows == 1), key=lambda context: context.length)
    while decodes:
        limit = decodes[0].length * PADDING_LIMIT
        members = list(itertools.takewhile(lambda context: context.length <= limit, decodes))
        decodes = decodes[len(members) :]
        yield _decode_group(members, dtype)
    for context in contexts:
        if context.num_rows > 1:
            yield _chunk_group(context, dtype, heads_per_kv_head)


def _decode_group(members: Sequence[Context], dtype: torch.dtype) -> _Group:
    lengths = [context.length for context in members]
    longest = max(lengths)
    rows = np.array([context.first_row for context in members])
    if len(members) == 1:
        return _Group(slice(int(rows[0]), int(rows[0]) + 1), 1, 1, _slot_index(members[0]), None)
    slots = np.zeros((len(members), longest), dtype=np.int64)
    for index, context in enumerate(members):
        slots[index, : lengths[index]] = _expand(context.runs)
        slots[index, lengths[index] :] = slots[index, 0]  # padding reads finite values and is masked
    mask = None
    if min(lengths) < longest:
        visible = torch.arange(longest) < torch.tensor(lengths)[:, None]
        mask = _additive(visible, dtype)[:, None, None, :]
    return _Group(_row_index(rows), len(members), 1, torch.from_numpy(slots.ravel()), mask)


def _chunk_group(context: Context, dtype: torch.dtype, heads_per_kv_head: int) -> _Group:
    length, num_rows = context.length, context.num_rows
    visible = torch.ones(num_rows, length, dtype=torch.bool).tril(length - num_rows)
    rows = slice(context.first_row, context.first_row + num_rows)
    mask = _additive(visible, dtype).repeat(heads_per_kv_head, 1)
    return _Group(rows, 1, num_rows, _slot_index(context), mask[None, None])


def _additive(visible: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    return torch.zeros(visible.shape, dtype=dtype).masked_fill_(~visible, -math.inf)


def _row_index(rows: IntArray) -> slice | torch.Tensor:
    if rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return torch.from_numpy(rows)


def _slot_index(context: Context) -> slice | torch.Tensor:
    """A context in one run is read in place."""
    if len(context.runs) == 1:
        start, length = context.runs[0].tolist()
        return slice(start, start + length)
    return torch.from_numpy(_expand(context.runs))


def _expand(runs: IntArray) -> IntArray:
    return np.concatenate([np.arange(start, start + length) for start, length in runs.tolist()])
