"""A server asked by one streaming client for each prompt, all at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from benchmarks.systems.base import Request, Tokens
from benchmarks.systems.http_endpoint import HttpEndpoint


class StreamingClients:
    """Measures a server as if it were in process. The clients share one thread of this process.

    ``client_cpu`` and ``elapsed`` are seconds since the start: what the clients computed, and how long they ran.
    """

    def __init__(self, server: HttpEndpoint) -> None:
        self.name = server.name
        self.client_cpu = 0.0
        self.elapsed = 0.0
        self._server = server

    def start(self) -> None:
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def process_ids(self) -> list[int]:
        return self._server.process_ids()

    def prefill_seconds(self, prompts: Sequence[Tokens]) -> float:
        return self.total_seconds(prompts, 1)

    def decode_rate(self, prompts: Sequence[Tokens], new_tokens: int) -> float:
        """Of a second call, which finds the prompts cached."""
        self.prefill_seconds(prompts)
        return len(prompts) * new_tokens / self.total_seconds(prompts, new_tokens)

    def total_seconds(self, prompts: Sequence[Tokens], new_tokens: int) -> float:
        return asyncio.run(self._stream([Request(prompt, new_tokens) for prompt in prompts]))

    async def _stream(self, requests: Sequence[Request]) -> float:
        started, cpu = time.monotonic(), time.process_time()
        await asyncio.gather(*(self._server.stream(request) for request in requests))
        elapsed = time.monotonic() - started
        self.client_cpu += time.process_time() - cpu
        self.elapsed += elapsed
        return elapsed
