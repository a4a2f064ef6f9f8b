"""The text side's end of the engine process: starting it, talking to it, and noticing its death."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable

import msgspec
import zmq
import zmq.asyncio

from sglang.srt import errors
from sglang.srt.args import EngineArgs
from sglang.srt.errors import EngineDeadError, SglangError
from sglang.srt.messages import EngineInfo, EngineStart, FromEngine, Ready, SetVocab, StartupFailed, ToEngine
from sglang.srt.vocab import Vocab

SHUTDOWN_SECONDS = 5.0
"""How long the engine process may take to end once its lifeline is closed."""

LAST_WORDS_SECONDS = 0.2
"""How long a dead process's last messages may still be on their way."""


class EngineChannel:
    """A running engine process. Create with `start`; belongs to the event loop it was created in.

    `on_message` gets every message after the start; `on_death` is called once if the process ends by itself.
    """

    def __init__(self, args: EngineArgs, model_path: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="sglang-")  # readable by this user only
        self._context = zmq.asyncio.Context()
        addresses = [f"ipc://{self._folder}/{name}" for name in ("requests", "outputs")]
        self._requests = self._socket(zmq.PUSH)
        self._requests.connect(addresses[0])  # a connecting socket queues at once, before the engine listens
        self._outputs = self._socket(zmq.PULL)
        self._outputs.bind(addresses[1])
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(FromEngine)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "sglang.srt.scheduler.process"], stdin=subprocess.PIPE, bufsize=0
        )
        start = EngineStart(
            args=args, model_path=model_path, requests_address=addresses[0], outputs_address=addresses[1]
        )
        self._write_start(start)
        self._dead = asyncio.Event()
        self._is_closing = False
        self._reader: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        self._watcher = threading.Thread(target=self._watch, args=(loop,), name="sglang-engine-watch", daemon=True)
        self._watcher.start()

    async def start(self, vocab: Vocab) -> EngineInfo:
        """Give the engine its vocabulary and wait until it is ready.

        Raises what stopped it from starting (ModelLoadError, ConfigurationError), or EngineDeadError.
        """
        self.send(SetVocab(vocab))
        message = await self._receive()
        shutil.rmtree(self._folder)  # both sides are connected; so nothing is left behind even if we are killed
        if isinstance(message, Ready):
            return message.info
        assert isinstance(message, StartupFailed)
        raise _startup_error(message)

    def listen(self, on_message: Callable[[FromEngine], None], on_death: Callable[[EngineDeadError], None]) -> None:
        """From now on hand over what the engine says. Both are called in the event loop."""
        self._reader = asyncio.get_running_loop().create_task(self._listen(on_message, on_death))

    def send(self, message: ToEngine) -> None:
        """Queue a message. Raises EngineDeadError if nobody is there to read it."""
        if self._is_closing:
            raise EngineDeadError("the engine was shut down; create a new one to go on")
        if self._dead.is_set():
            raise self.death()
        data = self._encoder.encode(message)
        zmq.Socket.send(self._requests, data, zmq.NOBLOCK)

    def death(self) -> EngineDeadError:
        code = self._process.poll()
        if code is not None and code < 0:
            reason = f"was killed by {signal.Signals(-code).name}"
        else:
            reason = f"ended with exit code {code}"
        return EngineDeadError(f"the engine process {reason}; its log says more. Start a new engine to go on.")

    async def close(self) -> None:
        """End the engine process and free everything. Harmless when done twice."""
        self._is_closing = True
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
            self._reader = None
        self.kill()
        self._requests.close(linger=0)
        self._outputs.close(linger=0)
        self._context.term()
        shutil.rmtree(self._folder, ignore_errors=True)

    def kill(self) -> None:
        """End the engine process without the event loop's help."""
        assert self._process.stdin is not None
        self._is_closing = True
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(SHUTDOWN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _socket(self, kind: int) -> zmq.asyncio.Socket:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        return socket

    def _write_start(self, start: EngineStart) -> None:
        assert self._process.stdin is not None
        data = msgspec.msgpack.encode(start)
        with contextlib.suppress(BrokenPipeError):  # it died at once: the watcher will say so
            self._process.stdin.write(len(data).to_bytes(4, "big") + data)

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """In a thread of its own: wait for the process to end, then tell the loop, unless the loop is gone."""
        self._process.wait()
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(self._dead.set)

    async def _receive(self) -> FromEngine:
        """The next message. Raises EngineDeadError if the engine died and left none."""
        receiving = asyncio.ensure_future(self._outputs.recv())
        dying = asyncio.ensure_future(self._dead.wait())
        try:
            await asyncio.wait((receiving, dying), return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done():
                await asyncio.wait((receiving,), timeout=LAST_WORDS_SECONDS)
            if not receiving.done():
                raise self.death()
            message: FromEngine = self._decoder.decode(receiving.result())
            return message
        finally:
            receiving.cancel()
            dying.cancel()

    async def _listen(
        self, on_message: Callable[[FromEngine], None], on_death: Callable[[EngineDeadError], None]
    ) -> None:
        try:
            while True:
                on_message(await self._receive())
        except EngineDeadError as error:
            on_death(error)


def _startup_error(message: StartupFailed) -> SglangError:
    kind = getattr(errors, message.error, None)
    if isinstance(kind, type) and issubclass(kind, SglangError):
        return kind(message.message)
    return EngineDeadError(f"the engine could not start: {message.error}: {message.message}")
