"""What a constraint promises holds on a real model at temperature 1, and a wrong constraint disturbs nobody."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jsonschema
import pytest

import sglang as sgl
from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.ebnf import parse_ebnf
from tests.grammar.test_ebnf import JSON, Recogniser
from tests.grammar.texts import Kind
from tests.helpers.runtime import assert_baseline

PROMPTS = ["The answer is ", "2024: ", "Once upon a time", '{"', "北京 café "]
WORDS = ["Paris", "yes", " no", "é", "日本", "{", "a b", "\n", "Hello, world", "0.5"]
MAX_NEW_TOKENS = 40


@dataclass(frozen=True)
class Case:
    kind: Kind
    source: Any
    holds: Callable[[str], bool]


def random_regex(rng: random.Random, depth: int = 3) -> str:
    if depth == 0:
        return rng.choice([re.escape(rng.choice(WORDS)), r"\d", r"\w", "[a-f]", "[^a-z\\s]", r"\s", ".", "(?i:ok)"])
    parts = [random_regex(rng, depth - 1) for _ in range(rng.randrange(1, 3))]
    form = rng.choice(["sequence", "sequence", "either", "repeat"])
    if form == "sequence":
        return "".join(parts)
    if form == "either":
        return f"(?:{'|'.join([*parts, random_regex(rng, 0)])})"
    return f"(?:{parts[0]}){rng.choice(['?', '{1,2}', '{2}', '+?', '{0,3}'])}"


def random_grammar(rng: random.Random) -> str:
    words = [json.dumps(word, ensure_ascii=False) for word in rng.sample(WORDS, 4)]
    forms = [
        f'root ::= "(" root ")" | {words[0]}',
        f"root ::= item ({words[0]} item){{0,2}}\nitem ::= {words[1]} | {words[2]} | [0-9]{{1,2}}",
        f"root ::= x\nx ::= y | {words[0]} x y\ny ::= [a-c] | {words[1]}? {words[2]}",
        f"root ::= [a-z]{{1,4}} rest\nrest ::= {words[0]} | {words[1]} rest {words[2]}",
        f"root ::= root {words[0]} | {words[1]} {words[2]}",
    ]
    return rng.choice(forms)


def random_schema(rng: random.Random, depth: int = 2) -> dict[str, Any]:
    simple: list[dict[str, Any]] = [
        {"enum": rng.sample([*WORDS, 1, None, True], 3)},
        {"type": "integer", "minimum": rng.randrange(5), "maximum": rng.randrange(5, 200)},
        {"type": "string", "maxLength": rng.randrange(1, 6)},
        {"type": "string", "pattern": "^[a-c]{1,3}$"},
        {"type": ["boolean", "null"]},
    ]
    if depth == 0 or rng.random() < 0.3:
        return rng.choice(simple)
    if rng.random() < 0.4:
        return {"type": "array", "items": random_schema(rng, depth - 1), "maxItems": 2}
    names = rng.sample(["name", "age", "é", "a b"], rng.randrange(1, 3))
    return {
        "type": "object",
        "properties": {name: random_schema(rng, depth - 1) for name in names},
        "required": names[: rng.randrange(len(names) + 1)],
        "additionalProperties": False,
    }


def random_case(rng: random.Random, number: int) -> Case:
    if number % 3 == 0:
        pattern = "x?" + random_regex(rng)
        return Case("regex", pattern, lambda text: re.fullmatch(pattern, text) is not None)
    if number % 3 == 1:
        grammar = random_grammar(rng)
        return Case("ebnf", grammar, lambda text: Recogniser(parse_ebnf(grammar), text).accepts())
    schema = random_schema(rng)
    return Case("json_schema", schema, lambda text: is_valid(text, schema))


def is_valid(text: str, schema: Any) -> bool:
    return bool(jsonschema.Draft202012Validator(schema).is_valid(json.loads(text)))


def test_300_random_constraints_hold(engine: sgl.Engine) -> None:
    rng = random.Random(2024)
    cases = [random_case(rng, number) for number in range(300)]
    params = [
        {case.kind: case.source, "temperature": 1.0, "max_new_tokens": MAX_NEW_TOKENS, "sampling_seed": number}
        for number, case in enumerate(cases)
    ]
    results: Any = engine.generate([PROMPTS[i % len(PROMPTS)] for i in range(300)], params)
    endings = {"stop": 0, "length": 0}
    for case, result in zip(cases, results, strict=True):
        finish, text = result["meta_info"]["finish_reason"], result["text"]
        endings[finish["type"]] += 1
        assert case.holds(text), (case, text)
        assert finish["type"] == "stop" or finish["closed"] is True
    assert endings["stop"] > 200, "most answers are short enough to end"


SAMPLED = {"temperature": 1.0, "sampling_seed": 7, "max_new_tokens": 14}
FORMS: list[dict[str, Any]] = [
    {"regex": r"The year is \d{4}, (January|February) \d\d?\."},
    {
        "json_schema": {
            "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer"}},
            "required": ["name", "age"],
            "type": "object",
            "additionalProperties": False,
        }
    },
    {"choices": ["a cat sat on the mat", "a cat sat on the moon"]},
    {"ebnf": JSON},
]


@pytest.mark.parametrize("form", FORMS, ids=[next(iter(form)) for form in FORMS])
def test_the_same_answer_cold_cached_batched_streamed_and_stepped(engine: sgl.Engine, form: dict[str, Any]) -> None:
    """With log-probabilities every token is drawn, so this compares jumping with stepping on a real model."""
    engine.flush_cache()
    params = {**SAMPLED, **form}
    cold: Any = engine.generate(PROMPTS[0], params)
    cached: Any = engine.generate(PROMPTS[0], params)
    scored: Any = engine.generate(PROMPTS[0], params, return_logprob=True)
    others: list[dict[str, Any]] = [
        {"temperature": 1.0, "max_new_tokens": 5},
        {"regex": "[a-z]{20}", "max_new_tokens": 20},
    ]
    answers: Any = engine.generate([PROMPTS[2], PROMPTS[0], PROMPTS[3]], [others[0], params, others[1]])
    streamed = [chunk["text"] for chunk in engine.generate(PROMPTS[0], params, stream=True)]
    assert all(cold["text"].startswith(text) for text in streamed) and streamed[-1] == cold["text"]
    for result in (cached, scored, answers[1]):
        assert (result["text"], result["output_ids"]) == (cold["text"], cold["output_ids"])
        assert result["meta_info"]["finish_reason"] == cold["meta_info"]["finish_reason"]
    assert len(scored["meta_info"]["output_token_logprobs"]) == scored["meta_info"]["completion_tokens"]


def test_the_published_integer(engine: sgl.Engine) -> None:
    """How ``gen(dtype=int)`` asks: the stop may be part of what the pattern allows."""
    params = {"regex": r"[-+]?[0-9]+[ \n]*", "stop": [" ", "\n"], "max_new_tokens": 12, "temperature": 1.0, "n": 12}
    results: Any = engine.generate("The number of days in a week is ", params)
    assert all(re.fullmatch(r"[-+]?[0-9]+", result["text"]) for result in results), results


def test_stop_regex(engine: sgl.Engine) -> None:
    params = {"temperature": 0.0, "max_new_tokens": 40}
    prompt = "Q: What is one plus one?\nA: Two.\nQ: What is two plus two?\nA: Four.\nQ:"
    whole: Any = engine.generate(prompt, params)
    cut: Any = engine.generate(prompt, {**params, "stop_regex": r"\n[A-Z]:"})
    assert cut["text"] == re.split(r"\n[A-Z]:", whole["text"])[0] != whole["text"]
    assert cut["meta_info"]["finish_reason"] == {"type": "stop", "matched": r"\n[A-Z]:"}


BOMBS: list[tuple[dict[str, Any], str]] = [
    ({"regex": "(a{1000}){1000}"}, "^regex has 1000000 characters"),
    ({"regex": "(" * 100_000}, "^regex is nested more than"),
    ({"regex": "(a"}, "^regex is not a regular expression"),
    ({"regex": r"(\w)\1"}, "^regex has a backreference"),
    ({"regex": "a" * 10_000_000}, "^regex has 10000000 bytes"),
    ({"ebnf": 'root ::= "a" root'}, "^ebnf matches no text at all"),
    ({"ebnf": "nonsense"}, "^ebnf, line 1: expected a rule"),
    (
        {"ebnf": "root ::= r0\n" + "".join(f"r{i} ::= r{i + 1} r{i + 1}\n" for i in range(60)) + 'r60 ::= "x"'},
        "^ebnf has",
    ),
    ({"json_schema": '{"items":' * 5000}, "^json_schema is "),
    ({"json_schema": {"const": "x" * 10_000_000}}, "^json_schema has 10000013 bytes"),
    ({"json_schema": {"not": {}}}, "^json_schema cannot be satisfied: nothing is valid at #"),
    ({"json_schema": {"$ref": "#"}}, "^json_schema at # refers to itself without end"),
    (
        {"regex": "a", "json_schema": {}},
        "^Only one of regex, ebnf, json_schema, choices or structural_tag can be set, not both regex and json_schema$",
    ),
    ({"choices": ["x" * 100_000], "n": 1024}, "^the constraints of one call come to "),
    ({"stop_regex": "a*"}, "^stop_regex matches the empty text"),
    ({"structural_tag": "{}"}, "^structural_tag "),
]


async def test_wrong_constraints_are_refused_while_another_request_streams_on(tiny_engine: sgl.Engine) -> None:
    long = {"temperature": 0.0, "max_new_tokens": 300, "ignore_eos": True}
    alone: Any = await tiny_engine.async_generate("clock", long)
    for params, message in BOMBS:
        stream: Any = await tiny_engine.async_generate("clock", long, stream=True)
        text = (await anext(stream))["text"]
        with pytest.raises(InvalidRequestError, match=message):
            await tiny_engine.async_generate("x", {**params, "max_new_tokens": 5})
        async for chunk in stream:
            text = chunk["text"]
        assert text == alone["text"]


async def test_requests_given_up_while_their_grammar_is_made(tiny_engine: sgl.Engine) -> None:
    def params(number: int) -> dict[str, Any]:
        return {"regex": f"(?:[a-z]{{1,9}} ?){{1,90}}{number}", "max_new_tokens": 200}

    tasks = [asyncio.ensure_future(tiny_engine.async_generate("x", params(number))) for number in range(40)]
    for number, task in enumerate(tasks):
        for _ in range(number % 5):
            await asyncio.sleep(0)
        task.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*tasks, return_exceptions=True))
    assert_baseline(tiny_engine)
    result: Any = await tiny_engine.async_generate("x", {"regex": "[a-z]{3}", "max_new_tokens": 5})
    assert re.fullmatch("[a-z]{3}", result["text"])


def test_an_answer_that_hits_a_limit_on_the_way_is_ended_there(tiny_engine: sgl.Engine) -> None:
    pattern = "(?:a?){500}a{500}"
    result: Any = tiny_engine.generate("x", {"regex": pattern, "max_new_tokens": 1200, "temperature": 0.0})
    finish = result["meta_info"]["finish_reason"]
    assert (finish["type"], finish["closed"]) == ("length", True)
    assert set(result["text"]) == {"a"} and 500 <= len(result["text"]) <= 1000


def test_an_end_token_that_is_text_elsewhere_ends_nothing_too_soon(tiny_engine: sgl.Engine) -> None:
    """Token 2 is "#" to the tiny model's tokenizer, and the model's end."""
    fields = {"json_schema": '{"type": "string", "maxLength": 3}', "max_new_tokens": 16}
    answers = tiny_engine.generate(["A"] * 500, [{**fields, "sampling_seed": seed} for seed in range(500)])
    assert all(isinstance(json.loads(answer["text"]), str) for answer in answers)


def test_items_that_must_differ(tiny_engine: sgl.Engine) -> None:
    """Stepped, as with log-probabilities, and jumped; of few tokens, so that most answers have to be ended."""
    schema = {"type": "array", "uniqueItems": True, "items": {"type": "integer", "minimum": 0}, "minItems": 5}
    params = [
        {"json_schema": schema, "max_new_tokens": 24, "temperature": 1.5, "sampling_seed": seed} for seed in range(150)
    ]
    answers: Any = tiny_engine.generate(["A"] * 150, params)
    stepped: Any = tiny_engine.generate(["A"] * 150, params, return_logprob=True)
    for answer, other in zip(answers, stepped, strict=True):
        items = json.loads(answer["text"])
        assert len(set(items)) == len(items) >= 5
        assert other["text"] == answer["text"]
    assert len({answer["text"] for answer in answers}) > 100
    assert_baseline(tiny_engine)
