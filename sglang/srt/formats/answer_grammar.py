"""Grammars of calls of tools, and of text that may end with calls. All in Lark."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from sglang.srt.formats.tool import Tool, json_call
from sglang.srt.formats.tool_format import Notation
from sglang.srt.formats.xml_grammar import XmlCalls

MAX_CALLS = 16
"""In one answer, where a grammar binds them. Small models go on calling until something ends them."""

MAX_AFTERWARDS = 16
"""Characters of what a model says instead of another call. Nobody is told of them; most tokens are shorter."""

_ANYTHING = "/(.|\\n)*/"
_SPEECH = "|".join([
    r"\s{1,2}",
    *(rf"\s{{{count}}}[^\s;{{\[](.|\n){{0,{MAX_AFTERWARDS - 1 - count}}}" for count in range(3)),
])  # fmt: skip
"""The beginning of what cannot be taken for another bare call, nor for what stands between two."""

_SLOT = "\x00"


def demanded_calls(notation: Notation, tools: Sequence[Tool], is_parallel: bool) -> str:
    """One call of one of the tools, or up to MAX_CALLS, and nothing else but what `ToolCallParser` leaves out."""
    return f"start: {_calls(notation, notation.first + notation.before, is_parallel)}\n{_bodies(notation, tools)}"


def text(notation: Notation) -> str:
    """A regular expression of answers that are no calls: where calls have no mark, a bracket begins them."""
    return r"(.|\n)*" if notation.mark else r"(\s*[^\s{\[](.|\n)*)?"


def calls_after_text(notation: Notation, tools: Sequence[Tool], is_parallel: bool) -> str:
    """Such calls, after any text if they have a mark."""
    if not notation.mark:
        return demanded_calls(notation, tools, is_parallel)
    # A lazy lexeme ends as soon as it can: behind the mark nothing goes on but a call.
    calls = _calls(notation, (notation.first + notation.before).removeprefix(notation.mark), is_parallel)
    begin = f"begin[lazy]: {_ANYTHING} {_literal(notation.mark)}"
    return f"start: begin {calls}\n{begin}\n{_bodies(notation, tools)}"


def _calls(notation: Notation, opening: str, is_parallel: bool) -> str:
    """What makes up calls; opening: what stands before the first body."""
    separator = notation.between + notation.before
    more = f"({_literal(separator)} body){{0,{MAX_CALLS - 1}}}" if is_parallel else ""
    if more and not notation.last:
        more += f" {_afterwards(separator, notation.mark) if notation.mark else f'/{_SPEECH}/'}?"
    last = _literal(notation.last) if notation.last else ""
    return " ".join(filter(None, [_literal(opening) if opening else "", "body", more, last]))


def _afterwards(separator: str, mark: str) -> str:
    """The beginning of any text that does not begin as the separator does, and in which no call begins.

    A model that has made its last call writes a line feed and goes on in words. If only an end or a separator were
    allowed there, the line feed would be taken for the beginning of a separator, and every call followed by another.
    """
    first, second, begin = map(_in_class, (separator[0], separator[1], mark[0]))
    words, most = f"[^{begin}]", MAX_AFTERWARDS - 1
    return f"/[^{first}{begin}]{words}{{0,{most}}}|{first}([^{second}{begin}]{words}{{0,{most - 1}}})?/"


def _in_class(character: str) -> str:
    """As it is written within the brackets of a class of characters."""
    return r"\n" if character == "\n" else re.escape(character)


def _bodies(notation: Notation, tools: Sequence[Tool]) -> str:
    """Of a call of each tool, all but what stands before it."""
    rules = [f"body: {' | '.join(f'body_{number}' for number in range(len(tools)))}"]
    xml = None if notation.tags is None else XmlCalls(notation.tags, notation.after)
    for number, tool in enumerate(tools):
        written = None if xml is None else xml.call(tool.name, tool.schema)
        rules.append(f"body_{number}: {_json_body(notation, tool) if written is None else written}")
    return "\n".join([*rules, *([] if xml is None else xml.definitions)]) + "\n"


def _json_body(notation: Notation, tool: Tool) -> str:
    begin, end = json_call(notation, tool.name, _SLOT).split(_SLOT)
    # The bracket is a literal of its own: where calls have no mark, an answer that is JSON may begin with it, too.
    return f'"{{" {_literal(begin.removeprefix("{"))} %json {tool.schema} {_literal(end)}'


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
