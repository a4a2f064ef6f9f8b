"""Requests without a constraint, whose texts must not depend on what else is computed."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

from benchmarks.random_constraints.asking import NEIGHBOUR_PROMPTS, Asker, Neighbour


class Neighbours:
    """Keeps their texts as they are alone, how long they took and beside what, and every text that differed."""

    def __init__(self, asker: Asker) -> None:
        self._asker = asker
        self._alone: list[str] = []
        self.seconds: dict[str, list[float]] = {}
        self.different: list[str] = []

    async def ask_alone(self) -> None:
        for number in range(len(NEIGHBOUR_PROMPTS)):
            self._alone.append((await self._asker.neighbour(number)).text)

    async def beside(self, where: str, work: Coroutine[Any, Any, Any]) -> Any:
        """What `work` gives. Neighbours are asked again and again until it is done."""
        asking = asyncio.create_task(self._keep_asking(where))
        try:
            return await work
        finally:
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking

    async def _keep_asking(self, where: str) -> None:
        while True:
            self._note(where, await self._asker.neighbours())

    def _note(self, where: str, found: Sequence[Neighbour]) -> None:
        for text, neighbour in zip(self._alone, found, strict=True):
            self.seconds.setdefault(where, []).append(neighbour.seconds)
            if neighbour.text != text:
                self.different.append(f"beside {where}: {neighbour.text!r} instead of {text!r}")
