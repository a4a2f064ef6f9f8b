"""Position automata: one state for every character that a regular expression names, its repetitions written out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from sglang.srt.grammar.charset import CharSet
from sglang.srt.grammar.pattern import Chars, Concat, Pattern, Ref, Repeat, Union


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


def positions(members: int) -> Iterator[int]:
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
                whole = _EMPTY
                for part in parts:
                    whole = self._then(whole, self.fragment(part))
                return whole
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
        whole = _EMPTY
        for _ in range(low):
            whole = self._then(whole, self.fragment(body))
        if high is None:
            loop = self.fragment(body)
            self._link(loop.last, loop.first)
            return self._then(whole, loop._replace(is_nullable=True))
        for _ in range(high - low):
            whole = self._then(whole, self.fragment(body)._replace(is_nullable=True))
        return whole

    def _then(self, one: _Fragment, other: _Fragment) -> _Fragment:
        self._link(one.last, other.first)
        return _Fragment(
            one.first | (other.first if one.is_nullable else 0),
            other.last | (one.last if other.is_nullable else 0),
            one.is_nullable and other.is_nullable,
        )

    def _link(self, last: int, first: int) -> None:
        for position in positions(last):
            self.follow[position] |= first
