"""Several samples from an API that gives one at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


async def together(asking: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """All answers, in order. If one fails, or this is cancelled, none is under way any more when this ends."""
    tasks = [asyncio.ensure_future(one) for one in asking]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
