"""Computes what the programs of a batch have in common before any of them goes on.

Programs are ordinary functions, so what they will ask for is known only when they ask. The first requests of two
programs tell: what both begin with is sent once, and everybody waits for it. Nobody waits for a second program that
does not come.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable

from sglang.lang.backends.base import Backend, Prompt

MIN_CHARACTERS = 64
"""A shorter common prefix is not worth a request."""

PATIENCE_SECONDS = 0.05
"""How long the first program waits for a second."""


class PrefixGate:
    """Belongs to the programs' loop. Open for good once it has been passed."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._first: tuple[object, str] | None = None  # the first program to come, and what it wants to send
        self._has_second = False
        self._met = asyncio.Event()
        self._opened = asyncio.Event()

    def entrance(self) -> Callable[[Prompt], Awaitable[None]]:
        """What one program calls before each of its requests. Raises what the backend raises for the common prefix."""
        return functools.partial(self._enter, object())

    async def _enter(self, program: object, prompt: Prompt) -> None:
        if self._opened.is_set():
            return
        if self._first is None:
            self._first = (program, prompt.text)
            await self._wait_for_second()
        elif self._first[0] is not program and not self._has_second:
            self._has_second = True
            self._met.set()
            await self._compute(_common_prefix(self._first[1], prompt.text))
        await self._opened.wait()

    async def _wait_for_second(self) -> None:
        try:
            await asyncio.wait_for(self._met.wait(), PATIENCE_SECONDS)
        except asyncio.TimeoutError:
            pass  # the other programs are not ready, or there are none
        finally:
            if not self._has_second:
                self._opened.set()

    async def _compute(self, prefix: str) -> None:
        try:
            if len(prefix) >= MIN_CHARACTERS:
                await self._backend.cache_prefix(Prompt(prefix, (prefix,)))
        finally:
            self._opened.set()


def _common_prefix(first: str, second: str) -> str:
    pairs = enumerate(zip(first, second, strict=False))
    length = next((index for index, (a, b) in pairs if a != b), min(len(first), len(second)))
    return first[:length]
