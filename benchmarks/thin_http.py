"""An HTTP client that does next to nothing: what it costs is taken from the server on the same machine.

One connection for each request, read until the server closes it; nothing is parsed while bytes arrive.
"""

from __future__ import annotations

import asyncio
import http.client
import io
import json
import time
from typing import Any, cast
from urllib.parse import urlsplit

from benchmarks.systems.base import BenchmarkError

EVENT = b"data: "
END = b"[DONE]"


class Reply:
    """``first_event`` and ``ended`` are on the monotonic clock; the first is None unless events were streamed."""

    def __init__(self, raw: bytes, first_event: float | None, ended: float) -> None:
        self._raw = raw
        self.first_event = first_event
        self.ended = ended

    @property
    def status(self) -> int:
        return int(self._raw.split(b" ", 2)[1]) if b" " in self._raw else 0

    @property
    def num_events(self) -> int:
        return self._raw.count(EVENT)

    @property
    def content(self) -> bytes:
        """The body, whatever the status."""
        response = http.client.HTTPResponse(cast(Any, _Received(self._raw)))
        response.begin()
        return response.read()

    @property
    def events(self) -> list[Any]:
        """What was streamed, without the mark of the end."""
        data = [line.removeprefix(EVENT) for line in self.content.splitlines() if line.startswith(EVENT)]
        return [json.loads(event) for event in data if event != END]

    def json(self) -> Any:
        """The body, which must not be a stream. Raises BenchmarkError unless the status is 200."""
        if self.status != 200:
            raise BenchmarkError(f"the server answered {self.status}: {self.content[:500]!r}")
        return json.loads(self.content)


class _Received:
    """What http.client wants of a socket."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def makefile(self, mode: str) -> io.BytesIO:
        return io.BytesIO(self._raw)


class _Exchange(asyncio.Protocol):
    def __init__(self, request: bytes, done: asyncio.Future[Reply]) -> None:
        self._request = request
        self._done = done
        self._chunks: list[bytes] = []
        self._first_event: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        if self._first_event is None and EVENT in data:
            self._first_event = time.monotonic()
        self._chunks.append(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self._done.cancelled():
            return
        if error is not None:
            self._done.set_exception(error)
        elif not self._chunks:
            self._done.set_exception(ConnectionResetError("the connection was closed without an answer"))
        else:
            self._done.set_result(Reply(b"".join(self._chunks), self._first_event, time.monotonic()))


async def post(url: str, body: dict[str, Any]) -> Reply:
    """To an ``http://`` address. Raises OSError if there is nobody, or the connection breaks."""
    address = urlsplit(url)
    host, number = address.hostname or "", address.port or http.client.HTTP_PORT
    content = json.dumps(body).encode()
    head = (
        f"POST {address.path} HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n"
    )
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Reply] = loop.create_future()
    transport, _ = await loop.create_connection(lambda: _Exchange(head.encode() + content, done), host, number)
    try:
        return await done
    finally:
        transport.close()
