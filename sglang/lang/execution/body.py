"""What a run executes: the user's function with its arguments, but for the state."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Callable, Mapping, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from sglang.lang.execution.interpreter import Setting
from sglang.lang.execution.returned import check_appended
from sglang.lang.execution.run import Run
from sglang.lang.execution.steps import Record
from sglang.lang.state import ProgramState


@dataclass(frozen=True, slots=True)
class Body:
    """is_async: the function gives something to be awaited in the event loop it is called in."""

    func: Callable[..., Any]
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    is_async: bool

    @property
    def name(self) -> str:
        return getattr(self.func, "__name__", repr(self.func))

    def call(self, state: ProgramState, records: Sequence[Record]) -> None:
        """records: of that state. Raises ProgramError if an expression is returned that was appended to none."""
        state.ret_value = given = self.func(state, *self.args, **self.kwargs)
        check_appended(self.func, given, records)

    async def call_async(self, state: ProgramState, records: Sequence[Record]) -> None:
        """As `call`."""
        state.ret_value = given = await self.func(state, *self.args, **self.kwargs)
        check_appended(self.func, given, records)


class Program:
    """A body, the run it is called in, and the state it is called with."""

    def __init__(self, body: Body, setting: Setting, is_stepwise: bool = False) -> None:
        self.body = body
        self.run = Run(setting, is_stepwise)
        self.state = ProgramState(self.run, self.run.root)
        self._task: asyncio.Task[None] | None = None  # which an event loop alone would not keep alive

    def execute(self) -> None:
        """In this thread, which an async body gets an event loop in. Returns when the body is over."""
        if self.body.is_async:
            asyncio.run(self.execute_async())
        else:
            self.run.execute(functools.partial(self.body.call, self.state, self.run.root.records))

    async def execute_async(self) -> None:
        """An async body, in this event loop. Returns when it is over."""
        await self.run.execute_async(functools.partial(self.body.call_async, self.state, self.run.root.records))

    def complete(self) -> None:
        """Execute it in this thread, and wait until the run has ended. Raises what the body raised."""
        if self.body.is_async:
            asyncio.run(self.complete_async())  # so that an interrupt is one
        else:
            self.execute()
            self.run.wait()

    async def complete_async(self) -> None:
        """The same for an async body, in this event loop."""
        await self.execute_async()
        await self.run.wait_async()

    def start(self) -> None:
        """Execute it: in a task of this event loop, or if the body is not async, in a thread. Returns at once."""
        if self.body.is_async:
            self.start_task()
        else:
            self.start_thread()

    def start_thread(self) -> None:
        """Execute it in a thread of its own. Returns at once."""
        target = functools.partial(copy_context().run, self.execute)
        threading.Thread(target=target, name=f"sglang-{self.body.name}", daemon=True).start()

    def start_task(self) -> None:
        """Execute an async body in a task of its own in this event loop. Returns at once."""
        self._task = task = asyncio.get_running_loop().create_task(self.execute_async())
        task.add_done_callback(self._task_is_over)

    def _task_is_over(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():  # before it began, since from then on whatever happens belongs to the run
            self.run.conclude(asyncio.CancelledError("the program was cancelled before it began"))
