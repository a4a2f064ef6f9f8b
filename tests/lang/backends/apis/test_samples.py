"""Several samples from an API that gives one at a time."""

from __future__ import annotations

import asyncio

import pytest

from sglang.lang.backends.apis.samples import together


async def test_the_order_is_that_of_the_requests() -> None:
    second_is_done = asyncio.Event()

    async def first() -> str:
        await second_is_done.wait()
        return "first"

    async def second() -> str:
        second_is_done.set()
        return "second"

    assert await together([first(), second()]) == ["first", "second"]


async def test_one_that_fails_ends_the_others() -> None:
    ended = []

    async def never() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # as closing a connection takes time
            ended.append("never")

    async def fails() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await together([never(), fails()])
    assert ended == ["never"]


async def test_cancelling_ends_all() -> None:
    ended = []

    async def never(index: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(index)

    task = asyncio.ensure_future(together([never(0), never(1)]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == [0, 1]
