"""The most likely token of a row without its logits, for steps of few rows that want nothing else.

Where the rows are few, a product with the head takes as long as reading it. `SplitHead` reads half of it and finds the
same token to the bit; see csrc/highest.h. It is a copy of the head, so there is one only where it pays.
"""

from __future__ import annotations

from sglang.srt.executor.step import IntArray
from sglang.srt.kernels._native import Program, SplitHead, ThreadPool, Weight
from sglang.srt.kernels.graph import Graph
from sglang.srt.model.loader.packed_weights import PackedWeights

MOST_ROWS = 2
"""That are searched together: what is read does not grow with the rows, but what is computed does."""

LEAST_BYTES = 8 << 20
"""Of a head that is searched. A smaller one stays in the processor's caches."""

SLOW_LEVELS = ("portable",)
"""Where a product takes longer than reading the weights even for one row."""


class HighestTokens:
    """Tokens of rows of another program's buffer of hidden states."""

    def __init__(self, level: str, pool: ThreadPool, head: Weight) -> None:
        self._program = Program(level, pool)
        hidden, rows = self._program.buffer("float", head.inputs), self._program.buffer("quantized", head.inputs)
        self._tokens = self._program.buffer("float", 1)
        self._program.gather(hidden)
        self._program.convert(hidden, 0, rows)
        self._program.highest(rows, SplitHead(head, pool), self._tokens)

    def find(self, source: Program, buffer: int, rows: IntArray) -> list[int] | None:
        """Of each of some rows the token with the highest logit, the first of equals. None if one may have none."""
        self._program.run_rows(source, buffer, rows)
        tokens: list[int] = self._program.values(self._tokens)[:, 0].astype(int).tolist()
        return None if min(tokens) < 0 else tokens


def searched_head(level: str, compute_logits: Graph, weights: PackedWeights) -> Weight | None:
    """The matrix whose products with the hidden states are the logits, if the graph has no more and searching pays."""
    calls = [node for node in compute_logits.nodes if node.op.startswith("call_")]
    if level in SLOW_LEVELS or [str(call) for call in calls] != ["linear", "float"] or len(calls[0].args) != 2:
        return None
    parts = weights.matrices[str(calls[0].args[1].target)].parts
    if len(parts) != 1 or parts[0].weight.num_bytes < LEAST_BYTES or not SplitHead.is_possible(parts[0].weight):
        return None
    return parts[0].weight
