"""The white space that a user wants between the tokens of JSON."""

from __future__ import annotations

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.pattern import EMPTY_TEXT, NOTHING, Chars, Concat, Pattern, Repeat, Union, num_positions
from sglang.srt.grammar.python_regex import parse_regex

MAX_WHITESPACE = 256
"""Characters that a pattern names, each counted as often as it may be repeated."""

_NAME = "whitespace_pattern"
_WITH_END = r"[ \n]{0,20}"
_SPACES = cs.characters(" \t\n\r")


def read_whitespace(source: str) -> Pattern:
    """A regular expression of nothing but the white space of JSON, and not without end: small models never stop
    writing it. The empty expression is none. Raises InvalidRequestError.
    """
    if not source:
        return EMPTY_TEXT
    pattern = parse_regex(_NAME, source)
    if pattern == NOTHING or not _is_space(pattern):
        raise InvalidRequestError(
            f"{_NAME} {shown(source)} matches more than the white space of JSON: space, \\t, \\n and \\r"
        )
    if _is_endless(pattern):
        raise InvalidRequestError(f"{_NAME} {shown(source)} has no end; give it one, as in {shown(_WITH_END)}")
    count = num_positions(pattern)
    if count > MAX_WHITESPACE:
        raise InvalidRequestError(
            f"{_NAME} {shown(source)} has {count} characters with its repetitions written out; at most "
            f"{MAX_WHITESPACE} are supported"
        )
    return pattern


def _is_space(pattern: Pattern) -> bool:
    match pattern:
        case Chars(members):
            return not cs.difference(members, _SPACES)
        case Concat(parts) | Union(parts):
            return all(map(_is_space, parts))
        case Repeat(body):
            return _is_space(body)
    raise AssertionError(f"{pattern} is no regular expression")


def _is_endless(pattern: Pattern) -> bool:
    match pattern:
        case Concat(parts) | Union(parts):
            return any(map(_is_endless, parts))
        case Repeat(body, _, high):
            return high is None or _is_endless(body)
    return False
