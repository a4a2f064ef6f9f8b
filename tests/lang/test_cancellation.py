"""Nothing a program started is left when it ends before its end. The fixture checks the loop and the mock."""

from __future__ import annotations

import pytest

import sglang as sgl
from sglang.lang.execution import loop
from sglang.lang.execution.interpreter import Interpreter
from sglang.lang.execution.run import cancel_all
from sglang.srt.errors import RequestAbortedError
from tests.lang.conftest import UseMock


class AppError(Exception):
    pass


@pytest.mark.parametrize("error", [AppError("a bug"), KeyboardInterrupt(), SystemExit(3)])
def test_an_exception_leaves_run_unchanged(error: BaseException, mock: sgl.Mock) -> None:
    mock.hold()

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q" + sgl.gen("a") + sgl.gen("b")
        forks = s.fork(3)
        forks += sgl.gen("c")
        raise error

    with pytest.raises(type(error)) as caught:
        program.run()
    assert caught.value is error
    assert mock.num_open == 0
    assert len(mock.requests) <= 1


def test_an_exception_while_forks_are_generating(mock: sgl.Mock) -> None:
    kept = []

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q"
        forks = s.fork(3)
        mock.wants_prefix_first = False
        forks += "."
        forks[2].sync()
        mock.hold()
        forks += sgl.gen("c")
        while mock.num_open < 3:
            s.sync()
        kept.extend([s, *forks])
        raise AppError("a bug")

    with pytest.raises(AppError):
        program.run()
    assert mock.num_open == 0
    for fork in kept[1:]:
        with pytest.raises(sgl.ProgramError, match=r"ended by AppError at .*: a bug") as caught:
            fork["c"]
        assert caught.value.text == "Q."
        assert isinstance(caught.value.__cause__, AppError)


def test_an_exception_inside_a_fork_function(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q"
        forks = s.fork(4)
        forks += sgl.gen("x")
        forks += lambda index: "abc"[index]

    with pytest.raises(IndexError):
        program.run()


def test_a_fork_made_while_its_run_is_cancelled_does_nothing(mock: sgl.Mock, monkeypatch: pytest.MonkeyPatch) -> None:
    fork_of = Interpreter.fork

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        def fork(parent: Interpreter, size: int) -> list[Interpreter]:
            forks = fork_of(parent, size)
            loop.wait(cancel_all([s._run], AppError("another program of the batch failed")))
            return forks

        monkeypatch.setattr(Interpreter, "fork", fork)
        forks = s.fork(2)
        forks += "Q" + sgl.gen("a")
        forks.join()

    with pytest.raises(sgl.ProgramError, match="another program of the batch failed"):
        program.run()
    assert not mock.requests


def test_a_stream_that_is_being_read_is_closed(mock: sgl.Mock) -> None:
    mock.hold()

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q" + sgl.gen("a")
        next(s.text_iter("a"))
        raise AppError("a bug")

    state = program.run(stream=True)
    with pytest.raises(sgl.ProgramError, match="a bug"):
        list(state.text_iter())
    assert mock.num_open == 0
    assert [request.kind for request in mock.requests] == ["stream"]


def test_what_a_cancelled_program_still_appends_is_dropped(mock: sgl.Mock) -> None:
    kept: list[sgl.ProgramState] = []

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        kept.append(s)
        raise AppError("a bug")

    with pytest.raises(AppError):
        program.run()
    (state,) = kept
    state += sgl.gen("a")
    forks = state.fork(2)
    forks += sgl.gen("b")
    for read in (state.text, lambda: state["a"], lambda: forks[0]["b"], forks.join):
        with pytest.raises(sgl.ProgramError, match="a bug"):
            read()
    assert not mock.requests


def test_a_request_that_a_backend_cancels_by_itself_is_an_error(use_mock: UseMock) -> None:
    import asyncio

    class Cancelled(sgl.Mock):
        async def generate(self, prompt: object, sampling: object) -> list[object]:  # type: ignore[override]
            raise asyncio.CancelledError

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += sgl.gen("a") + sgl.gen("b")

    state = program.run(backend=Cancelled())
    for name in ("a", "b"):
        with pytest.raises(sgl.ProgramError, match="CancelledError"):
            state[name]


def test_a_streamed_program_can_be_cancelled(mock: sgl.Mock) -> None:
    mock.hold()

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q" + sgl.gen("a")
        forks = s.fork(2)
        forks += sgl.gen("b")
        s["a"]

    state = program.run(stream=True)
    deltas = state.text_iter("a")
    next(deltas)
    state.cancel()
    with pytest.raises(sgl.ProgramError, match="the program was cancelled") as caught:
        list(deltas)
    assert isinstance(caught.value.__cause__, RequestAbortedError)
    assert isinstance(state.error(), sgl.ProgramError)
    assert mock.num_open == 0
    state += "more"
    with pytest.raises(sgl.ProgramError, match="the program was cancelled"):
        state.text()
    state.cancel()  # once more changes nothing


def test_cancelling_what_has_ended_changes_nothing_that_is_there(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q" + sgl.gen("a")

    state = program.run()
    text = state["a"]
    state.cancel()
    assert state["a"] == text
