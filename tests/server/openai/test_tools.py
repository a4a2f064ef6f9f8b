"""Tools and thoughts through the official client, on the default model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
import jsonschema
import openai
import pydantic
import pytest

from tests.helpers.runtime import Server
from tests.server.openai.conftest import client_of

WEATHER: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 12}, "unit": {"enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOLS: Any = [
    {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": WEATHER}},
    {"type": "function", "function": {"name": "get_time"}},
]
SCHEMAS = {"get_weather": WEATHER, "get_time": {"type": "object", "maxProperties": 0}}


class Weather(pydantic.BaseModel):
    city: Annotated[str, pydantic.Field(max_length=12)]
    unit: Literal["celsius", "fahrenheit"]


NAMED: Any = {"type": "function", "function": {"name": "get_weather"}}
QUESTION: list[Any] = [{"role": "user", "content": "How warm is it in Boston, in fahrenheit?"}]
ASK: dict[str, Any] = {"model": "default", "messages": QUESTION, "tools": TOOLS, "temperature": 0, "max_tokens": 60}


def calls_of(message: Any) -> list[tuple[str, str]]:
    return [(call.function.name, call.function.arguments) for call in message.tool_calls or []]


def gathered(chunks: list[Any], index: int = 0) -> tuple[str, str, list[tuple[str, str]], str | None]:
    """Reasoning, content, calls and finish reason of one choice of a stream, as a client puts them together."""
    reasoning = content = ""
    calls: list[list[str]] = []
    finish = None
    for choice in (chunk.choices[0] for chunk in chunks if chunk.choices and chunk.choices[0].index == index):
        content += choice.delta.content or ""
        reasoning += getattr(choice.delta, "reasoning_content", None) or ""
        finish = finish or choice.finish_reason
        for part in choice.delta.tool_calls or []:
            if part.id is not None:
                assert (part.index, part.type, part.function.arguments) == (len(calls), "function", "")
                calls.append([part.function.name, ""])
            else:
                assert part.function.name is None and part.index == len(calls) - 1
                calls[part.index][1] += part.function.arguments
    return reasoning, content, [(name, arguments) for name, arguments in calls], finish


def test_a_named_call(real: openai.OpenAI) -> None:
    answer = real.chat.completions.create(**ASK, tool_choice=NAMED)
    (choice,) = answer.choices
    ((name, arguments),) = calls_of(choice.message)
    jsonschema.validate(json.loads(arguments), WEATHER)
    assert (name, choice.message.content, choice.finish_reason) == ("get_weather", None, "tool_calls")
    assert choice.message.tool_calls is not None and choice.message.tool_calls[0].id.startswith("call_")


def test_demanded_calls_cannot_be_malformed(real: openai.OpenAI) -> None:
    request = {**ASK, "temperature": 1.5, "seed": 3, "n": 4, "parallel_tool_calls": False}
    answer = real.chat.completions.create(**request, tool_choice="required")
    ids = set()
    for choice in answer.choices:
        assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
        ((name, arguments),) = calls_of(choice.message)
        jsonschema.validate(json.loads(arguments), SCHEMAS[name])
        assert choice.message.tool_calls is not None
        ids.add(choice.message.tool_calls[0].id)
    assert len(ids) == 4


@pytest.mark.parametrize("choice", [NAMED, "required"], ids=["named", "several"])
def test_a_stream_of_calls_is_the_whole(real: openai.OpenAI, choice: Any) -> None:
    request = {**ASK, "tool_choice": choice, "n": 2, "seed": 1, "temperature": 1.0}
    whole = real.chat.completions.create(**request)
    chunks = list(real.chat.completions.create(**request, stream=True))
    for one in whole.choices:
        expected = ("", one.message.content or "", calls_of(one.message), one.finish_reason)
        assert gathered(chunks, one.index) == expected
        assert expected[2]
    deltas = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    assert len(deltas) > 3 * len([call for call in deltas if call.id]), "arguments come as they grow"


def test_the_client_accumulates_a_stream(real: openai.OpenAI) -> None:
    with real.chat.completions.stream(**ASK, tool_choice=NAMED) as stream:
        message = stream.get_final_completion().choices[0].message
    assert calls_of(message) == calls_of(real.chat.completions.create(**ASK, tool_choice=NAMED).choices[0].message)


def test_log_probabilities_of_a_call_are_all_told(real: openai.OpenAI) -> None:
    request = {**ASK, "tool_choice": NAMED, "logprobs": True}
    whole = real.chat.completions.create(**request).choices[0].logprobs
    parts = [chunk.choices[0].logprobs for chunk in real.chat.completions.create(**request, stream=True)]
    assert whole is not None and whole.content
    told = [token for part in parts if part is not None for token in part.content or []]
    assert [token.token for token in told] == [token.token for token in whole.content]


def test_results_are_sent_back(real: openai.OpenAI, real_http: httpx.Client) -> None:
    """The client's own message is an answer's; what the model makes of the result is its business."""
    message = real.chat.completions.create(**ASK, tool_choice=NAMED).choices[0].message
    assert message.tool_calls is not None
    result: Any = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "68 degrees"}
    messages: Any = [*QUESTION, message, result]
    answer = real.chat.completions.create(**{**ASK, "messages": messages, "max_tokens": 16})
    sent = {"messages": [*QUESTION, message.model_dump(), result], "tools": TOOLS}
    tokens = real_http.post("/tokenize", json=sent).json()["tokens"]
    assert answer.usage is not None and answer.usage.prompt_tokens == len(tokens)
    prompt = real_http.post("/detokenize", json={"tokens": tokens}).json()["text"]
    ((_, arguments),) = calls_of(message)
    assert prompt.index(json.dumps(json.loads(arguments))) < prompt.index("68 degrees")


def test_what_the_client_has_parsed_may_be_sent_back(real: openai.OpenAI, real_http: httpx.Client) -> None:
    """Messages of ``parse`` carry their calls' arguments as objects, too. The prompt is that of the plain message."""
    tool = openai.pydantic_function_tool(Weather, name="get_weather")
    ask: dict[str, Any] = {**ASK, "tools": [tool]}
    message = real.chat.completions.parse(**ask, tool_choice="required").choices[0].message
    assert message.tool_calls and isinstance(message.tool_calls[0].function.parsed_arguments, Weather)
    results: Any = [{"role": "tool", "tool_call_id": call.id, "content": "68 degrees"} for call in message.tool_calls]
    messages: Any = [*QUESTION, message, *results]
    answer = real.chat.completions.create(**{**ask, "messages": messages, "max_tokens": 1})
    calls = [call.model_dump(exclude={"function": {"parsed_arguments"}}) for call in message.tool_calls]
    plain = {"role": "assistant", "tool_calls": calls}
    tokens = real_http.post("/tokenize", json={"messages": [*QUESTION, plain, *results], "tools": [tool]})
    assert answer.usage is not None and answer.usage.prompt_tokens == tokens.json()["count"]


