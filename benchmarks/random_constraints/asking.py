"""Cases asked of a server over HTTP, many at a time, beside neighbours without a constraint."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from benchmarks.random_constraints.case import Case
from benchmarks.systems.base import BenchmarkError
from benchmarks.thin_http import Reply, post

T = TypeVar("T")

PATH = "/generate"
FLUSH_PATH = "/flush_cache"
NEIGHBOUR_TOKENS = 48
NEIGHBOUR_PROMPTS = (
    "The history of bread begins",
    "Dear Maria, since you left for Porto",
    "To repair a bicycle tyre, first",
    "In the year 1912 a young baker from Graz",
    "def fibonacci(n):\n",
    "The three most important things about glaciers are",
    "Once upon a time a fox",
    "Ingredients for four people:",
)


@dataclass(frozen=True)
class Asked:
    """reply: None if none came, or not in time. number: of the case, in the order of asking."""

    case: Case
    reply: Reply | None
    seconds: float
    number: int = 0

    @property
    def num_tokens(self) -> int:
        """Of the answer; none where there is no answer."""
        if self.reply is None or self.reply.status != 200:
            return 0
        return int(self.reply.json()["meta_info"]["completion_tokens"])


@dataclass(frozen=True)
class Neighbour:
    """A request without a constraint. Its text is determined by its prompt and seed."""

    text: str
    seconds: float


class Asker:
    """streams: requests at a time. rate: requests a second, however many that are at a time; None for as many as
    streams can ask. new_tokens: the budget of each case. time_limit: in seconds, for one answer.
    """

    def __init__(self, url: str, streams: int, new_tokens: int, time_limit: float, rate: float | None = None) -> None:
        self._url = url
        self._streams = streams
        self._rate = rate
        self._new_tokens = new_tokens
        self._time_limit = time_limit

    async def ask_all(self, cases: Sequence[Case]) -> list[Asked]:
        """In the order in which they were answered."""
        asked: list[Asked] = []

        async def ask(number: int, case: Case) -> None:
            sampling = {case.parameter: case.constraint, "max_new_tokens": self._new_tokens, "sampling_seed": case.seed}
            started = time.monotonic()
            reply = await self._post(case.prompt, sampling)
            asked.append(Asked(case, reply, time.monotonic() - started, number))

        await self._at_pace(enumerate(cases), ask)
        return asked

    async def ask_freely(self, asked: Sequence[Asked]) -> None:
        """The answered ones once more, without a constraint and with nothing cached: the same prompts, and answers of
        the same numbers of tokens.
        """
        flushed = await post(self._url + FLUSH_PATH, {})
        if flushed.status != 200:
            raise BenchmarkError(f"{FLUSH_PATH} was answered with {flushed.status}")

        async def ask(_: int, one: Asked) -> None:
            sampling = {"max_new_tokens": one.num_tokens, "ignore_eos": True, "sampling_seed": one.case.seed}
            await self._post(one.case.prompt, sampling)

        await self._at_pace([(one.number, one) for one in asked if one.num_tokens], ask)

    async def neighbours(self) -> list[Neighbour]:
        """All of them at once."""
        return list(await asyncio.gather(*map(self.neighbour, range(len(NEIGHBOUR_PROMPTS)))))

    async def neighbour(self, number: int) -> Neighbour:
        """Raises BenchmarkError unless it is answered."""
        sampling = {"max_new_tokens": NEIGHBOUR_TOKENS, "ignore_eos": True, "sampling_seed": number}
        started = time.monotonic()
        reply = await self._post(NEIGHBOUR_PROMPTS[number], sampling)
        if reply is None:
            raise BenchmarkError(f"a request without a constraint had no answer after {self._time_limit:g} s")
        return Neighbour(reply.json()["text"], time.monotonic() - started)

    async def _at_pace(self, numbered: Iterable[tuple[int, T]], ask: Callable[[int, T], Awaitable[None]]) -> None:
        waiting = iter(numbered)

        async def stream() -> None:
            for number, one in waiting:
                await ask(number, one)

        async def arrival(rate: float, number: int, one: T) -> None:
            await asyncio.sleep(number / rate)
            await ask(number, one)

        rate = self._rate
        streams = [stream() for _ in range(self._streams)] if rate is None else [arrival(rate, *one) for one in waiting]
        await asyncio.gather(*streams)

    async def _post(self, prompt: str, sampling: dict[str, Any]) -> Reply | None:
        body = {"text": prompt, "sampling_params": {"temperature": 1.0, **sampling}}
        try:
            return await asyncio.wait_for(post(self._url + PATH, body), self._time_limit)
        except (asyncio.TimeoutError, OSError):
            return None
