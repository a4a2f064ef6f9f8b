"""Position automata: one state for every character that a regular expression names, its repetitions written out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from sglang.srt.grammar.charset import CharSet
from sglang.srt.grammar.pattern import Chars, Concat, Pattern, Ref, Repeat, Union, is_nullable

_MANY = 16
"""From so many positions on it is faster to look at all bits than to take one after the other out of a long number."""


class _Fragment(NamedTuple):
    first: int
    last: int
    is_nullable: bool


_EMPTY = _Fragment(0, 0, is_nullable=True)


@dataclass(frozen=True)
class Automaton:
    """Sets of positions are integers, bit i for position i.

    chars[i]: what position i reads. first: where a match may begin; last: where it may end; follow[i]: what may be
    read after position i. A match is a way from `first` to `last`.
    """

    chars: list[CharSet]
    first: int
    last: int
    follow: list[int]
    is_nullable: bool


def build(pattern: Pattern) -> Automaton:
    """`pattern` has no references. Takes as much room as it has positions."""
    builder = _Builder()
    whole = builder.fragment(pattern)
    return Automaton(builder.chars, whole.first, whole.last, builder.follow, whole.is_nullable)


def positions(members: int) -> Iterable[int]:
    """In ascending order."""
    if members.bit_count() > _MANY:
        as_bytes = np.frombuffer(members.to_bytes(members.bit_length() // 8 + 1, "little"), np.uint8)
        found: list[int] = np.flatnonzero(np.unpackbits(as_bytes, bitorder="little")).tolist()
        return found
    return _one_by_one(members)


def _one_by_one(members: int) -> Iterator[int]:
    while members:
        lowest = members & -members
        yield lowest.bit_length() - 1
        members ^= lowest


class _Builder:
    def __init__(self) -> None:
        self.chars: list[CharSet] = []
        self.follow: list[int] = []

    def fragment(self, pattern: Pattern) -> _Fragment:
        match pattern:
            case Chars(chars):
                self.chars.append(chars)
                self.follow.append(0)
                bit = 1 << (len(self.chars) - 1)
                return _Fragment(bit, bit, is_nullable=False)
            case Concat(parts):
                return self._series([self.fragment(part) for part in parts])
            case Union(options):
                found = [self.fragment(option) for option in options]
                first = last = 0
                for one in found:
                    first, last = first | one.first, last | one.last
                return _Fragment(first, last, any(one.is_nullable for one in found))
            case Repeat(body, low, high):
                return self._repeat(body, low, high)
            case Ref(name):
                raise AssertionError(f"rule {name} is not written out")

    def _repeat(self, body: Pattern, low: int, high: int | None) -> _Fragment:
        if is_nullable(body):
            low = 0
        parts = [self.fragment(body) for _ in range(low)]
        if high is None:
            loop = self.fragment(body)
            self._link(loop.last, loop.first)
            parts.append(loop._replace(is_nullable=True))
        elif high > low:
            parts.append(self._up_to(high - low, body))
        return self._series(parts)

    def _up_to(self, times: int, body: Pattern) -> _Fragment:
        """At least once, or not at all. Each begins behind the one before it, and every one may be the last."""
        whole = one = self.fragment(body)
        for _ in range(times - 1):
            before, one = one, self.fragment(body)
            self._link(before.last, one.first)
            whole = whole._replace(last=whole.last | one.last)
        return whole._replace(is_nullable=True)

    def _series(self, parts: Sequence[_Fragment]) -> _Fragment:
        """One after the other. From the last on, so that each is linked once, also to those behind empty ones."""
        whole = _EMPTY
        for part in reversed(parts):
            self._link(part.last, whole.first)
            whole = _Fragment(
                part.first | (whole.first if part.is_nullable else 0),
                whole.last | (part.last if whole.is_nullable else 0),
                part.is_nullable and whole.is_nullable,
            )
        return whole

    def _link(self, last: int, first: int) -> None:
        for position in positions(last) if first else ():
            self.follow[position] |= first
