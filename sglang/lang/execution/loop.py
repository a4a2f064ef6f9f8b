"""The event loop in which all programs of this process talk to their backends: one daemon thread, started when needed.

Users' code does not run in it. What it does for a program is found out through `concurrent.futures.Future`, which
threads and coroutines of any loop can wait for.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import functools
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from sglang.srt.errors import ProgramError

T = TypeVar("T")

_SECONDS_TO_END = 5.0
"""How long requests in flight may take to be cancelled when the interpreter exits."""


class LoopThread:
    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._inbox: deque[Callable[[], object]] = deque()
        self._is_awake = False
        self._thread = threading.Thread(target=self._work, name="sglang-programs", daemon=True)
        self._thread.start()

    def post(self, callback: Callable[[], object]) -> None:
        """Have the loop call `callback`, in order. Wakes it at most once for all that is posted before it gets to it.

        The callback may not raise.
        """
        self._inbox.append(callback)
        if not self._is_awake:
            self._is_awake = True
            try:
                self._loop.call_soon_threadsafe(self._empty_inbox)
            except BaseException:  # an interrupt: the next one is to wake the loop
                self._is_awake = False
                raise

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def is_current(self) -> bool:
        """Whether the caller runs in this loop, and so may not wait for it."""
        return threading.current_thread() is self._thread

    def cancel_all(self) -> None:
        """For the end of the process: have requests in flight end, so that servers know. The loop goes on, for threads
        that find their programs cancelled.
        """
        concurrent.futures.wait([self.submit(_cancel_others())], _SECONDS_TO_END)

    def _empty_inbox(self) -> None:
        self._is_awake = False  # before looking, so that what is posted from now on wakes the loop again
        while self._inbox:
            self._inbox.popleft()()

    def _work(self) -> None:
        self._loop.run_forever()


_lock = threading.Lock()
_current: LoopThread | None = None


def get() -> LoopThread:
    global _current  # noqa: PLW0603 - one per process is the point
    if _current is not None:
        return _current
    with _lock:
        if _current is None:
            _current = LoopThread()
            atexit.register(_current.cancel_all)
        return _current


def run(work: Coroutine[Any, Any, T]) -> T:
    """Do `work` in the loop and wait for it here; an interrupt cancels it. Raises what it raises."""
    loop = get()
    if loop.is_current():
        work.close()
        raise _would_wait_for_itself()
    future = loop.submit(work)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


def wait(future: Future[T], timeout: float | None = None) -> T:
    """The result of what happens in the loop. Raises TimeoutError after `timeout` seconds.

    Raises ProgramError if the caller is the loop itself and would wait for ever.
    """
    if not future.done() and get().is_current():
        raise _would_wait_for_itself()
    try:
        return future.result(timeout)
    except concurrent.futures.TimeoutError as error:  # not the builtin one before Python 3.11
        if future.done() or timeout is None:  # somebody else's
            raise
        raise TimeoutError(f"not there after {timeout:.3g} s") from error


async def wait_async(future: Future[T]) -> T:
    """The same in a coroutine of any loop. Cancelling it leaves the future as it is."""
    if not future.done():
        here = asyncio.get_running_loop()
        told = here.create_future()
        future.add_done_callback(functools.partial(_tell, here, told))
        await told
    return future.result()


def _tell(there: asyncio.AbstractEventLoop, told: asyncio.Future[None], _: Future[Any]) -> None:
    try:
        there.call_soon_threadsafe(_settle, told)
    except RuntimeError:
        if not there.is_closed():  # as it is once `asyncio.run` has given up whoever waited
            raise


def _settle(told: asyncio.Future[None]) -> None:
    if not told.done():
        told.set_result(None)


def running() -> asyncio.AbstractEventLoop | None:
    """The event loop that this thread is in, whosever it is."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _would_wait_for_itself() -> ProgramError:
    return ProgramError("a value of a program cannot be waited for in the event loop that computes it")


def _forget() -> None:
    """In a forked child, which has none of its parent's threads."""
    global _lock, _current  # noqa: PLW0603
    _lock = threading.Lock()
    if _current is not None:
        atexit.unregister(_current.cancel_all)
        _current = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
