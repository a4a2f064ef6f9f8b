"""The mock is what users test their programs with, so it keeps what it says."""

from __future__ import annotations

import pytest

import sglang as sgl
from sglang.lang.backends.base import Generated, Prompt
from sglang.lang.execution.loop import run
from sglang.lang.ir import SamplingArguments
from tests.lang.conftest import UseMock


def prompt(text: str) -> Prompt:
    return Prompt(text, (text,))


def sample(mock: sgl.Mock, text: str = "Q", **sampling: object) -> Generated:
    return run(mock.generate(prompt(text), SamplingArguments(**sampling)))[0]  # type: ignore[arg-type]


def test_its_text_is_a_function_of_prompt_sampling_and_sample() -> None:
    first, second = sgl.Mock(), sgl.Mock()
    assert sample(first) == sample(second) == sample(first)
    assert sample(first, "R").text != sample(first).text
    assert sample(first, temperature=0.5).text != sample(first).text
    samples = run(first.generate(prompt("Q"), SamplingArguments(n=4)))
    assert len({one.text for one in samples}) == 4
    assert samples[0] == sample(first)


def test_its_text_ends_where_the_sampling_says() -> None:
    mock = sgl.Mock()
    long = sample(mock, max_new_tokens=100, ignore_eos=True)
    assert long.meta_info["completion_tokens"] == 100
    assert long.meta_info["finish_reason"] == {"type": "length", "length": 100}
    words = long.text.split()
    assert sample(mock, min_new_tokens=20).meta_info["completion_tokens"] == 20
    short = sample(mock, max_new_tokens=3)
    assert (short.text.split(), short.meta_info["finish_reason"]) == (words[:3], {"type": "length", "length": 3})
    for stop in ({"stop": (words[2],)}, {"stop": words[2]}, {"stop_regex": (f"{words[2]}",)}):
        ended = sample(mock, **stop)
        assert ended.text == long.text[: long.text.index(words[2])]
        assert ended.meta_info["finish_reason"] == {"type": "stop", "matched": words[2]}
    assert sample(mock).meta_info["finish_reason"] == {"type": "stop", "matched": None}
    assert sample(mock, max_new_tokens=0).text == ""


def test_its_segments_are_ids_one_a_token() -> None:
    found = sample(sgl.Mock(), max_new_tokens=3)
    (ids,) = found.as_segments
    assert len(ids) == 3


def test_answers_by_the_longest_ending_or_from_a_function() -> None:
    mock = sgl.Mock({"France?": " Paris", "of France?": " Paris, of course"})
    assert sample(mock, "Capital of France?").text == " Paris, of course"
    assert sample(mock, "In France?").text == " Paris"
    assert sample(mock, "In Spain?") == sample(sgl.Mock(), "In Spain?")
    assert sample(mock, "of France?", max_new_tokens=2).text == " Paris, of"
    assert sample(sgl.Mock(lambda prompt, sampling: f"{prompt.text}{sampling.top_k}"), "Q", top_k=3).text == "Q3"


def test_constraints_are_not_dropped() -> None:
    mock = sgl.Mock({"Q": "12", "J": "{}"})
    assert sample(mock, regex=r"\d+").text == "12"
    assert sample(mock, "J", json_schema="{}").text == "{}"
    with pytest.raises(ValueError, match="does not match"):
        sample(mock, regex=r"[a-z]+")
    with pytest.raises(ValueError, match="Expecting"):
        sample(sgl.Mock({"Q": "{"}), json_schema="{}")
    for constraint in ("regex", "ebnf", "json_schema"):
        with pytest.raises(sgl.UnsupportedError, match=f"makes up no text for {constraint}"):
            sample(sgl.Mock(), **{constraint: "{}"})


def test_requests_errors_and_choices(use_mock: UseMock) -> None:
    mock = use_mock(errors={1: RuntimeError("down")}, scores={"b": [-0.001]})

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q" + sgl.select("a", ["a", "b"], choices_method=sgl.unconditional_likelihood_normalized)
        s += sgl.gen("g", top_k=3)

    state = program.run()
    assert state["a"] in ("a", "b")
    assert program.run()["a"] == state["a"]
    with pytest.raises(sgl.ProgramError, match="down"):
        state["g"]
    assert [request.kind for request in mock.requests] == ["select", "generate", "select", "generate"]
    assert mock.requests[0].choices == ("a", "b")
    assert mock.requests[1].sampling is not None
    assert mock.requests[1].sampling.top_k == 3
