"""Follows an output in arrays of which no two items may be equal, and knows how it can be ended without equal ones.

Which arrays those are is told by the rules that are followed (`Outputs`, `item_rules`); where an output can be read in
two ways, and only one of them says so, the items must differ all the same. Equal is what JSON Schema says is: numbers
by value, objects in any order.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
from collections.abc import Hashable, Iterator
from typing import NamedTuple

from sglang.srt.grammar.item_rules import has_unique_items
from sglang.srt.grammar.witness.expressions import NotFoundError
from sglang.srt.grammar.witness.outputs import Outputs, Position, decoded

WORK, WORK_FOR_ENDING = 400, 4_000
"""Beginnings of which it is looked at how they go on, to find one item that is not there yet, and all of an ending:
tenths of a millisecond each.
"""

MAX_COUNTED = 8
"""Items that are made up, each by the next number, until one is not there yet."""

MAX_REPEATED = 32
"""Items of which it is told beforehand that they would be repeated."""

MAX_ENDING = 20_000
"""Characters of an ending."""

VARIETY = "abcdefgh123456789"
"""What items that are made up differ by, where it may stand there."""

_LAST = '"]}el'
"""Characters with which items end by themselves: texts, arrays, objects; null, true and false."""

_ENDS = (b",", b"]", b" ", b"\n", b"\r", b"\t")
"""What may come after an item that does not end by itself: a number."""


class _Array(NamedTuple):
    """One that is being written. text: of the item that is not at its end; None between items. is_due: after a comma.
    texts: of the items before, as they were written.
    """

    values: frozenset[Hashable] = frozenset()
    texts: tuple[str, ...] = ()
    text: str | None = None
    is_due: bool = False

    @property
    def is_settled(self) -> bool:
        return self.text is None and not self.is_due


class Place(NamedTuple):
    """Where an output is. arrays: those that it is in, from the outermost."""

    position: Position
    arrays: tuple[_Array, ...] = ()

    @property
    def is_settled(self) -> bool:
        """Nothing that was begun has to become an item that is not there yet."""
        return all(array.is_settled for array in self.arrays)

    @property
    def innermost(self) -> int:
        """Of the arrays of which an item is begun, or has to come, the last."""
        return max((level for level, array in enumerate(self.arrays) if not array.is_settled), default=0)

    def is_past_item(self, start: Place, level: int) -> bool:
        """Whether `arrays[level]` has one item more than at `start`, or has ended."""
        if self.position.partial:
            return False
        if self.is_settled or len(self.arrays) <= level:
            return True
        array = self.arrays[level]
        return array.text is None and len(array.values) > len(start.arrays[level].values)


class UniqueItems:
    """Of one grammar. Belongs to one thread at a time. Methods raise NotFoundError where following or searching comes
    to a bound.
    """

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self._work_left = 0
        self.start = Place(outputs.start)

    def num_bytes_at_least(self, place: Place) -> float:
        """Of any end. math.inf where there is none."""
        return self._outputs.num_bytes_to_end(place.position)

    def follow(self, place: Place, data: bytes | bytearray) -> Place | None:
        """None if an item repeats another one. `data` is what the grammar allows."""
        text, partial = decoded(place.position.partial + data)
        place = _without_partial(place)
        for character in text:
            following = self._after(place, character)
            if following is None:
                return None
            place = following
        return place._replace(position=place.position._replace(partial=partial))

    def num_bytes_to_repeat(self, place: Place, data: bytes) -> int:
        """How many of the first bytes of `data` are enough to repeat an item, if all of it does."""
        text, _ = decoded(place.position.partial + data)
        num_bytes = -len(place.position.partial)
        following: Place | None = _without_partial(place)
        for character in text:
            num_bytes += len(character.encode())
            following = None if following is None else self._after(following, character)
            if following is None:
                break
        return num_bytes

    def settle(self, place: Place) -> tuple[bytes, Place] | None:
        """What completes the item that is begun, or has to be, so that none repeats another; None if nothing does."""
        self._work_left = WORK
        return self._settled(place)

    def _settled(self, start: Place) -> tuple[bytes, Place] | None:
        """From the innermost item outwards; if that does not lead to an end, by a search for the whole."""
        data, place = b"", start
        while not (place.is_past_item(start, 0) and data) and not (place.is_settled and not place.position.partial):
            found = self._past_item(place)
            if found is None:
                return self._search(start, 0) if place.arrays[1:] else None
            data, place = data + found[0], found[1]
        return data, place

    def _past_item(self, place: Place) -> tuple[bytes, Place] | None:
        level = place.innermost
        return (
            self._settle_on_the_way(place, level)
            or self._settle_by_counting(place, level)
            or self._search(place, level)
        )

    def is_whole(self, place: Place) -> bool:
        return place.is_settled and not place.position.partial and not self.num_bytes_at_least(place)

    def ends_without_item(self, place: Place) -> bool:
        """Whether the shortest end needs no item of such an array."""
        if not place.is_settled:
            return False
        whole = self.follow(place, self._until_item(place))
        return whole is not None and self.is_whole(whole)

    def ending(self, place: Place, work: int = WORK_FOR_ENDING) -> list[bytes]:
        """What makes the output whole, item by item; not always the shortest. Raises NotFoundError also if nothing
        does.
        """
        self._work_left = work
        parts: list[bytes] = []
        num_bytes = 0
        while True:
            found = self._settled(place)
            if found is None:
                raise NotFoundError
            data, place = found
            on_the_way = self._until_item(place) if place.is_settled else b""
            num_bytes += len(data) + len(on_the_way)
            if num_bytes > MAX_ENDING:
                raise NotFoundError
            parts += [data, on_the_way]
            following = self.follow(place, on_the_way)
            assert following is not None, "what lies between items repeats none"
            if following.is_settled:
                return parts
            place = following

    def repeating(self, place: Place) -> Iterator[bytes]:
        """Beginnings of what would repeat an item: some of those that are easily told."""
        return itertools.islice(self._repeating(place), MAX_REPEATED)

    def _repeating(self, place: Place) -> Iterator[bytes]:
        if place.position.partial:
            return
        for array in place.arrays:
            if array.is_settled:
                continue
            begun = array.text or ""
            for text in array.texts:
                if text.startswith(begun) and (text != begun or text[-1] not in _LAST):
                    rest = text[len(begun) :].encode()
                    if text[-1] in _LAST:
                        yield rest
                    else:
                        yield from (rest + end for end in _ENDS)

    def _settle_on_the_way(self, place: Place, level: int) -> tuple[bytes, Place] | None:
        """By the shortest end that the grammar knows, if nothing repeats on its way."""
        end = self._outputs.shortest_end(place.position)
        text, _ = decoded(place.position.partial + end)
        following = _without_partial(place)
        for size, character in enumerate(text, 1):
            after = self._after(following, character)
            if after is None:
                return None
            following = after
            if following.is_past_item(place, level):
                return text[:size].encode()[len(place.position.partial) :], following
        return None

    def _settle_by_counting(self, start: Place, level: int) -> tuple[bytes, Place] | None:
        """By items that differ as the numbers do by which their characters are chosen."""
        first = len(start.arrays[level].values) if start.arrays else 0
        for number in range(first, first + MAX_COUNTED):
            found = self._settle_with(start, level, number)
            if found is not None:
                return found
        return None

    def _settle_with(self, start: Place, level: int, number: int) -> tuple[bytes, Place] | None:
        """The choices at each place, and to end where it may, are the digits of `number`: so each number mostly has an
        item of its own.
        """
        data, place = b"", start
        while number:
            following = [
                (character, after)
                for character in self._characters(place)
                if (after := self._after(_without_partial(place), character)) is None
                or self.num_bytes_at_least(after) < math.inf
            ]
            choices = [(character, after) for character, after in following if after and after.position.depth > level]
            if not choices:
                break
            may_end = len(choices) < len(following)
            number, choice = divmod(number - may_end, len(choices))
            character, after = choices[choice]
            data, place = data + character.encode()[len(place.position.partial) :], after
        found = self._settle_on_the_way(place, level)
        return None if found is None else (data + found[0], found[1])

    def _search(self, start: Place, level: int) -> tuple[bytes, Place] | None:
        """A*: what costs the least together with the rest of the output first, of that the longest."""
        order = itertools.count()
        heap = [(0.0, 0, next(order), b"", start)]
        while heap:
            _, _, _, data, place = heapq.heappop(heap)
            if data and place.is_past_item(start, level):
                return data, place
            for character in self._characters(place):
                following = self._after(_without_partial(place), character)
                rest = math.inf if following is None else self.num_bytes_at_least(following)
                if following is None or rest == math.inf:
                    continue
                longer = data + character.encode()[len(place.position.partial) :]
                heapq.heappush(heap, (len(longer) + rest, -len(longer), next(order), longer, following))
        return None

    def _characters(self, place: Place) -> list[str]:
        self._work_left -= 1
        if self._work_left < 0:
            raise NotFoundError
        return self._outputs.characters(place.position, VARIETY)

    def _until_item(self, place: Place) -> bytes:
        """The beginning of the shortest end, as far as it begins no item."""
        text = self._outputs.shortest_end(place.position).decode()
        following = place
        for size, character in enumerate(text, 1):
            after = self._after(following, character)
            assert after is not None, "what lies between items repeats none"
            following = after
            if not following.is_settled:
                return text[:size].encode()
        return text.encode()

    def _after(self, place: Place, character: str) -> Place | None:
        """None where an item is at its end that repeats another."""
        position = self._outputs.follow(place.position, character.encode())
        before, depth = place.position.depth, position.depth
        is_whole_item = before == depth and position.ends_item(depth)
        if before == depth == 0 and not place.arrays and not is_whole_item:
            return Place(position)
        arrays = [
            array if array.text is None else array._replace(text=array.text + character) for array in place.arrays
        ]
        if before < depth or is_whole_item:
            array = arrays[before] if len(arrays) > before else _Array()
            arrays[before:] = [array._replace(text=character, is_due=False)]
        if before > depth or is_whole_item:
            for level in reversed(range(depth, min(max(before, depth + is_whole_item), len(arrays)))):
                del arrays[level + 1 :]
                if not _end_item(arrays, level, character):
                    return None
        elif before == depth < len(arrays):  # between items
            _go_on_between(arrays, depth, character)
        return Place(position, tuple(arrays))


def repeats_items(grammar: str, data: bytes) -> bool:
    """Whether `data`, which the rules allow, has equal items in an array that may have none. Raises NotFoundError, and
    UnreadableError.
    """
    if not has_unique_items(grammar):
        return False
    items = UniqueItems(Outputs(grammar))
    return items.follow(items.start, data) is None


def _without_partial(place: Place) -> Place:
    return place._replace(position=place.position._replace(partial=b""))


def _end_item(arrays: list[_Array], level: int, character: str) -> bool:
    """The item of `arrays[level]` came to its end with `character`, or before it. False if it repeats another."""
    array = arrays[level]
    assert array.text is not None
    text, value = array.text, _value(array.text)
    ends_before = value is None
    if value is None:
        text = array.text[:-1]
        value = _value(text)
    if value is None:  # the output is read in another way from here on
        del arrays[level:]
        return True
    if value in array.values:
        return False
    arrays[level] = _Array(array.values | {value}, (*array.texts, text.strip()))
    if ends_before:
        _go_on_between(arrays, level, character)
    return True


def _go_on_between(arrays: list[_Array], level: int, character: str) -> None:
    if character == "]":
        del arrays[level:]
    elif character == ",":
        arrays[level] = arrays[level]._replace(is_due=True)


def _value(text: str) -> Hashable | None:
    """Equal for equal values; None for what is no JSON. Raises NotFoundError for what is nested too deep."""
    try:
        return _hashable(json.loads(text, parse_int=float))  # which also reads whole numbers that Python does not
    except ValueError:
        return None
    except RecursionError as error:
        raise NotFoundError from error


def _hashable(value: object) -> Hashable:
    """With its type: to JSON 1 is 1.0, and not true. Numbers that are equal to most programs count as equal."""
    if isinstance(value, dict):
        return "object", frozenset((name, _hashable(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return "array", tuple(map(_hashable, value))
    if isinstance(value, float):
        return "number", value
    return type(value).__name__, str(value)
