"""Programs on an engine in this process."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from sglang.lang.backends.base import RoleText
from sglang.lang.backends.native import NativeBackend, Payload


class NativeEngine(Protocol):
    """What a program needs of an engine, as `sglang.Engine` has it."""

    @property
    def async_generate(self) -> Callable[..., Awaitable[Any]]:
        """For coroutines of any event loop: gives results, or with ``stream=True`` an async generator of them."""

    @property
    def async_select(self) -> Callable[..., Awaitable[Any]]: ...

    @property
    def async_score_choices(self) -> Callable[..., Awaitable[Any]]: ...

    def separate_reasoning(self, text: str, reasoning_parser: str = "auto") -> dict[str, Any]: ...

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

    def flush_cache(self) -> None:
        self.engine.flush_cache()

    def get_server_info(self) -> dict[str, Any]:
        return self.engine.get_server_info()

    async def _post(self, payload: Payload) -> Any:
        return await self.engine.async_generate(**payload)

    async def _post_select(self, payload: Payload) -> Any:
        return await self.engine.async_select(**payload)

    async def _post_score_choices(self, payload: Payload) -> Any:
        return await self.engine.async_score_choices(**payload)

    async def _post_separate_reasoning(self, payload: Payload) -> Any:
        return self.engine.separate_reasoning(**payload)

    async def _stream(self, payload: Payload) -> AsyncGenerator[Any, None]:
        async with aclosing(await self.engine.async_generate(**payload, stream=True)) as results:
            async for result in results:
                yield result
