"""The text side's end of the line to the engine process: messages out, messages in, and word of its death."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

import msgspec

from sglang.srt import errors
from sglang.srt.args import EngineArgs
from sglang.srt.errors import EngineDeadError, SglangError
from sglang.srt.frames import FrameReader, frame
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

LAST_WORDS_SECONDS = 2.0
"""How long the end of the process may come after the end of its messages, or the other way round."""

SHUTDOWN_SECONDS = 5.0
"""How long the process may take to end once it is told to."""

OnMessage = Callable[[FromEngine], None]


class EngineChannel:
    """A running engine process and the socket to it. Belongs to the event loop it was created in.

    After `start`, `listen` says who gets the messages and the news if the process ends by itself.
    """

    def __init__(self, args: EngineArgs, model_path: str) -> None:
        loop = asyncio.get_running_loop()
        self._encoder = msgspec.msgpack.Encoder()
        self._dead: asyncio.Future[None] = loop.create_future()
        self._is_closing = False
        self._inbox = _Inbox()
        self._end: asyncio.Task[None] | None = None
        self._transport: asyncio.WriteTransport | None = None
        self._process = EngineProcess(EngineStart(args=args, model_path=model_path), self._exit_notice(loop))

    async def start(self, vocab: Vocab) -> EngineInfo:
        """Give the engine its vocabulary and wait until it is ready.

        Raises what stopped it from starting (ModelLoadError, ConfigurationError), or EngineDeadError.
        """
        loop = asyncio.get_running_loop()
        first: asyncio.Future[FromEngine] = loop.create_future()
        self._inbox.on_message = first.set_result
        connecting = loop.create_unix_connection(lambda: self._inbox, sock=self._process.connection)
        self._transport, _ = await connecting
        self.send(SetVocab(vocab))
        ended = loop.create_task(self._wait_for_end())
        await asyncio.wait((first, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if not first.done():
            raise EngineDeadError(self._death())
        message = first.result()
        if isinstance(message, Ready):
            return message.info
        assert isinstance(message, StartupFailed)
        raise _startup_error(message)

    def listen(self, on_message: OnMessage, on_death: Callable[[str], None]) -> None:
        """From now on hand over what the engine says. Both are called in the event loop; `on_death`, with the reason,
        at most once, and last.
        """
        self._inbox.on_message = on_message
        self._end = asyncio.get_running_loop().create_task(self._report_end(on_death))

    def send(self, message: ToEngine) -> None:
        """Queue a message. Raises EngineDeadError if nobody is there to read it."""
        if self._is_closing:
            raise EngineDeadError("the engine was shut down; create a new one to go on")
        if self._dead.done() or self._inbox.closed.done():
            raise EngineDeadError(self._death())
        assert self._transport is not None
        self._transport.write(frame(self._encoder.encode(message)))

    async def close(self) -> None:
        """End the engine process and free everything. Harmless when done twice."""
        if self._is_closing:
            return
        if self._transport is not None:
            with contextlib.suppress(EngineDeadError):
                self.send(Shutdown())
            self._transport.close()
        else:
            self._process.connection.close()
        self._is_closing = True
        if self._end is not None:
            self._end.cancel()
            await asyncio.wait((self._end,))
        await asyncio.wait((self._dead,), timeout=SHUTDOWN_SECONDS)
        self._process.kill()

    def _death(self) -> str:
        return f"the engine process {self._process.describe_exit()}. Start a new engine to go on."

    def _exit_notice(self, loop: asyncio.AbstractEventLoop) -> Callable[[], None]:
        """For the watching thread: tell the loop, if that still runs. Holds no reference to the channel."""
        dead = self._dead

        def notice() -> None:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(dead.set_result, None)

        return notice

    async def _wait_for_end(self) -> None:
        """Until the process has ended and all that it said has been handed over."""
        ends = (self._dead, self._inbox.closed)
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(ends, timeout=LAST_WORDS_SECONDS)

    async def _report_end(self, on_death: Callable[[str], None]) -> None:
        await self._wait_for_end()
        on_death(self._inbox.problem or self._death())


class _Inbox(asyncio.Protocol):
    """Hands over one message after another, until the socket closes or one cannot be handled."""

    def __init__(self) -> None:
        self.on_message: OnMessage | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.problem: str | None = None
        self._frames = FrameReader()
        self._decoder = msgspec.msgpack.Decoder(FromEngine)

    def data_received(self, data: bytes) -> None:
        if self.problem is not None:
            return
        assert self.on_message is not None
        try:
            for message in self._frames.push(data):
                self.on_message(self._decoder.decode(message))
        except Exception as error:
            logger.exception("a message from the engine could not be handled")
            self.problem = f"the engine's messages are not understood any more: {type(error).__name__}: {error}"
            self._close()

    def connection_lost(self, error: Exception | None) -> None:
        self._close()

    def _close(self) -> None:
        if not self.closed.done():
            self.closed.set_result(None)


def _startup_error(message: StartupFailed) -> SglangError:
    kind = getattr(errors, message.error, None)
    if isinstance(kind, type) and issubclass(kind, SglangError):
        return kind(message.message)
    return EngineDeadError(f"the engine could not start: {message.error}: {message.message}")
