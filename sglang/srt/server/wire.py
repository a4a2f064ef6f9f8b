"""JSON in and out, the shape of errors on the wire, and what happens when a client goes away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, Protocol, TypeVar

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from sglang.srt.errors import InvalidRequestError, RequestAbortedError, SglangError
from sglang.srt.tokenizer.call_limits import MAX_PROMPT_TOKENS

T = TypeVar("T")

MAX_BODY_BYTES = 8 * MAX_PROMPT_TOKENS
"""The largest call that is accepted, written as token ids, has room in it."""


class BodyTooLargeError(InvalidRequestError):
    http_status = 413


async def read_object(request: Request) -> dict[str, Any]:
    """The body as a JSON object. Raises InvalidRequestError if it is anything else, or RequestAbortedError."""
    try:
        value = orjson.loads(await _read_body(request))
    except ClientDisconnect as error:
        raise RequestAbortedError("the client went away") from error
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"the body is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise InvalidRequestError(f"the body must be a JSON object, not {type(value).__name__}")
    return value


async def _read_body(request: Request) -> bytearray:
    """Kept only as far as it is no larger than it may be, and not waited for where its length is said to be more."""
    said = request.headers.get("content-length", "").lstrip("0")  # so many that Python reads no number are allowed
    _check_length(int(said or 0))
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        _check_length(len(body))
    return body


def _check_length(num_bytes: int) -> None:
    if num_bytes > MAX_BODY_BYTES:
        raise BodyTooLargeError(f"the body may have up to {MAX_BODY_BYTES} bytes")


def json_response(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def error_body(error: SglangError) -> dict[str, Any]:
    return {"error": {"message": str(error), "type": error.error_type, "code": error.http_status}}


def tell_of_refusal(request: Request, error: SglangError) -> None:
    """Tell the observers, who are in the application's state, of an error of a request that became no call."""
    if error.request_id is None and isinstance(error, InvalidRequestError):
        request.app.state.observers.on_misread(f"{request.method} {request.url.path}", error)


def event(value: object) -> bytes:
    """One of an EventStream."""
    return b"data: " + orjson.dumps(value) + b"\n\n"


LAST_EVENT = b"data: [DONE]\n\n"


async def unless_disconnected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled, and RequestAbortedError raised, if the client goes away meanwhile.

    receive: the channel of a request whose body has been read.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_wait_for_disconnect(receive))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise RequestAbortedError("the client went away")
    finally:
        leaving.cancel()
        working.cancel()
        with contextlib.suppress(asyncio.CancelledError, SglangError):
            await working


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Source(Protocol):
    async def wait(self) -> None:
        """Until there is something to make an event of. Raises SglangError where that is an error."""

    async def aclose(self) -> None: ...


async def event_stream(request: Request, events: AsyncGenerator[bytes, None], source: Source) -> EventStream:
    """The answer to a request whose body has been read, once there is something to send: so what is refused before
    that has a status of its own. Raises it, or RequestAbortedError if the client goes away; `source` is closed then.
    """
    try:
        await unless_disconnected(request.receive, source.wait())
    except BaseException:
        await source.aclose()
        raise
    return EventStream(events, source)


class EventStream(Response):
    """Server-sent events made from a `source`, which is closed at the end, or as soon as the client goes away."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncGenerator[bytes, None], source: Source) -> None:
        super().__init__(headers={"cache-control": "no-cache"})
        del self.headers["content-length"]
        self._events = events
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._source), aclosing(self._events):
            with contextlib.suppress(RequestAbortedError):
                await unless_disconnected(receive, self._send_all(send))

    async def _send_all(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async for event in self._events:
            await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
