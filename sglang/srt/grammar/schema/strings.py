"""Sets of texts: those of a finite list, or those that match some patterns and not others; and how JSON writes them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TypeVar

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.automaton import Automaton, build, positions
from sglang.srt.grammar.lark import TerminalWriter
from sglang.srt.grammar.pattern import (
    EMPTY_TEXT,
    NOTHING,
    Chars,
    Concat,
    Pattern,
    Repeat,
    Union,
    chars,
    concat,
    literal,
    repeat,
    union,
)
from sglang.srt.grammar.python_regex import parse_regex
from sglang.srt.grammar.text_matcher import ByteMatchers, TextMatcher, shared_text_matcher

_MAX_PAIRS = 20_000
"""Of characters of a text and of a pattern, to be looked at beside each other."""

MAX_PATTERNS_AT_ONCE = 8
"""That one text has to match. The library makes states of all ways in which some have been found and others not: of
nine such patterns it misses texts, of thirty it takes all memory.
"""

_T = TypeVar("_T")
Conditions = tuple[tuple[Pattern, bool], ...]
"""Patterns to match, marked True, and patterns not to match."""


@dataclass(frozen=True)
class Strings:
    """texts: the whole set, if it is finite; then the other fields say nothing more.

    excluded: texts that do not count. chosen: what is generated besides, see `Format`. preferred: the
    same, where that leaves any.
    """

    texts: tuple[str, ...] | None = None
    conditions: Conditions = ()
    excluded: frozenset[str] = frozenset()
    shortest: int = 0
    longest: int | None = None
    chosen: Conditions = ()
    preferred: Conditions = ()

    @cached_property
    def _set(self) -> frozenset[str]:
        return frozenset(self.texts or ())

    def has(self, text: str) -> bool:
        if self.texts is not None:
            return text in self._set
        return (
            text not in self.excluded
            and self.shortest <= len(text)
            and (self.longest is None or len(text) <= self.longest)
            and hold(self.conditions, text)
        )

    def meet(self, other: Strings) -> Strings | None:
        """None if no text is in both; what is merely chosen counts as being there."""
        if self.texts is not None or other.texts is not None:
            texts, rest = (self, other) if self.texts is not None else (other, self)
            left = tuple(text for text in texts.texts or () if rest.has(text))
            return Strings(left, chosen=_joined(self.chosen, other.chosen)) if left else None
        bounds = [bound for bound in (self.longest, other.longest) if bound is not None]
        met = Strings(
            None,
            _joined(self.conditions, other.conditions),
            self.excluded | other.excluded,
            max(self.shortest, other.shortest),
            min(bounds, default=None),
            _joined(self.chosen, other.chosen),
            _joined(self.preferred, other.preferred),
        )
        return None if met.is_empty else met

    @property
    def is_empty(self) -> bool:
        """Sure if True. Not asked of the library where nothing can be in the way."""
        if self.texts is not None:
            return not self.texts
        if any(is_wanted and pattern == NOTHING for pattern, is_wanted in self.conditions):
            return True
        if self.longest is not None and self.longest < self.shortest:
            return True
        is_plain = not self.conditions or (
            [wanted for _, wanted in self.conditions] == [True] and not self.shortest and self.longest is None
        )
        if is_plain and (not self.excluded or (self.longest is None and not self.conditions)):
            return False
        return _is_nowhere(Strings(None, self.conditions, self.excluded, self.shortest, self.longest))

    @property
    def generates_nothing(self) -> bool:
        """Sure if True. After what is chosen."""
        if self.texts is not None:
            return not self.generated_texts
        return self.is_empty or (bool(self.chosen) and _is_nowhere(self))

    @property
    def generated_texts(self) -> tuple[str, ...]:
        return tuple(filter(self.generates, self.texts or ()))

    def generates(self, text: str) -> bool:
        return self.has(text) and hold(self.chosen, text)

    @property
    def _narrowed(self) -> Strings:
        """With what is preferred among what is chosen, unless nothing is left then."""
        preferred = replace(self, chosen=_joined(self.chosen, self.preferred), preferred=())
        is_too_much = preferred._num_patterns > MAX_PATTERNS_AT_ONCE
        return replace(self, preferred=()) if is_too_much or _is_nowhere(preferred) else preferred

    @property
    def _num_patterns(self) -> int:
        """To be matched at once."""
        return sum(is_wanted for _, is_wanted in _joined(self.conditions, self.chosen))

    def terminal(self, writer: TerminalWriter, end: Pattern = EMPTY_TEXT) -> str:
        """As JSON, between quotes and with `end` behind it. Raises InvalidRequestError for too many patterns."""
        if self.preferred:
            return self._narrowed.terminal(writer, end)
        if self.texts is not None:
            options = union(concat([literal(_spelled(text)), end]) for text in self.generated_texts)
            return writer.write(options)
        if self._num_patterns > MAX_PATTERNS_AT_ONCE:
            raise InvalidRequestError(
                f"json_schema has {self._num_patterns} patterns for the same text; at most {MAX_PATTERNS_AT_ONCE} are "
                "supported"
            )
        is_free = not self.conditions and not self.excluded and not self.chosen
        conditions = _joined(self.conditions, self.chosen)
        wanted = [_quoted(pattern, end) for pattern, is_wanted in conditions if is_wanted]
        if self.shortest or self.longest is not None or not wanted:
            unit = _FREE_CHARACTER if is_free and end == EMPTY_TEXT else _CHARACTER
            wanted.append(concat([_QUOTE, repeat(unit, self.shortest, self.longest), _QUOTE, end]))
        unwanted = [_quoted(pattern, end) for pattern, is_wanted in conditions if not is_wanted]
        if self.excluded:
            unwanted.append(union(concat([literal(_spelled(text)), end]) for text in sorted(self.excluded)))
        return " & ".join(
            [*(f"({writer.write(one)})" for one in wanted), *(f"~({writer.write(one)})" for one in unwanted)]
        )


def denials(conditions: Conditions) -> list[Strings]:
    """The texts of which they do not all hold. No text is in two."""
    return [
        Strings(None, (*conditions[:number], (pattern, not wanted)))
        for number, (pattern, wanted) in enumerate(conditions)
    ]


def hold(conditions: Conditions, text: str) -> bool:
    return all(matches(pattern, text) == wanted for pattern, wanted in conditions)


@lru_cache(maxsize=256)
def _automaton(pattern: Pattern) -> Automaton:
    return build(pattern)


@lru_cache(maxsize=4096)
def matches(pattern: Pattern, text: str) -> bool:
    """Raises InvalidRequestError where that is too much to find out."""
    automaton = _automaton(pattern)
    if len(text) * len(automaton.chars) > _MAX_PAIRS:
        return _matches_by_library(pattern, text)
    if not text:
        return automaton.is_nullable
    expected, at = automaton.first, 0
    for character in text:
        at = sum(1 << p for p in positions(expected) if cs.contains(automaton.chars[p], character))
        expected = 0
        for position in positions(at):
            expected |= automaton.follow[position]
    return bool(at & automaton.last)


def _matches_by_library(pattern: Pattern, text: str) -> bool:
    """Which makes states of sets of positions, and each of them once."""
    matcher, as_bytes = TextMatcher(_matchers(pattern)), text.encode(errors="surrogatepass")
    is_match = matcher.may_begin_with(as_bytes) and matcher.is_satisfied_by(as_bytes)
    if matcher.problem is not None:
        raise InvalidRequestError(f"json_schema has a pattern that is too large to be held against {shown(text)}")
    return is_match


@lru_cache(maxsize=64)
def _matchers(pattern: Pattern) -> ByteMatchers:
    writer = TerminalWriter()
    terminal = writer.write(pattern)
    return shared_text_matcher("\n".join(["start: TEXT", f"TEXT: {terminal}", *writer.definitions]) + "\n")


@lru_cache(maxsize=4096)
def _is_nowhere(strings: Strings) -> bool:
    writer = TerminalWriter()
    terminal = strings.terminal(writer)
    matcher = TextMatcher("\n".join(["start: TEXT", f"TEXT: {terminal}", *writer.definitions]) + "\n")
    return matcher.problem is None and matcher.matches_nothing()


def _joined(one: tuple[_T, ...], other: tuple[_T, ...]) -> tuple[_T, ...]:
    return tuple(dict.fromkeys((*one, *other)))


_QUOTE = literal('"')
_SHORT = {'"': '\\"', "\\": "\\\\", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPED = {**{chr(code): f"\\u{code:04x}" for code in range(0x20)}, **_SHORT}
_PLAIN = cs.difference(cs.ANY, cs.characters(_ESCAPED))


def _spelled(text: str) -> str:
    return '"' + "".join(_ESCAPED.get(character, character) for character in text) + '"'


def _quoted(pattern: Pattern, end: Pattern) -> Pattern:
    return concat([_QUOTE, _written(pattern), _QUOTE, end])


@lru_cache(maxsize=4096)
def _written(pattern: Pattern) -> Pattern:
    """What the texts look like in JSON: each character in one way only, so that sets stay as they lie to each other."""
    match pattern:
        case Chars(members):
            escaped = [spelling for character, spelling in _ESCAPED.items() if cs.contains(members, character)]
            plain = cs.difference(members, cs.characters(_ESCAPED)) if escaped else members
            return union([chars(plain), _one_of(escaped)])
        case Concat(parts):
            return concat(map(_written, parts))
        case Union(options):
            return union(map(_written, options))
        case Repeat(body, low, high):
            return repeat(_written(body), low, high)
    raise AssertionError(f"{pattern} is no pattern of texts")


def _one_of(texts: Iterable[str]) -> Pattern:
    """None of them begins another. What they begin with alike is written once: a pattern is looked at place by place,
    by several readers.
    """
    after: dict[str, list[str]] = {}
    for text in texts:
        after.setdefault(text[:1], []).append(text[1:])
    last = chars(cs.characters(first for first, rests in after.items() if rests == [""]))
    longer = [concat([literal(first), _one_of(rests)]) for first, rests in after.items() if rests != [""]]
    return union([last, *longer])


_CHARACTER = _written(chars(cs.ANY))
_FREE_CHARACTER = union(
    [
        chars(_PLAIN),
        parse_regex(
            "escape",
            r'\\(["\\/bfnrt]|u([0-9a-cefA-CEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2}'
            r"|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}))",
        ),
    ]
)
"""However JSON allows to write it. Nothing is left out but halves of characters."""
