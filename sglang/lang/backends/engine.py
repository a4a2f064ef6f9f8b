"""Programs on an engine in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from sglang.lang.backends.base import RoleText
from sglang.lang.backends.native import NativeBackend, Payload


class NativeEngine(Protocol):
    """What a program needs of an engine, as `sglang.Engine` has it."""

    async def async_generate(self, **payload: Any) -> Any:
        """From a coroutine of any event loop: results, or with ``stream=True`` an async generator of them."""

    def role_text(self, roles: Sequence[str]) -> Any: ...

    def flush_cache(self) -> None: ...

    def get_server_info(self) -> dict[str, Any]: ...


class EngineBackend(NativeBackend):
    """The engine shares prefixes between requests that run at the same time, so nothing has to be sent first."""

    wants_prefix_first = False

    def __init__(self, engine: NativeEngine) -> None:
        self.engine = engine

    async def role_text(self, roles: Sequence[str]) -> RoleText:
        prefix, suffix = self.engine.role_text(roles)
        return RoleText(prefix, suffix)

    async def flush_cache(self) -> None:
        await asyncio.to_thread(self.engine.flush_cache)

    async def server_info(self) -> dict[str, Any]:
        return await asyncio.to_thread(self.engine.get_server_info)

    async def _post(self, payload: Payload) -> Any:
        return await self.engine.async_generate(**payload)

    async def _stream(self, payload: Payload) -> AsyncGenerator[Any, None]:
        async with aclosing(await self.engine.async_generate(**payload, stream=True)) as results:
            async for result in results:
                yield result
