"""Calls of tools in what models write: what is a call, what is content, and that pieces make no difference."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglang.srt.args import ToolCallParserName
from sglang.srt.formats.answer_parser import ParsedAnswer, ParsedCall
from sglang.srt.formats.tool import PastCall, write_calls
from sglang.srt.formats.tool_format import TOOL_FORMATS, tool_format_of
from sglang.srt.formats.tool_parser import CallArguments, CallName, Content, ToolCallParser
from tests.formats.pieces import cuts, parsed, tool_events

FORMATS = get_args(ToolCallParserName)

ONE = '{"a": 1}'
DEEP = '{"a": {"b": [1, -2.5e3, true, null, "é\\u00e9 漢 👩‍👧"]}, "mark": "</tool_call><tool_call>[TOOL_CALLS]```"}'
V3 = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>{}\n```json\n{}\n```<｜tool▁call▁end｜>"
V31 = "<｜tool▁call▁begin｜>{}<｜tool▁sep｜>{}<｜tool▁call▁end｜>"
KIMI = "<|tool_call_begin|>functions.{}<|tool_call_argument_begin|>{}<|tool_call_end|>"

CALLS: list[tuple[ToolCallParserName, str, list[tuple[str, str]]]] = [
    ("hermes", f'<tool_call>\n{{"name": "f", "arguments": {ONE}}}\n</tool_call>', [("f", ONE)]),
    ("hermes", f'<tool_call>{{"arguments":{DEEP},"name":"f"}}</tool_call>', [("f", DEEP)]),
    ("hermes", '<tool_call>{"name": "get_time"}</tool_call>', [("get_time", "{}")]),
    ("hermes", f'<tool_call>{{"name": "f", "arguments": {ONE}}}', [("f", ONE)]),
    ("hermes", f'<tool_call>{{"name": "f", "arguments": {ONE}}}</tool_', [("f", ONE)]),
    (
        "hermes",
        f'<tool_call>{{"name": "f", "arguments": {ONE}}}</tool_call>\n<tool_call>{{"name": "get_time"}}</tool_call>\n',
        [("f", ONE), ("get_time", "{}")],
    ),
    (
        "qwen",
        f'<tool_call>[{{"name": "f", "parameters": {ONE}}}, {{"name": "get_time"}}]</tool_call>',
        [("f", ONE), ("get_time", "{}")],
    ),
    ("qwen25", f'<tool_call>{{"name": "f", "arguments": {json.dumps(ONE)}}}</tool_call>', [("f", ONE)]),
    ("llama3", f'{{"name": "f", "parameters": {ONE}}}', [("f", ONE)]),
    ("llama3", f'<|python_tag|>{{"type": "function", "name": "f", "parameters": {DEEP}}}', [("f", DEEP)]),
    (
        "llama3",
        f'{{"name": "f", "parameters": {ONE}}}; {{"name": "get_time", "parameters": {{}}}};',
        [("f", ONE), ("get_time", "{}")],
    ),
    (
        "mistral",
        f'[TOOL_CALLS] [{{"name": "f", "arguments": {DEEP}, "id": "abcdefghi"}}, {{"name": "get_time"}}]',
        [("f", DEEP), ("get_time", "{}")],
    ),
    (
        "mistral",
        f"[TOOL_CALLS]f{ONE}[TOOL_CALLS]get_time[ARGS]{{}}",
        [("f", ONE), ("get_time", "{}")],
    ),
    ("mistral", f'[{{"name": "f", "arguments": {ONE}}}]', [("f", ONE)]),
    (
        "pythonic",
        "[f(a=1, b='])\\'', c=[1, (2,), {'k': None}], d=-1.5, e=true), get_time()]",
        [("f", '{"a": 1, "b": "])\'", "c": [1, [2], {"k": null}], "d": -1.5, "e": true}'), ("get_time", "{}")],
    ),
    ("pythonic", '<|python_start|>[f(a="漢\\d")]<|python_end|>', [("f", '{"a": "漢\\\\d"}')]),
    (
        "deepseekv3",
        f"<｜tool▁calls▁begin｜>{V3.format('f', DEEP)}\n{V3.format('get_time', '{}')}<｜tool▁calls▁end｜>",
        [("f", DEEP), ("get_time", "{}")],
    ),
    (
        "deepseekv31",
        f"<｜tool▁calls▁begin｜>{V31.format('f', DEEP)}{V31.format('get_time', '{}')}<｜tool▁calls▁end｜>",
        [("f", DEEP), ("get_time", "{}")],
    ),
    (
        "qwen3_coder",
        "<tool_call>\n<function=f>\n<parameter=a>\n1\n</parameter>\n<parameter=text>\n12\n</parameter>\n"
        "<parameter=maybe>null</parameter><parameter=digit>1</parameter><parameter=é>\n\n</tool_call>\n</parameter>"
        "</function>\n</tool_call>\n<tool_call><function=get_time></function></tool_call>",
        [("f", '{"a": 1, "text": "12", "maybe": null, "digit": "1", "é": "\\n</tool_call>"}'), ("get_time", "{}")],
    ),
    (
        "glm45",
        "<tool_call>f\n<arg_key>a</arg_key>\n<arg_value>[1, {}]</arg_value>\n<arg_key>maybe</arg_key>"
        "<arg_value>12</arg_value><arg_key>digit</arg_key><arg_value>2</arg_value></tool_call><tool_call>get_time</tool_call>",
        [("f", '{"a": [1, {}], "maybe": "12", "digit": 2}'), ("get_time", "{}")],
    ),
    (
        "kimi_k2",
        "<|tool_calls_section_begin|>"
        f"{KIMI.format('f:0', DEEP)}{KIMI.format('get_time:1', '{}')}<|tool_calls_section_end|>",
        [("f", DEEP), ("get_time", "{}")],
    ),
    (
        "kimi_k2",
        f"<|tool_call_begin|>functions.f:0 <|tool_call_argument_begin|> {ONE} <|tool_call_end|>",
        [("f", ONE)],
    ),
    (
        "hermes",
        f'<tool_call>{{"name": "f", "arguments": {ONE}}}, {{"name": "get_time"}} ,{{"name": "f"}}</tool_call>',
        [("f", ONE), ("get_time", "{}"), ("f", "{}")],
    ),
    (
        "mistral",
        f'[TOOL_CALLS] {{"name": "f", "arguments": {ONE}}}, {{"name": "get_time"}}',
        [("f", ONE), ("get_time", "{}")],
    ),
    (
        "qwen3_coder",
        "<tool_call>\n<function=g>\n<parameter=flag>\nTrue\n</parameter>\n<parameter=some>\n12\n</parameter>\n"
        "<parameter=count>\n12\n</parameter><parameter=none>Null</parameter><parameter=free>True</parameter>"
        "<parameter=all>12</parameter><parameter=loop>12</parameter><parameter=odd>1</parameter></function></tool_call>",
        [
            (
                "g",
                '{"flag": true, "some": "12", "count": 12, "none": null, "free": "True", "all": "12", "loop": 12, '
                '"odd": 1}',
            )
        ],
    ),
    ("json", f'```json\n{{"name": "f", "arguments": {ONE}}}\n```', [("f", ONE)]),
    ("json", f' [{{"name": "f", "arguments": {ONE}}}]', [("f", ONE)]),
]

PLAIN = ("", " ", "Hello, {you}; [a](b) <b>.\n", "é\n\n漢 👩‍👧 ", "[1] a", "{}")

CONTENT: list[tuple[ToolCallParserName, str]] = [
    *((name, text) for name in FORMATS for text in PLAIN),
    ("hermes", '<tool_call>{"name": "unknown", "arguments": {}}</tool_call>'),
    ("hermes", '<tool_call>\n{"name": "f", "arguments": {"a": }}\n</tool_call> and more'),
    ("hermes", '<tool_call>{"name": "f", "arguments": [1]}</tool_call>'),
    ("hermes", '<tool_call>{"name": "f", "arguments": "no object"}</tool_call>'),
    ("hermes", '<tool_call>{"name": "f", "name": "f"}</tool_call>'),
    ("hermes", '<tool_call>{"name": "f", "colour": 1}</tool_call>'),
    ("hermes", '<tool_call>{"arguments": {}}</tool_call>'),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": 01}}</tool_call>'),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": "\t"}}</tool_call>'),
    ("hermes", '<tool_call>{"name": "f"} x</tool_call>'),
    ("hermes", '<tool_call>{"name": "f", "arguments": {"a": "cut'),
    ("hermes", "<tool_call>[]</tool_call>"),
    ("hermes", '<tool_call>{"name": "f", "arguments": ' + '{"a":' * 200 + "1" + "}" * 200 + "}</tool_call>"),
    ("hermes", "<<tool_cal> <tool_call"),
    ("hermes", '{"name": "f", "arguments": {}}'),
    ("llama3", '{"name": "Ann", "age": 3}; {"b": 1}'),
    ("llama3", 'I say {"name": "f", "parameters": {}}'),
    ("llama3", "<|python_tag|>print(1)"),
    ("mistral", "[TOOL_CALLS] nothing"),
    ("pythonic", "[f(1)]"),
    ("pythonic", "[f(**{})]"),
    ("pythonic", "[f(a=open('x'))]"),
    ("pythonic", "[f(a=1e999)]"),
    ("pythonic", "[f(a=b'x')]"),
    ("pythonic", "[f(a={1: 2})]"),
    ("pythonic", "[f(a=1) for x in y]"),
    ("pythonic", "[f(a='\\ud800')]"),
    ("pythonic", "[f(a=" + "[" * 300),
    ("deepseekv3", "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n{}"),
    ("deepseekv31", V31.format("f", "{]")),
    ("json", '```json\n{"a": 1}\n```'),
    ("pythonic", "A list [f(1)], [h(a=1)], [f(a=1) or [1]"),
    ("hermes", '<tool_call>{"name": "f"}, {"name": "unknown"}</tool_call>'),
    ("kimi_k2", "<|tool_calls_section_begin|> nothing <|tool_calls_section_end|>"),
]


@pytest.mark.parametrize(("name", "text", "calls"), CALLS)
def test_calls(name: ToolCallParserName, text: str, calls: list[tuple[str, str]]) -> None:
    answer = parsed(name, text)
    assert answer == ParsedAnswer("", "", [ParsedCall(*call) for call in calls])
    assert all(isinstance(json.loads(call.arguments), dict) for call in answer.calls)
    assert parsed(name, *text) == answer


@pytest.mark.parametrize(("name", "text"), CONTENT)
def test_what_is_no_call_is_content_to_the_letter(name: ToolCallParserName, text: str) -> None:
    assert parsed(name, text) == ParsedAnswer("", text, [])
    assert parsed(name, *text) == ParsedAnswer("", text, [])


def test_text_around_calls_is_content_without_the_space_beside_them() -> None:
    call = '<tool_call>{"name": "f"}</tool_call>'
    assert parsed("hermes", f" I look.\n\n{call}\n").content == " I look."
    answer = parsed("hermes", f"A {call}\nB <tool_call>no</tool_call> {call}")
    assert (answer.content, len(answer.calls)) == ("A\nB <tool_call>no</tool_call>", 2)


@pytest.mark.parametrize(
    ("name", "text", "content", "num_calls"),
    [
        ("kimi_k2", f"A{KIMI.format('f:0', ONE)}<|tool_calls_section_end|>x", "Ax", 1),
        ("deepseekv3", f"{V3.format('f', ONE)}<｜tool▁calls▁end｜>\nB", "\nB", 1),
        ("deepseekv31", f"<｜tool▁calls▁begin｜>{V31.format('f', ONE)}<｜tool▁calls▁end｜> B", " B", 1),
        ("llama3", f'{{"name": "f", "parameters": {ONE}}}; and', "; and", 1),
        ("mistral", f'[TOOL_CALLS]{{"name": "f", "arguments": {ONE}}}, {{"name": "x"}}', ', {"name": "x"}', 1),
        ("pythonic", "Here's a call: [f(a=1)] and [get_time()].", "Here's a call: and.", 2),
    ],
)
def test_text_beside_calls(name: ToolCallParserName, text: str, content: str, num_calls: int) -> None:
    answer = parsed(name, text)
    assert (answer.content, len(answer.calls)) == (content, num_calls)
    assert parsed(name, *text) == answer


def test_a_call_after_a_broken_one_is_found() -> None:
    answer = parsed("hermes", '<tool_call>{"name": "f", <tool_call>{"name": "f"}</tool_call>')
    assert (answer.content, answer.calls) == ('<tool_call>{"name": "f",', [ParsedCall("f", "{}")])


FRAGMENTS = st.sampled_from(
    [text for _, text, _ in CALLS]
    + [text[:cut] for _, text, _ in CALLS for cut in (3, 12, 40)]
    + ["<", "<tool", "[", "{", "[TOOL_CALLS]", "```json", "```", ";", " ", "\n", "é", "漢 👩‍👧", "text", '"', "\\"]
    + ["[f(", "}", "</tool_call>"]
)  # fmt: skip
TEXTS = st.lists(FRAGMENTS, max_size=6).map("".join)


@given(name=st.sampled_from(FORMATS), text=TEXTS, data=st.data())
def test_pieces_make_no_difference(name: ToolCallParserName, text: str, data: st.DataObject) -> None:
    whole = parsed(name, text)
    assert parsed(name, *data.draw(cuts(text))) == whole
    if not whole.calls:
        assert whole.content == text


DEMANDED = "I look.\n" + write_calls(TOOL_FORMATS["hermes"].notation, [PastCall("f", DEEP), PastCall("get_time", "{}")])


@given(end=st.integers(0, len(DEMANDED)), data=st.data())
def test_pieces_make_no_difference_where_calls_are_told_early(end: int, data: st.DataObject) -> None:
    """Cut off anywhere, as by a limit of tokens."""
    text = DEMANDED[:end]
    whole = ParsedAnswer.of(tool_events("hermes", [text], is_demanded=True))
    assert ParsedAnswer.of(tool_events("hermes", data.draw(cuts(text)), is_demanded=True)) == whole
    assert all(DEEP.startswith(call.arguments) for call in whole.calls[:1])


def test_content_comes_at_once_but_for_what_may_become_a_call() -> None:
    assert tool_events("hermes", ["Hel", "lo <", "b> ", "x"]) == [
        Content("Hel"), Content("lo"), Content(" <b>"), Content(" x"),
    ]  # fmt: skip


def test_a_call_is_told_when_it_is_complete() -> None:
    events = tool_events("hermes", list('<tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>'))
    assert events == [CallName(0, "f"), CallArguments(0, '{"a": 1}')]


def test_arguments_of_a_demanded_call_grow() -> None:
    begin, end = '<tool_call>\n{"name": "f", "arguments": ', "}\n</tool_call>\n"
    pieces = [begin[:15], begin[15:] + '{"a": "x', 'y"}', end + begin, '{"b"']
    events = tool_events("hermes", pieces, is_demanded=True)
    assert events == [
        CallName(0, "f"), CallArguments(0, '{"a": "x'), CallArguments(0, 'y"}'),
        CallName(1, "f"), CallArguments(1, '{"b"'),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "parameters",
    [
        {"properties": None},
        {"properties": [1]},
        {"properties": {"a": None}},
        {"properties": {"a": {"enum": 5}}},
        {"properties": {"a": {"enum": {"x": 1}}}},
        {"properties": {"a": {"type": {"x": 1}}}},
    ],
)
def test_schemas_that_are_none_say_nothing_of_arguments(parameters: dict[str, Any]) -> None:
    """Nothing looks into the schemas of calls that no grammar demands before a model has made one."""
    text = "<tool_call><function=f><parameter=a>5</parameter></function></tool_call>"
    parser = ToolCallParser(TOOL_FORMATS["qwen3_coder"], {"f": parameters})
    answer = ParsedAnswer.of([*parser.feed(text), *parser.finish()])
    assert answer.calls == [ParsedCall("f", '{"a": 5}')]


@pytest.mark.parametrize(
    ("name", "beginning"),
    [("qwen3_coder", "<tool_call><function=f><parameter=a>"), ("glm45", "<tool_call>f<arg_key>")],
)
def test_what_ends_no_call_is_looked_for_once(name: ToolCallParserName, beginning: str) -> None:
    """Not anew for every call that is begun: for 100,000 of them that took half a minute."""
    parser = ToolCallParser(TOOL_FORMATS[name], {"f": {}})
    events = [*parser.feed(beginning * 100_000), *parser.finish()]
    assert events == [Content(beginning * 100_000)]


def test_every_published_name_has_a_format() -> None:
    assert TOOL_FORMATS.keys() == set(FORMATS)


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("<tool_call>\\n{{ call | tojson }}\\n</tool_call>", "hermes"),
        ("{{ '[TOOL_CALLS] [' }}", "mistral"),
        ('Respond in the format {"name": function name, "parameters": dictionary}', "llama3"),
        ("<｜tool▁call▁begin｜>function<｜tool▁sep｜>", "deepseekv3"),
        ("{{ '<｜tool▁call▁begin｜>' + name + '<｜tool▁sep｜>' }}", "deepseekv31"),
        ("<|tool_calls_section_begin|>", "kimi_k2"),
        ("{{ '<tool_call>' }} <function=example_function_name>", "qwen3_coder"),
        ("<tool_call>{{ name }} <arg_key>", "glm45"),
        ("{{ message.content }}", None),
    ],
)
def test_a_template_tells_its_format(template: str, name: str | None) -> None:
    assert tool_format_of(template) == name
