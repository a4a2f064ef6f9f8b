"""Tools for a model whose chat template knows none."""

from __future__ import annotations

from typing import Any

from sglang.srt.formats.tool import Tool
from sglang.srt.formats.tool_format import TOOL_FORMATS
from sglang.srt.formats.tool_prompt import with_tool_prompt, without_tool_turns

HERMES = TOOL_FORMATS["hermes"].notation
TOOL = Tool("f", {"type": "function", "function": {"name": "f", "description": "é"}})
HELLO = {"role": "user", "content": "hello"}


def test_tools_are_told_in_the_system_message() -> None:
    (told, hello) = with_tool_prompt([HELLO], [TOOL, TOOL], HERMES, "system")
    assert (told["role"], hello) == ("system", HELLO)
    assert '<tools>\n{"name": "f", "description": "é"}\n{"name": "f"' in told["content"]
    assert '<tool_call>\n{"name": "NAME", "arguments": {"ARGUMENT": "VALUE"}}\n</tool_call>' in told["content"]
    system = {"role": "system", "content": "Be kind."}
    assert with_tool_prompt([system, HELLO], [TOOL, TOOL], HERMES, "system") == [
        {"role": "system", "content": f"Be kind.\n\n{told['content']}"},
        HELLO,
    ]


def test_or_where_there_is_none_in_the_users() -> None:
    (told,) = with_tool_prompt([HELLO], [TOOL], HERMES, "user")
    assert told["content"].startswith("hello\n\nYou can call functions")


def test_calls_and_results_become_text() -> None:
    def call(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}

    messages: list[dict[str, Any]] = [
        HELLO,
        {"role": "assistant", "content": "I look.", "tool_calls": [call("f", {"a": "é"}), call("g", {})]},
        {"role": "tool", "content": "1", "tool_call_id": "1"},
        {"role": "function", "content": "2", "name": "g"},
        {"role": "assistant", "content": "", "tool_calls": [call("g", {})]},
    ]
    called = '<tool_call>\n{"name": "g", "arguments": {}}\n</tool_call>'
    assert without_tool_turns(messages, HERMES) == [
        HELLO,
        {
            "role": "assistant",
            "content": f'I look.\n<tool_call>\n{{"name": "f", "arguments": {{"a": "é"}}}}\n</tool_call>\n{called}',
        },
        {"role": "user", "content": "<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n</tool_response>"},
        {"role": "assistant", "content": called},
    ]
