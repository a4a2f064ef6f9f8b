"""Reading JSON as it arrives, strictly: what is not JSON is known at its first wrong character."""

from __future__ import annotations

import re
from collections.abc import Callable

from sglang.srt.formats.growing_text import GrowingText, Reader

MAX_DEPTH = 100
"""Of values within values."""

SPACE = re.compile(r"[ \t\n\r]*")
_PLAIN = re.compile(r'[^"\\\x00-\x1f]*')
_DIGITS = re.compile(r"[0-9]*")
_LITERALS = {"t": "true", "f": "false", "n": "null"}


class MalformedError(Exception):
    """The text is not what it began as."""


def expect(source: GrowingText, literal: str) -> Reader[None]:
    if not (yield from source.take(literal)):
        raise MalformedError


def read_value(source: GrowingText, depth: int = 0) -> Reader[None]:
    """Read one value, without space around it. Raises MalformedError where there is none, `source` at the mistake."""
    first = yield from source.peek()
    if depth > MAX_DEPTH:
        raise MalformedError
    if first == "{":
        yield from read_object(source, lambda key: read_value(source, depth + 1))
    elif first == "[":
        yield from read_array(source, lambda: read_value(source, depth + 1))
    elif first == '"':
        yield from read_string(source)
    elif first in _LITERALS:
        yield from expect(source, _LITERALS[first])
    else:
        yield from _read_number(source)


def read_object(source: GrowingText, read_member: Callable[[str], Reader[None]]) -> Reader[None]:
    """`read_member` reads the value of a key, which it is given as written between its quotes. Raises as above."""
    yield from expect(source, "{")
    yield from source.take_all(SPACE)
    if (yield from source.take("}")):
        return
    while True:
        key = yield from read_string(source)
        yield from source.take_all(SPACE)
        yield from expect(source, ":")
        yield from source.take_all(SPACE)
        yield from read_member(key)
        yield from source.take_all(SPACE)
        if (yield from source.take("}")):
            return
        yield from expect(source, ",")
        yield from source.take_all(SPACE)


def read_array(source: GrowingText, read_item: Callable[[], Reader[None]]) -> Reader[None]:
    """Raises as above."""
    yield from expect(source, "[")
    yield from source.take_all(SPACE)
    if (yield from source.take("]")):
        return
    while True:
        yield from read_item()
        yield from source.take_all(SPACE)
        if (yield from source.take("]")):
            return
        yield from expect(source, ",")
        yield from source.take_all(SPACE)


def read_string(source: GrowingText) -> Reader[str]:
    """What stands between the quotes, as written. Raises as above."""
    yield from expect(source, '"')
    start = source.place
    while True:
        yield from source.take_all(_PLAIN)
        if (yield from source.take('"')):
            return source.text[start : source.place - 1]
        yield from expect(source, "\\")
        escape = yield from source.peek()
        source.place += 1
        if escape == "u":
            yield from _read_hex(source)
        elif escape not in tuple('"\\/bfnrt'):
            raise MalformedError


def _read_hex(source: GrowingText) -> Reader[None]:
    for _ in range(4):
        digit = yield from source.peek()
        if digit not in tuple("0123456789abcdefABCDEF"):
            raise MalformedError
        source.place += 1


def _read_number(source: GrowingText) -> Reader[None]:
    yield from source.take("-")
    if not (yield from source.take("0")):
        yield from _read_digits(source)
    if (yield from source.take(".")):
        yield from _read_digits(source)
    if (yield from source.peek()) in ("e", "E"):
        source.place += 1
        if (yield from source.peek()) in ("+", "-"):
            source.place += 1
        yield from _read_digits(source)


def _read_digits(source: GrowingText) -> Reader[None]:
    if not (yield from source.take_all(_DIGITS)):
        raise MalformedError
