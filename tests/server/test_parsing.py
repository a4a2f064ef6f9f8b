"""Text that a model wrote elsewhere, sorted by a server."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.helpers.runtime import SECONDS

TOOLS = [{"type": "function", "function": {"name": "f"}}]


def post(server_url: str, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    response = httpx.post(f"{server_url}{path}", json=body, timeout=SECONDS)
    return response.status_code, response.json()


@pytest.mark.parametrize(
    ("text", "parser"),
    [
        ('I look. <tool_call>{"name": "f", "arguments": {"a": 1}}</tool_call>', {}),
        ('I look. [TOOL_CALLS] [{"name": "f", "arguments": {"a": 1}}]', {"tool_call_parser": "mistral"}),
    ],
)
def test_calls_in_a_text(server_url: str, text: str, parser: dict[str, str]) -> None:
    calls = [{"tool_index": 0, "name": "f", "parameters": '{"a": 1}'}]
    found = post(server_url, "/parse_function_call", {"text": text, "tools": TOOLS, **parser})
    assert found == (200, {"normal_text": "I look.", "calls": calls})
    found = post(server_url, "/parse_function_call", {"text": text, "tools": [], **parser})
    assert found == (200, {"normal_text": text, "calls": []})


@pytest.mark.parametrize(
    ("text", "parser", "reasoning", "rest"),
    [
        ("<think>a</think>b", "qwen3", "a", "b"),
        ("a</think>b", "deepseek-r1", "a", "b"),
        ("a</think>b", "qwen3", "", "a</think>b"),
    ],
)
def test_thoughts_in_a_text(server_url: str, text: str, parser: str, reasoning: str, rest: str) -> None:
    found = post(server_url, "/separate_reasoning", {"text": text, "reasoning_parser": parser})
    assert found == (200, {"reasoning_text": reasoning, "text": rest})


@pytest.mark.parametrize(
    ("path", "body", "part"),
    [
        (
            "/separate_reasoning",
            {"text": "a"},
            "the server has no reasoning parser; name one in reasoning_parser: ",
        ),
        ("/separate_reasoning", {"text": "a", "reasoning_parser": "x"}, "reasoning_parser must be auto, deepseek-r1, "),
        ("/separate_reasoning", {}, "text is missing: a string"),
        ("/parse_function_call", {"text": "a"}, "tools is missing: a list of tools"),
        ("/parse_function_call", {"text": "a", "tools": [{}]}, "tools must be a list of tools"),
        (
            "/parse_function_call",
            {"text": "a", "tools": [], "tool_call_parser": "x"},
            "tool_call_parser must be ",
        ),
    ],
)
def test_wrong_bodies(server_url: str, path: str, body: dict[str, Any], part: str) -> None:
    status, answer = post(server_url, path, body)
    assert status == 400
    assert part in answer["error"]["message"]
