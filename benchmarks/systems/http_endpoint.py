"""A system behind HTTP, asked by a client that takes as little of the machine as possible."""

from __future__ import annotations

import abc
import asyncio
from typing import Any, ClassVar

from benchmarks.systems.base import REQUEST_SECONDS, Answer, BenchmarkError, Request, late
from benchmarks.thin_http import Reply, post


class HttpEndpoint(abc.ABC):
    """``url``: where the server is, without a path. A subclass says how to put a request.

    ``request_seconds``: a request that is not answered in that time is a BenchmarkError, as from a server that hangs.
    """

    path: ClassVar[str]

    def __init__(self, name: str, url: str, request_seconds: float = REQUEST_SECONDS) -> None:
        self.name = name
        self.url = url
        self.request_seconds = request_seconds

    @abc.abstractmethod
    def start(self) -> None: ...

    @abc.abstractmethod
    def stop(self) -> None: ...

    @abc.abstractmethod
    def process_ids(self) -> list[int]: ...

    @abc.abstractmethod
    def body(self, request: Request, *, stream: bool) -> dict[str, Any]: ...

    @abc.abstractmethod
    def answer(self, result: dict[str, Any]) -> Answer: ...

    async def complete(self, request: Request) -> Answer:
        reply = await self._ask(request, stream=False)
        return self.answer(reply.json())

    async def stream(self, request: Request) -> float:
        """Have the answer streamed; when its first token came, on the monotonic clock."""
        return self.first_token_at(await self._ask(request, stream=True), request)

    async def _ask(self, request: Request, *, stream: bool) -> Reply:
        try:
            return await asyncio.wait_for(self._post(self.body(request, stream=stream)), self.request_seconds)
        except asyncio.TimeoutError:
            raise late(f"{self.name} at {self.url}", self.request_seconds) from None

    async def _post(self, body: dict[str, Any]) -> Reply:
        try:
            return await post(self.url + self.path, body)
        except OSError as error:
            raise BenchmarkError(f"{self.name} at {self.url} cannot be asked: {error}") from error

    def first_token_at(self, reply: Reply, request: Request) -> float:
        """Raises BenchmarkError if `reply` is no streamed answer to `request`."""
        if reply.status != 200 or reply.first_event is None:
            raise BenchmarkError(f"{self.name} answered {reply.status} without any event: {reply.content[:500]!r}")
        return reply.first_event
