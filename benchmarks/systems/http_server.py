"""A server that is started here, for as long as it is measured."""

from __future__ import annotations

import abc
import asyncio
import time
from collections.abc import Mapping

from benchmarks.processes import Child, free_port
from benchmarks.systems.base import READY_SECONDS, REQUEST_SECONDS, Request
from benchmarks.systems.http_endpoint import HttpEndpoint
from benchmarks.thin_http import post

RETRY_SECONDS = 0.01
UNAVAILABLE = 503


class HttpServer(HttpEndpoint):
    """A subclass says how to start the server and how to put a request. ``environment``: variables of the server."""

    def __init__(
        self, name: str, environment: Mapping[str, str] | None = None, *, request_seconds: float = REQUEST_SECONDS
    ) -> None:
        super().__init__(name, "", request_seconds)
        self._environment = environment
        self._child: Child | None = None

    @abc.abstractmethod
    def command(self, port: int) -> list[str]: ...

    def start(self) -> None:
        self.start_until_token([1, 2, 3])

    def start_until_token(self, prompt: list[int]) -> float:
        """Start; seconds until the first token of `prompt`'s continuation was there, streamed."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        started = time.monotonic()
        self._child = Child(self.command(port), self._environment)
        try:
            return asyncio.run(self._first_token_in_time(Request(prompt, 1))) - started
        except BaseException:
            self.stop()
            raise

    async def _first_token_in_time(self, request: Request) -> float:
        assert self._child is not None
        try:
            return await asyncio.wait_for(self._first_token(request, self._child), READY_SECONDS)
        except asyncio.TimeoutError:
            raise self._child.failure(f"was not ready after {READY_SECONDS:g} s") from None

    async def _first_token(self, request: Request, child: Child) -> float:
        """Asks until somebody listens who does not say that he is still loading."""
        while True:
            child.check()
            try:
                reply = await post(self.url + self.path, self.body(request, stream=True))
            except OSError:
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if reply.status != UNAVAILABLE:
                return self.first_token_at(reply, request)
            await asyncio.sleep(RETRY_SECONDS)

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()
            self._child = None

    def process_ids(self) -> list[int]:
        return [] if self._child is None else [self._child.pid]
