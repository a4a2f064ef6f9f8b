"""Connections to one server, for hundreds of requests at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

MAX_REQUESTS = 512
"""How many are under way at a time; more wait for one of them to end. Open files are limited."""

REQUESTS_PER_CLIENT = 8
"""A client looks at each of its connections for every request: so each has few, and there are as many as needed."""

KEEP_ALIVE_SECONDS = 3.0
"""Less than the 5 s after which servers close an idle connection, so none is used just when it is being closed."""


@dataclass(slots=True)
class _Client:
    client: httpx.AsyncClient
    num_requests: int = 0


class Connections:
    """Belongs to the event loop it is used in."""

    def __init__(self, options: dict[str, Any]) -> None:
        """options: of every httpx.AsyncClient."""
        self._options = {**options, "limits": httpx.Limits(keepalive_expiry=KEEP_ALIVE_SECONDS)}
        self._clients: list[_Client] = []
        self._room = asyncio.Semaphore(MAX_REQUESTS)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """One to send one request with."""
        async with self._room:
            chosen = self._with_room()
            chosen.num_requests += 1
            try:
                yield chosen.client
            finally:
                chosen.num_requests -= 1

    async def aclose(self) -> None:
        clients, self._clients = self._clients, []
        for one in clients:
            await one.client.aclose()

    def _with_room(self) -> _Client:
        """The first of those that are busy anyway, so that few connections are open."""
        for one in self._clients:
            if one.num_requests < REQUESTS_PER_CLIENT:
                return one
        self._clients.append(_Client(httpx.AsyncClient(**self._options)))
        return self._clients[-1]
