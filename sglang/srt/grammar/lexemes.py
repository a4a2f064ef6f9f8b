"""Rules cut into lexemes: the regular expressions that the rules of a recursive grammar are made of.

llguidance reads a lexeme as far as any lexeme allowed at that place goes on, and never comes back. So a lexeme may be
as long as one likes, which is fast, but only where what follows it cannot be mistaken for more of it. Lexemes start
out as long as possible; those that could be mistaken (see `overruns`) are split until none can. A single character
never can, so this ends, and the grammar means what its rules say.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

from sglang.srt.grammar.overruns import find_overruns
from sglang.srt.grammar.pattern import (
    EMPTY_TEXT,
    Chars,
    Concat,
    Pattern,
    Ref,
    Repeat,
    Union,
    concat,
    is_nullable,
    num_positions,
    references,
    repeat,
    union,
)

MAX_LEXEME_POSITIONS = 256


class LexedRules:
    """`rules` consist of references to each other and to places; `places` has the number in `lexemes` of what is read
    at each, which is never nothing.

    cuts: lexemes that must not be one, and the position where to split them.
    """

    def __init__(self, rules: Mapping[str, Pattern], cuts: Mapping[Pattern, int]) -> None:
        self._cuts = cuts
        self._numbers: dict[Pattern, int] = {}
        self.places: dict[str, int] = {}
        self.rules = {name: self._cut(body) for name, body in rules.items()}
        self.lexemes = list(self._numbers)

    def _cut(self, pattern: Pattern) -> Pattern:
        if _is_regular(pattern):
            return self._lexeme(pattern)
        match pattern:
            case Concat(parts):
                return concat(self._cut(part) for part in _joined(parts))
            case Union(options):
                regular = [option for option in options if _is_regular(option)]
                others = [option for option in options if not _is_regular(option)]
                return union(map(self._cut, [*others, union(regular)] if regular else others))
            case Repeat(body, low, high):
                return repeat(self._cut(body), low, high)
        return pattern

    def _lexeme(self, pattern: Pattern) -> Pattern:
        """A reference to it, or what it is split into."""
        if pattern == EMPTY_TEXT:
            return pattern
        fits = num_positions(pattern) <= MAX_LEXEME_POSITIONS
        if fits and is_nullable(pattern):
            return repeat(self._lexeme(not_empty(pattern)), 0, 1)
        if isinstance(pattern, Chars) or (fits and pattern not in self._cuts):
            place = f"place {len(self.places)}"
            self.places[place] = self._numbers.setdefault(pattern, len(self._numbers))
            return Ref(place)
        match pattern:
            case Concat(parts):
                end = self._num_before(pattern, parts)
                return concat([self._lexeme(concat(parts[:end])), self._lexeme(concat(parts[end:]))])
            case Union(options):
                return union(map(self._lexeme, options))
            case Repeat(body, low, high):
                return repeat(self._lexeme(body), low, high)
        raise AssertionError(f"{pattern} cannot be split")

    def _num_before(self, pattern: Pattern, parts: tuple[Pattern, ...]) -> int:
        """How many of the parts lie before the cut: some, but not all."""
        if pattern not in self._cuts:
            return len(parts) // 2
        ends = itertools.accumulate(map(num_positions, parts))
        return min(max(sum(end <= self._cuts[pattern] for end in ends), 1), len(parts) - 1)


def cut_into_lexemes(root: str, rules: Mapping[str, Pattern]) -> LexedRules:
    cuts: dict[Pattern, int] = {}
    while True:
        lexed = LexedRules(rules, cuts)
        overruns = find_overruns(root, lexed.rules, lexed.places, lexed.lexemes)
        mistaken = {lexed.lexemes[number]: position for number, position in overruns.items()}
        if not mistaken:
            return lexed
        cuts |= mistaken


def _is_regular(pattern: Pattern) -> bool:
    return next(references(pattern), None) is None


def _joined(parts: tuple[Pattern, ...]) -> list[Pattern]:
    """Regular parts that are neighbours become one."""
    joined: list[Pattern] = []
    for part in parts:
        if joined and _is_regular(part) and _is_regular(joined[-1]):
            joined[-1] = concat([joined[-1], part])
        else:
            joined.append(part)
    return joined


def not_empty(pattern: Pattern) -> Pattern:
    """What it matches but for the empty text."""
    match pattern:
        case Concat(()):
            return Union(())
        case Concat(parts) if is_nullable(pattern):  # halved: cut off one by one they would be written n^2 / 2 times
            before, after = concat(parts[: len(parts) // 2]), concat(parts[len(parts) // 2 :])
            return union([concat([not_empty(before), after]), not_empty(after)])
        case Union(options):
            return union(map(not_empty, options))
        case Repeat(body, _, high) if is_nullable(pattern):
            return repeat(not_empty(body), 1, high)
    return pattern
