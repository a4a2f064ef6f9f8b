"""One call of a program: the body, and all the states it made."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from sglang.lang.execution import loop
from sglang.lang.execution.interpreter import Interpreter, Setting
from sglang.lang.execution.transcript import Transcript
from sglang.lang.source_line import failing_line
from sglang.srt.errors import ProgramError


class Run:
    """The body is the user's function: an ordinary one in a thread, or a coroutine in an event loop, of the caller's
    choice. It queues nodes, and waits only where it reads; what it queued may go on when it has returned.

    is_stepwise: every node is done before the line after it.
    """

    def __init__(self, setting: Setting, is_stepwise: bool = False) -> None:
        self.setting = setting
        self.is_stepwise = is_stepwise
        self.root = Interpreter(setting)
        # Done when the body has returned and nothing of what it queued is left. The result is what it raised, or None.
        self.ended: Future[BaseException | None] = Future()
        self._interpreters = [self.root]
        self._failure: ProgramError | None = None
        self._event_loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None  # that the body is a part of
        self._is_body_over = False
        self._is_settled = False  # no name will be set any more, and states know what has ended them

    def execute(self, body: Callable[[], object]) -> None:
        """Call the body in this thread. If it raises, everything it queued is cancelled. Does not wait for `ended`."""
        error = None
        try:
            with self._inside():
                body()
        except BaseException as raised:  # noqa: BLE001 - whoever waits for the run raises it
            error = raised
        self.conclude(error)

    async def execute_async(self, body: Callable[[], Awaitable[object]]) -> None:
        """The same for a body that is awaited."""
        self.belong_to_this_loop()
        self._task = asyncio.current_task()
        error = None
        try:
            with self._inside():
                await body()
        except BaseException as raised:  # noqa: BLE001 - whoever waits for the run raises it
            error = raised
        self.conclude(error)

    def conclude(self, error: BaseException | None) -> None:
        """The body is over, with what it raised. Does not wait for what it has queued, nor for the end of that."""
        self._is_body_over = True
        if error is None:
            self._settle(None)
        else:
            cancel_all([self], error).add_done_callback(lambda _: self._settle(error))

    def wait(self) -> None:
        """Until it has ended. Raises what the body raised. An interrupt cancels it."""
        try:
            error = loop.wait(self.ended)
        except BaseException as interrupt:
            loop.wait(cancel_all([self], interrupt))
            raise
        if error is not None:
            raise error

    async def wait_async(self) -> None:
        """The same in a coroutine; if that is cancelled, so is the run, and nothing of it is left afterwards."""
        try:
            error = await loop.wait_async(self.ended)
        except BaseException as interrupt:
            await loop.wait_async(cancel_all([self], interrupt))
            await loop.wait_async(self.ended)
            raise
        if error is not None:
            raise error

    def fork(self, parent: Interpreter, size: int) -> list[Interpreter]:
        forks = parent.fork(size)
        self._interpreters.extend(forks)
        if self._failure is not None:  # since the parent was asked, in another thread
            for fork in forks:
                fork.refuse(self._failure)
        return forks

    def belong_to_this_loop(self) -> None:
        """What runs in this event loop awaits the run."""
        self._event_loop = asyncio.get_running_loop()

    def is_in_its_loop(self) -> bool:
        """Whether the caller is in an event loop that the run belongs to, which it may not block."""
        return self._event_loop is not None and loop.running() is self._event_loop

    def check_may_block(self, instead: str) -> None:
        """Raises ProgramError where it may not. instead: what to write there."""
        if self.is_in_its_loop():
            raise ProgramError(f"this would block the event loop that the program runs in; write: {instead}")

    def may_still_set_names(self) -> bool:
        """Whether the body goes on, or what it raised is still to be told to its states, and the caller is not part of
        it, so that the caller may wait for it.
        """
        return self.setting.is_streaming and not self._is_settled and _current.get() is not self

    async def end_all_states(self, reason: ProgramError) -> None:
        """In the programs' loop."""
        self._failure = reason  # before looking, so that forks made from now on know
        if self._task is not None and self._event_loop is not None and not self._is_body_over:
            self._event_loop.call_soon_threadsafe(self._cancel_body)
        await asyncio.gather(*(interpreter.cancel(reason) for interpreter in self._interpreters))

    def _cancel_body(self) -> None:
        """In its event loop, since it may wait for something else than the run."""
        if self._task is not None and not self._is_body_over:
            self._task.cancel()

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Raises what ended the run before the body began, if something has."""
        if self._failure is not None:
            raise self._failure.again()
        token = _current.set(self)
        try:
            yield
        finally:
            _current.reset(token)

    def _settle(self, error: BaseException | None) -> None:
        self._is_settled = True
        outstanding = []
        for interpreter in self._interpreters:
            interpreter.variables.close()
            outstanding.append(interpreter.read(_nothing))
        _when_all(outstanding, functools.partial(self._end, error))

    def _end(self, error: BaseException | None) -> None:
        self._interpreters = [self.root]  # forks live on where somebody holds on to them
        self.ended.set_result(error)


_current: ContextVar[Run | None] = ContextVar("sglang_run", default=None)


def current_run() -> Run | None:
    """The one whose body this code is a part of."""
    return _current.get()


def cancel_all(runs: Sequence[Run], reason: BaseException) -> Future[None]:
    """End every state of them. Done when nothing of that is left in the programs' loop. A body finds out where it
    reads, and an async one wherever it waits.
    """
    line = failing_line(reason)
    where = f" at {line}" if line else ""
    file, number = line or (None, None)
    what = f"the program was ended by {type(reason).__name__}{where}: {reason}"
    failure = ProgramError(what, file=file, line=number)
    failure.__cause__ = reason
    return loop.get().submit(_end_all(runs, failure))


async def _end_all(runs: Sequence[Run], reason: ProgramError) -> None:
    await asyncio.gather(*(run.end_all_states(reason) for run in runs))


def _when_all(futures: Sequence[Future[Any]], then: Callable[[], None]) -> None:
    """Call `then` when all of them are done, whatever their outcome."""
    lock = threading.Lock()
    num_left = len(futures)

    def one_is_done(_: Future[Any]) -> None:
        nonlocal num_left
        with lock:
            num_left -= 1
            is_last = num_left == 0
        if is_last:
            then()

    for future in futures:
        future.add_done_callback(one_is_done)


def _nothing(_: Transcript) -> None:
    return None
