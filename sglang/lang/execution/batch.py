"""One program on many inputs at a time.

Bodies run in the threads of a pool, each for as long as its function takes, or as tasks of an event loop; what they
have queued goes on without them. A program counts as in flight until all of that is done.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, aclosing, contextmanager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

from sglang.lang.backends.base import Backend
from sglang.lang.execution.body import Body, Program
from sglang.lang.execution.interpreter import Setting
from sglang.lang.execution.prefix_gate import PrefixGate
from sglang.lang.execution.run import cancel_all
from sglang.lang.execution.waiting import Steps, finish, finish_async, items, items_async
from sglang.lang.ir import SamplingArguments
from sglang.lang.state import ProgramState
from sglang.srt.errors import RequestAbortedError, shown

AUTO_IN_FLIGHT = 512
"""A body that waits holds a thread, so there is a limit."""

AUTO_ASYNC_IN_FLIGHT = 4096
"""One that awaits holds none."""


def max_in_flight(num_threads: int | str, size: int, auto: int = AUTO_IN_FLIGHT) -> int:
    """How many programs of a batch run at a time; 'auto' says `auto`. Raises TypeError or ValueError."""
    if num_threads == "auto":
        return min(size, auto)
    if isinstance(num_threads, bool) or not isinstance(num_threads, int):
        raise TypeError(f"num_threads must be an integer or 'auto', not {shown(num_threads)}")
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, not {num_threads}")
    return min(num_threads, size)


@dataclass(frozen=True, slots=True)
class Manner:
    """How a batch goes on. max_in_flight: with one, each program has ended when the next one begins.

    is_ordered: an outcome comes when those before it have come, and at most `max_in_flight` wait for that.
    returns_exceptions: what a program raises is its outcome, and the others go on.
    """

    max_in_flight: int
    is_ordered: bool = True
    returns_exceptions: bool = False
    shows_progress: bool = False


Outcome = tuple[int, ProgramState | Exception]
"""Of the program with this index."""

Launch = Callable[[Program], None]
"""Has a body executed elsewhere, and returns at once."""


class Batch:
    """Iterated once, by a thread or by a coroutine.

    However that ends, none of its programs runs any more then, neither its body nor its requests. An iterator that is
    closed cancels them, and so does what a program raises.
    """

    def __init__(self, bodies: Sequence[Body], backend: Backend, sampling: SamplingArguments, manner: Manner) -> None:
        self._bodies = bodies
        self._backend = backend
        self._sampling = sampling
        self._manner = manner
        self._gate = PrefixGate(backend) if manner.max_in_flight > 1 else None
        self._in_flight: set[Program] = set()

    def outcomes(self) -> Generator[Outcome, None, None]:
        with self._launcher(None) as launch, self._progress() as advance:
            try:
                yield from items(self._outcomes(launch, advance), _may_block)
            except BaseException as error:
                finish(self._cancel(error), _may_block)
                raise

    async def outcomes_async(self) -> AsyncGenerator[Outcome, None]:
        with self._launcher(asyncio.get_running_loop()) as launch, self._progress() as advance:
            try:
                async with aclosing(items_async(self._outcomes(launch, advance))) as outcomes:
                    async for outcome in outcomes:
                        yield outcome
            except BaseException as error:
                await finish_async(self._cancel(error))
                raise

    # --- the same for both

    def _outcomes(self, launch: Launch, advance: Callable[[object], None]) -> Iterator[Future[Any] | Outcome]:
        """Futures in between are to be waited for."""
        window = _Window(self._manner.is_ordered)
        for index, body in enumerate(self._bodies):
            if len(window) == self._manner.max_in_flight:
                yield from self._next_outcome(window)
            program = self._program(body)
            launch(program)
            self._in_flight.add(program)
            program.run.ended.add_done_callback(advance)
            window.put(index, program)
        while len(window):
            yield from self._next_outcome(window)

    def _next_outcome(self, window: _Window) -> Iterator[Future[Any] | Outcome]:
        index, program = yield from window.get()
        self._in_flight.remove(program)
        raised = program.run.ended.result()
        if raised is None:
            yield index, program.state
        elif self._manner.returns_exceptions and isinstance(raised, Exception):
            yield index, raised
        else:
            raise raised

    def _program(self, body: Body) -> Program:
        entrance = None if self._gate is None else self._gate.entrance()
        return Program(body, Setting(self._backend, self._sampling, before_request=entrance))

    def _cancel(self, error: BaseException) -> Steps[None]:
        reason = RequestAbortedError("the batch was closed") if isinstance(error, GeneratorExit) else error
        runs = [program.run for program in self._in_flight]
        yield cancel_all(runs, reason)
        yield from (run.ended for run in runs)

    def _launcher(self, event_loop: asyncio.AbstractEventLoop | None) -> AbstractContextManager[Launch]:
        """event_loop: where to await async bodies; None: in a thread of their own."""
        if not self._bodies or not self._bodies[0].is_async:
            return _threads(max(self._manner.max_in_flight, 1))
        return _own_event_loop() if event_loop is None else nullcontext(functools.partial(_start_task, event_loop))

    @contextmanager
    def _progress(self) -> Iterator[Callable[[object], None]]:
        """What to call when a program has ended."""
        if not self._manner.shows_progress:
            yield lambda _: None
            return
        from rich.progress import Progress

        with Progress() as progress:
            task = progress.add_task("programs", total=len(self._bodies))
            yield lambda _: progress.advance(task)


class _Window:
    """The programs that have been started and not been taken out."""

    def __init__(self, is_ordered: bool) -> None:
        self._is_ordered = is_ordered
        self._programs: dict[int, Program] = {}
        self._ended: deque[int] = deque()
        self._awaited: Future[None] | None = None
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._programs)

    def put(self, index: int, program: Program) -> None:
        self._programs[index] = program
        if not self._is_ordered:
            program.run.ended.add_done_callback(lambda _: self._arrive(index))

    def get(self) -> Steps[tuple[int, Program]]:
        """The first one that was put in, or otherwise the first one that ends. It has ended then."""
        if self._is_ordered:
            index = next(iter(self._programs))
            yield self._programs[index].run.ended
        else:
            index = yield from self._next_to_end()
        return index, self._programs.pop(index)

    def _next_to_end(self) -> Steps[int]:
        with self._lock:
            self._awaited = None if self._ended else Future()
            awaited = self._awaited
        if awaited is not None:
            yield awaited
        return self._ended.popleft()

    def _arrive(self, index: int) -> None:
        with self._lock:
            self._ended.append(index)
            awaited, self._awaited = self._awaited, None
        if awaited is not None:
            awaited.set_result(None)


@contextmanager
def _threads(limit: int) -> Iterator[Launch]:
    with ThreadPoolExecutor(limit, thread_name_prefix="sglang-batch") as pool:

        def launch(program: Program) -> None:
            pool.submit(copy_context().run, program.execute)

        yield launch


@contextmanager
def _own_event_loop() -> Iterator[Launch]:
    """An event loop in a thread of its own, for as long as the context lasts."""
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        over = asyncio.Event()
        started.set_result((asyncio.get_running_loop(), over))
        await over.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="sglang-batch", daemon=True)
    thread.start()
    event_loop, over = started.result()
    try:
        yield functools.partial(_start_task, event_loop)
    finally:
        event_loop.call_soon_threadsafe(over.set)
        thread.join()


def _start_task(event_loop: asyncio.AbstractEventLoop, program: Program) -> None:
    event_loop.call_soon_threadsafe(program.start_task)


def _may_block() -> None:
    return None
