"""The client against a server that says what it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from benchmarks.processes import free_port
from benchmarks.systems.base import BenchmarkError
from benchmarks.thin_http import Reply, post

T = TypeVar("T")

STREAM = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    b'10\r\ndata: {"a": 1}\n\n\r\n',
    b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n",
)


def serve(parts: tuple[bytes, ...], ask: Callable[[int], Awaitable[T]]) -> tuple[T, bytes]:
    """What `ask` makes of a server that answers so, and what the server was sent."""
    received = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        received.append(head + await reader.readexactly(length))
        for part in parts:
            writer.write(part)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def both() -> T:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            return await ask(server.sockets[0].getsockname()[1])

    return asyncio.run(both()), b"".join(received)


def ask(port: int) -> Awaitable[Reply]:
    return post(f"http://127.0.0.1:{port}/generate", {"stream": True})


def test_the_request_is_one_post_of_json() -> None:
    _, received = serve(STREAM, ask)
    assert received.startswith(b"POST /generate HTTP/1.1\r\n")
    assert received.endswith(b'\r\n\r\n{"stream": true}')
    assert b"Connection: close" in received


def test_a_stream_has_a_first_event() -> None:
    reply, _ = serve(STREAM, ask)
    assert reply.status == 200
    assert reply.num_events == 2
    assert reply.events == [{"a": 1}]
    assert reply.first_event is not None
    assert reply.first_event <= reply.ended


@pytest.mark.parametrize("head", [b"Content-Length: 8", b"Transfer-Encoding: chunked"])
def test_a_whole_answer_is_parsed(head: bytes) -> None:
    body = b'{"a": 1}' if b"Length" in head else b'8\r\n{"a": 1}\r\n0\r\n\r\n'
    reply, _ = serve((b"HTTP/1.1 200 OK\r\n" + head + b"\r\n\r\n" + body,), ask)
    assert reply.json() == {"a": 1}
    assert reply.first_event is None


def test_an_error_is_raised_with_what_the_server_says() -> None:
    reply, _ = serve((b"HTTP/1.1 503 Unavailable\r\nContent-Length: 7\r\n\r\nloading",), ask)
    assert reply.status == 503
    with pytest.raises(BenchmarkError, match=r"503.*loading"):
        reply.json()


def test_a_server_that_says_nothing() -> None:
    with pytest.raises(ConnectionResetError, match="without an answer"):
        serve((), ask)


def test_nobody_listens() -> None:
    with pytest.raises(ConnectionRefusedError):
        asyncio.run(ask_nobody())


async def ask_nobody() -> Reply:
    return await post(f"http://127.0.0.1:{free_port()}/", {})
