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
"""Free slots left between the start of an interval and a new sequence placed in it, or half of what is to spare."""

_NO_SLOTS: SlotArray = np.empty(0, dtype=np.int64)


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
        if wanted and after is not None and after + 1 in self._end_of:
            pieces.append(self._carve(after + 1, after + 1, wanted))
            wanted -= len(pieces[-1])
        while wanted:
            pieces.append(self._carve(*self._place(wanted), wanted))
            wanted -= len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else np.concatenate((*pieces, _NO_SLOTS))

    def allocate_next(self, after: int | None) -> int | None:
        """`allocate` one slot: what every decoding sequence asks for in every step."""
        if after is None or after + 1 not in self._end_of:
            slots = self.allocate(1, after)
            return None if slots is None else int(slots[0])
        slot = after + 1
        end = self._remove(slot)
        if slot + 1 < end:
            self._add(slot + 1, end)
        return slot

    def free(self, slots: SlotArray) -> None:
        """Give back slots in any order. Giving back a slot that is free already is our own bug: AssertionError."""
        for start, end in runs_of(np.sort(slots)):
            self._merge(start, end)

    def free_slots(self) -> SlotArray:
        """Every free slot, ascending. For integrity checks."""
        pieces = [np.arange(start, end, dtype=np.int64) for start, end in sorted(self._end_of.items())]
        return np.concatenate(pieces) if pieces else _NO_SLOTS

    def _place(self, wanted: int) -> tuple[int, int]:
        """Where a new run goes: the start of a largest-magnitude interval, and a start in it behind a growth gap."""
        interval = next(iter(next(bucket for bucket in reversed(self._buckets) if bucket)))
        spare = self._end_of[interval] - interval - wanted
        gap = min(GROWTH_GAP, max(spare, 0) // 2) if interval else 0
        return interval, interval + gap

    def _carve(self, interval: int, start: int, wanted: int) -> SlotArray:
        """Take up to `wanted` slots from `start` on out of the free interval that begins at `interval`."""
        end = self._remove(interval)
        taken = min(start + wanted, end)
        if interval < start:
            self._add(interval, start)
        if taken < end:
            self._add(taken, end)
        return np.arange(start, taken, dtype=np.int64)

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
