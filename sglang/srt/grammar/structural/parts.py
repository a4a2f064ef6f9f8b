"""What stands in the rules of a structural tag, and by which characters one part is told from the next."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.charset import CharSet

NO_CHARS: CharSet = ()


@dataclass(frozen=True)
class Part:
    """What stands in a rule. begins: the characters that it may begin with. goes_on: those with which it may go on
    where it could be over, be that at its beginning. may_be_empty: it matches the empty text, too.
    """

    text: str
    begins: CharSet
    goes_on: CharSet
    may_be_empty: bool = False
    is_json: bool = False


EMPTY = Part('""', NO_CHARS, NO_CHARS, may_be_empty=True)


def followed(one: Part, other: Part) -> Part:
    """Raises InvalidRequestError if one character cannot tell where `other` begins."""
    if EMPTY in (one, other):
        return other if one == EMPTY else one
    if common := _common(one.goes_on, other.begins):
        raise InvalidRequestError(
            f"structural_tag has a format that may go on with {common} where the next one may begin with it, so that "
            "one cannot be told from the other; put what tells them apart between them"
        )
    return Part(
        f"{one.text} {other.text}",
        cs.union(one.begins, other.begins) if one.may_be_empty else one.begins,
        cs.union(one.goes_on, other.goes_on) if other.may_be_empty else other.goes_on,
        one.may_be_empty and other.may_be_empty,
    )


def one_of(parts: Sequence[Part]) -> Part:
    """Raises InvalidRequestError if the first character cannot tell which. Values of JSON can be told later."""
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
    begins, goes_on = (cs.union(*sets) for sets in zip(*((part.begins, part.goes_on) for part in parts), strict=True))
    return Part(
        f"({' | '.join(part.text for part in parts)})",
        begins,
        cs.union(goes_on, begins) if may_be_empty else goes_on,
        may_be_empty,
        all(part.is_json for part in parts),
    )


def _common(one: CharSet, other: CharSet) -> str:
    """A character of both, as errors show it; empty if there is none."""
    both = cs.difference(one, cs.complement(other))
    return shown(chr(both[0][0])) if both else ""
