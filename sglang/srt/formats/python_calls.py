"""``[f(a=1), g(b="x")]``: calls in the notation of Python."""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

from sglang.srt.formats.calls import Block
from sglang.srt.formats.growing_text import GrowingText, Reader
from sglang.srt.formats.json_text import SPACE, MalformedError, expect

_NAME = re.compile(r"[\w.]*")
_OUTSIDE_BRACKETS = re.compile(r"[^\"'()\[\]{}]*")
_OUTSIDE_QUOTES = {quote: re.compile(rf"[^{quote}\\]*") for quote in "\"'"}
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_JSON_NAMES = {"true": True, "false": False, "null": None}
_MAX_DEPTH = 50


def python_calls(block: Block) -> Reader[None]:
    """Arguments are given by keyword, and are literals. Raises MalformedError."""
    source = block.source
    yield from expect(source, "[")
    while True:
        yield from source.take_all(SPACE)
        start = source.place
        block.begin((yield from source.take_all(_NAME)))
        yield from _read_brackets(source)
        block.calls[-1].arguments = _arguments(source.text[start : source.place])
        yield from source.take_all(SPACE)
        if (yield from source.take("]")):
            return
        yield from expect(source, ",")


def _read_brackets(source: GrowingText) -> Reader[None]:
    """Up to the end of what a round bracket begins here."""
    yield from expect(source, "(")
    open_brackets = ["("]
    while open_brackets:
        yield from source.take_all(_OUTSIDE_BRACKETS)
        character = yield from source.peek()
        source.place += 1
        if character in ("'", '"'):
            yield from _read_quoted(source, character)
        elif character in _CLOSING and len(open_brackets) < _MAX_DEPTH:
            open_brackets.append(character)
        elif character != _CLOSING[open_brackets.pop()]:
            raise MalformedError


def _read_quoted(source: GrowingText, quote: str) -> Reader[None]:
    while True:
        yield from source.take_all(_OUTSIDE_QUOTES[quote])
        if (yield from source.take(quote)):
            return
        yield from expect(source, "\\")
        if not (yield from source.peek()):
            raise MalformedError
        source.place += 1


def _arguments(text: str) -> str:
    try:
        with warnings.catch_warnings():  # about backslashes, from the model's strings
            warnings.simplefilter("ignore")
            call = ast.parse(text, mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(one.arg is None for one in call.keywords):
            raise MalformedError
        arguments = {str(one.arg): _value(one.value) for one in call.keywords}
        written = json.dumps(arguments, ensure_ascii=False, allow_nan=False)
        written.encode()
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise MalformedError from error
    return written


def _value(node: ast.expr) -> Any:
    """Raises ValueError or TypeError for what JSON cannot express."""
    if isinstance(node, ast.Name) and node.id in _JSON_NAMES:
        return _JSON_NAMES[node.id]
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(item) for item in node.elts]
    if isinstance(node, ast.Dict):
        return {_key(key): _value(value) for key, value in zip(node.keys, node.values, strict=True)}
    value = ast.literal_eval(node)
    json.dumps(value)
    return value


def _key(node: ast.expr | None) -> str:
    key = None if node is None else ast.literal_eval(node)
    if not isinstance(key, str):
        raise MalformedError
    return key
