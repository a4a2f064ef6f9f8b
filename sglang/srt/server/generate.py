"""The native API: ``POST /generate``."""

from __future__ import annotations

import difflib
from collections.abc import AsyncGenerator
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from sglang.srt.errors import InvalidRequestError, SglangError, shown
from sglang.srt.server.wire import EventStream, error_body, json_response, read_object, unless_disconnected
from sglang.srt.tokenizer.call import NativeInput
from sglang.srt.tokenizer.generation import Generation
from sglang.srt.tokenizer.manager import TokenizerManager
from sglang.srt.tokenizer.native import shape_chunk, shape_results

FIELDS = (
    "text",
    "input_ids",
    "sampling_params",
    "rid",
    "return_logprob",
    "logprob_start_len",
    "top_logprobs_num",
    "return_text_in_logprobs",
    "cache_salt",
    "extra_key",
)


async def generate(request: Request, manager: TokenizerManager) -> Response:
    """One result, a list of them, or with ``"stream": true`` server-sent events, each with all the text so far.

    What can be refused is refused with a status code, also when streaming; later errors are an event of the stream.
    """
    given, stream = parse(await read_object(request))
    if not stream:
        completions = await unless_disconnected(request.receive, manager.collect(given.calls))
        return json_response(shape_results(given, completions))
    running = await manager.submit(given.calls, stream=True)
    return EventStream(_events(given, running), running)


def parse(body: dict[str, Any]) -> tuple[NativeInput, bool]:
    """The checked arguments, and whether to stream. Raises InvalidRequestError naming what is unknown or wrong."""
    fields = dict(body)
    stream = fields.pop("stream", None)
    if not isinstance(stream, bool | None):
        raise InvalidRequestError(f"stream must be true or false, not {shown(stream)}")
    for name in fields:
        if name not in FIELDS:
            close = difflib.get_close_matches(name, FIELDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known fields: {', '.join((*FIELDS, 'stream'))}"
            raise InvalidRequestError(f"unknown field {shown(name)}; {hint}")
    return NativeInput(**fields), bool(stream)


async def _events(given: NativeInput, running: Generation) -> AsyncGenerator[bytes, None]:
    try:
        async for completion in running:
            yield _event(shape_chunk(given, completion))
    except SglangError as error:
        yield _event(error_body(error))
    yield b"data: [DONE]\n\n"


def _event(value: object) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"