def test_tools_are_in_the_prompt_unless_they_may_not_be_called(real_http: httpx.Client) -> None:
    def num_tokens(**fields: Any) -> int:
        return int(real_http.post("/tokenize", json={"messages": QUESTION, **fields}).json()["count"])

    assert num_tokens(tools=TOOLS) > num_tokens() + 100
    assert num_tokens(tools=TOOLS, tool_choice="none") == num_tokens() == num_tokens(tools=[])
    usage = real_http.post("/v1/chat/completions", json={**ASK, "max_tokens": 1}).json()["usage"]
    assert usage["prompt_tokens"] == num_tokens(tools=TOOLS)


def with_parameters(parameters: Any, **fields: Any) -> dict[str, Any]:
    return {"tools": [TOOLS[1], {"type": "function", "function": {"name": "f", "parameters": parameters, **fields}}]}


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"tool_choice": "required", "tools": []}, "tool_choice", "tool_choice='required' needs tools"),
    ({"tool_choice": NAMED, "tools": []}, "tool_choice", "tool_choice='get_weather' needs tools"),
    (
        {"tool_choice": {"type": "function", "function": {"name": "get_wether"}}},
        "tool_choice",
        "names 'get_wether', which is not among the tools; did you mean 'get_weather'?",
    ),
    ({"tool_choice": "any"}, "tool_choice", "must be none, auto, required for a call of any tool, "),
    (
        {"tool_choice": {"type": "function", "name": "get_weather"}},
        "tool_choice",
        '{"type": "function", "function": {"name": ...}} for a call of one, ',
    ),
    ({"tools": [TOOLS[1], TOOLS[1]]}, "tools[1].function.name", "two functions of the name 'get_time'"),
    (with_parameters({"type": "string"}), "tools[1].function.parameters", "must be a schema of type 'object'"),
    (
        {**with_parameters({"properties": {"a": {"$ref": "#/nowhere"}}}), "tool_choice": "required"},
        "tools[1].function.parameters",
        "cannot be enforced: json_schema has $ref '#/nowhere' at #/properties/a",
    ),
    (with_parameters({"type": "object", "required": 5}, strict=True), "tools[1].function.parameters", "required"),
    ({"ebnf": 'root ::= "a"'}, "ebnf", "cannot be combined with tools"),
    ({"json_schema": "{"}, "json_schema", "is not JSON"),
    (
        {"tool_choice": "required", "response_format": {"type": "json_object"}},
        "response_format",
        "tool_choice demands a call",
    ),
    (
        {"messages": [*QUESTION, {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]}]},
        "messages[1].tool_calls[0].function.arguments",
        "must be an object, or the text of one in JSON, not '{'",
    ),
    (
        {"messages": [{"role": "user", "content": "a", "tool_calls": [{"function": {"name": "f"}}]}]},
        "messages[0].tool_calls",
        "not of role 'user'",
    ),
    ({"chat_template_kwargs": {"tools": []}}, "chat_template_kwargs", "use the field tools"),
]


