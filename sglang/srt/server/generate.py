"""The native API: ``POST /generate``."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from sglang.srt.errors import InvalidRequestError, SglangError, did_you_mean, shown
from sglang.srt.server.body import documented, unserved_field
from sglang.srt.server.generate_schema import BODY, FIELDS, NOT_HERE, SAMPLING_PARAMS
from sglang.srt.server.wire import (
    LAST_EVENT,
    error_body,
    event,
    event_stream,
    json_response,
    read_object,
    unless_disconnected,
)
from sglang.srt.tokenizer.call import NativeInput
from sglang.srt.tokenizer.generation import Generation
from sglang.srt.tokenizer.launch import RunningEngine
from sglang.srt.tokenizer.manager import TokenizerManager
from sglang.srt.tokenizer.native import shape_chunk, shape_results

_OTHER_NAMES = {"prompt": "text", "seed": "sampling_seed", "max_tokens": "max_new_tokens"}
"""What other APIs call ours."""

_ALWAYS_ANSWERED = {"return_token_ids": "output_ids"}
"""What other APIs are asked for, and where it is in every answer of this one."""


def generate_router(engine: RunningEngine) -> APIRouter:
    router = APIRouter()

    @router.put("/generate", include_in_schema=False)
    @router.post("/generate", summary="Continue a prompt, or many", openapi_extra=documented(BODY))
    async def _generate(request: Request) -> Response:
        """Give one of ``text``, ``input_ids`` and ``segments``. The answer is one result, or a list of them."""
        return await generate(request, engine.manager)

    return router


async def generate(request: Request, manager: TokenizerManager) -> Response:
    """One result, a list of them, or with ``"stream": true`` server-sent events, each with all the text so far.

    What is refused before the first token has a status code, also when streaming; later errors are an event.
    """
    given, stream = parse(await read_object(request))
    if not stream:
        completions = await unless_disconnected(request.receive, manager.collect(given.calls))
        return json_response(shape_results(given, completions))
    running = await manager.submit(given.calls, stream=True)
    return await event_stream(request, _events(given, running), running)


def parse(body: dict[str, Any]) -> tuple[NativeInput, bool]:
    """The checked arguments, and whether to stream. Raises InvalidRequestError naming what is unknown or wrong."""
    unserved = unserved_field(body, NOT_HERE)
    if unserved is not None:
        raise InvalidRequestError(f"{unserved}={shown(body[unserved])} is not supported here yet")
    fields = {name: value for name, value in body.items() if name not in NOT_HERE}
    stream = fields.pop("stream", None)
    if not isinstance(stream, bool | None):
        raise InvalidRequestError(f"stream must be true or false, not {shown(stream)}")
    for name in fields:
        if name not in FIELDS:
            raise InvalidRequestError(f"unknown field {shown(name)}; {_hint(name)}")
    return NativeInput(**fields), bool(stream)


def _hint(name: str) -> str:
    if name in _ALWAYS_ANSWERED:
        return f"what it asks for is always in the answer, as {_ALWAYS_ANSWERED[name]!r}"
    here = _OTHER_NAMES.get(name, name)
    if here in SAMPLING_PARAMS["properties"]:
        return f"it belongs in sampling_params, as {here!r}"
    if here in FIELDS:
        return f"it is called {here!r} here"
    return did_you_mean(name, BODY["properties"], "fields")


async def _events(given: NativeInput, running: Generation) -> AsyncGenerator[bytes, None]:
    try:
        async for completion in running:
            yield event(shape_chunk(given, completion))
    except SglangError as error:
        yield event(error_body(error))
    yield LAST_EVENT
