"""What a body may hold: every refusal names the field, and says what would be right."""

from __future__ import annotations

from typing import Any

import pytest

from sglang.srt.server.openai.errors import FieldError
from sglang.srt.server.openai.fields import parse
from sglang.srt.server.openai.requests import ChatCompletionRequest, CompletionRequest

HELLO = {"messages": [{"role": "user", "content": "hello"}]}
PROMPT = {"prompt": "hello"}


def message(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "hello"}, fields]}


CHAT_REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "messages", "messages must be a non-empty list of messages, not missing"),
    ({"messages": None}, "messages", "not missing"),
    ({"messages": []}, "messages", "must be a non-empty list of messages, not []"),
    ({"messages": "hello"}, "messages", "not 'hello'"),
    ({**HELLO, "stop": 1, "temperature": []}, "temperature", "temperature must be a number, not []"),
    ({"messages": ["hello"]}, "messages[0]", "must be an object, not 'hello'"),
    ({**HELLO, "temprature": 1}, "temprature", "unknown field 'temprature'; did you mean 'temperature'?"),
    ({**HELLO, "guided_jsn": {}}, "guided_jsn", "unknown field 'guided_jsn'; did you mean 'guided_json'?"),
    (
        {**HELLO, "extra_body": {"top_k": 1}},
        "extra_body",
        "'extra_body'; that is how clients call what they add to the",
    ),
    ({**HELLO, "temprature": None}, "temprature", "unknown field"),
    ({**HELLO, "prompt": "hello"}, "prompt", "unknown field 'prompt'"),
    ({**HELLO, "sampling_seed": 1}, "sampling_seed", "unknown field 'sampling_seed'; did you mean 'seed'?"),
    ({**HELLO, "min_new_tokens": 1}, "min_new_tokens", "did you mean 'min_tokens'?"),
    ({**HELLO, "tools": [{"type": "function"}]}, "tools[0].function", "is missing"),
    ({**HELLO, "tools": "f"}, "tools", "tools must be a list of tools: objects of type function, not 'f'"),
    ({**HELLO, "tools": [{"type": "web_search"}]}, "tools[0].type", "must be 'function', not 'web_search'"),
    ({**HELLO, "tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "is missing"),
    (
        {**HELLO, "tools": [{"type": "function", "function": {"name": "a b"}}]},
        "tools[0].function.name",
        "tools[0].function.name must be a string that matches '^[A-Za-z0-9_.:/-]{1,128}$', not 'a b'",
    ),
    (
        {**HELLO, "tools": [{"type": "function", "function": {"name": "f", "params": {}}}]},
        "tools[0].function.params",
        "unknown field tools[0].function.params; did you mean 'parameters'?",
    ),
    (
        {**HELLO, "tools": [{"type": "function", "function": {"name": "f", "parameters": []}}]},
        "tools[0].function.parameters",
        "must be a valid dictionary, not []",
    ),
    ({**HELLO, "tool_choice": "f"}, "tool_choice", "tool_choice must be none, auto, required for a call of any tool"),
    (
        {**HELLO, "tool_choice": {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}},
        "tool_choice.allowed_tools.tools",
        "tools must be a list of 1 or more, not []",
    ),
    ({**HELLO, "parallel_tool_calls": "no"}, "parallel_tool_calls", "must be true or false, not 'no'"),
    ({**HELLO, "functions": [{}]}, "functions", "functions=[{}] is not supported here; use tools"),
    ({**HELLO, "modalities": ["text", "audio"]}, "modalities", "is not supported here yet"),
    ({**HELLO, "audio": {"voice": "a"}}, "audio", "is not supported here yet"),
    ({**HELLO, "prediction": {"type": "content"}}, "prediction", "is not supported here yet"),
    ({**HELLO, "web_search_options": {}}, "web_search_options", "is not supported here yet"),
    ({**HELLO, "verbosity": "low"}, "verbosity", "verbosity='low' is not supported here yet"),
    ({**HELLO, "lora_path": "a"}, "lora_path", "is not supported here yet"),
    ({**HELLO, "custom_logit_processor": "a"}, "custom_logit_processor", "is not supported here yet"),
    ({**HELLO, "return_hidden_states": True}, "return_hidden_states", "is not supported here yet"),
    ({**HELLO, "n": "2"}, "n", "n must be an integer, not '2'"),
    ({**HELLO, "n": True}, "n", "n must be an integer, not True"),
    ({**HELLO, "stream": 1}, "stream", "stream must be true or false, not 1"),
    ({**HELLO, "temperature": "hot"}, "temperature", "temperature must be a number, not 'hot'"),
    ({**HELLO, "top_logprobs": 21}, "top_logprobs", "must be an integer from 0 to 20, not 21"),
    ({**HELLO, "logprobs": 1}, "logprobs", "must be true or false, not 1"),
    ({**HELLO, "stop": 5}, "stop", "must be a string or a list of strings, not 5"),
    ({**HELLO, "stop": ["a", 5]}, "stop[1]", "must be a valid string, not 5"),
    ({**HELLO, "rid": "x" * 513}, "rid", "must be a string of up to 512 characters"),
    ({**HELLO, "logit_bias": [1]}, "logit_bias", "must be an object of token ids and numbers, not [1]"),
    ({**HELLO, "stream_options": {"usage": True}}, "stream_options.usage", "unknown field stream_options.usage"),
    ({**HELLO, "stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation", "not True"),
    ({**HELLO, "response_format": "json"}, "response_format", "must be an object with a type, not 'json'"),
    ({**HELLO, "response_format": {}}, "response_format.type", "is missing"),
    (
        {**HELLO, "response_format": {"type": "json_schema", "json_schema": {"strct": True}}},
        "response_format.json_schema.strct",
        "unknown field response_format.json_schema.strct; did you mean 'strict'?",
    ),
    (
        {**HELLO, "response_format": {"type": "json_schema", "json_schema": {"type": "object"}}},
        "response_format.json_schema.type",
        "known fields: name, description, schema, strict",
    ),
    (
        {**HELLO, "response_format": {"type": "xml"}},
        "response_format.type",
        "'json_schema' or 'structural_tag', not 'xml'",
    ),
    (message(role="critic", content="a"), "messages[1].role", "'tool' or 'function', not 'critic'"),
    (message(content="a"), "messages[1].role", "is missing"),
    ({**HELLO, "x" * 1000: 1}, "x" * 80, "unknown field 'xxx"),
    (message(role="user", content="a", **{"x" * 1000: 1}), "messages[1]." + "x" * 80, "unknown field messages[1].xxx"),
    ({**HELLO, "model": "x" * 513}, "model", "model must be a string of up to 512 characters"),
    ({**HELLO, "functions": [], "function_call": {"name": "f"}}, "function_call", "here; use tool_choice"),
    (message(role="user", content=5), "messages[1].content", "must be a valid string or a valid list, not 5"),
    (message(role="user", content="a", colour="red"), "messages[1].colour", "unknown field messages[1].colour"),
    (
        message(role="user", content=[{"type": "text", "text": "a", "cache_controls": {}}]),
        "messages[1].content[0].cache_controls",
        "did you mean 'cache_control'?",
    ),
    (message(role="user", content=[{"type": "text"}]), "messages[1].content[0].text", "is missing"),
    (
        message(role="user", content=[{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "a"}}]),
        "messages[1].content[1].type",
        "'image_url' is not supported here yet: this model reads text only",
    ),
    (message(role="assistant", tool_calls=[{"id": "a"}]), "messages[1].tool_calls[0].function", "is missing"),
    (message(role="assistant", content="a", refusal="no"), "messages[1].refusal", "is not supported here yet"),
]

COMPLETION_REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({}, "prompt", "or a list of such lists, not missing"),
    (
        {"prompt": 5},
        "prompt",
        "must be a string, a list of strings, a list of token ids, or a list of such lists, not 5",
    ),
    ({"prompt": [1, "a"]}, "prompt", "or a list of such lists, not [1, 'a']"),
    ({"prompt": [[1], "a"]}, "prompt", "or a list of such lists, not [[1], 'a']"),
    ({"prompt": [[1], [1.5]]}, "prompt[1][0]", "must be a valid integer, not 1.5"),
    ({"prompt": [True]}, "prompt[0]", "not True"),
    ({**PROMPT, "messages": []}, "messages", "unknown field 'messages'"),
    ({**PROMPT, "suffix": "a"}, "suffix", "suffix='a' is not supported here yet"),
    ({**PROMPT, "logprobs": True}, "logprobs", "logprobs must be an integer, not True"),
    ({**PROMPT, "echo": "yes"}, "echo", "echo must be true or false, not 'yes'"),
]


