"""Completes outputs with arrays of which no two items may be equal, so that none are."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

from sglang.srt.grammar.witness.expressions import NotFoundError
from sglang.srt.grammar.witness.outputs import Outputs
from sglang.srt.grammar.witness.stack import Stack
from sglang.srt.grammar.witness.unique_items import Item, Place, UniqueItems

WORK_ONCE = 60_000
"""Characters that may be read to complete an array and all in it, for the output that a grammar is tried with."""

WORK, WORK_PER_BYTE = 3_000, 4
"""The same while an output is written, and what is added for each byte of the shortest one."""

WORK_TO_CHOOSE = 3
"""What it is worth to find out which characters there are to choose from."""

MAX_COUNTED = 64
"""Items that are made up, each by the next number, until one is not there yet."""

MAX_ENDING = 20_000
"""Bytes."""

MAX_REMEMBERED = 20_000
"""Ways to go on, which are found anew afterwards."""

VARIETY = "abcdefgh123456789"
"""What items that are made up differ by, where it may stand there."""

_Found = tuple[bytes, Place]
"""What an output goes on with, and where it is then."""


class _Way(NamedTuple):
    """On to the shortest end from outside of all arrays. data: until the output is outside of them again."""

    data: bytes
    following: Stack | None


class _Stop(NamedTuple):
    """Between items of an outermost array. value: of the item that comes next; num_bytes_left: of `End.data`."""

    stack: Stack
    num_bytes_left: int
    value: Hashable


class End(NamedTuple):
    """What makes an output whole. data: until it is outside of all arrays; if `following` is None, to the end. stops:
    on the way through the array that the output is in.
    """

    data: bytes
    following: Stack | None
    stops: tuple[_Stop, ...] = ()

    def after(self, data: bytes | bytearray) -> End | None:
        """What is left of it; None if it does not begin so."""
        return self._replace(data=self.data[len(data) :]) if self.data.startswith(data) else None

    def from_place(self, place: Place) -> End | None:
        """The last part, if it begins where `place` is and has none of the items there."""
        for number, stop in enumerate(self.stops):
            if stop.stack.is_like(place.stack) and stop.num_bytes_left <= len(self.data):
                stops = self.stops[number:]
                if place.arrays[0].values.isdisjoint(one.value for one in stops):
                    return End(self.data[len(self.data) - stop.num_bytes_left :], self.following, stops)
        return None


class Completer:
    """Of one grammar. What it finds depends on nothing but the place. Belongs to one thread at a time."""

    def __init__(self, items: UniqueItems, outputs: Outputs, known: Sequence[Item] = (), *, work: int) -> None:
        """known: items to try where one is missing. work: characters that may be read to complete an array and what is
        in it.
        """
        self._items = items
        self._outputs = outputs
        self._known = known
        self._work = work
        self._work_left = 0
        self._ways: dict[Stack, _Way | None] = {}
        self._rest_sizes: dict[Stack, int] = {}  # where the shortest way leads to an end, its bytes
        self._searched: dict[Stack, bytes | None] = {}
        self._choices: dict[tuple[Stack, int], tuple[list[str], bool]] = {}

    def end(self, place: Place, last: End | None = None) -> End | None:
        """Not always the shortest. None where none is found. last: one from which items may be taken."""
        for data, start in self._whole_characters(place):
            try:
                self._work_left = self._work
                end = self._end_of_arrays(start, last)
            except NotFoundError:
                continue
            return end._replace(data=data + end.data)
        return None

    def _end_of_arrays(self, start: Place, last: End | None) -> End:
        try:
            end = self._end_by_items(start, last)
        except NotFoundError:
            self._work_left = self._work
            data, outside = self._search(start, _is_outside)
            end = End(data, outside.stack)
        if end.following is None or self._has_rest(end.following):
            return end
        if not start.arrays:
            raise NotFoundError
        self._work_left = self._work  # perhaps another item leads to an end
        return End(self._search(start, _is_whole)[0], None)

    def _end_by_items(self, start: Place, last: End | None) -> End:
        data, place = self._along(start, _is_settled)
        passed: list[tuple[int, Place]] = []
        while place.arrays:
            passed.append((len(data), place))
            rest = None if last is None else last.from_place(place)
            if rest is not None:
                return _joined(data, passed, rest)
            character, place = self._next(place)
            more, place = self._along(place, _is_settled)
            data += character + more
            if len(data) > MAX_ENDING:
                raise NotFoundError
        return _joined(data, passed, End(b"", place.stack))

    def text(self, end: End) -> bytes:
        """`end` is one that was found."""
        rest = b"" if end.following is None else self._rest(end.following)
        assert rest is not None, "it was found"
        return end.data + rest

    def num_bytes(self, end: End) -> int:
        """Of its text."""
        rest = 0 if end.following is None else self._rest_size(end.following)
        assert rest is not None, "it was found"
        return len(end.data) + rest

    def _whole_characters(self, place: Place) -> list[_Found]:
        """What completes the character that is begun, that first after which the shortest end may come."""
        if not place.partial:
            return [(b"", place)]
        try:
            found = [
                (character.encode()[len(place.partial) :], after)
                for character in self._outputs.characters(place.position, "")
                for after in self._items.after(place, character)
            ]
        except NotFoundError:
            return []
        return sorted(found, key=lambda one: one[1].stack.cost)

    # --- outside of arrays

    def _rest(self, stack: Stack) -> bytes | None:
        """The end of an output that is in no array. Searched for where the shortest way leads to one that cannot be
        completed.
        """
        parts: list[bytes] = []
        following: Stack | None = stack
        while following is not None:
            way = self._way(following)
            if way is None:
                return self._searched_rest(stack)
            parts.append(way.data)
            following = way.following
        return b"".join(parts)

    def _has_rest(self, stack: Stack) -> bool:
        return self._rest_size(stack) is not None

    def _rest_size(self, stack: Stack) -> int | None:
        """How many bytes `_rest` has."""
        passed: list[tuple[Stack, int]] = []
        following: Stack | None = stack
        while following is not None and following not in self._rest_sizes:
            way = self._way(following)
            if way is None:
                searched = self._searched_rest(stack)
                return None if searched is None else len(searched)
            passed.append((following, len(way.data)))
            following = way.following
        size = 0 if following is None else self._rest_sizes[following]
        if len(self._rest_sizes) >= MAX_REMEMBERED:
            self._rest_sizes.clear()
        for one, num_bytes in reversed(passed):
            self._rest_sizes[one] = size = size + num_bytes
        return size

    def _way(self, stack: Stack) -> _Way | None:
        if stack not in self._ways:
            if len(self._ways) >= MAX_REMEMBERED:
                self._ways.clear()
            self._ways[stack] = self._find_way(stack)
        return self._ways[stack]

    def _find_way(self, stack: Stack) -> _Way | None:
        self._work_left = self._work
        try:
            character, place = self._next(Place(stack))
            if not character:
                return _Way(b"", None)
            more, place = self._out_of_arrays(place)
        except NotFoundError:
            return None
        return _Way(character + more, place.stack)

    def _searched_rest(self, stack: Stack) -> bytes | None:
        if stack not in self._searched:
            if len(self._searched) >= MAX_REMEMBERED:
                self._searched.clear()
            self._work_left = self._work
            try:
                self._searched[stack] = self._search(Place(stack), _is_whole)[0]
            except NotFoundError:
                self._searched[stack] = None
        return self._searched[stack]

    # --- in arrays. These raise NotFoundError where nothing is found, or too much was read.

    def _out_of_arrays(self, start: Place) -> _Found:
        try:
            return self._along(start, _is_outside)
        except NotFoundError:
            self._work_left = self._work
            return self._search(start, _is_outside)

    def _along(self, start: Place, is_there: Callable[[Place], bool], level: int = -1) -> _Found:
        """By the shortest end that the grammar knows, but with items that differ in arrays further in than `level`."""
        data, place = b"", start
        while not is_there(place):
            inner = place.level
            more, place = self._completed(place, inner) if inner > level else self._next(place)
            data += more
            if not more or len(data) > MAX_ENDING:
                raise NotFoundError
        return data, place

    def _completed(self, start: Place, level: int) -> _Found:
        """The item of `arrays[level]` that is begun, or has to come."""
        num_items = len(start.arrays[level].values)

        def is_there(place: Place) -> bool:
            if len(place.arrays) <= level:
                return True
            array = place.arrays[level]
            return array.text is None and len(array.values) > num_items

        beginnings = (self._known_items(start, level), self._counted_items(start, level))
        for begun, place in itertools.chain([(b"", start)], *beginnings):
            try:
                data, after = self._along(place, is_there, level)
            except NotFoundError:
                if self._work_left < 0:
                    raise
                continue
            return begun + data, after
        return self._search(start, is_there)

    def _known_items(self, start: Place, level: int) -> Iterator[_Found]:
        begun = start.arrays[level].text or ""
        for text, value in self._known:
            if text.startswith(begun) and value not in start.arrays[level].values:
                place = self._read(start, text[len(begun) :])
                if place is not None:
                    yield text[len(begun) :].encode(), place

    def _read(self, place: Place, text: str) -> Place | None:
        """In one of the ways in which it can be read."""
        for character in text:
            found = self._after(place, character)
            if not found:
                return None
            place = min(found, key=lambda after: after.stack.cost)
        return place

    def _counted_items(self, start: Place, level: int) -> Iterator[_Found]:
        """Beginnings that differ as numbers do."""
        first = max(1, len(start.arrays[level].values))
        for number in range(first, first + MAX_COUNTED):
            found = self._counted_item(start, level, number)
            if found is not None:
                yield found

    def _counted_item(self, start: Place, level: int, number: int) -> _Found | None:
        """The choices at each place are the digits of `number`, and 0 is what the shortest end goes on with, so each
        number has a text of its own.
        """
        data, place = b"", start
        while number:
            ways, may_stop = self._ways_on(place.stack, level)
            if not ways:
                return None
            number, choice = divmod(number - may_stop, len(ways))
            found = self._after(place, ways[choice])
            if not found:
                return None
            data, place = data + ways[choice].encode(), found[0]
        return data, place

    def _ways_on(self, stack: Stack, level: int) -> tuple[list[str], bool]:
        """Characters with which an item of `arrays[level]` may go on, that of the shortest end first; and whether that
        is none of them.
        """
        self._work_left -= WORK_TO_CHOOSE
        key = stack, level
        if key not in self._choices:
            if len(self._choices) >= MAX_REMEMBERED:
                self._choices.clear()
            shortest = self._outputs.next_character(stack)
            ways = [one for one in self._characters(Place(stack)) if self._goes_on(stack, one, level)]
            self._choices[key] = sorted(ways, key=lambda one: one != shortest), shortest not in ways
        return self._choices[key]

    def _goes_on(self, stack: Stack, character: str, level: int) -> bool:
        return any(after.depth > level for after in self._outputs.after(stack, character)[:1])

    def _search(self, start: Place, is_there: Callable[[Place], bool]) -> _Found:
        """A*: what costs the least together with the rest of the output first, of that the longest."""
        order = itertools.count()
        heap = [(0.0, 0, next(order), b"", start)]
        while heap:
            _, _, _, data, place = heapq.heappop(heap)
            if is_there(place):
                return data, place
            self._work_left -= WORK_TO_CHOOSE
            for character in self._characters(place):
                longer = data + character.encode()
                for after in self._after(place, character):
                    heapq.heappush(heap, (len(longer) + after.stack.cost, -len(longer), next(order), longer, after))
        raise NotFoundError

    def _characters(self, place: Place) -> list[str]:
        return sorted(self._outputs.characters(place.position, VARIETY), key=lambda character: character not in VARIETY)

    def _next(self, place: Place) -> _Found:
        """One character; none at the end."""
        character = self._outputs.next_character(place.stack)
        if not character:
            return b"", place
        found = self._after(place, character)
        if not found:
            raise NotFoundError
        return character.encode(), min(found, key=lambda after: after.stack.cost)

    def _after(self, place: Place, character: str) -> list[Place]:
        self._work_left -= 1
        if self._work_left < 0:
            raise NotFoundError
        return [after for after in self._items.after(place, character) if after.stack.cost < math.inf]


def _joined(data: bytes, passed: list[tuple[int, Place]], rest: End) -> End:
    """passed: places between items of an outermost array, each after so many bytes of `data`."""
    num_bytes = len(data) + len(rest.data)
    stops = [
        _Stop(before.stack, num_bytes - size, after.arrays[0].items[-1].value)
        for (size, before), (_, after) in itertools.pairwise(passed)
        if len(before.arrays[0].items) < len(after.arrays[0].items)
    ]
    return End(data + rest.data, rest.following, (*stops, *rest.stops))


def _is_settled(place: Place) -> bool:
    return place.level < 0


def _is_outside(place: Place) -> bool:
    return not place.arrays


def _is_whole(place: Place) -> bool:
    return place.is_whole
