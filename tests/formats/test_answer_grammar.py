"""The grammars of answers: what they accept, and that what they accept is read back."""

from __future__ import annotations

from typing import get_args

import pytest

from sglang.srt.args import ToolCallParserName
from sglang.srt.formats import answer_grammar
from sglang.srt.formats.answer_parser import ParsedAnswer, ParsedCall
from sglang.srt.formats.reasoning import REASONING_FORMATS
from sglang.srt.formats.tool import PastCall, Tool, write_calls
from sglang.srt.formats.tool_format import TOOL_FORMATS
from tests.formats.pieces import tool_events
from tests.grammar.texts import accepts, grammar_of

FORMATS = get_args(ToolCallParserName)
NATIVE = [name for name in FORMATS if TOOL_FORMATS[name].is_native]
COUNT = {"type": "object", "properties": {"a": {"$ref": "#/$defs/count"}}, "required": ["a"]}
COUNT["$defs"] = {"count": {"type": "integer"}}
TOOLS = [
    Tool("f", {"type": "function", "function": {"name": "f", "parameters": COUNT}}),
    Tool("get_time", {"type": "function", "function": {"name": "get_time"}}),
]
F, TIME = PastCall("f", '{"a":1}'), PastCall("get_time", "{}")


def written(name: ToolCallParserName, *calls: PastCall) -> str:
    return write_calls(TOOL_FORMATS[name].notation, list(calls))


@pytest.mark.parametrize("name", FORMATS)
def test_a_demanded_call_cannot_be_malformed(name: ToolCallParserName) -> None:
    notation = TOOL_FORMATS[name].notation
    several, one = (
        grammar_of("ebnf", answer_grammar.grammar(answer_grammar.demanded_calls(notation, TOOLS, is_parallel)))
        for is_parallel in (True, False)
    )
    for grammar in (several, one):
        assert accepts(grammar, written(name, F))
        assert accepts(grammar, written(name, TIME))
        for wrong in (
            PastCall("f", "{}"),
            PastCall("f", '{"a":"x"}'),
            PastCall("g", "{}"),
            PastCall("get_time", '{"a":1}'),
        ):
            assert not accepts(grammar, written(name, wrong))
        assert not accepts(grammar, "")
        assert not accepts(grammar, "text")
    assert accepts(several, written(name, F, TIME, F))
    assert accepts(several, written(name, *[F] * answer_grammar.MAX_CALLS))
    assert not accepts(several, written(name, *[F] * (answer_grammar.MAX_CALLS + 1)))
    assert not accepts(one, written(name, F, TIME))


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_demanded_is_read_back(name: ToolCallParserName) -> None:
    answer = ParsedAnswer.of(tool_events(name, list(written(name, F, TIME)), is_demanded=True))
    assert answer == ParsedAnswer("", "", [ParsedCall("f", '{"a":1}'), ParsedCall("get_time", "{}")])


@pytest.mark.parametrize("name", NATIVE)
def test_calls_that_need_not_be(name: ToolCallParserName) -> None:
    notation = TOOL_FORMATS[name].notation
    grammar = grammar_of("ebnf", answer_grammar.grammar(answer_grammar.optional_calls(notation, TOOLS, False, None)))
    for text in ("", "Hello [a] {b} <tool", "  é\n", written(name, F)):
        assert accepts(grammar, text), text
    for text in (written(name, PastCall("f", "{}")), written(name, F, F)):
        assert not accepts(grammar, text), text


def test_a_marked_call_may_follow_text_and_ends_it() -> None:
    notation = TOOL_FORMATS["hermes"].notation
    grammar = grammar_of("ebnf", answer_grammar.grammar(answer_grammar.optional_calls(notation, TOOLS, True, None)))
    assert accepts(grammar, f"I look <<tool_cal.\n{written('hermes', F, TIME)}")
    assert not accepts(grammar, f"I look. {written('hermes', PastCall('f', '{}'))}")
    assert not accepts(grammar, "I look. <tool_call>anything")
    assert not accepts(grammar, f"{written('hermes', F)} and more")


@pytest.mark.parametrize("name", NATIVE)
def test_an_answer_of_a_schema_or_calls(name: ToolCallParserName) -> None:
    notation = TOOL_FORMATS[name].notation
    answer = answer_grammar.optional_calls(notation, TOOLS, True, '{"type": "integer"}')
    grammar = grammar_of("ebnf", answer_grammar.grammar(answer))
    assert accepts(grammar, "12")
    assert accepts(grammar, written(name, F, F))
    assert not accepts(grammar, "text")


def test_an_answer_after_a_thought() -> None:
    answer = answer_grammar.schema_answer('{"type": "integer"}')
    think = REASONING_FORMATS["qwen3"]
    begun, not_begun = (
        grammar_of("ebnf", answer_grammar.grammar_after_thought(answer, think, is_thinking))
        for is_thinking in (True, False)
    )
    for text, fits_begun, fits_not_begun in (
        ("12", False, True),
        ("<think>a\nb</think>\n\n12", True, True),
        ("12</think>12", True, False),
        ("<think>12", False, False),
        ("<think></think>x", False, False),
        ("<think></think>12</think>12", False, False),
    ):
        assert accepts(begun, text) is fits_begun, text
        assert accepts(not_begun, text) is fits_not_begun, text


def test_a_choice_after_a_thought() -> None:
    answer = answer_grammar.choice_answer(["yes", 'n"o\n'])
    grammar = grammar_of("ebnf", answer_grammar.grammar_after_thought(answer, REASONING_FORMATS["kimi"], True))
    assert accepts(grammar, "hm◁/think▷yes")
    assert accepts(grammar, '◁/think▷n"o\n')
    assert not accepts(grammar, "◁/think▷maybe")