@pytest.mark.parametrize(("body", "param", "part"), CHAT_REFUSED)
def test_a_wrong_chat_body_is_refused_by_name(body: dict[str, Any], param: str, part: str) -> None:
    with pytest.raises(FieldError) as caught:
        parse(ChatCompletionRequest, body)
    assert caught.value.param == param
    assert part in str(caught.value)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(("body", "param", "part"), COMPLETION_REFUSED)
def test_a_wrong_completion_body_is_refused_by_name(body: dict[str, Any], param: str, part: str) -> None:
    with pytest.raises(FieldError) as caught:
        parse(CompletionRequest, body)
    assert caught.value.param == param
    assert part in str(caught.value)


@pytest.mark.parametrize("kind", [ChatCompletionRequest, CompletionRequest])
def test_null_means_not_given(kind: type[ChatCompletionRequest] | type[CompletionRequest]) -> None:
    needed = HELLO if kind is ChatCompletionRequest else PROMPT
    nulls = dict.fromkeys([*kind.model_fields, *kind.not_here])
    assert parse(kind, {**nulls, **needed}) == parse(kind, dict(needed))


def test_what_changes_no_answer_is_accepted() -> None:
    neutral = {name: values[0] for name, values in ChatCompletionRequest.not_here.items() if values}
    given = {"user": "me", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "prompt_cache_key": "k"}
    given |= {"safety_identifier": "me", "prompt_cache_retention": "24h", "parallel_tool_calls": True}
    given |= {"guided_decoding_backend": "xgrammar"}
    parsed, plain = (parse(ChatCompletionRequest, {**HELLO, **more}) for more in ({**neutral, **given}, {}))
    assert parsed.messages == plain.messages


