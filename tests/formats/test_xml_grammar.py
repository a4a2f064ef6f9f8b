"""Calls between tags, bound by a grammar: what it accepts is what is read back as valid arguments."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sglang.srt.args import ToolCallParserName
from sglang.srt.errors import InvalidRequestError
from sglang.srt.formats import answer_grammar
from sglang.srt.formats.answer_parser import ParsedAnswer
from sglang.srt.formats.tool import PastCall, Tool, write_call
from sglang.srt.formats.tool_format import TOOL_FORMATS
from sglang.srt.formats.tool_parser import CallArguments, CallName, ToolCallParser
from tests.grammar.texts import acceptor, grammar_of

XML: list[ToolCallParserName] = ["qwen3_coder", "glm45"]

PROPERTIES: dict[str, Any] = {
    "text": {"type": "string", "description": "Any."},
    "word": {"type": "string", "maxLength": 4},
    "unit": {"type": "string", "enum": ["C", "true", "12"]},
    "odd": {"enum": ["<a>", "", 7, None]},
    "kind": {"enum": ["null", "12", "a"]},
    "fixed": {"const": "true"},
    "one": {"const": 1},
    "count": {"type": "integer", "minimum": 1},
    "ratio": {"type": "number"},
    "is on/off": {"type": "boolean"},
    "names": {"type": "array", "items": {"$ref": "#/$defs/name"}},
    "next": {"$ref": "#"},
    "maybe": {"type": ["string", "null"], "maxLength": 4},
}
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": PROPERTIES,
    "required": ["count"],
    "additionalProperties": False,
    "$defs": {"name": {"type": "string", "pattern": "^[a-z]+$"}},
}
VALUES: list[Any] = [
    *(1, 0, 7, -2.5, 10**18, True, None, [], ["a", "b"], ["A"], {"count": 1}, {"count": 0}, {"count": 2, "text": "a"}),
    *("", "a", "C", "12", "true", "null", '"a"', "abcde", "a\nb", "\na", "<a>", "</parameter>", "</arg_value>", "漢 é"),
]
ARGUMENTS = st.fixed_dictionaries(
    {}, optional={key: st.sampled_from(VALUES) for key in PROPERTIES if key != "count"}
).map(lambda drawn: {key: drawn[key] for key in PROPERTIES if key in drawn})


def tool(schema: Any, name: str = "f") -> Tool:
    return Tool(name, {"type": "function", "function": {"name": name, "parameters": schema}})


def demanded(name: ToolCallParserName, *tools: Tool) -> str:
    return grammar_of("ebnf", answer_grammar.demanded_calls(TOOL_FORMATS[name].notation, tools, is_parallel=True))


def read_back(name: ToolCallParserName, text: str, schema: Any = SCHEMA) -> list[Any]:
    parser = ToolCallParser(TOOL_FORMATS[name].demanded, {"f": schema}, is_demanded=True)
    answer = ParsedAnswer.of([*parser.feed(text), *parser.finish()])
    assert answer.content == ""
    return [json.loads(call.arguments) for call in answer.calls]


ACCEPTORS = {name: acceptor(demanded(name, tool(SCHEMA))) for name in XML}
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


@settings(max_examples=300)
@given(name=st.sampled_from(XML), count=st.sampled_from([*VALUES, ...]), drawn=ARGUMENTS)
def test_what_is_accepted_is_read_back_as_what_is_valid(name: ToolCallParserName, count: Any, drawn: Any) -> None:
    arguments = {key: {**drawn, "count": count}[key] for key in PROPERTIES if key in {*drawn, "count"}}
    if count is ...:
        del arguments["count"]
    text = write_call(TOOL_FORMATS[name].notation, "f", json.dumps(arguments, separators=(",", ":")))
    (found,) = read_back(name, text)
    is_accepted = ACCEPTORS[name](text)
    assert VALIDATOR.is_valid(found) or not is_accepted
    if VALIDATOR.is_valid(arguments):
        assert found == arguments
        may_be_another_type = any(isinstance(arguments.get(key), str) for key in ("word", "odd", "maybe"))
        assert is_accepted or may_be_another_type  # texts that are demanded in JSON, and understood without


@pytest.mark.parametrize("name", XML)
def test_text_is_written_as_it_is(name: ToolCallParserName) -> None:
    text = 'He said "no",\n  then: {1} <b>'
    call = write_call(TOOL_FORMATS[name].notation, "f", json.dumps({"text": text, "count": 1}))
    assert text in call and ACCEPTORS[name](call)
    assert read_back(name, call) == [{"text": text, "count": 1}]


def test_calls_look_as_models_write_them() -> None:
    arguments = '{"count": 1, "unit": "C"}'
    assert write_call(TOOL_FORMATS["qwen3_coder"].notation, "f", arguments) == (
        "<tool_call>\n<function=f>\n<parameter=count>\n1\n</parameter>\n<parameter=unit>\nC\n</parameter>\n</function>\n"
        "</tool_call>"
    )
    assert write_call(TOOL_FORMATS["glm45"].notation, "f", arguments) == (
        "<tool_call>f\n<arg_key>count</arg_key>\n<arg_value>1</arg_value>\n"
        "<arg_key>unit</arg_key>\n<arg_value>C</arg_value>\n</tool_call>"
    )


TOGETHER: list[tuple[dict[str, Any], str, str]] = [
    ({"properties": {"a": {}, "b": {}}, "dependentRequired": {"a": ["b"]}}, '{"a":1,"b":2}', '{"a":1}'),
    ({"properties": {"a": {}}, "minProperties": 1}, '{"a":1}', "{}"),
    ({"additionalProperties": {"type": "integer"}}, '{"any":1}', '{"any":"a"}'),
    ({"anyOf": [{"properties": {"a": {"type": "null"}}, "required": ["a"]}]}, '{"a":null}', '{"a":1}'),
    ({"properties": {"a>": {"type": "null"}}, "required": ["a>"]}, '{"a>":null}', "{}"),
]


@pytest.mark.parametrize("name", XML)
@pytest.mark.parametrize(("schema", "valid", "invalid"), TOGETHER)
def test_what_tags_cannot_say_is_demanded_in_json(
    name: ToolCallParserName, schema: dict[str, Any], valid: str, invalid: str
) -> None:
    notation = TOOL_FORMATS[name].notation
    accepts = acceptor(demanded(name, tool(schema)))

    def call(arguments: str) -> str:
        return f'{notation.before}{{"name": "f", "arguments": {arguments}}}{notation.after}'

    assert accepts(call(valid)) and not accepts(call(invalid))
    assert read_back(name, call(valid), schema) == [json.loads(valid)]


@pytest.mark.parametrize("name", XML)
def test_a_property_of_an_older_draft(name: ToolCallParserName) -> None:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "properties": {"a": {"$ref": "#/definitions/count", "maximum": 0}},
        "definitions": {"count": {"type": "integer", "minimum": 1, "maximum": 2}},
    }
    accepts = acceptor(demanded(name, tool(schema)))
    for value, is_valid in ((1, True), (3, False)):
        assert accepts(write_call(TOOL_FORMATS[name].notation, "f", json.dumps({"a": value}))) is is_valid


def test_a_property_that_cannot_be_enforced_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="pattern at # is not a regular expression"):
        demanded("glm45", tool({"properties": {"a": {"type": "string", "pattern": "("}}}))


def test_arguments_of_a_demanded_call_grow_one_by_one() -> None:
    parser = ToolCallParser(TOOL_FORMATS["qwen3_coder"].demanded, {"f": SCHEMA}, is_demanded=True)
    assert parser.feed("<tool_call>\n<function=f>\n<parameter=count>\n1") == []
    assert parser.feed("\n</parameter>") == [CallName(0, "f"), CallArguments(0, '{"count": 1')]
    assert parser.feed("\n<parameter=text>\na\n</parameter>\n") == [CallArguments(0, ', "text": "a"')]
    assert parser.feed("</function>\n</tool_call>") == [CallArguments(0, "}")]


def test_numbers_are_read_back_to_the_digit() -> None:
    call = "<tool_call>f\n<arg_key>ratio</arg_key>\n<arg_value>1e400</arg_value>\n</tool_call>"
    parser = ToolCallParser(TOOL_FORMATS["glm45"], {"f": SCHEMA})
    assert ParsedAnswer.of([*parser.feed(call), *parser.finish()]).calls[0].arguments == '{"ratio": 1e400}'


def test_a_past_call_whose_names_tags_cannot_say() -> None:
    call = PastCall("f", '{"a>": 1}')
    assert '{"name": "f", "arguments": {"a>": 1}}' in write_call(
        TOOL_FORMATS["glm45"].notation, call.name, call.arguments
    )
