"""Variables, reading, and errors where values are read."""

from __future__ import annotations

import inspect
import threading
from typing import Any

import pytest

import sglang as sgl
from sglang.lang.ir import Variable
from tests.lang.conftest import UseMock


@sgl.function
def two(s: sgl.ProgramState) -> None:
    s += "Q:" + sgl.gen("a")
    s += " then" + sgl.gen("b")


FIRST_LINE = inspect.getsourcelines(two.func)[1] + 2


def test_variables(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        for index in range(3):
            s += "\n" + sgl.gen(f"item_{index}", max_tokens=2)
        s["set"] = 5
        s.set_var("list", [1])
        with s.var_scope("scope"):
            assert "scope" not in s
            s += "(" + sgl.gen("inner", max_tokens=1) + ")"
        s += sgl.gen() + Variable("item_0")

    state = program.run()
    items = [state[f"item_{index}"] for index in range(3)]
    assert (state["set"], state["list"], state["scope"]) == (5, [1], f"({state['inner']})")
    assert state.text() == "".join("\n" + item for item in items) + state["scope"] + state[None] + items[0]
    assert state.get_var("set") == 5
    assert state.get_meta_info("set") == {}
    assert state.get_meta_info("inner")["completion_tokens"] == 1
    assert "item_0" in state
    assert "item_9" not in state
    with pytest.raises(TypeError, match="name must be a string"):
        state.set_var(3, 1)  # type: ignore[arg-type]


def test_a_name_that_is_set_again_has_the_last_value(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> list[str]:
        seen = []
        for _ in range(3):
            s += "." + sgl.gen("x")
            seen.append(s["x"])
        s += sgl.gen("y")
        s["y"] = "mine"
        return [*seen, s["x"], s["y"]]

    *seen, last, mine = program.run().ret_value
    assert len(set(seen)) == 3
    assert (last, mine) == (seen[-1], "mine")


def test_reading_waits_for_that_variable_only(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q:" + sgl.gen("a")
        first = s["a"]
        mock.hold()
        s += sgl.gen("b")
        assert s["a"] == first
        with pytest.raises(TimeoutError):
            s.get_meta_info("b", timeout=0.01)
        mock.release()

    assert program.run().get_meta_info("b", timeout=60)["prompt_tokens"] > 1


def test_a_variable_that_nothing_sets_is_told_with_those_there_are(mock: sgl.Mock) -> None:
    state = two.run()
    with pytest.raises(sgl.VariableNotSetError, match=r"no variable 'c' is set; there are 'a', 'b'$"):
        state["c"]
    with pytest.raises(KeyError):
        state.get_meta_info("c")
    with pytest.raises(
        sgl.ProgramError, match=rf"Variable\('late'\) at {__file__}:\d+ failed: VariableNotSetError: no"
    ):
        program_with_unknown_variable.run()["b"]


@sgl.function
def program_with_unknown_variable(s: sgl.ProgramState) -> None:
    s += sgl.gen("a") + Variable("late") + sgl.gen("b")


@pytest.mark.parametrize("stream", [False, True])
def test_an_error_is_raised_where_the_value_is_read(stream: bool, use_mock: UseMock) -> None:
    down = ConnectionError("the server is down")
    mock = use_mock(errors={1: down})
    state = two.run(stream=stream)
    assert state["a"] in state.error().text  # type: ignore[union-attr]
    reads: list[Any] = [
        lambda: state["b"], lambda: state.get_meta_info("b"), state.text, state.messages, state.sync,
        lambda: state["c"], lambda: list(state.text_iter()), lambda: list(state.text_iter("b")),
    ]  # fmt: skip
    for read in reads:
        with pytest.raises(sgl.ProgramError) as caught:
            read()
        message = f"Gen('b') at {__file__}:{FIRST_LINE + 1} failed: ConnectionError: the server is down"
        assert str(caught.value) == message
        assert caught.value.text == "Q:" + state["a"] + " then"
        assert caught.value.__cause__ is down
        assert not isinstance(caught.value, sgl.VariableNotSetError)
    assert len(mock.requests) == 2


def test_after_an_error_nothing_more_is_done(use_mock: UseMock) -> None:
    mock = use_mock(errors={0: RuntimeError("down")})
    state = two.run()
    state += "more" + sgl.gen("c")
    for name in ("a", "b", "c"):
        with pytest.raises(sgl.ProgramError, match=r"Gen\('a'\).*down"):
            state[name]
    assert len(mock.requests) == 1


def test_every_read_raises_an_error_of_its_own(use_mock: UseMock) -> None:
    use_mock(errors={0: RuntimeError("down")})
    state = two.run()
    errors = [state.error() for _ in range(2)]
    assert errors[0] is not errors[1]
    assert str(errors[0]) == str(errors[1])


def test_a_read_in_the_body_raises_out_of_run(use_mock: UseMock) -> None:
    use_mock(errors={0: RuntimeError("down")})

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.gen("a")
        s["a"]

    with pytest.raises(sgl.ProgramError, match="down"):
        program.run()


def test_what_a_backend_must_not_answer(use_mock: UseMock) -> None:
    class Broken(sgl.Mock):
        async def generate(self, prompt: Any, sampling: Any) -> Any:
            return []

    error = two.run(backend=Broken()).error()
    assert error is not None
    assert isinstance(error.__cause__, sgl.BackendError)


def test_a_state_can_be_continued_after_the_run_and_from_several_threads(mock: sgl.Mock) -> None:
    state = two.run()
    before = state.text()

    def work() -> None:
        for _ in range(50):
            state.append("x")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state += sgl.gen("c")
    assert state.text() == before + "x" * 200 + state["c"]


def test_an_abandoned_state_leaves_nothing(mock: sgl.Mock) -> None:
    state = two.run()
    state += sgl.gen("c")
    del state
