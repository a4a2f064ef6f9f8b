"""Which key/value slots are free. Slots are integers; the memory behind them belongs to the model runner.

Free slots are kept as disjoint maximal intervals. A sequence asks for slots *after* its last one, so its context
stays a few long runs that attention can read as slices. A new sequence starts inside a largest interval and leaves a
gap in front of it, the room its neighbour grows into; a gap is a hint and never withheld when slots are short.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

SlotArray = npt.NDArray[np.int64]

GROWTH_GAP = 128
"""Free slots left between the start of a large interval and a new sequence placed in it."""


class SlotPool:
    """Hands out slots 0..total-1, each to one owner at a time. Not thread-safe; no tensors."""

    def __init__(self, total: int) -> None:
        self.total = total
        self._num_free = 0
        self._end_of: dict[int, int] = {}  # interval start -> end (exclusive)
        self._start_of: dict[int, int] = {}  # interval end -> start
        # Intervals by magnitude: bucket k holds the starts of intervals of 2**(k-1) .. 2**k - 1 slots.
        # A dict is an insertion-ordered set, which keeps the choice deterministic.
        self._buckets: list[dict[int, None]] = [{} for _ in range(total.bit_length() + 1)]
        if total:
            self._add(0, total)

    @property
    def num_free(self) -> int:
        return self._num_free

    def allocate(self, count: int, after: int | None = None) -> SlotArray | None:
        """Take `count` slots, following slot `after` as far as those are free. None (and no change) if too few."""
        if count > self._num_free:
            return None
        pieces: list[SlotArray] = []
        wanted = count
        start = None if after is None or after + 1 not in self._end_of else after + 1
        while wanted:
            if start is None:
                start = self._place(wanted)
            taken = min(wanted, self._interval_end(start) - start)
            self._carve(start, taken)
            pieces.append(np.arange(start, start + taken, dtype=np.int64))
            wanted -= taken
            start = None
        return np.concatenate(pieces) if len(pieces) > 1 else (pieces[0] if pieces else np.empty(0, dtype=np.int64))

    def free(self, slots: SlotArray) -> None:
        """Give back slots in any order. Giving back a slot that is free already is our own bug: AssertionError."""
        for start, end in runs_of(np.sort(slots)):
            self._merge(start, end)

    def free_slots(self) -> SlotArray:
        """Every free slot, ascending. For integrity checks."""
        pieces = [np.arange(start, end, dtype=np.int64) for start, end in sorted(self._end_of.items())]
        return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)

    def _place(self, wanted: int) -> int:
        """A start for a new run: inside a largest-magnitude interval, behind a growth gap where there is room."""
        bucket = next(bucket for bucket in reversed(self._buckets) if bucket)
        start = next(iter(bucket))
        spare = self._end_of[start] - start - wanted
        return start + GROWTH_GAP if spare >= 2 * GROWTH_GAP and start != 0 else start

    def _interval_end(self, slot: int) -> int:
        end = self._end_of.get(slot)
        return end if end is not None else self._end_of[slot - GROWTH_GAP]

    def _carve(self, start: int, count: int) -> None:
        """Take [start, start + count) out of the interval it lies in; it begins at start or GROWTH_GAP before it."""
        begin = start if start in self._end_of else start - GROWTH_GAP
        end = self._remove(begin)
        if begin < start:
            self._add(begin, start)
        if start + count < end:
            self._add(start + count, end)

    def _merge(self, start: int, end: int) -> None:
        before = self._start_of.get(start)
        if before is not None:
            self._remove(before)
            start = before
        if end in self._end_of:
            end = self._remove(end)
        self._add(start, end)

    def _add(self, start: int, end: int) -> None:
        assert start not in self._end_of and end not in self._start_of, f"slots freed twice near {start}..{end}"
        self._end_of[start] = end
        self._start_of[end] = start
        self._buckets[(end - start).bit_length()][start] = None
        self._num_free += end - start

    def _remove(self, start: int) -> int:
        end = self._end_of.pop(start)
        del self._start_of[end]
        del self._buckets[(end - start).bit_length()][start]
        self._num_free -= end - start
        return end


def runs_of(slots: SlotArray) -> Iterator[tuple[int, int]]:
    """The maximal runs (start, end exclusive) of consecutive values in `slots`, in order."""
    if not len(slots):
        return
    breaks = np.flatnonzero(np.diff(slots) != 1)
    starts = slots[np.concatenate(([0], breaks + 1))]
    ends = slots[np.concatenate((breaks, [len(slots) - 1]))] + 1
    yield from zip(starts.tolist(), ends.tolist(), strict=True)
