"""A model computed by the native kernels: its graph, lowered once, runs in one call for each step."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from sglang.srt.executor.highest_tokens import MOST_ROWS, HighestTokens, searched_head
from sglang.srt.executor.lowering import Lowering
from sglang.srt.executor.step import IntArray, StepInput
from sglang.srt.kernels._native import KvCache, Program, ThreadPool
from sglang.srt.kernels.graph import Graph
from sglang.srt.model.loader.packed_weights import PackedWeights

_RUN_BEGINS_AT_0 = np.zeros(1, dtype=np.int64)


class NativeNetwork:
    """forward, compute_logits: the model's graphs. tables: its buffers, by name."""

    def __init__(
        self,
        level: str,
        pool: ThreadPool,
        forward: Graph,
        compute_logits: Graph,
        weights: PackedWeights,
        tables: Mapping[str, npt.NDArray[np.float32]],
        cache: KvCache,
    ) -> None:
        self._body, self._head = Program(level, pool), Program(level, pool)
        self._hidden, hidden_size = Lowering(self._body, weights, tables, cache).run(forward)
        self._read_rows = np.empty(0, dtype=np.int64)
        self._logits, _ = Lowering(self._head, weights, tables, cache).run(compute_logits, hidden_size)
        head = searched_head(level, compute_logits, weights)
        self._highest = None if head is None else HighestTokens(level, pool, head)

    def compute(self, step: StepInput, read_rows: IntArray) -> None:
        sequences = step.sequences
        run_start, run_length = np.ascontiguousarray(np.concatenate([rows.runs for rows in sequences]).T)
        run_counts = np.array([len(rows.runs) for rows in sequences], dtype=np.int64)
        self._body.run(
            step.token_ids,
            step.positions,
            step.slots,
            np.array([rows.first_row for rows in sequences], dtype=np.int64),
            np.array([rows.num_rows for rows in sequences], dtype=np.int64),
            np.concatenate((_RUN_BEGINS_AT_0, run_counts.cumsum())),
            run_start,
            run_length,
            read_rows,
        )
        self._read_rows = read_rows

    def logits(self, rows: IntArray) -> npt.NDArray[np.float32]:
        places = np.searchsorted(self._read_rows, rows)
        self._head.run_rows(self._body, self._hidden, places)
        return self._head.values(self._logits)

    def highest_tokens(self, rows: IntArray) -> list[int] | None:
        """None for many rows, for heads that are not searched, and where logits may not be finite."""
        if self._highest is None or len(rows) > MOST_ROWS:
            return None
        return self._highest.find(self._body, self._hidden, np.searchsorted(self._read_rows, rows))
