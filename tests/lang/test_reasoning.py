"""What a model thinks before it answers, told apart from the answer."""

from __future__ import annotations

from typing import Any

import pytest

import sglang as sgl

THINKING = "<think>\nHm.\n</think>\n\nBlue."


@sgl.function
def ask(s: sgl.ProgramState, **options: Any) -> None:
    s += sgl.user("Which?") + sgl.assistant(sgl.gen("x", separate_reasoning=True, **options)) + sgl.user("Why?")


def test_the_variable_and_the_text_have_the_answer_only() -> None:
    state = ask.run(backend=sgl.Mock(lambda *_: THINKING))
    assert state["x"] == "Blue."
    assert state["x_reasoning_content"] == "Hm."
    assert state.get_meta_info("x")["reasoning_content"] == "Hm."
    assert state.messages()[1] == {"role": "assistant", "content": "Blue."}
    assert "Hm." not in state.text()
    assert ("x" in state, "x_reasoning_content" in state) == (True, True)


def test_without_it_nothing_is_told_apart() -> None:
    @sgl.function
    def plain(s: sgl.ProgramState) -> None:
        s += sgl.user("Which?") + sgl.assistant(sgl.gen("x", separate_reasoning=False))

    state = plain.run(backend=sgl.Mock(lambda *_: THINKING))
    assert state["x"] == THINKING
    assert "x_reasoning_content" not in state


def test_one_that_does_not_think() -> None:
    state = ask.run(backend=sgl.Mock(lambda *_: "Blue."))
    assert (state["x"], state["x_reasoning_content"]) == ("Blue.", "")


def test_thoughts_of_several_samples() -> None:
    texts = iter(["<think>1</think>a", "<think>2</think>b"])
    state = ask.run(n=2, backend=sgl.Mock(lambda *_: next(texts)))
    assert (state["x"], state["x_reasoning_content"]) == (["a", "b"], ["1", "2"])


def test_of_a_stream_the_answer_comes_as_a_whole() -> None:
    state = ask.run(stream=True, backend=sgl.Mock(lambda *_: THINKING))
    assert list(state.text_iter("x")) == ["Blue."]
    assert list(state.text_iter("x_reasoning_content")) == ["Hm."]


def test_thoughts_can_be_filled_in_again() -> None:
    @sgl.function
    def reviews(s: sgl.ProgramState) -> None:
        s += sgl.gen("x", separate_reasoning=True)
        forks = s.fork(2)
        forks += "\nYou thought: " + sgl.gen("y", separate_reasoning=True)
        forks.join()

    state = reviews.run(backend=sgl.Mock(lambda *_: THINKING))
    assert state["y_reasoning_content"] == ["Hm.", "Hm."]


def test_a_failure_reaches_whoever_reads_the_thoughts() -> None:
    state = ask.run(backend=sgl.Mock(errors={0: sgl.BackendError("no")}))
    with pytest.raises(sgl.ProgramError, match="BackendError: no"):
        _ = state["x_reasoning_content"]


def test_as_the_published_function() -> None:
    @sgl.function
    def published(s: sgl.ProgramState) -> None:
        s += sgl.user("Which?")
        s += sgl.separate_reasoning(sgl.assistant("So: " + sgl.gen("x", max_tokens=50)), model_type="qwen3")

    mock = sgl.Mock(lambda *_: THINKING)
    state = published.run(backend=mock)
    assert (state["x"], state["x_reasoning_content"]) == ("Blue.", "Hm.")
    sampling = mock.requests[0].sampling
    assert sampling is not None and (sampling.separate_reasoning, sampling.max_new_tokens) == ("qwen3", 50)


@pytest.mark.parametrize("value", [5, "", ["qwen3"]])
def test_what_names_no_parser(value: Any) -> None:
    with pytest.raises(TypeError, match="separate_reasoning must be True, False or the name of a reasoning parser"):
        sgl.gen("x", separate_reasoning=value)


def test_where_nothing_is_thought() -> None:
    with pytest.raises(ValueError, match="a choice is made without thinking"):
        sgl.gen("x", choices=["a", "b"], separate_reasoning=True)
    for expression in ("text", sgl.select("x", ["a", "b"])):
        with pytest.raises(ValueError, match="separate_reasoning takes what generates"):
            sgl.separate_reasoning(expression)
