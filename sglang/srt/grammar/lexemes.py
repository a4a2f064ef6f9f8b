"""Rules cut into lexemes: the regular expressions that the rules of a recursive grammar are made of.

llguidance reads a lexeme as far as any lexeme allowed at that place goes on, and never comes back. So a lexeme may be
as long as one likes, which is fast, but only where what follows it cannot be mistaken for more of it. Lexemes start
out as long as possible; those that are mistaken for one another (see `overruns`) are split until none is. A single
character never is, so this ends, and the grammar means what its rules say.
"""

from __future__ import annotations

from collections.abc import Mapping

from sglang.srt.grammar.overruns import find_overrunning
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
    """`rules` consist of references to each other and to `lexemes`, which are never empty."""

    def __init__(self, rules: Mapping[str, Pattern], to_split: frozenset[Pattern]) -> None:
        self._to_split = to_split
        self._names: dict[Pattern, str] = {}
        self.rules = {name: self._cut(body) for name, body in rules.items()}
        self.lexemes = {name: lexeme for lexeme, name in self._names.items()}

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
        if is_nullable(pattern):
            return repeat(self._lexeme(_not_empty(pattern)), 0, 1)
        if isinstance(pattern, Chars) or self._may_be_lexeme(pattern):
            return Ref(self._names.setdefault(pattern, f"lexeme {len(self._names)}"))
        match pattern:
            case Concat(parts):
                half = len(parts) // 2
                return concat([self._lexeme(concat(parts[:half])), self._lexeme(concat(parts[half:]))])
            case Union(options):
                return union(map(self._lexeme, options))
            case Repeat(body, low, high):
                return repeat(self._lexeme(body), low, high)
        raise AssertionError(f"{pattern} cannot be split")

    def _may_be_lexeme(self, pattern: Pattern) -> bool:
        return pattern not in self._to_split and num_positions(pattern) <= MAX_LEXEME_POSITIONS


def cut_into_lexemes(rules: Mapping[str, Pattern]) -> LexedRules:
    to_split: frozenset[Pattern] = frozenset()
    while True:
        lexed = LexedRules(rules, to_split)
        overrunning = find_overrunning(lexed.rules, lexed.lexemes)
        if not overrunning:
            return lexed
        to_split |= {lexed.lexemes[name] for name in overrunning}


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


def _not_empty(pattern: Pattern) -> Pattern:
    """What it matches but for the empty text."""
    match pattern:
        case Concat((first, *rest)) if is_nullable(pattern):
            return union([concat([_not_empty(first), *rest]), _not_empty(concat(rest))])
        case Concat(()):
            return Union(())
        case Union(options):
            return union(map(_not_empty, options))
        case Repeat(body, _, high) if is_nullable(pattern):
            return repeat(_not_empty(body), 1, high)
    return pattern
