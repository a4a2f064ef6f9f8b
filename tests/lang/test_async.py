"""Async programs, and programs awaited in event loops. The fixture checks that nothing of them is left."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
from collections.abc import Callable
from typing import Any

import pytest

import sglang as sgl
from sglang.lang.execution import loop
from sglang.lang.program import SglFunction
from tests.lang.conftest import UseMock


@sgl.function
def plain(s: sgl.ProgramState, question: str) -> Any:
    s += "Q: " + question + sgl.gen("a")
    forks = s.fork(2)
    forks += sgl.gen("b")
    forks.join()
    s += " then" + sgl.gen("c")
    return s["a"], s["b"], s.get_meta_info("c")["completion_tokens"]


@sgl.function
async def waiting(s: sgl.ProgramState, question: str) -> Any:
    s += "Q: " + question + sgl.gen("a")
    forks = s.fork(2)
    forks += sgl.gen("b")
    await forks.ajoin()
    s += " then" + sgl.gen("c")
    return await s.aget("a"), await s.aget("b"), (await s.aget_meta_info("c"))["completion_tokens"]


BOTH = pytest.mark.parametrize("program", [plain, waiting], ids=["plain", "async"])


async def eventually(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0)


@BOTH
def test_every_way_to_run_a_program_gives_the_same(program: SglFunction, mock: sgl.Mock) -> None:
    async def awaited() -> list[sgl.ProgramState]:
        one = await program.arun("why")
        streamed = await program.arun("why", stream=True)
        text = "".join([chunk async for chunk in streamed.text_async_iter()])
        assert text == one.text()
        states = await program.arun_batch([("why",)])
        ended = [state async for state in program.arun_batch([("why",)], generator_style=True)]
        return [one, streamed, *states, *ended]

    streamed = program.run("why", stream=True)
    first = "".join(streamed.text_iter())
    states = [program.run("why"), streamed, *program.run_batch([("why",)]), *asyncio.run(awaited())]
    states += program.run_batch([("why",)], generator_style=True)
    states.append(plain.run("why"))
    assert {state.text() for state in states} == {first}
    assert {repr(state.ret_value) for state in states} == {repr(states[0].ret_value)}
    assert states[0].ret_value[0] == states[0]["a"]


async def test_everything_that_is_read_can_be_awaited(mock: sgl.Mock) -> None:
    @sgl.function
    async def program(s: sgl.ProgramState) -> None:
        with s.user():
            s += "Q:" + sgl.gen("a")
        async with s.copy() as copy:
            copy += sgl.gen("b")
        await s.async_()
        assert mock.num_open == 0
        assert await s.atext() == s.text()
        assert await s.amessages() == [{"role": "user", "content": "Q:" + await s.aget("a")}]
        assert (await s.aget("b"), await s.aerror()) == (s["b"], None)
        s["set"] = 5
        assert s["set"] == 5
        with pytest.raises(sgl.VariableNotSetError, match="did you mean 'set'"):
            await s.aget("sett")

    await program.arun()


@pytest.mark.parametrize(
    ("read", "instead"),
    [
        (lambda s, forks: s["a"], "await s.aget('a')"),
        (lambda s, forks: s.get_meta_info("a"), "await s.aget_meta_info('a')"),
        (lambda s, forks: s.text(), "await s.atext()"),
        (lambda s, forks: s.messages(), "await s.amessages()"),
        (lambda s, forks: s.sync(), "await s.async_()"),
        (lambda s, forks: s.error(), "await s.aerror()"),
        (lambda s, forks: list(s.text_iter()), "async for text in s.text_async_iter()"),
        (lambda s, forks: forks.join(), "await forks.ajoin()"),
    ],
)
def test_what_would_block_the_loop_says_what_to_await(
    read: Callable[[sgl.ProgramState, sgl.ProgramStateGroup], object], instead: str, mock: sgl.Mock
) -> None:
    mock.hold()

    @sgl.function
    async def program(s: sgl.ProgramState) -> None:
        s += "Q:" + sgl.gen("a")
        forks = s.fork(2)
        with pytest.raises(sgl.ProgramError, match="would block the event loop") as caught:
            read(s, forks)
        assert str(caught.value).endswith(f"write: {instead}")
        mock.release()

    program.run()


async def test_an_async_program_is_awaited_in_an_event_loop(mock: sgl.Mock) -> None:
    for call, instead in (
        (lambda: waiting.run("why"), "await waiting.arun(...)"),
        (lambda: waiting.run_batch([("why",)]), "await waiting.arun_batch(...)"),
    ):
        with pytest.raises(sgl.ProgramError, match="would block the event loop") as caught:
            call()
        assert str(caught.value).endswith(instead)
    assert plain.run("why").text() == (await waiting.arun("why")).text()
    with pytest.raises(ValueError, match="use_thread=False waits after every statement"):
        waiting.run("why", use_thread=False)


async def test_a_stream_that_is_awaited_may_not_be_read_blocking(mock: sgl.Mock) -> None:
    mock.hold()
    for program in (plain, waiting):
        state = await program.arun("why", stream=True)
        with pytest.raises(sgl.ProgramError, match=r"write: await s.aget\('a'\)"):
            state["a"]
        mock.release()
        assert await state.aget("a") == (await state.atext())[len("Q: why") :].partition(" then")[0]
        mock.hold()


async def test_a_streaming_body_reads_its_own_state_from_tasks_of_its_own(mock: sgl.Mock) -> None:
    @sgl.function
    async def program(s: sgl.ProgramState) -> Any:
        s += "Q:" + sgl.gen("a")
        return await asyncio.gather(s.atext(), s.aget("a"))

    state = await program.arun(stream=True)
    text = await state.atext()
    assert state.ret_value == [text, text[2:]]


@pytest.mark.parametrize("in_a_batch", [False, True])
async def test_two_thousand_programs_in_flight_need_few_threads(in_a_batch: bool, mock: sgl.Mock) -> None:
    @sgl.function
    async def program(s: sgl.ProgramState, index: int) -> str:
        s += f"{index}:" + sgl.gen("a")
        await s.aget("a")
        s += sgl.gen("b")
        return str(await s.aget("b"))

    count, threads_before = 2000, threading.active_count()
    mock.hold()
    if in_a_batch:
        running: asyncio.Future[Any] = asyncio.ensure_future(program.arun_batch([(index,) for index in range(count)]))
    else:
        running = asyncio.gather(*(program.arun(index) for index in range(count)))
    await eventually(lambda: mock.num_open == count)
    assert threading.active_count() - threads_before < 32
    mock.release()
    states = await running
    assert len({state.ret_value for state in states}) > 100
    assert all(state.text().startswith(f"{index}:") for index, state in enumerate(states))


@BOTH
async def test_cancelling_the_task_cancels_the_program(program: SglFunction, mock: sgl.Mock) -> None:
    mock.hold()
    task = asyncio.ensure_future(program.arun("why"))
    await eventually(lambda: mock.num_open == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert mock.num_open == 0
    assert len(mock.requests) == 1


async def test_a_cancelled_body_can_clean_up(mock: sgl.Mock) -> None:
    mock.hold()
    seen: list[str] = []

    @sgl.function
    async def program(s: sgl.ProgramState) -> None:
        s += "Q:" + sgl.gen("a")
        try:
            await s.aget("a")
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = asyncio.ensure_future(program.arun())
    await eventually(lambda: mock.num_open == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (seen, mock.num_open) == (["cancelled"], 0)


async def test_cancelling_waits_for_the_thread_of_a_plain_body(mock: sgl.Mock) -> None:
    mock.hold()
    may_end = threading.Event()

    @sgl.function
    def program(s: sgl.ProgramState) -> None:
        s += "Q:" + sgl.gen("a")
        try:
            s.sync()
        finally:
            may_end.wait(60)

    task = asyncio.ensure_future(program.arun())
    await eventually(lambda: mock.num_open == 1)
    task.cancel()
    await eventually(lambda: mock.num_open == 0)
    for _ in range(100):
        await asyncio.sleep(0)
    assert not task.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await task


@BOTH
async def test_cancelling_a_batch_cancels_its_programs(program: SglFunction, mock: sgl.Mock) -> None:
    mock.hold()
    task = asyncio.ensure_future(program.arun_batch([(f"{index}",) for index in range(20)]))
    await eventually(lambda: mock.num_open > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert mock.num_open == 0


async def test_a_batch_that_is_cancelled_waits_for_its_bodies(mock: sgl.Mock) -> None:
    begun: list[int] = []
    ended: list[int] = []

    @sgl.function
    async def program(s: sgl.ProgramState, index: int) -> None:
        begun.append(index)
        try:
            await asyncio.Event().wait()
        finally:
            for _ in range(20):
                await asyncio.sleep(0)
            ended.append(index)

    task = asyncio.ensure_future(program.arun_batch([(index,) for index in range(3)]))
    await eventually(lambda: len(begun) == 3)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == [0, 1, 2]


@BOTH
async def test_a_batch_that_is_left_early_leaves_nothing(program: SglFunction, mock: sgl.Mock) -> None:
    states = program.arun_batch([(f"{index}",) for index in range(20)], generator_style=True, num_threads=4)
    async for state in states:
        assert state["a"]
        mock.hold()
        break
    await states.aclose()
    assert mock.num_open == 0
    assert len(mock.requests) < 60


def test_a_body_that_waits_for_something_else_is_cancelled_too(mock: sgl.Mock) -> None:
    @sgl.function
    async def program(s: sgl.ProgramState, index: int) -> None:
        if index == 3:
            raise LookupError("a bug")
        await asyncio.Event().wait()

    items = [(index,) for index in range(10)]
    with pytest.raises(LookupError, match="a bug"):
        program.run_batch(items, return_exceptions=False)
    with pytest.raises(LookupError, match="a bug"):
        asyncio.run(_list(program.arun_batch(items)))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("sglang-batch")]


async def _list(found: Any) -> Any:
    return await found


def test_a_loop_that_ends_while_programs_run_ends_them(mock: sgl.Mock) -> None:
    mock.hold()

    async def main() -> sgl.ProgramState:
        state = await waiting.arun("why", stream=True)
        await eventually(lambda: mock.num_open == 1)
        return state

    state = asyncio.run(main())
    with pytest.raises(sgl.ProgramError, match="CancelledError"):
        state.text()
    loop.wait(state._run.ended)
    assert mock.num_open == 0


async def test_a_task_that_is_cancelled_before_it_begins(mock: sgl.Mock) -> None:
    states = [await waiting.arun("why", stream=True)]
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    with pytest.raises(sgl.ProgramError, match="cancelled before it began"):
        await states[0].atext()
    assert not mock.requests


@BOTH
async def test_what_the_body_raises_arun_raises(program: SglFunction, use_mock: UseMock) -> None:
    mock = use_mock(errors={0: RuntimeError("down")})
    with pytest.raises(sgl.ProgramError, match="down"):
        await program.arun("why")
    assert mock.num_open == 0


def test_an_interrupt_is_one(mock: sgl.Mock) -> None:
    @sgl.function
    async def program(s: sgl.ProgramState) -> None:
        mock.hold()
        s += "Q:" + sgl.gen("a")
        await eventually(lambda: mock.num_open == 1)
        signal.raise_signal(signal.SIGINT)
        await s.aget("a")

    with pytest.raises(KeyboardInterrupt):
        program.run()
    assert mock.num_open == 0


async def test_context_variables_reach_the_body(mock: sgl.Mock) -> None:
    setting = contextvars.ContextVar("setting", default="none")

    @sgl.function
    async def asks(s: sgl.ProgramState) -> str:
        return setting.get()

    @sgl.function
    def tells(s: sgl.ProgramState) -> str:
        return setting.get()

    setting.set("some")
    for program in (asks, tells):
        states = [await program.arun(), *await program.arun_batch([{}, {}])]
        assert [state.ret_value for state in states] == ["some"] * 3


async def test_a_plain_body_that_has_returned_is_cancelled_too(mock: sgl.Mock) -> None:
    @sgl.function
    def returns(s: sgl.ProgramState) -> None:
        s += "Q:" + sgl.gen("a")

    mock.hold()
    task = asyncio.ensure_future(returns.arun())
    await eventually(lambda: mock.num_open == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert mock.num_open == 0


@BOTH
def test_an_async_program_may_not_block_its_loop_with_another(program: SglFunction, mock: sgl.Mock) -> None:
    @sgl.function
    async def outer(s: sgl.ProgramState) -> None:
        for call in (lambda: program.run("x"), lambda: program.run_batch([("x",)])):
            with pytest.raises(sgl.ProgramError, match=r"would block the event loop .* write: await .*arun"):
                call()

    outer.run()
    assert not mock.requests


async def test_programs_call_programs(mock: sgl.Mock) -> None:
    @sgl.function
    async def outer(s: sgl.ProgramState) -> None:
        s += "A:" + sgl.gen("a")
        inner, others = await asyncio.gather(waiting.arun("x"), plain.arun_batch([("y",), ("z",)]))
        s += inner["c"] + others[0]["c"]

    state = await outer.arun()
    assert state.text().endswith(plain.run("x")["c"] + plain.run("y")["c"])


async def test_a_callable_object_with_an_async_call(mock: sgl.Mock) -> None:
    class Ask:
        async def __call__(self, s: sgl.ProgramState) -> str:
            s += "Q:" + sgl.gen("a")
            return str(await s.aget("a"))

    state = await sgl.function(Ask()).arun()
    assert state.ret_value == state["a"]
