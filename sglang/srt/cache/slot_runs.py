"""A sequence's slots as runs, the form in which attention reads them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from sglang.srt.cache.pool import SlotArray, runs_of

_FIRST_CAPACITY = 4


class SlotRuns:
    """Runs (start, length) of consecutive slots, in the order of the sequence's positions; grows at the end."""

    __slots__ = ("_array", "_buffer", "_last_length", "_next_slot")

    def __init__(self, slots: SlotArray | None = None) -> None:
        self._buffer = np.empty((_FIRST_CAPACITY, 2), dtype=np.int64)
        self._array = self._buffer[:0]
        self._last_length = 0
        self._next_slot = -1  # the one that would continue the last run
        if slots is not None:
            self.extend(slots)

    def extend(self, slots: SlotArray) -> None:
        for start, end in runs_of(slots):
            self._append(start, end - start)

    def append(self, slot: int) -> None:
        self._append(slot, 1)

    def _append(self, start: int, length: int) -> None:
        if start == self._next_slot:
            self._last_length += length
            self._array[-1, 1] = self._last_length
        else:
            self._begin(start, length)
        self._next_slot = start + length

    def _begin(self, start: int, length: int) -> None:
        count = len(self._array)
        if count == len(self._buffer):
            self._buffer = np.concatenate((self._buffer, np.empty_like(self._buffer)))
        self._buffer[count] = start, length
        self._array = self._buffer[: count + 1]
        self._last_length = length

    def as_array(self) -> npt.NDArray[np.int64]:
        """[runs, 2]: start and length of each run. A view: true until the next slot is added."""
        return self._array
