"""What `Ending` does, of an output with arrays of which no two items may be equal, and what would repeat one."""

from __future__ import annotations

import bisect
import math

import numpy as np
import numpy.typing as npt

from sglang.srt.grammar.witness.completer import Completer, End
from sglang.srt.grammar.witness.ending import NO_TOKENS, Cutter, Spelling, spell, too_few
from sglang.srt.grammar.witness.expressions import NotFoundError
from sglang.srt.grammar.witness.unique_items import Places, UniqueItems


class UniqueEnding:
    """Follows one output. Until a token is read that `refused` did not refuse, what was read can be made whole.

    What is known is an end of each output that `refused` let pass; it stays one as long as the output goes on with it.
    """

    def __init__(self, items: UniqueItems, completer: Completer, cutter: Cutter, shortest: Spelling) -> None:
        self._items = items
        self._completer = completer
        self._cutter = cutter
        self._shortest = self._spelling = shortest
        self._places = items.start
        self._num_read = 0
        self._ends = [(0, End(shortest.text, None))]  # each after so many bytes

    def check_room(self, num_tokens: int) -> None:
        """Raises InvalidRequestError if the shortest output that is known has more tokens."""
        if len(self._shortest.tokens) > num_tokens:
            raise too_few(str(len(self._shortest.tokens)), num_tokens)

    def refused(self, text: bytes | bytearray, data: bytes) -> npt.NDArray[np.int64] | None:
        """See `Ending`. An item would be there twice, or nothing is known that makes the output whole, whatever comes
        after `data`.
        """
        beginning = self._refused_beginning(text, data)
        return None if beginning is None else self._cutter.beginning_with(beginning)

    def refused_at_once(self, text: bytes | bytearray) -> npt.NDArray[np.int64]:
        """See `Ending`. Those that are likely to be drawn: an item again as it was written before."""
        try:
            places = self._after(text)
        except NotFoundError:
            return NO_TOKENS
        beginnings = self._items.repeating(places) if places else ()
        return np.concatenate([NO_TOKENS, *map(self._cutter.beginning_with, beginnings)])

    def _refused_beginning(self, text: bytes | bytearray, data: bytes) -> bytes | None:
        try:
            before = self._after(text)
        except NotFoundError:
            return data
        end = self._end_after(text, before, data)
        if end is not None:
            self._ends.append((len(text) + len(data), end))
            return None
        sizes = range(1, len(data))  # what does not lead to an end does not with more behind it
        size = bisect.bisect_left(sizes, True, key=lambda size: self._end_after(text, before, data[:size]) is None)
        return data[: size + 1]

    def _end_after(self, text: bytes | bytearray, before: Places, data: bytes) -> End | None:
        try:
            return self._end_of(text + data, self._items.follow(before, data))
        except NotFoundError:
            return None

    def is_broken(self, text: bytes | bytearray) -> bool:
        """See `Ending`. True also where it is not known."""
        try:
            return not self._after(text)
        except NotFoundError:
            return True

    def can_end(self, text: bytes | bytearray, num_tokens: int) -> bool:
        """See `Ending`."""
        try:
            places = self._after(text)
            if min(map(self._items.num_bytes_at_least, places), default=math.inf) == math.inf:
                return False
            end = self._end_of(text, places)
            if self._completer.num_bytes(end) > num_tokens:  # each has a byte at least
                spelling = self._spell(end)
                if len(spelling.tokens) > num_tokens:
                    return False
                self._spelling = spelling
        except NotFoundError:
            return False
        self._places, self._num_read = places, len(text)
        self._ends = self._ends[-1:]
        return True

    def is_whole(self, text: bytes | bytearray) -> bool:
        """See `Ending`."""
        before = (self._places, self._num_read) if len(text) >= self._num_read else (self._items.start, 0)
        try:
            places = self._items.follow(before[0], text[before[1] :])
        except NotFoundError:
            return False
        return any(place.is_whole for place in places)

    def tokens_to_end(self, text: bytes | bytearray) -> list[int] | None:
        """See `Ending`."""
        try:
            return self._spell(self._end_of(text, self._after(text))).tokens
        except NotFoundError:
            return None

    def _end_of(self, text: bytes | bytearray, places: Places) -> End:
        """A known one, or in the first of the ways to read it in which one is found, those first that seem to be
        short.
        """
        for num_bytes, end in reversed(self._ends):
            left = end.after(text[num_bytes:]) if len(text) >= num_bytes else None
            if left is not None:
                return left
        last = self._ends[-1][1]
        for place in sorted(places, key=self._items.num_bytes_at_least):
            found = self._completer.end(place, last)
            if found is not None:
                return found
        raise NotFoundError

    def _spell(self, end: End) -> Spelling:
        return spell(self._completer.text(end), self._spelling, self._cutter)

    def _after(self, text: bytes | bytearray) -> Places:
        return self._items.follow(self._places, text[self._num_read :])
