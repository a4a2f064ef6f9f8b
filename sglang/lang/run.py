"""One call of a program: the body, and all the states it made."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from sglang.lang import loop
from sglang.lang.interpreter import Interpreter, Setting
from sglang.lang.source_line import failing_line
from sglang.lang.transcript import Transcript
from sglang.srt.errors import ProgramError


class Run:
    """The body is an ordinary function in a thread of the caller's choice. It queues nodes, and waits only where it
    reads; what it queued may go on when it has returned.

    is_stepwise: every node is done before the line after it.
    """

    def __init__(self, setting: Setting, is_stepwise: bool = False) -> None:
        self.setting = setting
        self.is_stepwise = is_stepwise
        self.root = Interpreter(setting)
        # Done when the body has returned and all that it queued is done. The result is what the body raised, or None.
        self.ended: Future[BaseException | None] = Future()
        self._interpreters = [self.root]
        self._cancelled_for: BaseException | None = None
        self._body_thread: int | None = None
        self._is_body_over = False

    def execute(self, body: Callable[[], object]) -> None:
        """Call the body in this thread. If it raises, everything it queued is cancelled."""
        self._body_thread = threading.get_ident()
        error = None
        try:
            body()
        except BaseException as raised:  # noqa: BLE001 - whoever waits for the run raises it
            error = raised
            self.cancel(raised)
        self._is_body_over = True
        for interpreter in self._interpreters:
            interpreter.variables.close()
        idle = [interpreter.read(_nothing) for interpreter in self._interpreters]
        _when_all(idle, functools.partial(self._end, error))

    def wait(self) -> None:
        """Until it has ended. Raises what the body raised. An interrupt cancels it."""
        try:
            error = loop.wait(self.ended)
        except BaseException as interrupt:
            self.cancel(interrupt)
            raise
        if error is not None:
            raise error

    def cancel(self, reason: BaseException) -> None:
        """End every state. Waits until their requests have ended."""
        cancel_all([self], reason)

    def fork(self, parent: Interpreter, size: int) -> list[Interpreter]:
        forks = parent.fork(size)
        self._interpreters.extend(forks)
        if self._cancelled_for is not None:  # since the parent was asked, in another thread
            self.cancel(self._cancelled_for)
        return forks

    def may_still_set_names(self) -> bool:
        """Whether the body goes on in another thread than the caller's, so that the caller may wait for it."""
        is_elsewhere = self._body_thread != threading.get_ident()
        return self.setting.is_streaming and not self._is_body_over and is_elsewhere

    async def end_all_states(self, reason: ProgramError) -> None:
        """In the programs' loop."""
        self._cancelled_for = reason.__cause__
        await asyncio.gather(*(interpreter.cancel(reason) for interpreter in self._interpreters))

    def _end(self, error: BaseException | None) -> None:
        self._interpreters = [self.root]  # forks live on where somebody holds on to them
        self.ended.set_result(error)


def cancel_all(runs: Sequence[Run], reason: BaseException) -> None:
    """Waits until nothing of them is left in the programs' loop."""
    line = failing_line(reason)
    where = f" at {line}" if line else ""
    failure = ProgramError(f"the program was ended by {type(reason).__name__}{where}: {reason}")
    failure.__cause__ = reason
    loop.run(_end_all(runs, failure))


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
