"""Starting the server, port and engine, and ending it."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn
import uvloop

from sglang.srt.args import EngineArgs, ServerArgs
from sglang.srt.log_lines import set_up_log
from sglang.srt.model.source import resolve_model
from sglang.srt.server.listener import address, allow_many_connections, listen
from sglang.srt.tokenizer.launch import RunningEngine, launch_engine

if TYPE_CHECKING:
    from fastapi import FastAPI

logger = logging.getLogger(__name__)


def run_server(engine_args: EngineArgs, server_args: ServerArgs) -> None:
    """Serve until interrupted. Raises ConfigurationError, ModelLoadError or EngineDeadError if it cannot start."""
    with listen(server_args.host, server_args.port) as listener:  # a port in use is known before the model is loaded
        serve(engine_args, server_args, listener)


def serve(engine_args: EngineArgs, server_args: ServerArgs, listener: socket.socket) -> None:
    """`run_server` on a socket that listens."""
    set_up_log("server", engine_args.log_level)
    allow_many_connections()
    path = resolve_model(engine_args.model_path, engine_args.revision)
    uvloop.run(_serve(engine_args, server_args, path, listener))


SHUTDOWN_SECONDS = 10
"""How long answers under way may still take once the server is told to end; what takes longer gets an error."""

GOODBYE_SECONDS = 2
"""How long the errors may then take to be sent; who has not taken them by then is cut off."""


KEEP_ALIVE_SECONDS = 75
"""How long a connection may be idle. Longer than clients and proxies keep one (httpx 5 s, aiohttp 15, others 60): who
sends a request just when it is closed loses it, and cannot know whether it was read.
"""


class _Server(uvicorn.Server):
    """Says when it listens, in the words that tools and people wait for, and ends every answer."""

    def __init__(self, config: uvicorn.Config, engine: RunningEngine, url: str, started: float) -> None:
        super().__init__(config)
        self._engine = engine
        self._url = url
        self._launched = started
        self._loop = asyncio.get_running_loop()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.freeze()  # what is there now stays; no collection has to look at it again
        logging.getLogger("uvicorn.error").info("Uvicorn running on %s (Press CTRL+C to quit)", self._url)
        logger.info("listening on %s, %.1f s after the start", self._url, time.perf_counter() - self._launched)
        logger.info("The server is fired up and ready to roll!")

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets the answers under way end; Ctrl-C after it ends them. Called between any two lines."""
        if self.should_exit and sig == signal.SIGINT:
            self._loop.call_soon_threadsafe(self._end_answers)
        else:
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Also of the engine: once this is over, the signal strikes that asked for it."""
        if num_answers := len(self.server_state.tasks):
            text = "answers under way: %d; waiting up to %d s for them, Ctrl-C again ends them at once"
            logger.info(text, num_answers, SHUTDOWN_SECONDS)
        ending = self._loop.call_later(SHUTDOWN_SECONDS, self._end_answers)
        await super().shutdown(sockets)
        ending.cancel()
        await self._engine.close()

    def _end_answers(self) -> None:
        self._engine.manager.close("the server is shutting down")
        self._loop.call_later(GOODBYE_SECONDS, self._cut_connections)

    def _cut_connections(self) -> None:
        for connection in self.server_state.connections:
            if connection.transport is not None:
                connection.transport.abort()


async def _serve(engine_args: EngineArgs, server_args: ServerArgs, path: Path, listener: socket.socket) -> None:
    started = time.perf_counter()
    url = "http://" + address(*listener.getsockname()[:2])
    launching = asyncio.create_task(launch_engine(engine_args, path))
    create_app = await asyncio.to_thread(_import_app)
    engine = await launching
    try:
        app = create_app(engine, server_args)
        config = uvicorn.Config(
            app,
            log_config=None,
            log_level=engine_args.log_level,
            access_log=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        await _Server(config, engine, url, started).serve(sockets=[listener])
    finally:
        await engine.close()


def _import_app() -> Callable[[RunningEngine, ServerArgs], FastAPI]:
    """In the time that the engine takes to load, because it takes as long."""
    from sglang.srt.server.app import create_app

    return create_app
