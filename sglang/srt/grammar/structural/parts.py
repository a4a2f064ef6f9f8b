"""What stands in the rules of a structural tag, and by which texts one part is told from the next."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.automaton import Automaton, build, positions
from sglang.srt.grammar.charset import CharSet
from sglang.srt.grammar.pattern import NOTHING, Pattern, union

_MAX_PAIRS = 100_000
"""Of characters of two parts, looked at beside each other."""


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


def followed(one: Part, other: Part) -> Part:
    """Raises InvalidRequestError if it cannot be told where `other` begins."""
    if EMPTY in (one, other):
        return other if one == EMPTY else one
    if common := _common(one.goes_on, other.begins):
        raise InvalidRequestError(
            f"structural_tag has a format that may go on with {common} where the next one may begin with it, so that "
            "one cannot be told from the other; put what tells them apart between them"
        )
    return Part(
        f"{one.text} {other.text}",
        union((one.begins, other.begins)) if one.may_be_empty else one.begins,
        union((one.goes_on, other.goes_on)) if other.may_be_empty else other.goes_on,
        one.may_be_empty and other.may_be_empty,
    )


def one_of(parts: Sequence[Part]) -> Part:
    """Raises InvalidRequestError if it cannot be told which. Values of JSON can be told later."""
    if len(parts) == 1:
        return parts[0]
    for one, other in itertools.combinations(parts, 2):
        common = _common(one.begins, other.begins)
        if common and not (one.is_json and other.is_json):
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


def _common(one: Pattern, other: Pattern) -> str:
    """What texts of both begin with, if that is all of one of them, as errors show it: there the library reads on in
    the other. Empty if there is none. Where it is too much to find out, a character with which both begin.
    """
    left, right = build(one), build(other)
    both = cs.intersection(_first_chars(left), _first_chars(right))
    if not both:
        return ""
    read: set[tuple[int, int]] = set()
    after = [("", left.first, right.first)]
    num_looked_at = 0
    for text, after_left, after_right in after:
        for pair in itertools.product(positions(after_left), positions(after_right)):
            num_looked_at += 1
            if num_looked_at > _MAX_PAIRS:
                return shown(chr(both[0][0]))
            if pair in read or not (common := cs.intersection(left.chars[pair[0]], right.chars[pair[1]])):
                continue
            read.add(pair)
            longer = text + chr(common[0][0])
            if left.last >> pair[0] & 1 or right.last >> pair[1] & 1:
                return shown(longer)
            after.append((longer, left.follow[pair[0]], right.follow[pair[1]]))
    return ""


def _first_chars(automaton: Automaton) -> CharSet:
    return cs.union(*(automaton.chars[position] for position in positions(automaton.first)))
