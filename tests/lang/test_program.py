"""`run`, its arguments and what it gives back."""

from __future__ import annotations

import functools
import gc
import re
import subprocess
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest

import sglang as sgl
from sglang.lang.execution import loop
from sglang.lang.ir import SamplingArguments
from sglang.lang.program import SglFunction
from tests.lang.conftest import UseMock


@sgl.function
def greet(s: sgl.ProgramState, name: str, mood: str = "glad") -> Any:
    """Say hello."""
    s += f"{name} is {mood}:" + sgl.gen("answer")
    return {"name": name, "answer": "shadowed"}


def test_arguments_by_position_and_by_name(mock: sgl.Mock) -> None:
    expected = greet.run("Ann", "sad").text()
    assert expected.startswith("Ann is sad:")
    assert greet.run("Ann", mood="sad").text() == expected
    assert greet.run(name="Ann", mood="sad").text() == expected
    assert greet("Ann", "sad").text() == expected
    assert greet.run("Ann").text().startswith("Ann is glad:")


def test_a_parameter_is_the_programs_own_though_a_run_has_one_of_that_name(mock: sgl.Mock) -> None:
    @sgl.function
    def vote(s: sgl.ProgramState, n: int = 4, temperature: float = 0.5) -> tuple[int, float]:
        s += "Say:" + sgl.gen("a", max_tokens=2)
        return n, temperature

    assert vote.run(n=8, temperature=0.25, top_k=3).ret_value == (8, 0.25)
    assert vote.run_batch([{"n": 2}], temperature=0.75)[0].ret_value == (2, 0.5)
    sampling = [request.sampling or SamplingArguments() for request in mock.requests]
    assert [(asked.n, asked.temperature) for asked in sampling] == [(None, 1.0), (None, 0.75)]


def test_bound_arguments_win(mock: sgl.Mock) -> None:
    sad = greet.bind(mood="sad")
    assert sad.run("Ann").text() == greet.run("Ann", "sad").text()
    assert sad.run("Ann", mood="glad").text() == greet.run("Ann", "sad").text()
    assert sad.bind(name="Bo").run().text() == greet.run("Bo", "sad").text()
    assert greet.run("Ann").text().startswith("Ann is glad:")
    with pytest.raises(TypeError, match="greet has no parameter 'mod'"):
        greet.bind(mod="sad")


