"""Calls of tools, as a model's text holds them, however it writes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sglang.srt.formats.growing_text import GrowingText, Reader
from sglang.srt.formats.json_text import SPACE, MalformedError, expect, read_array, read_object, read_string, read_value

_NAME = re.compile(r"[\w.:/-]*")
_OTHER_KEYS = ("id", "type")
"""That models write into a call without need."""


@dataclass
class Call:
    """``arguments`` is the text of a JSON object, as far as it has been read."""

    name: str | None = None
    arguments: str = ""


@dataclass
class Block:
    """The calls between two marks, as they are read from `source`. tools: by name the JSON Schema of the arguments."""

    source: GrowingText
    tools: Mapping[str, Mapping[str, Any]]
    calls: list[Call] = field(default_factory=list)
    _start: int | None = None

    def begin(self, name: str | None = None) -> Call:
        """Another call. Raises MalformedError if there is no tool of the name."""
        call = Call()
        self.calls.append(call)
        if name is not None:
            self.name(name)
        return call

    def name(self, name: str) -> None:
        """Of the last call. Raises as above."""
        if name not in self.tools:
            raise MalformedError
        self.calls[-1].name = name

    def read_arguments(self) -> Reader[None]:
        """Those of the last call, a JSON object or a string that holds one. Raises MalformedError."""
        first = yield from self.source.peek()
        if first == '"':
            self.calls[-1].arguments = _unquoted((yield from read_string(self.source)))
        elif first == "{":
            self._start = self.source.place
            yield from read_value(self.source)
            self.catch_up()
            self._start = None
        else:
            raise MalformedError

    def catch_up(self) -> None:
        """Let the last call have all that has been read of its arguments."""
        if self._start is not None:
            self.calls[-1].arguments = self.source.text[self._start : self.source.place]


Body = Callable[[Block], Reader[None]]
"""Reads all calls of a block, and leaves `source` behind the last. Raises MalformedError."""


def json_calls(block: Block) -> Reader[None]:
    """``{"name": ..., "arguments": {...}}``, or a list of such objects. ``parameters`` are arguments, too."""
    if (yield from block.source.peek()) == "[":
        yield from read_array(block.source, lambda: _read_call(block))
    else:
        yield from _read_call(block)
    if not block.calls:
        raise MalformedError


def separate_json_calls(block: Block) -> Reader[None]:
    """The same, or several such objects with commas between them."""
    yield from json_calls(block)
    yield from block.source.take_all(SPACE)
    while (yield from block.source.take(",")):
        yield from block.source.take_all(SPACE)
        yield from _read_call(block)
        yield from block.source.take_all(SPACE)


def _read_call(block: Block) -> Reader[None]:
    call = block.begin()
    seen: set[str] = set()

    def read_member(key: str) -> Reader[None]:
        role = "arguments" if key == "parameters" else key
        if role in seen:
            raise MalformedError
        seen.add(role)
        if role == "arguments":
            yield from block.read_arguments()
        elif role == "name":
            block.name((yield from read_string(block.source)))
        elif role in _OTHER_KEYS:
            yield from read_value(block.source)
        else:
            raise MalformedError

    yield from read_object(block.source, read_member)
    if call.name is None:
        raise MalformedError
    call.arguments = call.arguments or "{}"


def named_call(
    before: str = "", after: tuple[str, ...] = ("",), end: str = "", clean: Callable[[str], str] = str
) -> Body:
    """``before NAME after {...} end``. after: what may stand between a name and its arguments, the longest first."""

    def read(block: Block) -> Reader[None]:
        source = block.source
        yield from source.take_all(SPACE)
        yield from expect(source, before)
        block.begin(clean((yield from source.take_all(_NAME))))
        for separator in after:
            if (yield from source.take(separator)):
                break
        else:
            raise MalformedError
        yield from source.take_all(SPACE)
        yield from block.read_arguments()
        yield from source.take_all(SPACE)
        yield from expect(source, end)

    return read


def json_or_named(named: Body) -> Body:
    """One or the other, by how it begins."""

    def read(block: Block) -> Reader[None]:
        first = yield from block.source.peek()
        yield from (json_calls if first in ("{", "[") else named)(block)

    return read


def unnumbered(name: str) -> str:
    """Of ``functions.f:0`` only f."""
    return re.sub(r":\d+$", "", name.removeprefix("functions."))


def _unquoted(written: str) -> str:
    """The text of the JSON object that a JSON string, as written between its quotes, holds."""
    try:
        text: str = json.loads(f'"{written}"')
        text.encode()
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise MalformedError from error
    if not isinstance(value, dict):
        raise MalformedError
    return text
