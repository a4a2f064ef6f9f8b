"""Reads the text of a grammar, in the notation of llguidance, as far as its outputs can be followed here.

That is all of what `grammar.lowering` writes, and most of what people write in Lark.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.pattern import Chars, Concat, Pattern, Repeat, Union
from sglang.srt.grammar.python_regex import parse_regex
from sglang.srt.grammar.schema.numbers import NO_SPACE, Numbers, decimal_text, texts_of
from sglang.srt.grammar.witness.expressions import Expressions
from sglang.srt.grammar.witness.nodes import Expression

MAX_BYTES = 800_000
MAX_NESTING = 100

_QUOTED = r'"(?:\\.|[^"\\\n])*"'
_TOKEN = re.compile(
    rf"""(?P<space>(?:[ \t\r]|//[^\n]*|\#[^\n]*|->[ \t]*[A-Za-z_][A-Za-z0-9_-]*|^[?!](?=[A-Za-z_]))+)|(?P<line>\n)
    |(?P<json>%json\b)|(?P<ignore>%ignore\b)|(?P<name>[A-Za-z_][A-Za-z0-9_-]*)
    |(?P<range>{_QUOTED}[ ]*\.\.[ ]*{_QUOTED})|(?P<text>{_QUOTED}i?(?![A-Za-z]))
    |(?P<regex>/(?:\\.|[^/\\\n])+/[isu]*(?![A-Za-z]))
    |(?P<count>\{{\d*,?\d*\}}|~[ ]*\d+(?:[ ]*\.\.[ ]*\d+)?)|(?P<lazy>\[lazy\])|(?P<sign>[:|()\[\]?*+&~])""",
    re.VERBOSE | re.MULTILINE,
)
"""Aliases (``-> name``) and modifiers (``?name:``) say how to name what was read, and nothing of what is."""

_HEX_ESCAPE = re.compile(r"((?<!\\)(?:\\\\)*)\\x([0-9a-fA-F]{2})")
_RUST_ESCAPE = re.compile(r"\\(\\|x\{([0-9a-fA-F]+)\})")
_SETS_OF_RUST = ("&&", "--", "~~", "[[", "[:", "[^[")
"""What Python's regular expressions understand in another way. Our own spell all these characters as codes."""

_NUMBER_KEYWORDS = {"type", "multipleOf", "minimum", "maximum", *NO_SPACE}
_DECIMAL = r"-?(0|[1-9][0-9]*)(\.[0-9]+)?"
_COUNTS = {"?": (0, 1), "*": (0, None), "+": (1, None)}


IGNORED = "%ignore"
"""The name of a rule, which no other can have."""


class UnreadableError(Exception):
    """The grammar has something that is not followed here."""


class Token(NamedTuple):
    kind: str
    text: str


_ENDS_OF_SEQUENCES = {Token("line", "\n"), *(Token("sign", sign) for sign in "|)]&")}


class Rules(NamedTuple):
    """start: the name of the first one. bodies: of each rule; terminals stand in them as what they match. If there are
    some to be ignored, the rule IGNORED stands before each, for any number of them. ignored: what is to be written
    there, so that the terminals beside it are told apart; None if there is no such rule.
    """

    start: str
    bodies: dict[str, Expression]
    ignored: Expression | None = None


def read_lark(source: str, expressions: Expressions) -> Rules:
    """Raises UnreadableError."""
    return LarkReader(source, expressions).rules()


def _tokens(source: str) -> Iterator[Token]:
    place = 0
    while place < len(source):
        match = _TOKEN.match(source, place)
        if match is None:
            raise UnreadableError
        place = match.end()
        kind = str(match.lastgroup)
        if kind == "json":
            try:
                _, end = json.JSONDecoder().raw_decode(source, place := place + _blank(source, place))
            except (ValueError, RecursionError) as error:
                raise UnreadableError from error
            yield Token("json", source[place:end])
            place = end
        elif kind != "space":
            yield Token(kind, match[0])
    yield Token("line", "\n")


def _blank(source: str, place: int) -> int:
    rest = source[place : place + 1024]
    return len(rest) - len(rest.lstrip())


class LarkReader:
    """Both methods that can be called raise UnreadableError."""

    def __init__(self, source: str, expressions: Expressions) -> None:
        if len(source) > MAX_BYTES:
            raise UnreadableError
        self._make = expressions
        self._tokens = list(_tokens(source))
        self._place = 0
        self._depth = 0
        self._definitions = self._find_definitions()
        self._terminals: dict[str, Expression] = {}
        self._is_in_terminal = False
        self._ignored = self._find_ignored()

    def rules(self) -> Rules:
        names = [name for name in self._definitions if not _is_terminal(name)]
        bodies = {name: self._definition(name) for name in names}
        if not self._ignored:
            return Rules("start", bodies)
        ignored = self._make.union(self._ignored)
        return Rules("start", {**bodies, IGNORED: self._make.repeat(ignored, 0, None)}, ignored)

    def _find_definitions(self) -> dict[str, tuple[int, bool]]:
        """Where the body of each begins, and whether it is lazy. A definition begins a line."""
        found: dict[str, tuple[int, bool]] = {}
        for place, token in enumerate(self._tokens):
            begins = token.kind == "name" and (place == 0 or self._tokens[place - 1].kind == "line")
            if begins:
                is_lazy = self._tokens[place + 1].kind == "lazy"
                body = place + 2 + is_lazy
                if self._tokens[body - 1] != Token("sign", ":") or token.text in found:
                    raise UnreadableError
                found[token.text] = (body, is_lazy)
        if "start" not in found:
            raise UnreadableError
        return found

    def _find_ignored(self) -> list[Expression]:
        places = [place for place, token in enumerate(self._tokens) if token.kind == "ignore"]
        return [self._within_terminal(place + 1) for place in places]

    def _definition(self, name: str) -> Expression:
        place, is_lazy = self._definitions[name]
        if is_lazy:
            return self._lexeme(self._make.lazy(self._within_terminal(place)))
        return self._body(place)

    def _body(self, place: int) -> Expression:
        self._place = place
        body = self._union()
        if not self._is_at("line"):
            raise UnreadableError
        return body

    def _within_terminal(self, place: int) -> Expression:
        """What stands there, as one lexeme."""
        outer, self._is_in_terminal = self._is_in_terminal, True
        body = self._body(place)
        self._is_in_terminal = outer
        if not body.is_regular:
            raise UnreadableError
        return body

    def _lexeme(self, body: Expression) -> Expression:
        """As it stands in a rule."""
        if not self._ignored or body is self._make.empty:
            return body
        return self._make.concat([self._make.ref(IGNORED), body])

    def _terminal(self, name: str) -> Expression:
        if name not in self._terminals:
            if name not in self._definitions:
                raise UnreadableError
            self._terminals[name] = self._make.nothing  # one that refers to itself is no terminal
            outer = self._place
            place, is_lazy = self._definitions[name]
            body = self._within_terminal(place)
            self._place = outer
            self._terminals[name] = self._make.lazy(body) if is_lazy else body
        return self._terminals[name]

    # --- what stands in a definition

    def _union(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_NESTING:
            raise UnreadableError
        options = [self._intersection()]
        while self._takes("|") or self._takes_line_with_option():
            options.append(self._intersection())
        self._depth -= 1
        return self._make.union(options)

    def _intersection(self) -> Expression:
        parts = [self._sequence()]
        while self._takes("&"):
            parts.append(self._sequence())
        return self._make.both(parts) if len(parts) > 1 else parts[0]

    def _sequence(self) -> Expression:
        parts = []
        while self._tokens[self._place] not in _ENDS_OF_SEQUENCES:
            parts.append(self._counted())
        return self._make.concat(parts)

    def _counted(self) -> Expression:
        if self._takes("~"):
            return self._make.negation(self._counted())
        body = self._atom()
        while True:
            token = self._tokens[self._place]
            if token.kind == "count":
                bounds = _bounds(token.text)
            elif token.kind == "sign" and token.text in _COUNTS:
                bounds = _COUNTS[token.text]
            else:
                return body
            self._place += 1
            body = self._make.repeat(body, *bounds)

    def _atom(self) -> Expression:
        token = self._tokens[self._place]
        self._place += 1
        match token.kind:
            case "name" if not _is_terminal(token.text):
                return self._rule(token.text)
            case "lazy":
                return self._make.repeat(self._rule("lazy"), 0, 1)
            case "sign" if token.text == "(":
                return self._until(")")
            case "sign" if token.text == "[":
                return self._make.repeat(self._until("]"), 0, 1)
        body = self._part_of_terminal(token)
        return body if self._is_in_terminal else self._lexeme(body)

    def _part_of_terminal(self, token: Token) -> Expression:
        match token.kind:
            case "text" if token.text.endswith("i"):
                return self._pattern(_parsed(re.escape(_unquoted(token.text[:-1])), "i"))
            case "text":
                return self._make.literal(_unquoted(token.text))
            case "range":
                return self._make.chars(_range(token.text))
            case "regex":
                regex, _, flags = token.text[1:].rpartition("/")
                return self._pattern(_parsed(regex, flags))
            case "name":
                return self._terminal(token.text)
            case "json":
                return self._multiples(token.text)
        raise UnreadableError

    def _until(self, sign: str) -> Expression:
        inner = self._union()
        if not self._takes(sign):
            raise UnreadableError
        return inner

    def _rule(self, name: str) -> Expression:
        if name not in self._definitions:
            raise UnreadableError
        return self._make.ref(name)

    def _pattern(self, pattern: Pattern) -> Expression:
        match pattern:
            case Chars(members):
                return self._make.chars(members)
            case Concat(parts):
                return self._make.concat(map(self._pattern, parts))
            case Union(options):
                return self._make.union(map(self._pattern, options))
            case Repeat(body, low, high):
                return self._make.repeat(self._pattern(body), low, high)
        raise UnreadableError

    def _multiples(self, schema: str) -> Expression:
        """What the lowering leaves to the library: numbers that are multiples of another, within bounds."""
        fields = json.loads(schema, parse_float=Decimal)
        if not (isinstance(fields, dict) and {"type", "multipleOf"} <= fields.keys() <= _NUMBER_KEYWORDS):
            raise UnreadableError
        low, high = (None if bound is None else Fraction(bound) for bound in map(fields.get, ("minimum", "maximum")))
        numbers = Numbers(low, high, whole=True if fields["type"] == "integer" else None)
        bounded = self._make.union(
            self._make.both(self._pattern(pattern) for pattern, _ in conditions) for conditions in texts_of(numbers)
        )
        multiple = Fraction(fields["multipleOf"])
        if multiple.denominator == 1 and (low is None or low < 0) and (high is None or high >= 0):
            bounded = self._make.union([bounded, self._make.literal("-0")])
        scale = len(decimal_text(multiple).partition(".")[2])
        divisible = self._make.multiple(int(multiple * 10**scale), scale)
        return self._make.both([self._pattern(_parsed(_DECIMAL)), bounded, divisible])

    # --- tokens

    def _is_at(self, kind: str, text: str | None = None) -> bool:
        token = self._tokens[self._place]
        return token.kind == kind and text in (None, token.text)

    def _takes(self, sign: str) -> bool:
        found = self._is_at("sign", sign)
        self._place += found
        return found

    def _takes_line_with_option(self) -> bool:
        """An option may stand on a line of its own."""
        place = self._place
        while place < len(self._tokens) and self._tokens[place].kind == "line":
            place += 1
        if place == self._place or place == len(self._tokens) or self._tokens[place] != Token("sign", "|"):
            return False
        self._place = place + 1
        return True


def _is_terminal(name: str) -> bool:
    return name.isupper()


def _bounds(count: str) -> tuple[int, int | None]:
    """Of ``{2,3}``, ``{2,}``, ``~ 2`` or ``~ 2..3``."""
    if count.startswith("~"):
        low, _, high = count[1:].partition("..")
        return int(low), int(high or low)
    low, comma, high = count[1:-1].partition(",")
    return int(low or 0), (int(high) if high else None) if comma else int(low or 0)


def _range(text: str) -> cs.CharSet:
    low, high = map(_unquoted, re.findall(_QUOTED, text))
    if len(low) != 1 or len(high) != 1 or low > high:
        raise UnreadableError
    return ((ord(low), ord(high)),)


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(_HEX_ESCAPE.sub(r"\1\\u00\2", text)))
    except ValueError as error:
        raise UnreadableError from error


@lru_cache(maxsize=4096)
def _parsed(regex: str, flags: str = "") -> Pattern:
    if any(sign in regex for sign in _SETS_OF_RUST):
        raise UnreadableError
    plain = _RUST_ESCAPE.sub(_python_escape, regex.replace("\\/", "/"))
    flags = flags.replace("u", "")
    try:
        return parse_regex("regex", f"(?{flags}){plain}" if flags else plain)
    except InvalidRequestError as error:
        raise UnreadableError from error


def _python_escape(match: re.Match[str]) -> str:
    return match[0] if match[2] is None else f"\\U{int(match[2], 16):08x}"
