"""What users get wrong, and what they are told."""

from __future__ import annotations

import re
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

import sglang as sgl
from tests.lang.conftest import UseMock


def test_generators_are_no_programs() -> None:
    def yields(s: sgl.ProgramState) -> Iterator[int]:
        yield 1

    async def does_both(s: sgl.ProgramState) -> AsyncIterator[int]:
        yield 1

    for function in (yields, does_both):
        with pytest.raises(TypeError, match=f"{function.__name__} must be a plain or an async function"):
            sgl.function(function)


def test_what_is_to_be_generated_cannot_stand_in_an_f_string() -> None:
    for expression in (sgl.gen("x"), sgl.select("x", ["a", "b"]), "a" + sgl.gen("x"), sgl.user("a")):
        with pytest.raises(TypeError, match="cannot stand in an f-string; write: 'text' \\+"):
            f"Q: {expression}"
    assert repr(sgl.gen("x")) == str(sgl.gen("x")) == "Gen('x')"


@pytest.mark.parametrize("name", ["regex", "ebnf", "json_schema"])
def test_an_empty_constraint_is_none(name: str) -> None:
    with pytest.raises(ValueError, match=r"must not be empty|is not JSON"):
        sgl.gen("x", **{name: ""})  # type: ignore[call-overload]


def test_a_wrong_regex_is_shown() -> None:
    with pytest.raises(re.error, match=r"regex '\(\[a' is wrong: unterminated character set") as caught:
        sgl.gen("x", regex="([a")
    assert (caught.value.pattern, caught.value.pos) == ("([a", 1)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ({"max_tokens": 3}, "for all generations of a run it is called max_new_tokens$"),
        ({"temprature": 0}, "did you mean 'temperature'\\?$"),
        ({"nam": "Bo"}, "did you mean 'name'\\?$"),
        ({"xyzzy": 1}, "unexpected keyword argument 'xyzzy'$"),
    ],
)
def test_an_argument_that_is_not_known(use_mock: UseMock, arguments: dict[str, Any], hint: str) -> None:
    use_mock()

    @sgl.function
    def greet(s: sgl.ProgramState, name: str = "Ann") -> None:
        s += "Hello " + name

    with pytest.raises(TypeError, match=f"^greet: .*{hint}"):
        greet.run(**arguments)


def test_a_misspelled_argument_that_python_does_not_name(use_mock: UseMock) -> None:
    use_mock()

    @sgl.function
    def read(s: sgl.ProgramState, mail: str) -> None:
        s += mail

    with pytest.raises(TypeError, match="missing a required argument: 'mail'; did you mean 'mail' instead of 'mial'"):
        read.run_batch([{"mial": "x"}])


def test_a_variable_that_is_almost_there(use_mock: UseMock) -> None:
    use_mock()

    @sgl.function
    def ask(s: sgl.ProgramState) -> None:
        s += "Q:" + sgl.gen("answer")

    with pytest.raises(sgl.VariableNotSetError, match=r"there are 'answer'; did you mean 'answer'\?"):
        ask.run()["anwser"]


@pytest.mark.parametrize("answers", [["yes"], "text", {"a": 5}, {1: "a"}])
def test_answers_of_a_wrong_shape(answers: Any) -> None:
    with pytest.raises(TypeError, match="Mock takes its answers by the end of the prompt"):
        sgl.Mock(answers)


def test_an_interrupt_of_the_user_s_own_comes_through(use_mock: UseMock) -> None:
    mock = use_mock()
    mock.hold()

    @sgl.function
    def ask(s: sgl.ProgramState) -> None:
        s += "Q:" + sgl.gen("answer")

    def interrupt(*_: object) -> None:
        raise TimeoutError("mine")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(TimeoutError, match="mine"):
            ask.run()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert mock.num_open == 0
