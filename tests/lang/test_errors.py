"""What an error of a program says, and what it leaves."""

from __future__ import annotations

import inspect
from collections.abc import AsyncGenerator

import pytest

import sglang as sgl
from sglang.lang.backends.base import Generated, Prompt
from sglang.lang.ir import SamplingArguments, Variable
from sglang.srt.errors import RequestAbortedError
from tests.lang.conftest import UseMock


class RefusedError(RuntimeError):
    request_id = "r-17"


@sgl.function
def ask(s: sgl.ProgramState) -> None:
    s += "Q:" + sgl.gen("first")
    s += " so" + sgl.gen("second")
    s += Variable("second") + sgl.gen("third")


SECOND_LINE = inspect.getsourcelines(ask.func)[1] + 3


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_says_what_failed_and_where(stream: bool, use_mock: UseMock) -> None:
    cause = RefusedError("no")
    use_mock({"Q:": " one"}, errors={1: cause})
    state = ask.run(stream=stream)
    for read in (state.text, lambda: state["second"], lambda: state["third"], lambda: list(state.text_iter())):
        with pytest.raises(sgl.ProgramError) as caught:
            read()
        error = caught.value
        assert (error.cause, error.variable, error.request_id, error.text) == (cause, "second", "r-17", "Q: one so")
        assert (error.file, error.line) == (__file__, SECOND_LINE)
        assert str(error) == f"Gen('second') at {__file__}:{SECOND_LINE} failed (request r-17): RefusedError: no"
    assert state["first"] == " one"
    told = state.error()
    assert told is not None
    assert (told.cause, told.variable, told.line) == (cause, "second", SECOND_LINE)


def test_an_error_that_ended_the_program_says_where_it_was_raised(mock: sgl.Mock) -> None:
    kept = []

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        kept.append(s)
        mock.hold()
        s += "Q:" + sgl.gen("a")
        raise LookupError("a bug")

    with pytest.raises(LookupError):
        program.run()
    failed = kept[0].error()
    assert failed is not None
    assert (failed.file, failed.line) == (__file__, inspect.getsourcelines(program.func)[1] + 5)
    assert (failed.request_id, failed.variable, mock.num_open) == (None, None, 0)


def test_the_text_so_far_is_also_what_has_come_of_a_stream(mock: sgl.Mock) -> None:
    class Breaking(sgl.Mock):
        async def stream(self, prompt: Prompt, sampling: SamplingArguments) -> AsyncGenerator[Generated, None]:
            yield Generated(" half", {})
            yield Generated(" half an", {})
            raise RefusedError("cut")

    state = ask.run(stream=True, backend=Breaking())
    with pytest.raises(sgl.ProgramError, match="cut") as caught:
        state.text()
    assert caught.value.text == "Q: half an"
    assert state.trace().nodes[1].text == " half an"


def test_a_variable_that_is_not_set_is_named(mock: sgl.Mock) -> None:
    with pytest.raises(sgl.VariableNotSetError) as caught:
        ask.run()["fourth"]
    assert (caught.value.variable, caught.value.cause) == ("fourth", None)


def test_an_error_of_the_engine_names_the_request(tiny_engine: sgl.Engine) -> None:
    @sgl.function
    def too_long(s: sgl.ProgramState) -> None:
        s += "Q" * 200_000 + sgl.gen("a")

    error = too_long.run(backend=tiny_engine).error()
    assert error is not None
    assert error.request_id is not None
    assert len(error.request_id) == 32
    assert f"(request {error.request_id}): InvalidRequestError" in str(error)


def test_the_same_error_can_be_raised_again() -> None:
    error = sgl.VariableNotSetError("gone", "text", file="a.py", line=3, variable="x", request_id="r")
    error.__cause__ = RequestAbortedError("cut")
    again = error.again()
    assert again is not error
    assert type(again) is sgl.VariableNotSetError
    assert (again.args, vars(again), again.cause) == (error.args, vars(error), error.cause)
