"""Regular expressions as trees: what every front end makes, and what everything downstream reads.

Made by the functions `chars`, `literal`, `concat`, `union` and `repeat`, a tree that nothing matches is always NOTHING.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sglang.srt.grammar.charset import CharSet, single


def _hash_once(self: Any) -> int:
    """Of the whole tree. Trees are asked for it at every level."""
    fields = vars(self)
    if "_hash" not in fields:
        fields["_hash"] = hash((type(self), *fields.values()))
    found: int = fields["_hash"]
    return found


@dataclass(frozen=True)
class Chars:
    """One character of the set, which is not empty."""

    chars: CharSet
    __hash__ = _hash_once


@dataclass(frozen=True)
class Concat:
    """The parts one after the other; without parts, the empty text."""

    parts: tuple[Pattern, ...]
    __hash__ = _hash_once


@dataclass(frozen=True)
class Union:
    """Any one of the options; without options, nothing."""

    options: tuple[Pattern, ...]
    __hash__ = _hash_once


@dataclass(frozen=True)
class Repeat:
    """`low` to `high` times the body; None is without limit."""

    body: Pattern
    low: int
    high: int | None
    __hash__ = _hash_once


@dataclass(frozen=True)
class Ref:
    """What the rule of this name matches. Occurs in the rules of a grammar only."""

    name: str


Pattern = Chars | Concat | Union | Repeat | Ref

EMPTY_TEXT = Concat(())
NOTHING = Union(())


def chars(members: CharSet) -> Pattern:
    return Chars(members) if members else NOTHING


def literal(text: str) -> Pattern:
    return concat([Chars(single(character)) for character in text])


def concat(parts: Iterable[Pattern]) -> Pattern:
    flat = tuple(inner for part in parts for inner in (part.parts if isinstance(part, Concat) else (part,)))
    if NOTHING in flat:
        return NOTHING
    return flat[0] if len(flat) == 1 else Concat(flat)


def union(options: Iterable[Pattern]) -> Pattern:
    flat = (inner for option in options for inner in (option.options if isinstance(option, Union) else (option,)))
    distinct = tuple(dict.fromkeys(flat))
    return distinct[0] if len(distinct) == 1 else Union(distinct)


def repeat(body: Pattern, low: int, high: int | None) -> Pattern:
    if high == 0 or body == EMPTY_TEXT or (body == NOTHING and low == 0):
        return EMPTY_TEXT
    if body == NOTHING or (low, high) == (1, 1):
        return body
    return Repeat(body, low, high)


def num_positions(pattern: Pattern) -> int:
    """How many characters the pattern names once every counted repetition is written out. A rule counts as one."""
    match pattern:
        case Chars() | Ref():
            return 1
        case Concat(parts) | Union(parts):
            return sum(map(num_positions, parts))
        case Repeat(body, low, high):
            return num_positions(body) * max(low, high or 0, 1)


def depth(pattern: Pattern) -> int:
    """How many alternatives and repetitions lie within each other."""
    match pattern:
        case Concat(parts):
            return max(map(depth, parts), default=0)
        case Union(options):
            return 1 + max(map(depth, options), default=0)
        case Repeat(body, _, _):
            return 1 + depth(body)
    return 0


def references(pattern: Pattern) -> Iterator[str]:
    match pattern:
        case Ref(name):
            yield name
        case Concat(parts) | Union(parts):
            for part in parts:
                yield from references(part)
        case Repeat(body, _, _):
            yield from references(body)


def substitute(pattern: Pattern, rules: Mapping[str, Pattern]) -> Pattern:
    """`pattern` with what `rules` has in place of the references that it knows."""
    match pattern:
        case Ref(name):
            return rules.get(name, pattern)
        case Concat(parts):
            return concat(substitute(part, rules) for part in parts)
        case Union(options):
            return union(substitute(option, rules) for option in options)
        case Repeat(body, low, high):
            return repeat(substitute(body, rules), low, high)
    return pattern


def is_nullable(pattern: Pattern) -> bool:
    """Whether the empty text matches. A reference counts as never empty."""
    match pattern:
        case Chars() | Ref():
            return False
        case Concat(parts):
            return all(map(is_nullable, parts))
        case Union(options):
            return any(map(is_nullable, options))
        case Repeat(body, low, _):
            return low == 0 or is_nullable(body)
