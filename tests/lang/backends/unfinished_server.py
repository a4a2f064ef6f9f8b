"""A server that begins to answer and never goes on."""

from __future__ import annotations

import asyncio

from sglang.lang.execution import loop


class UnfinishedServer:
    """Answers every request with `beginning` and no more. Lives in the programs' loop; made by `start`."""

    def __init__(self, beginning: bytes) -> None:
        self._beginning = beginning
        self._server: asyncio.Server | None = None
        self.asked = asyncio.Event()
        self.left = asyncio.Event()

    @classmethod
    def start(cls, beginning: bytes, content_type: str = "text/event-stream") -> UnfinishedServer:
        head = f"HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\nconnection: close\r\n\r\n".encode()
        server = cls(head + beginning)
        loop.run(server._listen())
        return server

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def wait_until_asked(self) -> None:
        loop.run(self.asked.wait())

    def wait_until_left(self) -> None:
        """Until a client has closed its connection."""
        loop.run(self.left.wait())

    def close(self) -> None:
        loop.run(self._close())

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._answer, "127.0.0.1", 0)

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(self._beginning)
        await writer.drain()
        self.asked.set()
        while await reader.read(65536):
            pass
        self.left.set()
        writer.close()
