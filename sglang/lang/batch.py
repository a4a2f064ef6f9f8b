"""One program on many inputs at a time.

Bodies run in the threads of a pool, each for as long as its function takes; what it has queued goes on without a
thread. A program counts as in flight until all of that is done.
"""

from __future__ import annotations

import functools
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import NamedTuple

from sglang.lang import loop
from sglang.lang.backends.base import Backend
from sglang.lang.interpreter import Setting
from sglang.lang.ir import SamplingArguments
from sglang.lang.prefix_gate import PrefixGate
from sglang.lang.run import Run, cancel_all
from sglang.lang.state import ProgramState
from sglang.srt.errors import RequestAbortedError, shown

Body = Callable[[ProgramState], None]

AUTO_IN_FLIGHT = 512
"""A body that waits holds a thread, so there is a limit."""


def max_in_flight(num_threads: int | str, size: int) -> int:
    """How many programs of a batch run at a time. Raises TypeError or ValueError."""
    if num_threads == "auto":
        return min(size, AUTO_IN_FLIGHT)
    if isinstance(num_threads, bool) or not isinstance(num_threads, int):
        raise TypeError(f"num_threads must be an integer or 'auto', not {shown(num_threads)}")
    if num_threads < 1:
        raise ValueError(f"num_threads must be at least 1, not {num_threads}")
    return min(num_threads, size)


class _Program(NamedTuple):
    run: Run
    state: ProgramState


class Batch:
    """limit: how many programs are in flight at most; with one, each has ended when the next one begins."""

    def __init__(
        self,
        bodies: Sequence[Body],
        backend: Backend,
        sampling: SamplingArguments,
        limit: int,
        progress_bar: bool = False,
    ) -> None:
        self._bodies = bodies
        self._backend = backend
        self._sampling = sampling
        self._limit = limit
        self._progress_bar = progress_bar
        self._gate = PrefixGate(backend) if limit > 1 else None

    def all(self) -> list[ProgramState]:
        """The states, in order. Raises what a program raises, after the others have been cancelled; if several have
        raised by then, what the first of them raised.
        """
        if not self._bodies:
            return []
        programs: list[_Program] = []
        ending = _Ending(self._limit, len(self._bodies))
        with self._start_in(programs) as start:
            for body in self._bodies:
                ending.slots.acquire()
                if ending.over.done():
                    break
                programs.append(program := start(body))
                program.run.ended.add_done_callback(ending.note)
            loop.wait(ending.over)
            for program in programs:
                if program.run.ended.done():
                    program.run.wait()
        return [program.state for program in programs]

    def in_order(self) -> Iterator[ProgramState]:
        """The states, each as soon as it and those before it have ended. Begins at the first `next`; closing it cancels
        what is in flight, and so does an error, which is raised when it is a program's turn.
        """
        window: deque[_Program] = deque()
        with self._start_in(window) as start:
            for body in self._bodies:
                if len(window) == self._limit:
                    yield _ended(window.popleft())
                window.append(start(body))
            while window:
                yield _ended(window.popleft())

    @contextmanager
    def _start_in(self, programs: Collection[_Program]) -> Iterator[Callable[[Body], _Program]]:
        """What starts a program in a thread. However this is left, none of `programs` runs any more, neither its body
        nor its requests.
        """
        pool = ThreadPoolExecutor(max(self._limit, 1), thread_name_prefix="sglang-batch")
        with _progress(len(self._bodies) if self._progress_bar else None) as advance:
            try:
                yield functools.partial(self._start, pool, advance)
            except BaseException as error:
                reason = RequestAbortedError("the batch was closed") if isinstance(error, GeneratorExit) else error
                cancel_all([program.run for program in programs], reason)
                raise
            finally:
                pool.shutdown(cancel_futures=True)

    def _start(self, pool: ThreadPoolExecutor, advance: Callable[[object], None], body: Body) -> _Program:
        entrance = None if self._gate is None else self._gate.entrance()
        run = Run(Setting(self._backend, self._sampling, before_request=entrance))
        run.ended.add_done_callback(advance)
        state = ProgramState(run, run.root)
        pool.submit(copy_context().run, run.execute, functools.partial(body, state))
        return _Program(run, state)


class _Ending:
    """slots: free places in flight. over: done when all programs have ended, or one has raised."""

    def __init__(self, limit: int, size: int) -> None:
        self.slots = threading.Semaphore(limit)
        self.over: Future[None] = Future()
        self._num_left = size
        self._lock = threading.Lock()

    def note(self, ended: Future[BaseException | None]) -> None:
        """A program has ended."""
        with self._lock:
            self._num_left -= 1
            is_last = self._num_left == 0 or ended.result() is not None
            if is_last and not self.over.done():
                self.over.set_result(None)
        self.slots.release()


def _ended(program: _Program) -> ProgramState:
    program.run.wait()
    return program.state


@contextmanager
def _progress(size: int | None) -> Iterator[Callable[[object], None]]:
    """What to call when one of `size` programs has ended. None: nothing is shown."""
    if size is None:
        yield lambda _: None
        return
    from rich.progress import Progress

    with Progress() as progress:
        task = progress.add_task("programs", total=size)
        yield lambda _: progress.advance(task)
