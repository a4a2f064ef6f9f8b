"""A system behind HTTP, asked by a client that takes as little of the machine as possible."""

from __future__ import annotations

import abc
import asyncio
import time
from typing import Any, ClassVar

from benchmarks.processes import Child, free_port
from benchmarks.systems.base import Answer, BenchmarkError, Request
from benchmarks.thin_http import Reply, post

READY_SECONDS = 300.0
RETRY_SECONDS = 0.01
UNAVAILABLE = 503


class HttpServer(abc.ABC):
    """A subclass says how to start the server and how to put a request."""

    path: ClassVar[str]

    def __init__(self, name: str) -> None:
        self.name = name
        self._child: Child | None = None
        self._port = 0

    @abc.abstractmethod
    def command(self, port: int) -> list[str]: ...

    @abc.abstractmethod
    def body(self, request: Request, *, stream: bool) -> dict[str, Any]: ...

    @abc.abstractmethod
    def answer(self, result: dict[str, Any]) -> Answer: ...

    @property
    def port(self) -> int:
        """Once it was started."""
        return self._port

    @property
    def url(self) -> str:
        """Once it was started."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        self.start_until_token([1, 2, 3])

    def start_until_token(self, prompt: list[int]) -> float:
        """Start; seconds until the first token of `prompt`'s continuation was there, streamed."""
        self._port = free_port()
        started = time.monotonic()
        self._child = Child(self.command(self._port))
        try:
            return asyncio.run(self._first_token(Request(prompt, 1), started)) - started
        except BaseException:
            self.stop()
            raise

    async def _first_token(self, request: Request, started: float) -> float:
        """Asks until somebody listens who does not say that he is still loading."""
        assert self._child is not None
        while time.monotonic() - started < READY_SECONDS:
            self._child.check()
            try:
                reply = await post(self._port, self.path, self.body(request, stream=True))
            except OSError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if reply.status != UNAVAILABLE:
                return self._checked(reply)
            await asyncio.sleep(RETRY_SECONDS)
        raise self._child.failure(f"was not ready after {READY_SECONDS:g} s")

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    def process_ids(self) -> list[int]:
        return [] if self._child is None else [self._child.pid]

    async def complete(self, request: Request) -> Answer:
        reply = await post(self._port, self.path, self.body(request, stream=False))
        return self.answer(reply.json())

    async def stream(self, request: Request) -> float:
        """Have the answer streamed; when its first token came, on the monotonic clock."""
        return self._checked(await post(self._port, self.path, self.body(request, stream=True)))

    def _checked(self, reply: Reply) -> float:
        if reply.status != 200 or reply.first_event is None:
            raise BenchmarkError(f"{self.name} answered {reply.status} without any event")
        return reply.first_event
