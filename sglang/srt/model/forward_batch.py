"""What a model's layers see of one step: rows of tokens, and an attention that knows where their context lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor


class Attention(Protocol):
    """Attention over the token-granular key/value slots of one step, planned once and called once per layer."""

    def forward(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Store all rows' keys and values of this layer in their slots, then attend.

        query: [rows, heads, head_dim]; key, value: [rows, kv_heads, head_dim], rotary positions already applied.
        Returns [rows, heads * head_dim]. Every row is stored before any row is read, so a row may read slots that
        other rows write in the same step.
        """
        ...


@dataclass(frozen=True, slots=True)
class ForwardBatch:
    """The rows of one step. Prefill chunks and decodes are the same thing here: some rows of some sequences."""

    token_ids: Tensor  # [rows] int64
    positions: Tensor  # [rows] int64, place of the row's token in its own sequence
    attention: Attention