@pytest.mark.parametrize(("fields", "param", "part"), REFUSED)
def test_wrong_use_is_refused_by_name(real_http: httpx.Client, fields: dict[str, Any], param: str, part: str) -> None:
    response = real_http.post("/v1/chat/completions", json={**ASK, **fields})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert part in error["message"]


def test_an_answer_of_a_schema_beside_tools(real: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"warm": {"type": "boolean"}}, "required": ["warm"]}
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    message = real.chat.completions.create(**ASK, response_format=wanted).choices[0].message
    assert message.tool_calls or json.loads(message.content or "").keys() == {"warm"}


# --- thoughts, and calls that are not demanded -----------------------------------------------------------------------

TEMPLATE = """{% for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% if thinking is defined and not thinking %}<think>

</think>

{% endif %}{% endif %}"""

SUMS: list[Any] = []
for first, second in ((1, 1), (2, 3), (4, 4)):
    total = first + second
    thought = f"<think>\nThe sum of {first}+{second} is {total}.\n</think>\n\n"
    SUMS += [
        {"role": "user", "content": f"{first}+{second}?"},
        {"role": "assistant", "content": f'{thought}{{"sum":{total}}}'},
    ]
SUMS.append({"role": "user", "content": "3+3?"})
SUM: dict[str, Any] = {"model": "default", "messages": SUMS, "temperature": 0, "max_tokens": 60}
THOUGHT = "The sum of 3+3 is 6."

