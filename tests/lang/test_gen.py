"""What `gen` and `select` take, and what reaches the backend."""

from __future__ import annotations

import json
import re
from typing import Any

import pydantic
import pytest

import sglang as sgl
from sglang.lang import ir
from sglang.lang.arguments import RUN_DEFAULTS
from tests.lang.conftest import UseMock


class Person(pydantic.BaseModel):
    name: str


def sampling_of(gen: ir.Gen | ir.Select) -> dict[str, Any]:
    assert isinstance(gen, ir.Gen)
    return dict(gen.sampling.given())


def test_every_argument_of_gen_is_passed_on() -> None:
    given = {
        "n": 2, "stop": ["a", "b"], "stop_token_ids": [1, 2], "stop_regex": "c", "temperature": 0, "top_p": 0.5,
        "top_k": 3, "min_p": 0.1, "frequency_penalty": 0.2, "presence_penalty": 0.3, "ignore_eos": True,
        "return_logprob": True, "logprob_start_len": 4, "top_logprobs_num": 5, "return_text_in_logprobs": True,
        "repetition_penalty": 1.5, "sampling_seed": 7, "regex": "a+",
    }  # fmt: skip
    expected = {**given, "stop": ("a", "b"), "stop_token_ids": (1, 2), "stop_regex": ("c",)}
    found = sampling_of(sgl.gen("x", 10, 2, **given))  # type: ignore[call-overload]
    assert found == {**expected, "max_new_tokens": 10, "min_new_tokens": 2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": 5}, "name must be a string, not 5"),
        ({"max_tokens": "5"}, "max_tokens must be an integer, not '5'"),
        ({"max_tokens": True}, "max_tokens must be an integer, not True"),
        ({"max_tokens": 1.5}, "max_tokens must be an integer, not 1.5"),
        ({"temperature": "hot"}, "temperature must be a number, not 'hot'"),
        ({"stop": 3}, "stop must be a string or a list of strings, not 3"),
        ({"stop": ["a", 3]}, "stop must be a string or a list of strings"),
        ({"stop_token_ids": 3}, "stop_token_ids must be a list of integers, not 3"),
        ({"ignore_eos": 1}, "ignore_eos must be True or False, not 1"),
        ({"regex": 3}, "regex must be a string, a JSON schema or a pydantic class, not 3"),
        (
            {"json_schema": 3},
            "json_schema must be JSON text, a dict or a pydantic class (for another type use schema=), not 3",
        ),
        ({"ebnf": 3}, "ebnf must be a string, not 3"),
        ({"choices": "ab"}, "choices must be a list of strings, not 'ab'"),
        ({"choices": ["a"], "choices_method": "best"}, "choices_method must be sgl.token_length_normalized, "),
    ],
)
def test_wrong_types_are_told_at_the_call(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        sgl.gen(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"regex": "a", "ebnf": "b"}, "regex and ebnf"),
        ({"regex": "a", "json_schema": "{}"}, "regex and json_schema"),
        ({"dtype": int, "ebnf": "b"}, "dtype and ebnf"),
        ({"choices": ["a"], "regex": "a"}, "choices and regex"),
        ({"dtype": "number"}, "dtype must be int, float, str or bool, not 'number'"),
        ({"dtype": list}, "dtype must be int, float, str or bool"),
        ({"json_schema": "{"}, "json_schema is not JSON"),
        ({"choices": []}, "at least one"),
        ({"choices": ["a"], "temperature": 0.5}, "no temperature, but 0.5"),
        ({"choices_method": sgl.greedy_token_selection}, "choices_method needs choices"),
    ],
)
def test_what_cannot_be_meant_is_told_at_the_call(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        sgl.gen("x", **arguments)


def test_a_bad_regex_is_told_at_the_call() -> None:
    with pytest.raises(re.error):
        sgl.gen("x", regex="(")


@pytest.mark.parametrize("under", ["regex", "json_schema"])
def test_a_dict_or_a_pydantic_class_is_a_json_schema_under_either_name(under: str) -> None:
    for schema in (Person, Person.model_json_schema()):
        found = sampling_of(sgl.gen("x", **{under: schema}))  # type: ignore[call-overload]
        assert found.keys() == {"json_schema"}
        assert json.loads(found["json_schema"]) == Person.model_json_schema()
    assert sampling_of(sgl.gen("x", json_schema="{}")) == {"json_schema": "{}"}


@pytest.mark.parametrize(
    ("dtype", "accepted", "refused"),
    [
        (int, ["-12", "3 "], ["1.5", "a"]),
        (float, ["-1.5", ".5", "3"], ["a"]),
        (bool, ["True", "False"], ["true"]),
        (str, ['"a b_1"'], ["a"]),
    ],
)
def test_a_type_is_a_regex(dtype: type, accepted: list[str], refused: list[str]) -> None:
    for given in (dtype, dtype.__name__):
        regex = sampling_of(sgl.gen("x", dtype=given))["regex"]
        assert all(re.fullmatch(regex, text) for text in accepted)
        assert not any(re.fullmatch(regex, text) for text in refused)


def test_a_type_wins_over_a_regex_with_a_warning() -> None:
    with pytest.warns(UserWarning, match="dtype wins"):
        found = sgl.gen("x", dtype=bool, regex="a")
    assert found == sgl.gen("x", dtype=bool)
    assert sgl.gen_int("x", 5, temperature=0) == sgl.gen("x", 5, temperature=0, dtype=int)
    assert sgl.gen_string("x") == sgl.gen("x", dtype=str)


def test_a_number_ends_at_a_space_beside_whatever_else_ends_it(use_mock: UseMock) -> None:
    mock = use_mock(lambda *_: "12")

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.gen("a", dtype=int, stop=";") + sgl.gen("b", dtype=float) + sgl.gen("c", dtype=bool, regex=None)

    use_mock(lambda prompt, _: "True" if prompt.text.count("12") == 2 else "12")
    mock = sgl.global_config.default_backend
    state = program.run(stop="END")
    assert (state["a"], state["b"], state["c"]) == ("12", "12", "True")
    stops = [request.sampling.stop for request in mock.requests]
    assert stops == [(";", " ", "\n"), ("END", " ", "\n"), ("END",)]


def test_what_gen_does_not_say_run_says_and_then_the_published_defaults(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.gen("a", temperature=0.5) + sgl.gen("b")

    program.run(temperature=0.1, top_k=7, max_new_tokens=3)
    first, second = [dict(request.sampling.given()) for request in mock.requests if request.sampling]
    assert first == {**dict(RUN_DEFAULTS.given()), "temperature": 0.5, "top_k": 7, "max_new_tokens": 3}
    assert second == {**first, "temperature": 0.1}

    mock.requests.clear()
    program.bind().run()
    assert dict(mock.requests[1].sampling.given()) == {  # type: ignore[union-attr]
        "temperature": 1.0, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "frequency_penalty": 0.0, "presence_penalty": 0.0,
    }  # fmt: skip


def test_choices_select_and_drop_what_says_how_to_generate() -> None:
    assert sgl.gen("x", 20, choices=["a", "b"], top_p=0.5) == sgl.select("x", ["a", "b"])
    method = sgl.greedy_token_selection
    assert sgl.gen("x", choices=["a"], choices_method=method) == sgl.select("x", ["a"], choices_method=method)
    with pytest.raises(ValueError, match="needs choices"):
        sgl.select("x")


def test_select_takes_the_best_and_one_choice_without_asking(use_mock: UseMock) -> None:
    mock = use_mock(scores={"yes": [-2.0], "no": [-1.0], "may be": [-0.5, -3.0]})

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q:" + sgl.select("a", ["yes", "no", "may be"]) + sgl.select("b", ["only"])
        s += sgl.gen("c", choices=["yes", "may be"], choices_method=sgl.greedy_token_selection)

    state = program.run()
    assert state.text() == "Q:noonlymay be"
    assert state.get_meta_info("a")["normalized_prompt_logprobs"] == [-2.0, -1.0, -1.75]
    assert state.get_meta_info("c")["greedy_logprob_matrix"] == [[-2.0, -2.0], [-0.5, -3.0]]
    assert state.get_meta_info("b") == {}
    assert [request.choices for request in mock.requests] == [("yes", "no", "may be"), ("yes", "may be")]


def test_n_samples_are_a_list_of_which_the_first_is_appended(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q:" + sgl.gen("a", n=3)

    for stream in (False, True):
        state = program.run(stream=stream)
        assert len(set(state["a"])) == len(state["a"]) == 3
        assert state.text() == "Q:" + state["a"][0]
        assert [info["prompt_tokens"] for info in state.get_meta_info("a")] == [1, 1, 1]
        assert "".join(state.text_iter("a")) == state["a"][0]


def test_generated_ids_go_back_as_they_are(use_mock: UseMock) -> None:
    mock = use_mock(lambda *_: " one two")

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q" + sgl.gen("a") + "." + sgl.gen("b")

    program.run()
    (ids,) = {request.prompt.segments[1] for request in mock.requests[1:]}
    assert mock.requests[1].prompt.segments == ("Q", ids, ".")
    assert len(ids) == 2
    assert all(isinstance(token, int) for token in ids)
