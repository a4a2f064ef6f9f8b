"""Starting the server: the engine first, then the port."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from pathlib import Path

import uvicorn

from sglang.srt.args import EngineArgs, ServerArgs
from sglang.srt.errors import ConfigurationError
from sglang.srt.model.source import resolve_model
from sglang.srt.server.app import create_app
from sglang.srt.tokenizer.launch import RunningEngine, launch_engine

logger = logging.getLogger(__name__)


def run_server(engine_args: EngineArgs, server_args: ServerArgs) -> None:
    """Serve until interrupted. Raises ConfigurationError, ModelLoadError or EngineDeadError if it cannot start."""
    logging.basicConfig(level=engine_args.log_level.upper(), format="[server] %(levelname)s %(message)s")
    with _bind(server_args.host, server_args.port) as listener:  # a port in use is known before the model is loaded
        path = resolve_model(engine_args.model_path, engine_args.revision)
        asyncio.run(_serve(engine_args, path, listener))


SHUTDOWN_SECONDS = 10
"""How long answers under way may still take once the server is told to end; what takes longer gets an error."""

GOODBYE_SECONDS = 2
"""How long the errors may then take to be sent."""


class _Server(uvicorn.Server):
    """Says when it listens, in the words that tools of the published system wait for, and ends every answer."""

    def __init__(self, config: uvicorn.Config, engine: RunningEngine, address: str, started: float) -> None:
        super().__init__(config)
        self._engine = engine
        self._address = address
        self._launched = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        logger.info("listening on %s, %.1f s after the start", self._address, time.perf_counter() - self._launched)
        logger.info("The server is fired up and ready to roll!")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        ending = asyncio.get_running_loop().call_later(SHUTDOWN_SECONDS, self._engine.manager.close)
        await super().shutdown(sockets)
        ending.cancel()


async def _serve(engine_args: EngineArgs, path: Path, listener: socket.socket) -> None:
    started = time.perf_counter()
    host, port = listener.getsockname()[:2]
    engine = await launch_engine(engine_args, path)
    try:
        config = uvicorn.Config(
            create_app(engine),
            log_level=engine_args.log_level,
            access_log=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS + GOODBYE_SECONDS,
        )
        await _Server(config, engine, f"http://{host}:{port}", started).serve(sockets=[listener])
    finally:
        await engine.close()


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sends at once (TCP_NODELAY) only where a socket says that it is TCP; else every answer waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise ConfigurationError(f"cannot listen on {host}:{port}: {error.strerror}; choose another --port") from error
    return listener
