"""What `sampling_params` accepts, rejects, and says about what it rejects."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pydantic
import pytest

from sglang.srt import sampling_params
from sglang.srt.errors import InvalidRequestError
from sglang.srt.sampling_params import ALL_TOKENS, Constraint, SamplingParams, sampling_defaults

VOCAB_SIZE = 100
HUGE = 10**400
"""An integer too large for a float."""


def parse(given: Any = None, defaults: dict[str, Any] | None = None) -> SamplingParams:
    return SamplingParams.parse(given, defaults or {}, VOCAB_SIZE)


ACCEPTED: list[tuple[str, Any, Any]] = [
    # name, given, what it becomes
    ("max_new_tokens", 0, 0),
    ("max_new_tokens", 128, 128),
    ("max_new_tokens", 2**63 - 1, 2**63 - 1),
    ("max_new_tokens", None, None),
    ("min_new_tokens", 0, 0),
    ("min_new_tokens", 128, 128),
    ("stop", "a", ("a",)),
    ("stop", [], ()),
    ("stop", ["a", "bc"], ("a", "bc")),
    ("stop", ("\n", "ü"), ("\n", "ü")),
    ("stop_regex", r"\n\d+\.", (r"\n\d+\.",)),
    ("stop_regex", ["a", "b+", "a"], ("a", "b+")),
    ("stop_token_ids", [], ()),
    ("stop_token_ids", [0, 99], (0, 99)),
    ("stop_token_ids", (5,), (5,)),
    ("ignore_eos", True, True),
    ("no_stop_trim", True, True),
    ("skip_special_tokens", False, False),
    ("temperature", 0, 0.0),
    ("temperature", 0.7, 0.7),
    ("temperature", 1e9, 1e9),
    ("top_p", 1, 1.0),
    ("top_p", 1e-9, 1e-9),
    ("top_k", -1, ALL_TOKENS),
    ("top_k", 1, 1),
    ("top_k", 10**6, 10**6),
    ("min_p", 0, 0.0),
    ("min_p", 1.0, 1.0),
    ("frequency_penalty", -2, -2.0),
    ("frequency_penalty", 2.0, 2.0),
    ("presence_penalty", -2.0, -2.0),
    ("presence_penalty", 2, 2.0),
    ("repetition_penalty", 0.01, 0.01),
    ("repetition_penalty", 2, 2.0),
    ("logprobs_mode", "processed_logprobs", "processed_logprobs"),
    ("logit_bias", {}, {}),
    ("logit_bias", {0: 1, 99: -100.0}, {0: 1.0, 99: -100.0}),
    ("logit_bias", {"17": 5, 3: 0.5}, {17: 5.0, 3: 0.5}),
    ("n", 1, 1),
    ("n", 1024, 1024),
    ("sampling_seed", 0, 0),
    ("sampling_seed", 2**63 - 1, 2**63 - 1),
]

TEMPERATURE = r"temperature must be a number in [0, inf], not "
STOP = "stop must be a non-empty string or a list of them, not "
STOP_IDS = "stop_token_ids must be a list of token ids, not "
TOP_K = "top_k must be -1 (all tokens) or at least 1, not "
SEED = "sampling_seed must be an integer from 0 to 9223372036854775807, not "

REJECTED: list[tuple[str, Any, str]] = [
    # name, given, the message
    ("max_new_tokens", -1, "max_new_tokens must be an integer of at least 0, not -1 (int)"),
    ("max_new_tokens", True, "max_new_tokens must be an integer of at least 0, not True (bool)"),
    ("max_new_tokens", 5.0, "max_new_tokens must be an integer of at least 0, not 5.0 (float)"),
    ("max_new_tokens", 2**63, f"max_new_tokens must be an integer of at least 0, not {2**63} (int)"),
    ("max_new_tokens", "5", "max_new_tokens must be an integer of at least 0, not '5' (str)"),
    ("min_new_tokens", -1, "min_new_tokens must be an integer of at least 0, not -1 (int)"),
    ("min_new_tokens", False, "min_new_tokens must be an integer of at least 0, not False (bool)"),
    ("stop", "", f"{STOP}'' (str)"),
    ("stop", ["a", ""], f"{STOP}['a', ''] (list)"),
    ("stop", ["a", 1], f"{STOP}['a', 1] (list)"),
    ("stop", 7, f"{STOP}7 (int)"),
    ("stop", {"a": 1}, f"{STOP}{{'a': 1}} (dict)"),
    ("stop", ["ok", "\ud800"], "stop is not valid Unicode text: '\\ud800' (str)"),
    ("stop_regex", "", "stop_regex must be a non-empty string or a list of them, not '' (str)"),
    ("stop_regex", [3], "stop_regex must be a non-empty string or a list of them, not [3] (list)"),
    ("stop_token_ids", 5, f"{STOP_IDS}5 (int)"),
    ("stop_token_ids", "5", f"{STOP_IDS}'5' (str)"),
    ("stop_token_ids", [1.0], f"{STOP_IDS}[1.0] (list)"),
    ("stop_token_ids", [True], f"{STOP_IDS}[True] (list)"),
    ("stop_token_ids", [-1], "stop_token_ids has token id -1; valid ids are 0 to 99"),
    ("stop_token_ids", [0, 100], "stop_token_ids has token id 100; valid ids are 0 to 99"),
    ("ignore_eos", 1, "ignore_eos must be true or false, not 1 (int)"),
    ("no_stop_trim", "true", "no_stop_trim must be true or false, not 'true' (str)"),
    ("skip_special_tokens", 0, "skip_special_tokens must be true or false, not 0 (int)"),
    ("temperature", -0.1, f"{TEMPERATURE}-0.1 (float)"),
    ("temperature", -math.inf, f"{TEMPERATURE}-inf (float)"),
    ("temperature", math.inf, f"{TEMPERATURE}inf (float)"),
    ("temperature", math.nan, f"{TEMPERATURE}nan (float)"),
    ("temperature", "0.7", f"{TEMPERATURE}'0.7' (str)"),
    ("temperature", True, f"{TEMPERATURE}True (bool)"),
    ("temperature", [0.7], f"{TEMPERATURE}[0.7] (list)"),
    ("temperature", HUGE, f"{TEMPERATURE}1{'0' * 79}... (int)"),
    ("top_p", 0, "top_p must be a number in (0, 1], not 0 (int)"),
    ("top_p", 1.1, "top_p must be a number in (0, 1], not 1.1 (float)"),
    ("top_p", math.nan, "top_p must be a number in (0, 1], not nan (float)"),
    ("top_k", 0, f"{TOP_K}0 (int)"),
    ("top_k", -2, f"{TOP_K}-2 (int)"),
    ("top_k", 2**63, f"{TOP_K}{2**63} (int)"),
    ("top_k", True, f"{TOP_K}True (bool)"),
    ("top_k", 5.0, f"{TOP_K}5.0 (float)"),
    ("min_p", -0.1, "min_p must be a number in [0, 1], not -0.1 (float)"),
    ("min_p", 2, "min_p must be a number in [0, 1], not 2 (int)"),
    ("frequency_penalty", 2.1, "frequency_penalty must be a number in [-2, 2], not 2.1 (float)"),
    ("presence_penalty", -3, "presence_penalty must be a number in [-2, 2], not -3 (int)"),
    ("repetition_penalty", 0.0, "repetition_penalty must be a number in (0, 2], not 0.0 (float)"),
    ("repetition_penalty", 2.5, "repetition_penalty must be a number in (0, 2], not 2.5 (float)"),
    ("logprobs_mode", "raw", "logprobs_mode must be raw_logprobs or processed_logprobs, not 'raw' (str)"),
    ("logprobs_mode", 1, "logprobs_mode must be raw_logprobs or processed_logprobs, not 1 (int)"),
    ("logit_bias", [1], "logit_bias must map token ids to numbers, not [1] (list)"),
    ("logit_bias", {"a": 1}, "logit_bias has key 'a' (str), which is not a token id"),
    ("logit_bias", {" 3 ": 1}, "logit_bias has key ' 3 ' (str), which is not a token id"),
    ("logit_bias", {"1_0": 1}, "logit_bias has key '1_0' (str), which is not a token id"),
    ("logit_bias", {None: 1}, "logit_bias has key None (NoneType), which is not a token id"),
    ("logit_bias", {1.5: 1}, "logit_bias has key 1.5 (float), which is not a token id"),
    ("logit_bias", {True: 1}, "logit_bias has key True (bool), which is not a token id"),
    ("logit_bias", {1: 1.0, "1": 2.0}, "logit_bias names token id 1 twice"),
    ("logit_bias", {"5": 101}, "logit_bias[5] must be a number in [-100, 100], not 101 (int)"),
    ("logit_bias", {5: math.nan}, "logit_bias[5] must be a number in [-100, 100], not nan (float)"),
    ("logit_bias", {5: None}, "logit_bias[5] must be a number in [-100, 100], not None (NoneType)"),
    ("logit_bias", {-1: 1}, "logit_bias has token id -1; valid ids are 0 to 99"),
    ("logit_bias", {"100": 1}, "logit_bias has token id 100; valid ids are 0 to 99"),
    ("n", 0, "n must be an integer from 1 to 1024, not 0 (int)"),
    ("n", 1025, "n must be an integer from 1 to 1024, not 1025 (int)"),
    ("n", True, "n must be an integer from 1 to 1024, not True (bool)"),
    ("sampling_seed", -1, f"{SEED}-1 (int)"),
    ("sampling_seed", 2**63, f"{SEED}9223372036854775808 (int)"),
    ("sampling_seed", 1.0, f"{SEED}1.0 (float)"),
]


@pytest.mark.parametrize(("name", "given", "expected"), ACCEPTED)
def test_accepted(name: str, given: Any, expected: Any) -> None:
    value = getattr(parse({name: given}), name)
    assert value == expected and type(value) is type(expected)


@pytest.mark.parametrize(("name", "given", "message"), REJECTED)
def test_rejected(name: str, given: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse({name: given})
    assert str(caught.value) == message


CYCLE: dict[str, Any] = {}
CYCLE["properties"] = CYCLE
DEEP: dict[str, Any] = {}
for _ in range(100_000):
    DEEP = {"items": DEEP}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"regex": "a|b"}, Constraint("regex", "a|b")),
        ({"ebnf": 'root ::= "a"'}, Constraint("ebnf", 'root ::= "a"')),
        ({"json_schema": '{"type": "null"}'}, Constraint("json_schema", '{"type": "null"}')),
        ({"json_schema": {"z": 1, "a": 2}}, Constraint("json_schema", '{"z": 1, "a": 2}')),
        ({"json_schema": {}}, Constraint("json_schema", "{}")),
        ({"json_schema": True}, Constraint("json_schema", "true")),
        ({"json_schema": {}, "whitespace_pattern": " ?"}, Constraint("json_schema", "{}", " ?")),
        ({"json_schema": {}, "whitespace_pattern": ""}, Constraint("json_schema", "{}", "")),
        ({"choices": ["b", "a"]}, Constraint("choices", '["b", "a"]')),
        ({"choices": ("é",)}, Constraint("choices", '["\\u00e9"]')),
        ({"regex": None, "ebnf": None, "json_schema": None}, None),
        ({"regex": "a", "ebnf": None, "choices": None, "structural_tag": None}, Constraint("regex", "a")),
        ({"spaces_between_special_tokens": False, "structural_tag": None}, None),
    ],
)
def test_one_constraint(given: Any, expected: Constraint | None) -> None:
    params = parse(given)
    assert params.constraint == expected
    assert params.without_constraint() == parse({})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"regex": 1}, "regex must be a string, not 1 (int)"),
        ({"regex": ""}, "regex must not be empty; leave it out for free text"),
        ({"ebnf": ""}, "ebnf must not be empty; leave it out for free text"),
        ({"json_schema": ""}, "json_schema must not be empty; leave it out for free text"),
        ({"structural_tag": ""}, "structural_tag must not be empty; leave it out for free text"),
        ({"regex": "", "json_schema": "{}"}, "regex must not be empty; leave it out for free text"),
        ({"regex": {"type": "object"}}, "regex must be a string, not {'type': 'object'} (dict)"),
        ({"regex": "\ud800"}, "regex is not valid Unicode text: '\\ud800' (str)"),
        ({"whitespace_pattern": " "}, "whitespace_pattern belongs to a json_schema, and there is none"),
        ({"json_schema": {}, "whitespace_pattern": 1}, "whitespace_pattern must be a string, not 1 (int)"),
        ({"ebnf": ["a"]}, "ebnf must be a string, not ['a'] (list)"),
        ({"json_schema": [1]}, "json_schema must be a JSON Schema, as JSON text or as an object, not [1] (list)"),
        ({"json_schema": {"a": {1}}}, "json_schema cannot be written as JSON: "),
        ({"json_schema": {"minimum": math.nan}}, "json_schema cannot be written as JSON: "),
        ({"json_schema": CYCLE}, "json_schema cannot be written as JSON: "),
        ({"json_schema": DEEP}, "json_schema cannot be written as JSON: "),
        ({"choices": []}, "choices must be a list of non-empty strings, not [] (list)"),
        ({"choices": ["a", ""]}, "choices must be a list of non-empty strings, not ['a', ''] (list)"),
        ({"choices": "ab"}, "choices must be a list of non-empty strings, not 'ab' (str)"),
        ({"choices": ["\ud800"]}, "choices is not valid Unicode text: "),
        (
            {"structural_tag": [{}]},
            "structural_tag must be an object with format, or with structures and triggers, or its JSON, not [{}]",
        ),
        ({"structural_tag": "\ud800"}, "structural_tag is not valid Unicode text: "),
        (
            {"structural_tag": {}, "json_schema": {}},
            "Only one of regex, ebnf, json_schema, choices or structural_tag can be set, not both json_schema and",
        ),
        ({"spaces_between_special_tokens": 1}, "spaces_between_special_tokens must be true or false, not 1 (int)"),
        (
            {"regex": "a", "choices": ["b"]},
            "Only one of regex, ebnf, json_schema, choices or structural_tag can be set, not both regex and choices",
        ),
        (
            {"json_schema": {}, "ebnf": "a"},
            "Only one of regex, ebnf, json_schema, choices or structural_tag can be set, not both ebnf and json_schema",
        ),
    ],
)
def test_constraints_that_are_refused(given: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse(given)
    assert str(caught.value).startswith(message)


def test_the_tables_know_every_parameter() -> None:
    names = set(SamplingParams.__struct_fields__) - {"constraint"}
    assert {row[0] for row in ACCEPTED} == names == {row[0] for row in REJECTED}


@pytest.mark.parametrize("given", [None, {}])
def test_nothing_given_is_the_published_default(given: Any) -> None:
    assert msgspec.to_builtins(parse(given)) == {
        "max_new_tokens": 128,
        "min_new_tokens": 0,
        "stop": (),
        "stop_token_ids": (),
        "ignore_eos": False,
        "no_stop_trim": False,
        "skip_special_tokens": True,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": -1,
        "min_p": 0.0,
        "frequency_penalty": 0.0,
        "presence_penalty": 0.0,
        "repetition_penalty": 1.0,
        "logit_bias": {},
        "stop_regex": (),
        "n": 1,
        "sampling_seed": None,
        "logprobs_mode": "raw_logprobs",
        "constraint": None,
    }


@pytest.mark.parametrize("name", sorted(sampling_params._PARSERS.keys() - {"max_new_tokens"}))
def test_none_means_not_given(name: str) -> None:
    defaults = {"temperature": 0.5}
    assert parse({name: None}, defaults) == parse({}, defaults)


def test_max_new_tokens_of_none_means_no_limit() -> None:
    assert parse({"max_new_tokens": None}).max_new_tokens is None
    assert parse({"max_new_tokens": None, "min_new_tokens": 10**9}).min_new_tokens == 10**9


@pytest.mark.parametrize("given", [[], "temperature=0", 3, [("temperature", 0)]])
def test_only_an_object_is_accepted(given: Any) -> None:
    with pytest.raises(InvalidRequestError, match=r"sampling_params must be an object of names and values, not "):
        parse(given)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("temprature", "did you mean 'temperature'?"),
        ("max_tokens", "did you mean 'max_new_tokens'?"),
        ("stop_tokens_id", "did you mean 'stop_token_ids'?"),
        ("xyzzy", "known parameters: choices, ebnf, frequency_penalty, "),
        (5, "known parameters: "),
    ],
)
def test_an_unknown_name_is_refused_even_without_a_value(name: Any, hint: str) -> None:
    for value in (1, None):
        with pytest.raises(InvalidRequestError) as caught:
            parse({name: value})
        assert str(caught.value).startswith(f"unknown sampling parameter {name!r} ({type(name).__name__}); {hint}")


def test_published_names_that_are_not_here_may_ask_for_nothing() -> None:
    assert parse({"custom_params": None, "stream_interval": None}) == parse({})
    with pytest.raises(InvalidRequestError, match=r"^custom_params={'a': 1} is not supported here yet$"):
        parse({"custom_params": {"a": 1}})


def test_a_pydantic_class_is_told_how_it_becomes_a_schema() -> None:
    class Person(pydantic.BaseModel):
        name: str

    with pytest.raises(InvalidRequestError, match=r"of a pydantic class give model_json_schema\(\)$"):
        parse({"json_schema": Person})
    assert parse({"json_schema": Person.model_json_schema()}).constraint is not None


def test_min_new_tokens_may_not_exceed_max_new_tokens() -> None:
    assert parse({"min_new_tokens": 7, "max_new_tokens": 7}).min_new_tokens == 7
    with pytest.raises(InvalidRequestError, match=r"^min_new_tokens=8 must not exceed max_new_tokens=7$"):
        parse({"min_new_tokens": 8, "max_new_tokens": 7})
    with pytest.raises(InvalidRequestError, match=r"^min_new_tokens=129 must not exceed max_new_tokens=128$"):
        parse({"min_new_tokens": 129})


def test_a_long_value_is_cut_in_the_message() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse({"temperature": "x" * 10_000})
    assert len(str(caught.value)) < 200 and str(caught.value).endswith("x... (str)")


def test_what_was_given_wins_over_the_defaults_of_the_model() -> None:
    defaults = sampling_defaults({"temperature": 0.6, "top_p": 0.9})
    params = parse({"top_p": 0.5}, defaults)
    assert (params.temperature, params.top_p) == (0.6, 0.5)
    assert defaults == {"temperature": 0.6, "top_p": 0.9}


@pytest.mark.parametrize(
    ("generation_config", "expected"),
    [
        ({}, {}),
        ({"temperature": 1, "top_k": 50, "top_p": 0.9}, {"temperature": 1.0, "top_k": 50, "top_p": 0.9}),
        ({"min_p": 0.1, "repetition_penalty": 1.1}, {"min_p": 0.1, "repetition_penalty": 1.1}),
        ({"temperature": None, "top_k": None}, {}),
        ({"top_k": 0}, {}),
        ({"do_sample": False, "temperature": 0.6}, {"temperature": 0.0}),
        ({"do_sample": True, "temperature": 0.6}, {"temperature": 0.6}),
        ({"max_new_tokens": 20, "eos_token_id": [1, 2], "num_beams": 4, "stop": "x"}, {}),
    ],
)
def test_defaults_from_generation_config(generation_config: dict[str, Any], expected: dict[str, Any]) -> None:
    assert sampling_defaults(generation_config) == expected


@pytest.mark.parametrize(
    ("generation_config", "message"),
    [
        ({"temperature": "warm"}, r"^temperature must be a number in \[0, inf\], not 'warm' \(str\)$"),
        ({"top_p": 0.0}, r"^top_p must be a number in \(0, 1\], not 0.0 \(float\)$"),
        ({"top_k": -5}, r"^top_k must be -1"),
    ],
)
def test_impossible_values_in_generation_config(generation_config: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        sampling_defaults(generation_config)


@pytest.mark.parametrize(
    ("given", "greedy"),
    [
        ({"temperature": 0}, True),
        ({"temperature": 1e-7}, True),
        ({"temperature": 1e-6}, False),
        ({"top_k": 1}, True),
        ({"temperature": 0.5, "top_k": 2}, False),
    ],
)
def test_is_greedy(given: dict[str, Any], greedy: bool) -> None:
    assert parse(given).is_greedy is greedy


@pytest.mark.parametrize("name", ["frequency_penalty", "presence_penalty", "repetition_penalty"])
def test_has_penalties(name: str) -> None:
    assert not parse({}).has_penalties and parse({name: 0.5}).has_penalties
