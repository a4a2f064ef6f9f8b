"""Python's regular expressions, read by Python's own parser and turned into what they mean under ``re.fullmatch``.

Everything that depends on Unicode tables or on case is asked of Python's own engine, so that what is generated matches
the pattern for whoever checks it with ``re``.

Of what may be generated, `\\d` and `\\w` leave out digits and numerals beyond ASCII's. Hardly anybody who writes
`\\d` means them, and a byte that begins many of them begins emoji, too: a model that would rather write one of these
than a number had to go on with such a digit. Sets of all characters, such as `[\\w\\W]`, keep them.
"""

from __future__ import annotations

import re
import sys
import warnings
from array import array
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.charset import CharSet
from sglang.srt.grammar.limits import MAX_LITERALS, MAX_NESTING, MAX_POSITIONS, check_size
from sglang.srt.grammar.pattern import EMPTY_TEXT, Pattern, chars, concat, repeat, union

if sys.version_info >= (3, 11):
    from re import _constants as op
    from re import _parser as parser
else:
    import sre_constants as op
    import sre_parse as parser

_CATEGORIES = {
    op.CATEGORY_DIGIT: r"\d",
    op.CATEGORY_NOT_DIGIT: r"\D",
    op.CATEGORY_SPACE: r"\s",
    op.CATEGORY_NOT_SPACE: r"\S",
    op.CATEGORY_WORD: r"\w",
    op.CATEGORY_NOT_WORD: r"\W",
}
_WITH_DIGITS = (op.CATEGORY_DIGIT, op.CATEGORY_WORD)
START_ANCHORS = (op.AT_BEGINNING, op.AT_BEGINNING_STRING)
END_ANCHORS = (op.AT_END, op.AT_END_STRING)
_FLAGS_OF_CHARS = int(re.IGNORECASE | re.ASCII)
_LAST_CODE_POINT = 0x10FFFF
_BLOCK = 256

_WORD_BOUNDARY, _LOOKAROUND, _BACKREFERENCE = "a word boundary", "a lookaround", "a backreference"
_CONDITIONAL, _ATOMIC, _POSSESSIVE = "a conditional group", "an atomic group", "a possessive quantifier"
_TOKENS = re.compile(
    r"(?P<boundary>\\[bB])|(?P<backreference>\\[1-9]|\(\?P=)|(?P<start>\^|\\A)|(?P<end>\$|\\Z)|\\."
    r"|\[\^?\]?(?:\\.|[^\]\\])*\]|(?P<lookaround>\(\?<?[=!])|(?P<conditional>\(\?\()|(?P<atomic>\(\?>)"
    r"|(?P<possessive>[*+?}]\+)",
    re.DOTALL,
)
_NO_LITERALS = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]?|\(\?[^)>:]*[>:)]?|\{[^}]*\}?|[|()^$.*+?]", re.DOTALL)
"""What is begun and not ended goes to the end, so that no character is looked at more often than once."""

_GROUPS = {
    _WORD_BOUNDARY: "boundary",
    _LOOKAROUND: "lookaround",
    _BACKREFERENCE: "backreference",
    _CONDITIONAL: "conditional",
    _ATOMIC: "atomic",
    _POSSESSIVE: "possessive",
}


def parse_regex(name: str, source: str, plain_digits: bool = False) -> Pattern:
    """The texts that ``re.fullmatch(source, text)`` accepts. plain_digits: but for the digits that are left out of what
    is generated.

    Raises InvalidRequestError, which begins with `name`, for what is no regular expression, for what is none in the
    strict sense (lookaround, backreferences and their like), and for what is larger than the limits.
    """
    check_size(name, source)
    parsed = parse_tree(name, source)
    return RegexReader(name, source, plain_digits).sequence(parsed, parsed.state.flags, first=True, last=True)


