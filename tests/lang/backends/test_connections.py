"""Connections: few per client, and a bound on all of them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

from sglang.lang.backends.connections import MAX_REQUESTS, REQUESTS_PER_CLIENT, Connections


async def test_requests_are_spread_over_clients_up_to_a_bound() -> None:
    connections = Connections({"base_url": "http://localhost"})
    async with AsyncExitStack() as under_way:
        clients = [await under_way.enter_async_context(connections.client()) for _ in range(MAX_REQUESTS - 1)]
        assert max(map(clients.count, clients)) == REQUESTS_PER_CLIENT
        async with connections.client() as last:
            assert last is clients[-1]
            waiting = asyncio.ensure_future(under_way.enter_async_context(connections.client()))
            await asyncio.sleep(0)
            assert not waiting.done()
        assert await waiting is last
    async with connections.client() as first:
        assert first is clients[0]
    await connections.aclose()
