"""The text side's end of the line to the engine process: messages out, messages in, and word of its death."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
import weakref
from collections.abc import Callable

import msgspec
import zmq
import zmq.asyncio

from sglang.srt import errors
from sglang.srt.args import EngineArgs
from sglang.srt.errors import EngineDeadError, SglangError
from sglang.srt.messages import (
    EngineInfo,
    EngineStart,
    FromEngine,
    Ready,
    SetVocab,
    Shutdown,
    StartupFailed,
    ToEngine,
)
from sglang.srt.tokenizer.engine_process import EngineProcess
from sglang.srt.vocab import Vocab

logger = logging.getLogger(__name__)

LAST_WORDS_SECONDS = 0.2
"""How long a dead process's last messages may still be on their way."""

SHUTDOWN_SECONDS = 5.0
"""How long the process may take to end once it is told to."""

LONGEST_FOLDER = 90
"""Characters; the path of a socket may have no more than about a hundred."""


class EngineChannel:
    """A running engine process and the two sockets to it. Belongs to the event loop it was created in.

    After `start`, `listen` says who gets the messages and the news if the process ends by itself.
    """

    def __init__(self, args: EngineArgs, model_path: str) -> None:
        self._folder = _private_folder()
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)  # even if `close` is interrupted
        self._context = zmq.asyncio.Context()
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(FromEngine)
        self._dead: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_closing = False
        self._reader: asyncio.Task[None] | None = None
        requests, outputs = (f"ipc://{self._folder}/{name}" for name in ("requests", "outputs"))
        self._requests = self._socket(zmq.PUSH)
        self._requests.connect(requests)  # a connecting socket queues at once, before the engine listens
        self._outputs = self._socket(zmq.PULL)
        self._outputs.bind(outputs)
        start = EngineStart(args=args, model_path=model_path, requests_address=requests, outputs_address=outputs)
        self._process = EngineProcess(start, self._exit_notice(asyncio.get_running_loop()))

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

    def listen(self, on_message: Callable[[FromEngine], None], on_death: Callable[[str], None]) -> None:
        """From now on hand over what the engine says. Both are called in the event loop; `on_death`, with the reason,
        at most once, and last.
        """
        self._reader = asyncio.get_running_loop().create_task(self._listen(on_message, on_death))

    def send(self, message: ToEngine) -> None:
        """Queue a message. Raises EngineDeadError if nobody is there to read it."""
        if self._is_closing:
            raise EngineDeadError("the engine was shut down; create a new one to go on")
        if self._dead.done():
            raise EngineDeadError(self._death())
        zmq.Socket.send(self._requests, self._encoder.encode(message), zmq.NOBLOCK)

    async def close(self) -> None:
        """End the engine process and free everything. Harmless when done twice."""
        if self._is_closing:
            return
        with contextlib.suppress(EngineDeadError):
            self.send(Shutdown())
        self._is_closing = True
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.wait((self._reader,))
        self._process.cut_lifeline()
        await asyncio.wait((self._dead,), timeout=SHUTDOWN_SECONDS)
        self._process.kill()
        self._requests.close(linger=0)
        self._outputs.close(linger=0)
        self._context.term()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _death(self) -> str:
        return f"the engine process {self._process.describe_exit()}; its log says more. Start a new engine to go on."

    def _socket(self, kind: int) -> zmq.asyncio.Socket:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)  # an unread message never keeps this process from ending
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        return socket

    def _exit_notice(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        """For the watching thread: tell the loop, if that still runs. Holds no reference to the channel."""
        dead = self._dead

        def notice() -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(dead.set_result, None)

        return notice

    async def _receive(self) -> FromEngine:
        """The next message. Raises EngineDeadError if the engine died and left none."""
        receiving = asyncio.ensure_future(self._outputs.recv())
        try:
            await asyncio.wait((receiving, self._dead), return_when=asyncio.FIRST_COMPLETED)
            if not receiving.done():
                await asyncio.wait((receiving,), timeout=LAST_WORDS_SECONDS)
            if not receiving.done():
                raise EngineDeadError(self._death())
            message: FromEngine = self._decoder.decode(receiving.result())
            return message
        finally:
            receiving.cancel()

    async def _listen(self, on_message: Callable[[FromEngine], None], on_death: Callable[[str], None]) -> None:
        try:
            while True:
                on_message(await self._receive())
        except EngineDeadError as error:
            on_death(str(error))
        except Exception as error:
            logger.exception("a message from the engine could not be handled")
            on_death(f"the engine's messages are not understood any more: {type(error).__name__}: {error}")


def _private_folder() -> str:
    """Readable by this user only."""
    folder = tempfile.mkdtemp(prefix="sglang-")
    if len(folder) > LONGEST_FOLDER:
        shutil.rmtree(folder)
        folder = tempfile.mkdtemp(prefix="sglang-", dir="/tmp")
    return folder


def _startup_error(message: StartupFailed) -> SglangError:
    kind = getattr(errors, message.error, None)
    if isinstance(kind, type) and issubclass(kind, SglangError):
        return kind(message.message)
    return EngineDeadError(f"the engine could not start: {message.error}: {message.message}")
