"""What stands in the rules of a structural tag, and by which texts one part is told from the next."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.automaton import build, positions
from sglang.srt.grammar.charset import CharSet
from sglang.srt.grammar.pattern import NOTHING, Pattern, union

_MAX_STEPS = 500_000
"""Characters of parts that are looked at, and pairs of them, for a whole structural tag."""


@dataclass(frozen=True)
class Part:
    """What stands in a rule. begins: the lexemes that it may begin with, or beginnings of them. goes_on: those with
    which it may go on where it could be over, be that at its beginning. may_be_empty: it matches the empty text, too.
    """

    text: str
    begins: Pattern
    goes_on: Pattern
    may_be_empty: bool = False
    is_json: bool = False


EMPTY = Part('""', NOTHING, NOTHING, may_be_empty=True)


class Joiner:
    """Puts parts together, as far as they can be told from each other."""

    def __init__(self) -> None:
        self._num_steps = 0

    def followed(self, one: Part, other: Part) -> Part:
        """Raises InvalidRequestError if it cannot be told where `other` begins."""
        if EMPTY in (one, other):
            return other if one == EMPTY else one
        if common := self._common(one.goes_on, other.begins):
            raise InvalidRequestError(
                f"structural_tag has a format that may go on with {common} where the next one may begin with it, so "
                "that one cannot be told from the other; put what tells them apart between them"
            )
        return Part(
            f"{one.text} {other.text}",
            union((one.begins, other.begins)) if one.may_be_empty else one.begins,
            union((one.goes_on, other.goes_on)) if other.may_be_empty else other.goes_on,
            one.may_be_empty and other.may_be_empty,
        )

    def one_of(self, parts: Sequence[Part]) -> Part:
        """Raises InvalidRequestError if it cannot be told which. Values of JSON can be told later."""
        if len(parts) == 1:
            return parts[0]
        for one, other in itertools.combinations(parts, 2):
            self._count(1)
            common = "" if one.is_json and other.is_json else self._common(one.begins, other.begins)
            if common:
                raise InvalidRequestError(
                    f"structural_tag has two formats for the same place that may both begin with {common}, so that one "
                    "cannot be told from the other"
                )
        may_be_empty = any(part.may_be_empty for part in parts)
        begins, goes_on = (union(sets) for sets in zip(*((part.begins, part.goes_on) for part in parts), strict=True))
        return Part(
            f"({' | '.join(part.text for part in parts)})",
            begins,
            union((goes_on, begins)) if may_be_empty else goes_on,
            may_be_empty,
            all(part.is_json for part in parts),
        )

    def _common(self, one: Pattern, other: Pattern) -> str:
        """What texts of both begin with, if that is all of one of them, as errors show it: there the library reads on
        in the other. Empty if there is none.
        """
        left, right = build(one), build(other)
        self._count(len(left.chars) + len(right.chars))
        read: set[tuple[int, int]] = set()
        both: dict[tuple[int, int], CharSet] = {}  # by identity: many positions read the same
        after = [("", left.first, right.first)]
        for text, after_left, after_right in after:
            for pair in itertools.product(positions(after_left), positions(after_right)):
                self._count(1)
                sets = left.chars[pair[0]], right.chars[pair[1]]
                key = id(sets[0]), id(sets[1])
                if key not in both:
                    both[key] = cs.intersection(*sets)
                if pair in read or not both[key]:
                    continue
                read.add(pair)
                longer = text + chr(both[key][0][0])
                if left.last >> pair[0] & 1 or right.last >> pair[1] & 1:
                    return shown(longer)
                after.append((longer, left.follow[pair[0]], right.follow[pair[1]]))
        return ""

    def _count(self, num_steps: int) -> None:
        self._num_steps += num_steps
        if self._num_steps > _MAX_STEPS:
            raise InvalidRequestError("structural_tag has too many formats, or too large ones, to tell them apart")