def parse_tree(name: str, source: str) -> Any:
    """As Python's own parser gives it. Raises InvalidRequestError, which begins with `name`."""
    if len(source) > MAX_LITERALS and len(_NO_LITERALS.sub("", source)) > MAX_LITERALS:
        raise InvalidRequestError(
            f"{name} has more than {MAX_LITERALS} literal characters, which is not supported: {shown(source)}"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Python finds questionable is still what the user wrote
            return parser.parse(source)
    except re.error as error:
        place = "" if error.pos is None else f" at position {error.pos}"
        raise InvalidRequestError(f"{name} is not a regular expression: {error.msg}{place}: {shown(source)}") from error
    except OverflowError as error:
        raise InvalidRequestError(f"{name}: {error}: {shown(source)}") from error
    except RecursionError as error:
        raise _too_deep(name, source) from error


class RegexReader:
    """`first` and `last` say whether nothing but anchors stands before or after a part, whatever the text.

    There an anchor says nothing that ``fullmatch`` does not say already. Everywhere else it is refused.
    """

    def __init__(self, name: str, source: str, plain_digits: bool = False) -> None:
        self._name = name
        self._source = source
        self._plain_digits = plain_digits
        self._depth = 0
        self._num_chars = 0

    def sequence(self, items: Any, flags: int, first: bool, last: bool) -> Pattern:
        if self._depth > MAX_NESTING:
            raise _too_deep(self._name, self._source)
        self._depth += 1
        items = list(items)
        wide = [index for index, item in enumerate(items) if _has_width(item)]
        begin, end = (wide[0], wide[-1]) if wide else (len(items), 0)
        parts = [
            self._item(item, flags, first and index <= begin, last and index >= end) for index, item in enumerate(items)
        ]
        self._depth -= 1
        return concat(parts)

    def _item(self, item: Any, flags: int, first: bool, last: bool) -> Pattern:
        kind, value = item
        if kind in (op.LITERAL, op.NOT_LITERAL, op.IN, op.ANY):
            return chars(self._chars(kind, value, flags))
        if kind is op.BRANCH:
            return union(self.sequence(option, flags, first, last) for option in value[1])
        if kind is op.SUBPATTERN:
            _, added, removed, body = value
            return self.sequence(body, (flags | added) & ~removed, first, last)
        if kind in (op.MAX_REPEAT, op.MIN_REPEAT):
            low, high, body = value
            once = high <= 1
            inner = self.sequence(body, flags, first and once, last and once)
            return repeat(inner, int(low), None if high is op.MAXREPEAT else int(high))
        if kind is op.AT and (anchor := self.anchor(value, first, last)) is not None:
            return anchor
        raise self._refusal(kind, value)

    def anchor(self, value: Any, first: bool, last: bool) -> Pattern | None:
        """What an anchor stands for; None if it is not supported here."""
        if (value in START_ANCHORS and first) or (value in END_ANCHORS and last):
            return EMPTY_TEXT
        return None

    def _chars(self, kind: Any, value: Any, flags: int) -> CharSet:
        self._num_chars += 1
        if self._num_chars > MAX_POSITIONS:  # before more work is done for what is refused anyway
            raise InvalidRequestError(
                f"{self._name} has more than {MAX_POSITIONS} characters, which is not supported: {shown(self._source)}"
            )
        if kind is op.ANY:
            return cs.ANY if flags & re.DOTALL else cs.complement(cs.single("\n"))
        items = tuple(value) if kind is op.IN else ((op.LITERAL, value),)
        if kind is op.NOT_LITERAL:
            items = ((op.NEGATE, None), *items)
        for code_point in _code_points(items):
            if 0xD800 <= code_point <= 0xDFFF:
                raise InvalidRequestError(
                    f"{self._name} has the lone surrogate \\u{code_point:x}, which is no character: "
                    f"{shown(self._source)}"
                )
        return _chars_of(items, flags & _FLAGS_OF_CHARS, self._plain_digits)

    def _refusal(self, kind: Any, value: Any) -> InvalidRequestError:
        if kind is op.AT and value in (*START_ANCHORS, *END_ANCHORS):
            at_start = value in START_ANCHORS
            places = self._places("start" if at_start else "end")
            where = "beginning" if at_start else "end"
            return InvalidRequestError(
                f"{self._name} has an anchor ({places}) elsewhere than at its {where}, which is not supported: "
                f"{shown(self._source)}"
            )
        construct = {
            "AT": _WORD_BOUNDARY,
            "ASSERT": _LOOKAROUND,
            "ASSERT_NOT": _LOOKAROUND,
            "FAILURE": _LOOKAROUND,
            "GROUPREF": _BACKREFERENCE,
            "GROUPREF_EXISTS": _CONDITIONAL,
            "ATOMIC_GROUP": _ATOMIC,
            "POSSESSIVE_REPEAT": _POSSESSIVE,
        }[str(kind)]
        places = self._places(_GROUPS[construct])
        return InvalidRequestError(
            f"{self._name} has {construct} ({places}), which is not supported: {shown(self._source)}"
        )

    def _places(self, group: str) -> str:
        found = [str(match.start()) for match in _TOKENS.finditer(self._source) if match.lastgroup == group]
        return f"position {', '.join(found[:5])}" if found else "in a flag group"


def _too_deep(name: str, source: str) -> InvalidRequestError:
    return InvalidRequestError(f"{name} is nested more than {MAX_NESTING} levels deep: {shown(source)}")


def _has_width(item: tuple[Any, Any]) -> bool:
    """False for anchors, and for groups of nothing else."""
    kind, value = item
    if kind is op.AT:
        return False
    if kind is op.SUBPATTERN:
        return any(map(_has_width, value[3]))
    return True


def _code_points(items: Sequence[tuple[Any, Any]]) -> Iterator[int]:
    for kind, value in items:
        if kind is op.LITERAL:
            yield value
        elif kind is op.RANGE:
            yield from value


@lru_cache(maxsize=4096)
def _chars_of(items: tuple[tuple[Any, Any], ...], flags: int, plain_digits: bool) -> CharSet:
    is_negated = items[0][0] is op.NEGATE
    members = items[1:] if is_negated else items
    found = cs.union(*(_member(kind, value, flags & re.ASCII) for kind, value in members))
    if is_negated:
        found = cs.complement(found)
    if flags & re.IGNORECASE:
        matching = re.findall(_spelled(items), _cased_text(), flags)
        found = cs.union(cs.difference(found, _cased_chars()), cs.characters(matching))
    named = tuple((kind, value) for kind, value in items if kind is not op.CATEGORY or value not in _WITH_DIGITS)
    if not plain_digits or is_negated or len(named) == len(items) or found == cs.ANY:
        return found
    plain = cs.difference(found, _far_numerals())
    return cs.union(plain, _chars_of(named, flags, False)) if named else plain


def _member(kind: Any, value: Any, flags: int) -> CharSet:
    if kind is op.CATEGORY:
        return _category(_CATEGORIES[value], flags)
    low, high = value if kind is op.RANGE else (value, value)
    return cs.charset([(low, high)])


def _spelled(items: tuple[tuple[Any, Any], ...]) -> str:
    """The set as Python would write it."""
    parts = []
    for kind, value in items:
        if kind is op.NEGATE:
            parts.append("^")
        elif kind is op.CATEGORY:
            parts.append(_CATEGORIES[value])
        else:
            low, high = value if kind is op.RANGE else (value, value)
            parts.append(f"\\U{low:08x}-\\U{high:08x}")
    return f"[{''.join(parts)}]"


@lru_cache(maxsize=1)
def _all_text() -> str:
    """Every character, in order; surrogates too, so that the index is the code point."""
    return array("I", range(_LAST_CODE_POINT + 1)).tobytes().decode(f"utf-32-{sys.byteorder[0]}e", "surrogatepass")


@lru_cache(maxsize=32)
def _category(name: str, flags: int) -> CharSet:
    return cs.charset((match.start(), match.end() - 1) for match in re.finditer(f"{name}+", _all_text(), flags))


@lru_cache(maxsize=1)
def _far_numerals() -> CharSet:
    """Digits and numerals beyond ASCII; those that are letters as well, as in Chinese, are none."""
    return cs.characters(c for c in re.findall(r"\w", _all_text()[0x80:]) if not c.isalpha())


@lru_cache(maxsize=1)
def _cased_text() -> str:
    """The characters that upper and lower case make a difference to: those that are one, or that one becomes."""
    text = _all_text()
    blocks = (text[start : start + _BLOCK] for start in range(0, len(text), _BLOCK))
    some_cased = (block for block in blocks if not block.lower() == block.upper() == block)  # a hundredth of them
    cased = (c for block in some_cased for c in block if not c.lower() == c.upper() == c)
    return "".join(sorted({one for c in cased for one in (c, *c.lower(), *c.upper())}))


@lru_cache(maxsize=1)
def _cased_chars() -> CharSet:
    return cs.characters(_cased_text())
