"""Grammars of answers: calls of tools, an answer of a schema, or either, and thoughts before them. All in Lark."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sglang.srt.formats.reasoning import ReasoningFormat
from sglang.srt.formats.tool import Tool, write_call
from sglang.srt.formats.tool_format import Notation

MAX_CALLS = 16
"""In one answer, where a grammar binds them. Small models go on calling until something ends them."""

_ANYTHING = "/(.|\\n)*/"
_SLOT = "\x00"


def schema_answer(schema: str) -> str:
    """schema: JSON."""
    return f"answer: %json {schema}\n"


def choice_answer(choices: Sequence[str]) -> str:
    return f"answer: {' | '.join(map(_literal, choices))}\n"


def demanded_calls(notation: Notation, tools: Sequence[Tool], is_parallel: bool) -> str:
    """One call of one of the tools, or up to MAX_CALLS, and nothing else."""
    return f"answer: {_calls(notation, notation.first + notation.before, is_parallel)}\n{_bodies(notation, tools)}"


def optional_calls(notation: Notation, tools: Sequence[Tool], is_parallel: bool, schema: str | None) -> str:
    """Such calls, an answer of the schema, or, where that is None, any text, with calls at its end if it has any.

    Where calls have no mark of their own, a text that begins with a bracket is calls.
    """
    bodies = _bodies(notation, tools)
    opening = notation.first + notation.before
    mark = notation.before.strip()
    if schema is not None:
        return f"answer: %json {schema} | {_calls(notation, opening, is_parallel)}\n{bodies}"
    if not mark:
        return f"answer: TEXT? | {_calls(notation, opening, is_parallel)}\nTEXT: /\\s*[^\\s{{\\[](.|\\n)*/\n{bodies}"
    # A lazy lexeme ends as soon as it can: behind the mark nothing goes on but a call.
    calls = _calls(notation, opening.removeprefix(mark), is_parallel)
    return f"answer: TEXT | begin {calls}\nbegin[lazy]: TEXT {_literal(mark)}\nTEXT: {_ANYTHING}\n{bodies}"


def _calls(notation: Notation, opening: str, is_parallel: bool) -> str:
    """What makes up calls; opening: what stands before the first body."""
    more = f"({_literal(notation.between + notation.before)} body){{0,{MAX_CALLS - 1}}}" if is_parallel else ""
    last = _literal(notation.last) if notation.last else ""
    return " ".join(filter(None, [_literal(opening) if opening else "", "body", more, last]))


def _bodies(notation: Notation, tools: Sequence[Tool]) -> str:
    """Of a call of each tool, all but what stands before it."""
    rules = [f"body: {' | '.join(f'body_{number}' for number in range(len(tools)))}"]
    for number, tool in enumerate(tools):
        begin, end = write_call(notation, tool.name, _SLOT).removeprefix(notation.before).split(_SLOT)
        rules.append(f"body_{number}: {_literal(begin)} %json {tool.schema} {_literal(end)}")
    return "\n".join(rules) + "\n"


def _literal(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def grammar(answer: str) -> str:
    return f"start: answer\n{answer}"


def grammar_after_thought(answer: str, reasoning: ReasoningFormat, is_thinking: bool) -> str:
    """The answer after a thought; is_thinking: one has begun, and otherwise there need be none."""
    lines = [
        "start: thought SPACE answer" if is_thinking else "start: answer | opening thought SPACE answer",
        f"thought[lazy]: THOUGHT {_literal(reasoning.end)}",
        f"THOUGHT: {_ANYTHING}",
        "SPACE: /\\s{0,2}/",
    ]
    if not is_thinking:
        lines.append(f"opening[lazy]: {_literal(reasoning.begin)}")
    return "\n".join([*lines, answer])
