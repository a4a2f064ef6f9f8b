"""Whether the server can serve: ``/health``, which costs nothing, and ``/health_generate``, which computes a token."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Coroutine
from typing import Any

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from sglang.srt.errors import EngineDeadError, SglangError
from sglang.srt.tokenizer.call import GenerateCall
from sglang.srt.tokenizer.launch import RunningEngine
from sglang.srt.tokenizer.manager import TokenizerManager

HEALTH_SECONDS = 20
"""A step takes less; an engine that does not answer for longer hangs."""


def health_router(engine: RunningEngine) -> APIRouter:
    router = APIRouter()

    @router.get("/health", summary="200 while the engine answers")
    async def _health() -> Response:
        await _in_time(engine.manager.stats())
        return PlainTextResponse("")

    @router.get("/health_generate", summary="200 if the engine computes a token now")
    async def _health_generate() -> Response:
        await _in_time(_computes_a_token(engine.manager))
        return PlainTextResponse("")

    return router


async def _in_time(work: Coroutine[Any, Any, object]) -> None:
    try:
        await asyncio.wait_for(work, HEALTH_SECONDS)
    except asyncio.TimeoutError as error:
        raise EngineDeadError(f"the engine has not answered for {HEALTH_SECONDS} s") from error


async def _computes_a_token(manager: TokenizerManager) -> None:
    """Ask for a token, and return as soon as there is one, of whatever request: ours may be last in a long queue.

    The engine answers between two steps, so with work to do each round of this loop takes one.
    """
    before = (await manager.stats()).generated_tokens
    rid = f"HEALTH_CHECK_{uuid.uuid4().hex}"
    call = GenerateCall(prompt=[0], sampling_params={"max_new_tokens": 1, "temperature": 0.0}, rid=rid)
    asking = asyncio.ensure_future(manager.collect([call]))
    try:
        while not asking.done() and (await manager.stats()).generated_tokens == before:
            pass
        if asking.done():
            await asking
    finally:
        asking.cancel()
        with contextlib.suppress(asyncio.CancelledError, SglangError):
            await asking