CITIES: list[Any] = []
for number, city in enumerate(("Paris", "Oslo", "Cairo")):
    function = {"name": "get_weather", "arguments": json.dumps({"city": city, "unit": "celsius"})}
    call = {"id": f"call_{number}", "type": "function", "function": function}
    CITIES += [
        {"role": "user", "content": f"Weather in {city}?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
CITIES.append({"role": "user", "content": "Weather in Rome?"})


@pytest.fixture(scope="module")
def thinker(default_model_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """The default model, taught to think by example."""
    file = tmp_path_factory.mktemp("template") / "think.jinja"
    file.write_text(TEMPLATE)
    options = ("--num-threads", "1", "--context-length", "1024", "--chat-template", str(file))
    with Server("--model-path", str(default_model_path), *options, "--reasoning-parser", "qwen3") as running:
        with client_of(running) as client:
            yield client
        assert "Traceback" not in running.log, running.log


def parts_of(answer: Any) -> tuple[str | None, str | None]:
    message = answer.choices[0].message
    return getattr(message, "reasoning_content", None), message.content


def test_thoughts_are_told_apart(thinker: openai.OpenAI) -> None:
    assert parts_of(thinker.chat.completions.create(**SUM)) == (THOUGHT, '{"sum":6}')
    chunks = list(thinker.chat.completions.create(**SUM, stream=True))
    assert gathered(chunks) == (THOUGHT, '{"sum":6}', [], "stop")
    assert len([chunk for chunk in chunks if hasattr(chunk.choices[0].delta, "reasoning_content")]) > 2


def test_thoughts_may_stay_in_the_content_or_come_at_once(thinker: openai.OpenAI) -> None:
    together = thinker.chat.completions.create(**SUM, extra_body={"separate_reasoning": False})
    assert parts_of(together) == (None, f'<think>\n{THOUGHT}\n</think>\n\n{{"sum":6}}')
    chunks = list(thinker.chat.completions.create(**SUM, stream=True, extra_body={"stream_reasoning": False}))
    thoughts = [getattr(chunk.choices[0].delta, "reasoning_content", None) for chunk in chunks]
    assert [thought for thought in thoughts if thought] == [THOUGHT]


def test_a_constraint_begins_after_the_thought(thinker: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"result": {"type": "integer"}}, "required": ["result"]}
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    assert parts_of(thinker.chat.completions.create(**SUM, response_format=wanted)) == (THOUGHT, '{"result":6}')
    reasoning, choice = parts_of(thinker.chat.completions.create(**SUM, extra_body={"choices": ["yes", "no"]}))
    assert reasoning == THOUGHT and choice in ("yes", "no")
    message = thinker.chat.completions.create(**{**ASK, "messages": SUMS}, tool_choice=NAMED).choices[0].message
    assert getattr(message, "reasoning_content", None) == THOUGHT
    ((_, arguments),) = calls_of(message)
    jsonschema.validate(json.loads(arguments), WEATHER)


@pytest.mark.parametrize(
    "constraint",
    [
        {"regex": "a{3}"},
        {"ebnf": 'root ::= "aaa"'},
        {"structural_tag": {"format": {"type": "regex", "pattern": "a{3}"}}},
    ],
)
def test_every_constraint_begins_after_a_thought_or_in_its_place(
    thinker: openai.OpenAI, constraint: dict[str, Any]
) -> None:
    assert parts_of(thinker.chat.completions.create(**SUM, extra_body=constraint)) == (THOUGHT, "aaa")
    silent = {**constraint, "chat_template_kwargs": {"thinking": False}}
    assert parts_of(thinker.chat.completions.create(**SUM, extra_body=silent)) == (None, "aaa")


@pytest.mark.parametrize("is_strict", [False, True])
def test_a_call_that_is_not_demanded(thinker: openai.OpenAI, is_strict: bool) -> None:
    tool: Any = {"type": "function", "function": {**TOOLS[0]["function"], "strict": is_strict}}
    request = {**ASK, "messages": CITIES, "tools": [tool]}
    whole = thinker.chat.completions.create(**request).choices[0]
    ((name, arguments),) = calls_of(whole.message)
    assert (name, json.loads(arguments)) == ("get_weather", {"city": "Rome", "unit": "celsius"})
    assert (whole.message.content, whole.finish_reason) == (None, "tool_calls")
    chunks = list(thinker.chat.completions.create(**request, stream=True))
    assert gathered(chunks) == ("", "", [(name, arguments)], "tool_calls")


def test_a_call_of_no_tool_is_content(thinker: openai.OpenAI) -> None:
    """The model goes on as the conversation did, which called something else."""
    choice = thinker.chat.completions.create(**{**ASK, "messages": CITIES, "tools": [TOOLS[1]]}).choices[0]
    assert choice.message.tool_calls is None and choice.finish_reason == "stop"
    assert (choice.message.content or "").startswith('<tool_call>\n{"name": "get_weather"')
