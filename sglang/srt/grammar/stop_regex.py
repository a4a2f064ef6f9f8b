"""Regular expressions that end a generation, searched for as the text grows, in time linear in the text.

Every way in which the text read so far may become a match is followed at once, so no pattern is slow. A way remembers
where it began: the first match to be complete counts, of those complete at once the longest.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.automaton import Automaton, build, positions
from sglang.srt.grammar.pattern import NOTHING, num_positions
from sglang.srt.grammar.python_regex import parse_regex

MAX_STOP_POSITIONS = 1_000
"""Characters that the patterns of a request name together, their repetitions written out."""

_MAX_REMEMBERED_CHARACTERS = 4_096


class Match(NamedTuple):
    end: int
    start: int
    source: str


class StopPattern:
    """Shared by all requests that have it."""

    def __init__(self, source: str, automaton: Automaton) -> None:
        self.source = source
        self._automaton = automaton
        self.last = automaton.last
        self._readers: dict[str, int] = {}

    @property
    def size(self) -> int:
        """Characters that it names, its repetitions written out."""
        return len(self._automaton.chars)

    @property
    def first(self) -> int:
        return self._automaton.first

    def readers(self, character: str) -> int:
        """The positions that read it."""
        found = self._readers.get(character)
        if found is None:
            if len(self._readers) >= _MAX_REMEMBERED_CHARACTERS:
                self._readers.clear()
            chars = self._automaton.chars
            found = sum(1 << place for place, members in enumerate(chars) if cs.contains(members, character))
            self._readers[character] = found
        return found

    def after(self, members: int) -> int:
        following = 0
        for position in positions(members):
            following |= self._automaton.follow[position]
        return following


@lru_cache(maxsize=256)
def compile_stop_regex(source: str) -> StopPattern:
    """Raises InvalidRequestError for a pattern that is no regular expression in the strict sense, see `parse_regex`,
    that matches nothing or the empty text, or that is too large.
    """
    pattern = parse_regex("stop_regex", source)
    _check_size(num_positions(pattern), source)
    automaton = build(pattern)
    if pattern == NOTHING or automaton.is_nullable:
        what = "the empty text" if automaton.is_nullable else "no text at all"
        raise InvalidRequestError(f"stop_regex matches {what}, and would stop at once or never: {shown(source)}")
    return StopPattern(source, automaton)


def check_stop_regexes(sources: Iterable[str]) -> None:
    """Raises InvalidRequestError for the first that cannot be used, and for more than can be followed together."""
    size = 0
    for source in sources:
        size += compile_stop_regex(source).size
        _check_size(size, source)


def _check_size(num_characters: int, source: str) -> None:
    if num_characters > MAX_STOP_POSITIONS:
        raise InvalidRequestError(
            f"stop_regex has {num_characters} characters with its repetitions written out; "
            f"at most {MAX_STOP_POSITIONS} are supported, of all patterns together: {shown(source)}"
        )


class StopSearch:
    """Looks for one pattern in one growing text. Offsets count bytes from the beginning of the text."""

    def __init__(self, pattern: StopPattern) -> None:
        self._pattern = pattern
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._num_bytes = 0
        self._character_start = 0
        self._ways: dict[int, int] = {}  # from where it began to the positions it is at, oldest first

    def push(self, data: bytes) -> list[Match]:
        """Read on. The matches that end in `data`, in the order in which they end."""
        matches: list[Match] = []
        for byte in data:
            self._num_bytes += 1
            for character in self._decoder.decode(bytes([byte])):
                matches += self._read(character)
                self._character_start = self._num_bytes
        return matches

    @property
    def undecided_from(self) -> int:
        """Where the oldest text begins that may still become a match."""
        return min(next(iter(self._ways), self._num_bytes), self._character_start)

    def _read(self, character: str) -> list[Match]:
        ways: dict[int, int] = {}
        matches: list[Match] = []
        left = self._pattern.readers(character)  # positions that no older way is at: that one always wins
        candidates = [(start, self._pattern.after(at)) for start, at in self._ways.items()]
        for start, expected in [*candidates, (self._character_start, self._pattern.first)]:
            at = expected & left
            left ^= at
            if at & self._pattern.last:
                matches.append(Match(self._num_bytes, start, self._pattern.source))
            if at:
                ways[start] = at
        self._ways = ways
        return matches