def test_hints_for_a_cache_are_accepted() -> None:
    part = {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}, "prompt_cache_breakpoint": {}}
    (_, parsed) = parse(ChatCompletionRequest, message(role="function", name="f", content=[part])).messages
    assert parsed.role == "function"


def test_an_answer_may_be_sent_back_as_it_came() -> None:
    empty: dict[str, Any] = {
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
    }
    request = parse(ChatCompletionRequest, message(role="assistant", content=None, **empty))
    assert request.messages[1].content is None


def test_what_clients_add_to_an_answer_may_be_sent_back() -> None:
    function = {"name": "f", "arguments": '{"a": 1}', "parsed_arguments": {"a": 1}}
    added = {"parsed": {"b": [2]}, "provider_specific_fields": {"refusal": None}}
    call = {"id": "c", "type": "function", "function": function}
    parse(ChatCompletionRequest, message(role="assistant", content="", tool_calls=[call], **added))
    with pytest.raises(FieldError, match="unknown field messages"):
        parse(ChatCompletionRequest, message(role="assistant", content="", parse={}))


def test_a_schema_may_be_called_schema_() -> None:
    for name in ("schema", "schema_"):
        wanted = {"type": "json_schema", "json_schema": {"name": "a", name: {"type": "null"}}}
        request = parse(CompletionRequest, {**PROMPT, "response_format": wanted})
        assert request.response_format is not None and request.response_format.json_schema is not None
        assert request.response_format.json_schema.schema_ == {"type": "null"}
