"""Text while it grows."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Any

import pytest

import sglang as sgl
from sglang.lang.execution import loop
from tests.lang.conftest import UseMock


@sgl.function
def chat(s: sgl.ProgramState) -> str:
    s += sgl.user("Q")
    s += sgl.assistant(sgl.gen("a"))
    s += sgl.user("And?")
    s += sgl.assistant("It" + sgl.gen("b") + sgl.select("c", ["x", "y"]))
    with s.var_scope("d"):
        s += "."
    return str(s["a"])


async def pieces(iterator: Any) -> list[Any]:
    return [piece async for piece in iterator]


def test_joined_deltas_are_the_whole(mock: sgl.Mock) -> None:
    whole = chat.run()
    state = chat.run(stream=True)
    for name in ("a", "b", "c", "d"):
        assert "".join(state.text_iter(name)) == whole[name] == state[name]
    assert "".join(state.text_iter()) == whole.text() == state.text()
    assert len(list(state.text_iter("a"))) == whole.get_meta_info("a")["completion_tokens"] > 1
    assert state.get_meta_info("a") == whole.get_meta_info("a")
    assert state.ret_value == whole.ret_value
    assert {request.kind for request in mock.requests[3:]} == {"stream", "select"}


def test_async_deltas_are_the_same_in_any_loop(mock: sgl.Mock) -> None:
    state = chat.run(stream=True)

    async def read() -> list[list[Any]]:
        return await asyncio.gather(*(pieces(state.text_async_iter(name)) for name in ("a", "b", "a", None)))

    first, second, again, everything = asyncio.run(read())
    assert first == again == list(state.text_iter("a"))
    assert second == list(state.text_iter("b"))
    assert "".join(everything) == state.text()


def test_meta_info_comes_with_the_deltas(mock: sgl.Mock) -> None:
    state = chat.run(stream=True)
    found = asyncio.run(pieces(state.text_async_iter("a", return_meta_data=True)))
    assert "".join(text for text, _ in found) == state["a"]
    assert [info["completion_tokens"] for _, info in found] == list(range(1, len(found) + 1))
    assert found[-1][1] == state.get_meta_info("a")


def test_without_stream_everything_comes_at_once(mock: sgl.Mock) -> None:
    state = chat.run()
    assert list(state.text_iter()) == [state.text()]
    assert list(state.text_iter("a")) == [state["a"]]
    assert asyncio.run(pieces(state.text_async_iter("b", return_meta_data=True))) == [
        (state["b"], state.get_meta_info("b"))
    ]


def test_the_first_delta_comes_before_the_last_token(mock: sgl.Mock) -> None:
    mock.hold()
    state = chat.run(stream=True)
    deltas = state.text_iter("a")
    first = next(deltas)
    assert mock.num_open == 1
    everything = state.text_iter()
    assert next(everything) == "<|im_start|>user\n"
    mock.release()
    assert first + "".join(deltas) == state["a"]
    assert "<|im_start|>user\n" + "".join(everything) == state.text()


def test_a_variable_of_a_program_that_has_not_got_there_yet_is_waited_for(mock: sgl.Mock) -> None:
    mock.hold()
    state = chat.run(stream=True)
    next(state.text_iter("a"))  # held, and the body waits for it: "b" is not known
    assert "b" not in state or state is not None
    mock.release()
    assert "".join(state.text_iter("b")) == state["b"]
    with pytest.raises(sgl.VariableNotSetError, match="no variable 'z' is set; there are 'a', 'b', 'c', 'd'"):
        list(state.text_iter("z"))


def test_streams_inside_the_program_end_with_what_is_queued(mock: sgl.Mock) -> None:
    @sgl.function
    def program(s: sgl.ProgramState) -> tuple[str, str, str]:
        s += "Q" + sgl.gen("a")
        text = "".join(s.text_iter())
        forks = s.fork(2)
        forks += "F" + sgl.gen("f")
        return text, s["a"], "".join(forks[1].text_iter())

    for stream in (True, False):
        state = program.run(stream=stream)
        text = state.text()
        whole, a, fork = state.ret_value
        assert whole == text == "Q" + a
        assert fork.startswith(text + "F")


def test_an_error_comes_after_the_text_that_there_is(use_mock: UseMock) -> None:
    use_mock(errors={1: RuntimeError("down")})
    state = chat.run(stream=True)
    found: list[str] = []
    with pytest.raises(sgl.ProgramError, match="down"):
        found.extend(state.text_iter())
    assert "".join(found) == state.error().text  # type: ignore[union-attr]
    with pytest.raises(sgl.ProgramError, match="down"):
        asyncio.run(pieces(state.text_async_iter("b")))
    assert "".join(state.text_iter("a")) == state["a"]


def test_an_exception_of_the_body_is_raised_by_the_readers(mock: sgl.Mock) -> None:
    bug = LookupError("a bug")

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q" + sgl.gen("a")
        s["a"]
        raise bug

    state = program.run(stream=True)
    with pytest.raises(sgl.ProgramError, match=r"ended by LookupError at .*test_stream.py:\d+: a bug") as caught:
        list(state.text_iter())
    assert caught.value.__cause__ is bug
    for read in (lambda: state["later"], state.text):
        with pytest.raises(sgl.ProgramError, match="a bug"):
            read()
    assert state["a"]


def test_a_reader_that_comes_before_the_states_know_what_the_body_raised_waits_for_it(mock: sgl.Mock) -> None:
    go_on = threading.Event()

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q" + sgl.gen("a")
        s["a"]
        loop.get().post(go_on.wait)
        raise LookupError("a bug")

    state = program.run(stream=True)
    for body in [thread for thread in threading.enumerate() if thread.name == "sglang-program"]:
        body.join()
    with ThreadPoolExecutor() as pool:
        reads = [pool.submit(read) for read in (lambda: list(state.text_iter()), lambda: state["later"], state.text)]
        early = wait(reads, timeout=0.01).done
        go_on.set()
        assert not early
        for read in reads:
            with pytest.raises(sgl.ProgramError, match="a bug"):
                read.result()


def test_a_stream_that_ends_before_it_begins(mock: sgl.Mock) -> None:
    class Silent(sgl.Mock):
        async def stream(self, prompt: Any, sampling: Any) -> Any:
            return
            yield

    error = chat.run(stream=True, backend=Silent()).error()
    assert error is not None
    assert isinstance(error.__cause__, sgl.BackendError)


def test_a_reader_that_leaves_disturbs_nobody(mock: sgl.Mock) -> None:
    mock.hold()
    state = chat.run(stream=True)

    async def leave() -> None:
        reader = asyncio.create_task(pieces(state.text_async_iter("a")))
        done, _ = await asyncio.wait([reader], timeout=0.01)
        assert not done
        reader.cancel()
        await asyncio.wait([reader])

    asyncio.run(leave())
    mock.release()
    assert "".join(state.text_iter("a")) == state["a"]
