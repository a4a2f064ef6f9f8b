"""Waiting for what programs compute: the same steps, taken by a thread or by a coroutine of any event loop."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

from sglang.lang.execution import loop
from sglang.srt.errors import ProgramError

T = TypeVar("T")

Steps = Generator[Future[Any], None, T]
"""What to wait for, one after the other, and then a result."""

BeforeBlocking = Callable[[], None]
"""Called before a thread waits. May raise, where this thread must not."""


def finish(steps: Steps[T], before_blocking: BeforeBlocking, timeout: float | None = None) -> T:
    """Wait in this thread for all that `steps` asks for, for at most `timeout` seconds.

    Raises ProgramError where a future has one: each time a new one, since it may be raised by many reads in several
    threads.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        try:
            future = next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
        _wait(future, before_blocking, None if deadline is None else max(deadline - time.monotonic(), 0.0))


async def finish_async(steps: Steps[T]) -> T:
    """The same in a coroutine. Cancelling it leaves what it waits for as it is."""
    while True:
        try:
            future = next(steps)
        except StopIteration as end:
            found: T = end.value
            return found
        await _wait_async(future)


def items(found: Iterable[T | Future[Any]], before_blocking: BeforeBlocking) -> Iterator[T]:
    """What comes between the futures, each as soon as those before it are done."""
    for item in found:
        if isinstance(item, Future):
            _wait(item, before_blocking)
        else:
            yield item


async def items_async(found: Iterable[T | Future[Any]]) -> AsyncGenerator[T, None]:
    for item in found:
        if isinstance(item, Future):
            await _wait_async(item)
        else:
            yield item


def _wait(future: Future[Any], before_blocking: BeforeBlocking, timeout: float | None = None) -> None:
    if not future.done():
        before_blocking()
    try:
        loop.wait(future, timeout)
    except ProgramError as error:
        raise error.again() from error.__cause__


async def _wait_async(future: Future[Any]) -> None:
    try:
        await loop.wait_async(future)
    except ProgramError as error:
        raise error.again() from error.__cause__
