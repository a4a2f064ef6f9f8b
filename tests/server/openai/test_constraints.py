"""Constraints through both doors: what a 200 answer promises holds."""

from __future__ import annotations

import json
import re
from typing import Any, Literal

import httpx
import jsonschema
import openai
import pydantic
import pytest

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
AS_RESPONSE_FORMAT: Any = {"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}}
FIELDS: dict[str, Any] = {"model": "a", "temperature": 1.0, "seed": 1}
YES_OR_NO = 'root ::= "yes" | "no"'


def chat(client: openai.OpenAI, **fields: Any) -> str:
    messages: list[Any] = [{"role": "user", "content": "Describe a person as JSON."}]
    given: dict[str, Any] = {**FIELDS, "messages": messages, "max_tokens": 60, **fields}
    (choice,) = client.chat.completions.create(**given).choices
    assert choice.finish_reason == "stop"
    return str(choice.message.content)


def complete(client: openai.OpenAI, **fields: Any) -> str:
    given: dict[str, Any] = {**FIELDS, "prompt": "A person:", "max_tokens": 60, **fields}
    (choice,) = client.completions.create(**given).choices
    assert choice.finish_reason == "stop"
    return str(choice.text)


def test_a_schema_as_response_format(real: openai.OpenAI) -> None:
    for text in (
        chat(real, response_format=AS_RESPONSE_FORMAT),
        chat(real, extra_body={"json_schema": PERSON}),
        complete(real, extra_body={"response_format": AS_RESPONSE_FORMAT}),
        complete(real, extra_body={"json_schema": json.dumps(PERSON)}),
    ):
        jsonschema.validate(json.loads(text), PERSON)


class Pet(pydantic.BaseModel):
    kind: Literal["cat", "dog"]
    age: int = pydantic.Field(ge=0, le=9)


class Household(pydantic.BaseModel):
    pets: list[Pet] = pydantic.Field(min_length=1, max_length=2, description="All of them.")
    car: Literal["red"] | None


def test_a_class_as_response_format(tiny: openai.OpenAI) -> None:
    """As the client's own helpers write and read it."""
    messages: list[Any] = [{"role": "user", "content": "Who lives here?"}]
    answer = tiny.chat.completions.parse(model="a", messages=messages, response_format=Household, seed=1)
    household = answer.choices[0].message.parsed
    assert household is not None and 1 <= len(household.pets) <= 2
    with tiny.chat.completions.stream(model="a", messages=messages, response_format=Household, seed=1) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == household


def test_any_json_object(real: openai.OpenAI, real_http: httpx.Client) -> None:
    """Of which a bias takes a short one."""
    ends = [real_http.post("/tokenize", json={"prompt": text}).json()["tokens"][-1] for text in ("}", "{}", '"}')]
    bias = {str(token): 100 for token in ends}
    assert isinstance(json.loads(chat(real, response_format={"type": "json_object"}, logit_bias=bias)), dict)


def test_plain_text_is_no_constraint(real: openai.OpenAI) -> None:
    messages: list[Any] = [{"role": "user", "content": "hello"}]
    answer = real.chat.completions.create(
        model="a",
        messages=messages,
        max_tokens=2,
        response_format={"type": "text"},
        extra_body={"regex": "", "ebnf": ""},
    )
    assert answer.usage is not None and answer.usage.completion_tokens == 2


@pytest.mark.parametrize("ask", [chat, complete])
@pytest.mark.parametrize(
    ("constraint", "pattern"),
    [
        ({"regex": "(Paris|London)"}, "Paris|London"),
        ({"ebnf": YES_OR_NO}, "yes|no"),
        ({"choices": ["red", "green"]}, "red|green"),
    ],
)
def test_constraints_of_extra_body(real: openai.OpenAI, ask: Any, constraint: dict[str, Any], pattern: str) -> None:
    assert re.fullmatch(pattern, ask(real, extra_body=constraint))


def test_a_stream_is_the_whole(real: openai.OpenAI) -> None:
    fields: dict[str, Any] = {**FIELDS, "messages": [{"role": "user", "content": "A person?"}], "max_tokens": 60}
    fields["response_format"] = AS_RESPONSE_FORMAT
    whole = real.chat.completions.create(**fields)
    parts = [chunk.choices[0].delta.content or "" for chunk in real.chat.completions.create(**fields, stream=True)]
    assert "".join(parts) == whole.choices[0].message.content


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"regex": "a", "ebnf": YES_OR_NO}, "(?i)only one of"),
        ({"regex": "a", "response_format": AS_RESPONSE_FORMAT}, "only one of response_format and regex can be set"),
        (
            {"json_schema": {}, "response_format": {"type": "json_object"}},
            "only one of response_format and json_schema",
        ),
        ({"response_format": {"type": "json_schema"}}, "needs json_schema.schema"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}}, "needs json_schema.schema"),
        ({"regex": "("}, "regex"),
        ({"ebnf": "root ::= nothing"}, "ebnf"),
        ({"json_schema": "{"}, "json_schema"),
        ({"choices": []}, "choices"),
    ],
)
def test_what_cannot_be_enforced_is_refused(tiny: openai.OpenAI, fields: dict[str, Any], message: str) -> None:
    for ask in (chat, complete):
        with pytest.raises(openai.BadRequestError, match=message):
            ask(tiny, extra_body=fields)