@pytest.mark.parametrize(
    ("args", "kwargs", "message"),
    [
        ((), {}, "greet: missing a required argument: 'name'"),
        (("a", "b", "c"), {}, "greet: too many positional arguments"),
        (("a",), {"age": 3}, "greet: got an unexpected keyword argument 'age'"),
        (("a",), {"regex": "a"}, "greet: got an unexpected keyword argument 'regex'"),
        (("a",), {"temperature": "hot"}, "temperature must be a number, not 'hot'"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_wrong_arguments_are_told_at_once(
    args: tuple[Any, ...], kwargs: dict[str, Any], message: str, stream: bool, mock: sgl.Mock
) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        greet.run(*args, **kwargs, stream=stream)
    assert not mock.requests


def test_the_returned_value_and_the_items_of_a_returned_dict(mock: sgl.Mock) -> None:
    for stream in (False, True):
        state = greet.run("Ann", stream=stream)
        assert state["name"] == "Ann"
        assert state["answer"] != "shadowed"
        assert state.ret_value == {"name": "Ann", "answer": "shadowed"}
        assert "name" in state
        assert "age" not in state


def test_the_decorator_is_bare_or_called_and_keeps_the_name() -> None:
    @sgl.function()
    def program(s: sgl.ProgramState) -> None:
        """What it does."""

    assert isinstance(program, SglFunction)
    assert (program.__name__, program.__doc__) == ("program", "What it does.")  # type: ignore[attr-defined]
    assert sgl.function(num_api_spec_tokens=5)(program.func).num_api_spec_tokens == 5


def test_a_program_is_a_function() -> None:
    with pytest.raises(TypeError, match="not of 'greet'"):
        sgl.function("greet")  # type: ignore[call-overload]


def test_use_thread_false_waits_after_every_statement(use_mock: UseMock) -> None:
    mock = use_mock(errors={1: RuntimeError("down")})
    seen = []

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q:" + sgl.gen("a")
        seen.append(len(mock.requests))
        s += sgl.gen("b")
        seen.append(len(mock.requests))

    with pytest.raises(sgl.ProgramError, match="down"):
        program.run(use_thread=False)
    assert seen == [1]


def test_without_a_backend_the_error_says_what_to_do(mock: sgl.Mock) -> None:
    sgl.set_default_backend(None)
    for call in (lambda: greet.run("Ann"), sgl.flush_cache, sgl.get_server_info):
        with pytest.raises(sgl.SglangError, match="set_default_backend"):
            call()
    assert greet.run("Ann", backend=mock).text() == greet.run("Ann", runtime=mock).text()
    with pytest.raises(ValueError, match="not both"):
        greet.run("Ann", backend=mock, runtime=mock)


def test_questions_to_the_backend(mock: sgl.Mock) -> None:
    greet.run("Ann")
    sgl.flush_cache()
    assert sgl.get_server_info() == sgl.get_server_info(mock) == {"model_path": "mock", "num_requests": 1}


def test_waiting_in_the_programs_own_loop_is_an_error_not_a_deadlock(use_mock: UseMock) -> None:
    def answer(*_: Any) -> str:
        return greet.run("Bo").text()

    use_mock(answer)
    with pytest.raises(sgl.ProgramError, match="cannot be waited for in the event loop") as caught:
        greet.run("Ann").text()
    assert isinstance(caught.value.__cause__, sgl.ProgramError)


def test_a_forked_process_gets_a_loop_of_its_own() -> None:
    code = """if True:
        import os
        import sglang as sgl

        @sgl.function
        def program(s):
            s += "Q:" + sgl.gen("a")

        sgl.set_default_backend(sgl.Mock())
        before = program.run().text()
        child = os.fork()
        if not child:
            os._exit(0 if program.run().text() == before else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert program.run().text() == before
    """
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


def test_a_process_ends_while_programs_run() -> None:
    code = """if True:
        import sglang as sgl

        @sgl.function
        def program(s):
            s += "Q:" + sgl.gen("a")
            s["a"]

        mock = sgl.Mock()
        mock.hold()
        states = [program.run(stream=True, backend=mock) for _ in range(3)]
        while mock.num_open < 3:
            pass
    """
    done = subprocess.run([sys.executable, "-W", "default", "-c", code], capture_output=True, timeout=60, check=True)
    assert not done.stderr, done.stderr.decode()


def test_the_loop_is_woken_once_for_many_things(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = loop.LoopThread()
    wakes: list[Callable[[], None]] = []
    seen: list[int] = []
    monkeypatch.setattr(thread._loop, "call_soon_threadsafe", wakes.append)
    for number in range(100):
        thread.post(functools.partial(seen.append, number))
    (wake,) = wakes
    wake()
    assert seen == list(range(100))
    thread.post(functools.partial(seen.append, 100))
    assert len(wakes) == 2


def test_an_interrupt_while_waking_the_loop_does_not_leave_it_asleep(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = loop.LoopThread()
    seen: list[int] = []

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(thread._loop, "call_soon_threadsafe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            thread.post(functools.partial(seen.append, 1))
    thread.post(functools.partial(seen.append, 2))
    thread.cancel_all()
    assert seen == [1, 2]


def test_what_a_program_leaves_is_freed_with_its_state(use_mock: UseMock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q" + sgl.gen("a", n=2)
        forks = s.fork(2)
        forks += sgl.gen("b")
        kept.extend(weakref.ref(fork._interpreter) for fork in forks)
        forks.join()

    kept: list[weakref.ref[Any]] = []
    mock = use_mock()
    state = program.run()
    assert [ref() for ref in kept] == [None, None]
    states = [state, *program.run_batch([{}, {}]), *program.run_batch([{}], generator_style=True)]
    runs = [weakref.ref(one._run) for one in states]
    sgl.set_default_backend(None)
    mock.requests.clear()
    gc.disable()  # without cycles nothing is left to it
    try:
        del state, states
        assert [ref() for ref in runs] == [None] * len(runs)
    finally:
        gc.enable()


def test_public_names_exist_and_importing_is_light() -> None:
    assert sgl.__all__ == sorted(sgl.__all__)
    assert all(getattr(sgl, name) is not None for name in sgl.__all__)
    assert dir(sgl) == sgl.__all__
    with pytest.raises(AttributeError, match="no attribute 'generate'"):
        sgl.generate  # noqa: B018
    code = "import sys, sglang; sglang.gen, sglang.function, sglang.Mock; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numpy", "pydantic", "httpx", "openai", "rich", "sglang.srt.engine"} & set(loaded)
