"""EBNF as people write it for language models: ``root ::= "a" | [b-d]+ rest``, one rule for each name.

White space and line breaks mean nothing, ``#`` begins a comment, and a rule ends where the next one begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.charset import CharSet
from sglang.srt.grammar.limits import MAX_NESTING
from sglang.srt.grammar.pattern import Pattern, Ref, chars, concat, literal, repeat, union

ROOT = "root"

_TOKEN = re.compile(
    r"(?P<space>(?:\s|#[^\n]*)+)|(?P<name>[A-Za-z_][\w-]*)|(?P<defines>::=)"
    r"|(?P<text>\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"
    r"|(?P<set>\[\^?(?:\\.|[^\]\\\n])*\])|(?P<count>\{\s*\d{0,9}\s*(?:,\s*\d{0,9}\s*)?\})|(?P<sign>[|()*+?.])",
    re.ASCII,
)
_ESCAPE = re.compile(r"\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)", re.DOTALL)
_SHORT_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", **{sign: sign for sign in "\\\"'[]-^/."}}
_MAX_COUNT = 100_000
_COUNTS = {"*": (0, None), "+": (1, None), "?": (0, 1)}


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


def parse_ebnf(source: str) -> dict[str, Pattern]:
    """The rules by name. There is a rule ROOT, and every name that is used has one.

    Raises InvalidRequestError with the number of the line and what is wrong there.
    """
    return _Parser(list(_tokens(source))).rules()


def _tokens(source: str) -> Iterator[_Token]:
    place, line = 0, 1
    while place < len(source):
        match = _TOKEN.match(source, place)
        if match is None:
            raise _error(line, f"not understood: {shown(source[place:].splitlines()[0])}")
        if match.lastgroup != "space":
            yield _Token(str(match.lastgroup), match[0], line)
        line += match[0].count("\n")
        place = match.end()


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        last_line = tokens[-1].line if tokens else 1
        self._tokens = [*tokens, _Token("end", "the end", last_line), _Token("end", "the end", last_line)]
        self._place = 0
        self._depth = 0
        self._uses: dict[str, int] = {}  # a name and the line where it is used first

    def rules(self) -> dict[str, Pattern]:
        rules: dict[str, Pattern] = {}
        while self._next.kind != "end":
            if not self._begins_rule():
                raise _error(self._next.line, f"expected a rule, 'name ::= ...', not {self._next.text!r}")
            name = self._take()
            self._take()
            if name.text in rules:
                raise _error(name.line, f"rule {name.text!r} is defined twice")
            rules[name.text] = self._alternatives()
        for name_used, line in self._uses.items():
            if name_used not in rules:
                raise _error(line, f"there is no rule {name_used!r}; the rules are {shown(list(rules))}")
        if ROOT not in rules:
            raise InvalidRequestError(f"ebnf has no rule {ROOT!r} to begin with; the rules are {shown(list(rules))}")
        return rules

    @property
    def _next(self) -> _Token:
        return self._tokens[self._place]

    def _take(self) -> _Token:
        self._place += 1
        return self._tokens[self._place - 1]

    def _begins_rule(self) -> bool:
        return self._next.kind == "name" and self._tokens[self._place + 1].kind == "defines"

    def _alternatives(self) -> Pattern:
        options = [self._sequence()]
        while self._next.text == "|":
            self._take()
            options.append(self._sequence())
        return union(options)

    def _sequence(self) -> Pattern:
        parts = []
        while self._next.kind in ("name", "text", "set") or self._next.text in ("(", "."):
            if self._begins_rule():
                break
            parts.append(self._repeated(self._item()))
        return concat(parts)

    def _item(self) -> Pattern:
        token = self._take()
        if token.kind == "name":
            self._uses.setdefault(token.text, token.line)
            return Ref(token.text)
        if token.kind == "text":
            return literal("".join(_characters(token.text[1:-1], token.line)))
        if token.kind == "set":
            return chars(_set(token))
        if token.text == ".":
            return chars(cs.ANY)
        return self._group(token)

    def _group(self, opening: _Token) -> Pattern:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise _error(opening.line, f"groups are nested more than {MAX_NESTING} levels deep")
        inner = self._alternatives()
        if self._next.text != ")":
            raise _error(self._next.line, f"expected ')' for the '(' of line {opening.line}, not {self._next.text!r}")
        self._take()
        self._depth -= 1
        return inner

    def _repeated(self, item: Pattern) -> Pattern:
        while self._next.text in _COUNTS or self._next.kind == "count":
            token = self._take()
            low, high = _COUNTS[token.text] if token.text in _COUNTS else _count(token)
            item = repeat(item, low, high)
        return item


def _count(token: _Token) -> tuple[int, int | None]:
    low, comma, high = (part.strip() for part in token.text[1:-1].partition(","))
    if not low and not high:
        raise _error(token.line, f"{token.text} has no number")
    least = int(low or 0)
    most = int(high) if high else None if comma else least
    if max(least, most or 0) > _MAX_COUNT or (most is not None and most < least):
        raise _error(token.line, f"{shown(token.text)} is no repetition: at most {_MAX_COUNT}, the larger number last")
    return least, most


def _set(token: _Token) -> CharSet:
    body = token.text[1:-1]
    is_negated = body.startswith("^")
    members = list(_characters(body[is_negated:], token.line, in_set=True))
    ranges = []
    place = 0
    while place < len(members):
        is_range = members[place + 1 : place + 2] == ["-"] and place + 2 < len(members)
        low, high = (ord(members[end][-1]) for end in (place, place + 2 * is_range))
        if high < low:
            raise _error(token.line, f"{shown(token.text)} has a range whose end comes before its beginning")
        ranges.append((low, high))
        place += 1 + 2 * is_range
    if not ranges:
        raise _error(token.line, f"{shown(token.text)} is an empty set")
    found = cs.charset(ranges)
    return cs.complement(found) if is_negated else found


def _characters(body: str, line: int, in_set: bool = False) -> Iterator[str]:
    """The characters that `body` spells. In a set an escaped one keeps its backslash, so that it is no operator."""
    place = 0
    while place < len(body):
        if body[place] != "\\":
            yield body[place]
            place += 1
            continue
        match = _ESCAPE.match(body, place)
        assert match is not None, "a backslash is never the last character of a text or set"
        character = _unescaped(match[1], line)
        yield f"\\{character}" if in_set else character
        place = match.end()


def _unescaped(escape: str, line: int) -> str:
    if len(escape) == 1:
        if escape not in _SHORT_ESCAPES:
            raise _error(
                line, f"unknown escape '\\{escape}'; known are \\n \\r \\t \\\\ \\\" \\xHH \\uHHHH \\UHHHHHHHH"
            )
        return _SHORT_ESCAPES[escape]
    code_point = int(escape[1:], 16)
    if code_point > 0x10FFFF or 0xD800 <= code_point <= 0xDFFF:
        raise _error(line, f"'\\{escape}' is no character")
    return chr(code_point)


def _error(line: int, message: str) -> InvalidRequestError:
    return InvalidRequestError(f"ebnf, line {line}: {message}")
