"""What `Ending` does, of an output with arrays of which no two items may be equal, and what would repeat one."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from sglang.srt.grammar.witness.ending import NO_TOKENS, Cutter, Spelling, spell, too_few
from sglang.srt.grammar.witness.expressions import NotFoundError
from sglang.srt.grammar.witness.unique_items import Place, UniqueItems

SPARE, SPARE_PER_BYTE = 64, 4
"""Tokens. As long as an output may have so many more, and so many for each byte that the grammar needs at least, it is
not looked at how it can be ended.
"""


WORK_FOR_NEXT = 1_500
"""See `UniqueItems`: for an ending that is made while the engine waits."""

MAX_LEFT_OUT = 4
"""Parts of the last ending that the next one may leave out: an item, and what lies before the next one."""


class UniqueEnding:
    """Follows one output. Until a token is read that `refused` did not refuse, what was read can be made whole."""

    def __init__(self, items: UniqueItems, cutter: Cutter, shortest: Spelling) -> None:
        self._items = items
        self._cutter = cutter
        self._shortest = self._spelling = shortest
        self._place = items.start
        self._num_read = 0
        self._parts: list[bytes] = []

    def check_room(self, num_tokens: int) -> None:
        """Raises InvalidRequestError if the shortest output that is known has more tokens."""
        if len(self._shortest.tokens) > num_tokens:
            raise too_few(str(len(self._shortest.tokens)), num_tokens)

    def refused(self, text: bytes | bytearray, data: bytes) -> npt.NDArray[np.int64] | None:
        """See `Ending`. An item would be there twice, whatever comes after `data`."""
        beginning = self._repeating_beginning(text, data)
        return None if beginning is None else self._cutter.beginning_with(beginning)

    def refused_at_once(self, text: bytes | bytearray) -> npt.NDArray[np.int64]:
        """See `Ending`. Those that are likely to be drawn: an item again as it was written before."""
        try:
            place = self._after(text)
        except NotFoundError:
            return NO_TOKENS
        beginnings = () if place is None else self._items.repeating(place)
        return np.concatenate([NO_TOKENS, *map(self._cutter.beginning_with, beginnings)])

    def _repeating_beginning(self, text: bytes | bytearray, data: bytes) -> bytes | None:
        try:
            before = self._after(text)
            if before is None:
                return data
            place = self._items.follow(before, data)
            if place is None:
                return data[: self._items.num_bytes_to_repeat(before, data)]
            return None if self._leads_to_an_end(place) else data
        except NotFoundError:
            return data

    def _leads_to_an_end(self, place: Place) -> bool:
        """Raises NotFoundError where that is not known."""
        if not place.arrays:
            return True
        found = self._items.settle(place)
        return found is not None and (self._items.ends_without_item(found[1]) or bool(self._ending(place)))

    def is_broken(self, text: bytes | bytearray) -> bool:
        """See `Ending`. True also where it is not known."""
        try:
            return self._after(text) is None
        except NotFoundError:
            return True

    def can_end(self, text: bytes | bytearray, num_tokens: int) -> bool:
        """See `Ending`."""
        try:
            place = self._after(text)
            if place is None:
                return False
            num_bytes = self._items.num_bytes_at_least(place)
            if num_bytes == math.inf:
                return False
            if num_tokens < SPARE + SPARE_PER_BYTE * num_bytes:
                spelling = spell(self._ending(place), self._spelling, self._cutter)
                if len(spelling.tokens) > num_tokens:
                    return False
                self._spelling = spelling
        except NotFoundError:
            return False
        self._place, self._num_read = place, len(text)
        return True

    def tokens_to_end(self, text: bytes | bytearray) -> list[int] | None:
        """See `Ending`."""
        try:
            place = self._after(text)
            return None if place is None else spell(self._ending(place), self._spelling, self._cutter).tokens
        except NotFoundError:
            return None

    def _ending(self, place: Place) -> bytes:
        """With the same items at its end as the last one, if that can be: to make up many anew takes long."""
        found = self._items.settle(place)
        if found is None:
            raise NotFoundError
        for first in range(1, min(len(self._parts), 1 + MAX_LEFT_OUT)):
            rest = self._parts[first:]
            whole = self._items.follow(found[1], b"".join(rest))
            if whole is not None and self._items.is_whole(whole):
                self._parts = [found[0], *rest]
                break
        else:
            self._parts = self._items.ending(place, WORK_FOR_NEXT)
        return b"".join(self._parts)

    def _after(self, text: bytes | bytearray) -> Place | None:
        return self._items.follow(self._place, text[self._num_read :])
