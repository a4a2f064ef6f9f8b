"""Follows an output in arrays of which no two items may be equal.

Which arrays those are is told by the rules that are followed (`Outputs`, `item_rules`). Where an output can be read in
several ways each is followed by itself, and given up when an item repeats another. Equal is what JSON Schema says is:
numbers by value, objects in any order.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Hashable, Iterator
from typing import NamedTuple

from sglang.srt.grammar.item_rules import has_unique_items
from sglang.srt.grammar.witness.expressions import NotFoundError
from sglang.srt.grammar.witness.outputs import Outputs
from sglang.srt.grammar.witness.stack import Position, Stack
from sglang.srt.grammar.witness.utf8 import decoded

MAX_REPEATED = 32
"""Items of which it is told beforehand that they would be repeated."""

MAX_DEPTH = 48
"""Of such arrays, one within another."""

MAX_PLACES = 64
"""Ways in which an output may be read."""

_LAST = '"]}el'
"""Characters with which items end by themselves: texts, arrays, objects; null, true and false."""

_ENDS = (b",", b"]", b" ", b"\n", b"\r", b"\t")
"""What may come after an item that does not end by itself: a number."""


class Item(NamedTuple):
    """As it was written, and what it is equal to."""

    text: str
    value: Hashable


class Array(NamedTuple):
    """One that is being written. text: of the item that is not at its end; None between items. is_due: after a comma.
    items: that were there before. values: of those.
    """

    values: frozenset[Hashable] = frozenset()
    items: tuple[Item, ...] = ()
    text: str | None = None
    is_due: bool = False

    @property
    def is_settled(self) -> bool:
        return self.text is None and not self.is_due


class Place(NamedTuple):
    """Where an output is, in one of the ways in which it can be read. arrays: those that it is in, from the outermost.
    partial: see `Position`.
    """

    stack: Stack
    partial: bytes = b""
    arrays: tuple[Array, ...] = ()

    @property
    def position(self) -> Position:
        return Position((self.stack,), self.partial)

    @property
    def level(self) -> int:
        """Of the arrays of which an item is begun, or has to come, the innermost; -1 where there is none."""
        return max((level for level, array in enumerate(self.arrays) if not array.is_settled), default=-1)

    @property
    def is_whole(self) -> bool:
        return not self.partial and not self.stack.cost and self.level < 0


Places = tuple[Place, ...]
"""All the ways in which an output can be read, in none of which an item repeats another."""


class UniqueItems:
    """Of one grammar. Belongs to one thread at a time. Methods raise NotFoundError where following comes to a bound."""

    def __init__(self, outputs: Outputs) -> None:
        self._outputs = outputs
        self.start: Places = tuple(map(Place, outputs.start.stacks))

    def num_bytes_at_least(self, place: Place) -> float:
        """Of any end. math.inf where there is none."""
        return self._outputs.num_bytes_to_end(place.position)

    def follow(self, places: Places, data: bytes | bytearray) -> Places:
        """None are left if an item repeats another one. `data` is what the grammar allows."""
        if not places:
            return ()
        text, partial = decoded(places[0].partial + data)
        for character in text:
            places = self._after(places, character)
        return tuple(place._replace(partial=partial) for place in places)

    def after(self, place: Place, character: str) -> list[Place]:
        """`character` completes what is partial."""
        found = []
        for stack in self._outputs.after(place.stack, character):
            arrays = _arrays_after(place, stack, character)
            if arrays is not None:
                if len(arrays) > MAX_DEPTH:
                    raise NotFoundError
                found.append(Place(stack, b"", arrays))
        return found

    def repeating(self, places: Places) -> Iterator[bytes]:
        """Beginnings of what would repeat an item: some of those that are easily told."""
        return itertools.islice(_repeating(places[0]), MAX_REPEATED if len(places) == 1 else 0)

    def items_of(self, data: bytes) -> list[Item]:
        """The items of a whole output, each once."""
        places, found = self.start, dict[Hashable, Item]()
        for character in data.decode():
            places = self._after(places, character)
            for array in (array for place in places for array in place.arrays if array.text is None and array.items):
                found.setdefault(array.items[-1].value, array.items[-1])
        return list(found.values())

    def _after(self, places: Places, character: str) -> Places:
        if len(places) == 1:
            return tuple(self.after(places[0], character))
        found = dict.fromkeys(following for place in places for following in self.after(place, character))
        if len(found) > MAX_PLACES:
            raise NotFoundError
        return tuple(found)


def repeats_items(grammar: str, data: bytes) -> bool:
    """Whether `data`, which the rules allow, has equal items in an array that may have none. Raises NotFoundError, and
    UnreadableError.
    """
    if not has_unique_items(grammar):
        return False
    items = UniqueItems(Outputs(grammar))
    return not any(place.is_whole for place in items.follow(items.start, data))


def _repeating(place: Place) -> Iterator[bytes]:
    for array in () if place.partial else place.arrays:
        if array.is_settled:
            continue
        begun = array.text or ""
        for text, _ in array.items:
            if text.startswith(begun) and (text != begun or text[-1] not in _LAST):
                rest = text[len(begun) :].encode()
                if text[-1] in _LAST:
                    yield rest
                else:
                    yield from (rest + end for end in _ENDS)


def _arrays_after(place: Place, stack: Stack, character: str) -> tuple[Array, ...] | None:
    """None where an item is at its end that repeats another. `character` leads from `place` to `stack`."""
    before, depth = place.stack.depth, stack.depth
    if not place.arrays and before == depth and not stack.is_after_item:
        return ()
    arrays = [array if array.text is None else array._replace(text=array.text + character) for array in place.arrays]
    is_begun = before < depth or (before == depth and stack.is_after_item)  # the latter of one character
    if is_begun:
        array = arrays[before] if len(arrays) > before else Array()
        arrays[before:] = [array._replace(text=character, is_due=False)]
    if before == depth < len(arrays) and not is_begun:
        _go_on_between(arrays, depth, character)
    num_begun = max(before, depth + stack.is_after_item)
    for level in reversed(range(depth, num_begun)):
        del arrays[level + 1 :]
        if not _end_item(arrays, level, character, is_last=stack.is_after_item and level == depth):
            return None
    return tuple(arrays)


def _end_item(arrays: list[Array], level: int, character: str, is_last: bool) -> bool:
    """The item of `arrays[level]` ended with `character`, or before it. False if it repeats another."""
    array = arrays[level]
    assert array.text is not None, "an item ends that was not begun"
    text = array.text if is_last else array.text[:-1]
    value = _value(text)
    if value in array.values:
        return False
    arrays[level] = Array(array.values | {value}, (*array.items, Item(text.strip(), value)))
    if not is_last:
        _go_on_between(arrays, level, character)
    return True


def _go_on_between(arrays: list[Array], level: int, character: str) -> None:
    if character == "]":
        del arrays[level:]
    elif character == ",":
        arrays[level] = arrays[level]._replace(is_due=True)


def _value(text: str) -> Hashable:
    """Equal for equal values. Raises NotFoundError for what is nested too deep."""
    try:
        return _hashable(json.loads(text, parse_int=float))  # which also reads whole numbers that Python does not
    except (ValueError, RecursionError) as error:
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
