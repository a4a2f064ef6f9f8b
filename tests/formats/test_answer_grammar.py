"""The grammars of answers: what they accept, and that what they accept is read back."""

from __future__ import annotations

from typing import Any, Literal, get_args

import pytest

from sglang.srt.args import ToolCallParserName
from sglang.srt.formats import answer_grammar
from sglang.srt.formats.answer_parser import ParsedAnswer, ParsedCall
from sglang.srt.formats.tool import PastCall, Tool, write_calls
from sglang.srt.formats.tool_format import TOOL_FORMATS
from sglang.srt.grammar.frame import Frame
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


def text_or_calls(name: ToolCallParserName, is_parallel: bool) -> str:
    notation = TOOL_FORMATS[name].notation
    calls = answer_grammar.calls_after_text(notation, TOOLS, is_parallel)
    return grammar_of("regex", answer_grammar.text(notation), Frame(calls=calls, call_mark=notation.mark))


@pytest.mark.parametrize("name", FORMATS)
def test_a_demanded_call_cannot_be_malformed(name: ToolCallParserName) -> None:
    notation = TOOL_FORMATS[name].notation
    several, one = (
        grammar_of("ebnf", answer_grammar.demanded_calls(notation, TOOLS, is_parallel)) for is_parallel in (True, False)
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
    arguments = '{"a": 1}' if TOOL_FORMATS[name].notation.tags else '{"a":1}'
    assert answer == ParsedAnswer("", "", [ParsedCall("f", arguments), ParsedCall("get_time", "{}")])


@pytest.mark.parametrize("name", NATIVE)
def test_calls_that_need_not_be(name: ToolCallParserName) -> None:
    grammar = text_or_calls(name, is_parallel=False)
    for text in ("", "Hello [a] {b} <tool", "  é\n", written(name, F)):
        assert accepts(grammar, text), text
    for text in (written(name, PastCall("f", "{}")), written(name, F, F)):
        assert not accepts(grammar, text), text


def test_a_marked_call_may_follow_text_and_ends_it() -> None:
    grammar = text_or_calls("hermes", is_parallel=True)
    assert accepts(grammar, f"I look <<tool_cal.\n{written('hermes', F, TIME)}")
    assert not accepts(grammar, f"I look. {written('hermes', PastCall('f', '{}'))}")
    assert not accepts(grammar, "I look. <tool_call>anything")
    assert not accepts(grammar, f"{written('hermes', F)} and more than that")


@pytest.mark.parametrize("name", [name for name in FORMATS if not TOOL_FORMATS[name].notation.last])
@pytest.mark.parametrize("words", ["\n", " ", "\nThe weather is", "\n\nThe weather i", "I looked it up. "])
def test_a_model_may_begin_to_speak_after_its_calls(name: ToolCallParserName, words: str) -> None:
    """It ends the answer there, and is not told."""
    notation = TOOL_FORMATS[name].notation
    several, one = (
        grammar_of("ebnf", answer_grammar.demanded_calls(notation, TOOLS, is_parallel)) for is_parallel in (True, False)
    )
    answer = written(name, F, TIME) + words
    assert accepts(several, answer)
    assert not accepts(several, answer + "x" * answer_grammar.MAX_AFTERWARDS)
    assert not accepts(one, written(name, F) + words)
    parsed = ParsedAnswer.of(tool_events(name, list(answer), is_demanded=True))
    assert parsed == ParsedAnswer.of(tool_events(name, list(written(name, F, TIME)), is_demanded=True))


@pytest.mark.parametrize("name", [name for name in FORMATS if TOOL_FORMATS[name].notation.mark])
@pytest.mark.parametrize("space", ["", " ", "\n", "\n\n", "\r\n"])
def test_no_marked_call_begins_in_what_is_left_out(name: ToolCallParserName, space: str) -> None:
    notation = TOOL_FORMATS[name].notation
    grammar = grammar_of("ebnf", answer_grammar.demanded_calls(notation, TOOLS, True))
    assert not accepts(grammar, written(name, F) + space + notation.mark[0])


@pytest.mark.parametrize("words", ['{"name": "f"}', "\n{", " [", ";x", ";", "   "])
def test_what_may_be_a_bare_call_is_no_speech(words: str) -> None:
    notation = TOOL_FORMATS["llama3"].notation
    grammar = grammar_of("ebnf", answer_grammar.demanded_calls(notation, TOOLS, True))
    assert not accepts(grammar, written("llama3", F) + words)


OBJECT = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize(("schema", "answer"), [(OBJECT, '{"name":"f"}'), ({"type": "array", "items": OBJECT}, "[]")])
def test_an_answer_of_a_schema_or_calls(name: ToolCallParserName, schema: dict[str, Any], answer: str) -> None:
    notation = TOOL_FORMATS[name].notation
    frame = Frame(calls=answer_grammar.demanded_calls(notation, TOOLS, True), call_mark=notation.mark)
    grammar = grammar_of("json_schema", schema, frame)
    assert accepts(grammar, answer)
    assert accepts(grammar, written(name, F, F))
    assert not accepts(grammar, "text")
    assert not accepts(grammar, written(name, PastCall("f", "{}")))


@pytest.mark.parametrize(("kind", "source"), [("regex", "[^!]*"), ("choices", ["yes", "<tool", "<tool_call>"])])
def test_another_answer_or_calls(kind: Literal["regex", "choices"], source: Any) -> None:
    """What is an answer holds no mark of calls."""
    notation = TOOL_FORMATS["hermes"].notation
    frame = Frame(calls=answer_grammar.demanded_calls(notation, TOOLS, False), call_mark=notation.mark)
    grammar = grammar_of(kind, source, frame)
    for text in ("yes", "<tool", written("hermes", F)):
        assert accepts(grammar, text), text
    for text in ("<tool_call>", written("hermes", PastCall("f", "{}")), "no!"):
        assert not accepts(grammar, text), text
