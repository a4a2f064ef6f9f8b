"""Threads that make grammars ready, beside those that compute."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

logger = logging.getLogger(__name__)

NICENESS = 10
"""Beside a thread of usual priority one of these gets about a tenth of a core. A step's threads wait for each other, so
whatever takes a core from one of them holds up every request of the step."""

STACK_BYTES = 256 * 1024 * 1024
"""Of a thread that compiles: the library calls itself for every rule and group that others lead to, 2 KB each time, and
ends the process where the stack does. A constraint has at most some 50,000 of both. Only what is used takes memory.
"""

_one_at_a_time = threading.Lock()

P = ParamSpec("P")
T = TypeVar("T")


class _GrammarThreads(ThreadPoolExecutor):
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        with _large_stacks():  # it starts a thread if it needs another
            return super().submit(fn, *args, **kwargs)


def grammar_threads(count: int, name: str) -> ThreadPoolExecutor:
    """`count` threads with a large stack, and of low priority where a system has priorities of threads, and lets us
    lower them: Linux.
    """
    return _GrammarThreads(count, name, initializer=_step_back)


def on_large_stack(work: Callable[[], T]) -> T:
    """What `work` gives, or the exception that it raises. Done in a thread of its own."""
    with _GrammarThreads(1, "grammar") as thread:
        return thread.submit(work).result()


@contextmanager
def _large_stacks() -> Iterator[None]:
    """For the threads that are started meanwhile."""
    with _one_at_a_time:
        before = threading.stack_size(STACK_BYTES)
        try:
            yield
        finally:
            threading.stack_size(before)


def _step_back() -> None:
    if sys.platform == "linux":
        thread = threading.get_native_id()
        try:
            os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + NICENESS)
        except OSError as error:  # some sandboxes forbid it
            logger.warning("grammars are made ready at the priority of the steps: %s", error)
