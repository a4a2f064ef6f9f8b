"""A sequence's slots as runs, the form in which attention reads them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sglang.srt.cache.pool import SlotArray, runs_of


class SlotRuns:
    """Runs (start, length) of consecutive slots, in the order of the sequence's positions; grows at the end."""

    __slots__ = ("_runs",)

    def __init__(self, slots: SlotArray | None = None) -> None:
        self._runs: list[list[int]] = []
        if slots is not None:
            self.extend(slots)

    def extend(self, slots: SlotArray) -> None:
        if len(slots) == 1:
            self._append(int(slots[0]), 1)
            return
        for start, end in runs_of(slots):
            self._append(start, end - start)

    def _append(self, start: int, length: int) -> None:
        last = self._runs[-1] if self._runs else None
        if last is not None and last[0] + last[1] == start:
            last[1] += length
        else:
            self._runs.append([start, length])

    def as_array(self) -> npt.NDArray[np.int64]:
        """[runs, 2]: start and length of each run."""
        return np.array(self._runs, dtype=np.int64).reshape(-1, 2)
