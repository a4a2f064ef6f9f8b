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
        chat(real, extra_body={"response_format": {"type": "json_object", "schema": PERSON}}),
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
        extra_body={"regex": None, "ebnf": None},
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


CALL: dict[str, Any] = {"begin": "<f>", "schema": PERSON, "end": "</f>"}
TAG: dict[str, Any] = {"type": "tag", "begin": "<f>", "end": "</f>"}
TAG["content"] = {"type": "json_schema", "json_schema": PERSON}


@pytest.mark.parametrize(
    "fields",
    [
        {"response_format": {"type": "structural_tag", "format": TAG}},
        {"structural_tag": {"format": TAG}},
        {"structural_tag": json.dumps({"type": "structural_tag", "format": TAG})},
        {"guided_structural_tag": {"format": TAG}},
        {"structured_outputs": {"structural_tag": {"format": TAG}}},
    ],
    ids=json.dumps,
)
def test_a_structural_tag(real: openai.OpenAI, fields: dict[str, Any]) -> None:
    for ask in (chat, complete):
        found = re.fullmatch("<f>(.*)</f>", ask(real, extra_body=fields), re.DOTALL)
        assert found is not None
        jsonschema.validate(json.loads(found[1]), PERSON)


def test_text_that_need_not_have_a_tag(real: openai.OpenAI) -> None:
    """In the older notation."""
    wanted = {"type": "structural_tag", "structures": [CALL], "triggers": ["<f"]}
    answer = real.completions.create(
        **{**FIELDS, "temperature": 0}, prompt="1 2 3", max_tokens=8, extra_body={"response_format": wanted}
    )
    free = real.completions.create(**{**FIELDS, "temperature": 0}, prompt="1 2 3", max_tokens=8)
    assert answer.choices[0].text == free.choices[0].text


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
        ({"response_format": {"type": "structural_tag"}}, "structural_tag needs format, or structures and triggers"),
        ({"response_format": {"type": "structural_tag", "format": TAG}, "regex": "a"}, "response_format and regex"),
        ({"response_format": {"type": "json_object", "triggers": ["a"]}}, "triggers is of type structural_tag"),
        (
            {"response_format": {"type": "json_schema", "schema": {}}},
            "with type json_schema put the schema in response_format.json_schema.schema",
        ),
        ({"response_format": {"type": "json_object", "json_schema": {}}}, "json_schema is of type json_schema"),
        ({"response_format": {"type": "text", "schema": {}}}, "response_format.schema is of type json_object"),
        ({"regex": "a", "choices": ["b"]}, "Only one of regex, ebnf, json_schema, .*, not both regex and choices"),
        ({"structural_tag": {"format": TAG}, "regex": "a"}, "not both regex and structural_tag"),
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


SAME_CONSTRAINT: tuple[dict[str, Any], ...] = (
    {"choices": ["red", "blue"]},
    {"guided_choice": ["red", "blue"]},
    {"guided_regex": "red|blue", "guided_json": None, "structured_outputs": None},
    {"guided_json": {"enum": ["red", "blue"]}},
    {"guided_grammar": 'root ::= "red" | "blue"'},
    {"grammar": 'root ::= "red" | "blue"'},
    {"structured_outputs": {"choice": ["red", "blue"], "json_object": False}},
    {"structured_outputs": {"regex": "red|blue", "json": None}},
    {"structured_outputs": {"json": json.dumps({"enum": ["red", "blue"]})}},
    {"structured_outputs": {"grammar": 'root ::= "red" | "blue"'}},
)


@pytest.mark.parametrize("fields", SAME_CONSTRAINT, ids=str)
def test_constraints_under_the_names_of_other_servers(real: openai.OpenAI, fields: dict[str, Any]) -> None:
    assert chat(real, extra_body=fields).strip('"') in ("red", "blue")
    assert complete(real, extra_body=fields).strip('"') in ("red", "blue")


@pytest.mark.parametrize(
    "fields",
    [
        {"json_schema": PERSON, "whitespace_pattern": " "},
        {"response_format": AS_RESPONSE_FORMAT, "whitespace_pattern": " "},
        {"guided_json": PERSON, "guided_whitespace_pattern": " "},
        {"structured_outputs": {"json": PERSON, "whitespace_pattern": " "}},
    ],
    ids=json.dumps,
)
def test_white_space_that_is_asked_for(real: openai.OpenAI, fields: dict[str, Any]) -> None:
    for ask in (chat, complete):
        assert re.fullmatch(r'{ "name" : ".*" , "age" : \d+ }', ask(real, extra_body=fields), re.DOTALL)


def test_any_object_under_the_name_of_another_server(real: openai.OpenAI) -> None:
    given = {"structured_outputs": {"json_object": True}, "temperature": 0, "max_tokens": 200}
    text = chat(real, extra_body={**given, "messages": [{"role": "user", "content": 'Say {"a": 1}'}]})
    assert isinstance(json.loads(text), dict)


REFUSED_NAMES: tuple[tuple[dict[str, Any], str], ...] = (
    ({"guided_regex": "a", "guided_json": {}}, "only one of guided_json and guided_regex can be set"),
    ({"guided_regex": "a", "choices": ["a"]}, "only one of guided_regex and choices can be set"),
    ({"grammar": "a", "structured_outputs": {"regex": "a"}}, "only one of grammar and structured_outputs.regex can"),
    ({"structured_outputs": {"regex": "a", "choice": ["a"]}}, "only one of structured_outputs.regex and structured_o"),
    (
        {"structured_outputs": {}},
        "structured_outputs must have one of json, regex, choice, grammar, structural_tag, wh",
    ),
    ({"structured_outputs": {"json": None}}, "structured_outputs must have one of json, regex, choice"),
    ({"structured_outputs": "a"}, "structured_outputs must be an object, not 'a'"),
    ({"structured_outputs": {"whitespace": " "}}, "whitespace is not supported; did you mean 'whitespace_pattern'?"),
    (
        {"guided_whitespace_pattern": " ", "structured_outputs": {"whitespace_pattern": " "}},
        "only one of guided_whitespace_pattern and structured_outputs.whitespace_pattern can be set",
    ),
    ({"guided_whitespace_pattern": " "}, "whitespace_pattern belongs to a json_schema"),
    ({"guided_json": {}, "whitespace_pattern": r"\s*"}, "matches more than the white space of JSON"),
    ({"guided_choice": "red"}, "choices must be a list of strings, not 'red'"),
)


@pytest.mark.parametrize(("fields", "message"), REFUSED_NAMES, ids=str)
def test_what_other_names_are_refused_for(real: openai.OpenAI, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=re.escape(message)):
        chat(real, extra_body=fields)
