"""The engine process: ``python -m sglang.srt.scheduler.process``. Loads the model, then alternates messages and steps.

Standard input is a socket whose other end is in tokenizer/channel.py. All messages travel on it, an EngineStart first.
When it closes, the parent is gone, and so is this process. Nothing is computed and nothing spins while there is no
request.
"""

from __future__ import annotations

import gc
import logging
import select
import signal
import socket
import sys
from collections import deque
from contextlib import suppress

import msgspec

from sglang.srt.errors import SglangError
from sglang.srt.executor.build import load_engine_model
from sglang.srt.frames import FrameReader, frame
from sglang.srt.log_lines import set_up_log
from sglang.srt.messages import (
    Abort,
    EngineStart,
    FlushCache,
    FromEngine,
    GetStats,
    Ready,
    Reply,
    RequestOutput,
    SetVocab,
    Shutdown,
    StartupFailed,
    StepOutput,
    Submit,
    ToEngine,
)
from sglang.srt.scheduler.build import build_scheduler
from sglang.srt.scheduler.scheduler import Scheduler
from sglang.srt.scheduler.throughput_log import ThroughputLog

logger = logging.getLogger(__name__)

INTEGRITY_CHECK_DELAY_MS = 1000
"""After this long without work the whole cache is checked, once."""

LINGER_SECONDS = 1.0
"""How long the last messages may take to leave after this process has ended its work."""

_CHUNK = 1 << 20


class Mailbox:
    """The engine's end of the socket, and a bell to wake it. One thread, but for `wake`. Sending never blocks."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._frames = FrameReader()
        self._arrived: deque[bytes] = deque()
        self._unsent = bytearray()
        self._bell, self._bell_rope = socket.socketpair()
        for end in (connection, self._bell, self._bell_rope):
            end.setblocking(False)
        self._poller = select.poll()
        self._poller.register(connection, select.POLLIN)
        self._poller.register(self._bell, select.POLLIN)
        self._decoder = msgspec.msgpack.Decoder(ToEngine)
        self._encoder = msgspec.msgpack.Encoder()

    def receive_start(self) -> EngineStart | None:
        """The first message, to be waited for first; None if orphaned."""
        while not self._arrived:
            if not self._take_in(timeout_ms=None):
                return None
        return msgspec.msgpack.decode(self._arrived.popleft(), type=EngineStart)

    def receive(self, timeout_ms: int | None) -> list[ToEngine] | None:
        """All messages that are there, waiting for the first up to `timeout_ms` (None: for ever); None if orphaned.

        There may be none after `wake`.
        """
        if not self._take_in(0 if self._arrived else timeout_ms):
            return None
        messages: list[ToEngine] = [self._decoder.decode(data) for data in self._arrived]
        self._arrived.clear()
        return messages

    def wake(self) -> None:
        """Make `receive` return, now or next time. From any thread."""
        with suppress(OSError):  # it has been rung so often that it rings anyway, or nobody listens any more
            self._bell_rope.send(b"!")

    def send(self, message: FromEngine) -> None:
        """What the parent is too slow to take leaves with later messages, or while this process waits for some."""
        is_first = not self._unsent
        self._unsent += frame(self._encoder.encode(message))
        if is_first:
            self._send()

    def close(self) -> None:
        """Wait until everything has left, as far as the parent takes it in time."""
        self._connection.settimeout(LINGER_SECONDS)
        with suppress(OSError):
            self._connection.sendall(self._unsent)
        for end in (self._connection, self._bell, self._bell_rope):
            end.close()

    def _take_in(self, timeout_ms: int | None) -> bool:
        """Wait for anything to happen, and note what has arrived. False if the parent has gone."""
        for file, event in self._poller.poll(timeout_ms):
            if file == self._bell.fileno():
                self._bell.recv(4096)
                continue
            if event & select.POLLOUT:
                self._send()
            if event & ~select.POLLOUT and not self._read():
                return False
        return True

    def _read(self) -> bool:
        """All that is there. False at the end of the stream."""
        while True:
            try:
                data = self._connection.recv(_CHUNK)
            except BlockingIOError:
                return True
            except ConnectionError:
                return False
            if not data:
                return False
            self._arrived += self._frames.push(data)

    def _send(self) -> None:
        """What does not leave now is kept for when there is room; it is not copied, however much there is of it."""
        try:
            sent = self._connection.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except ConnectionError:  # nobody will read it; the next `receive` says so
            self._unsent.clear()
            return
        del self._unsent[:sent]
        self._poller.modify(self._connection, select.POLLIN | (select.POLLOUT if self._unsent else 0))


class EngineLoop:
    def __init__(self, mailbox: Mailbox, scheduler: Scheduler) -> None:
        self._mailbox = mailbox
        self._scheduler = scheduler
        self._is_checked = True
        self._log = ThroughputLog(scheduler.stats)

    def run(self) -> None:
        """Until told to end, or until the parent process goes away."""
        while (messages := self._receive()) is not None:
            for message in messages:
                if isinstance(message, Shutdown):
                    return
                self._handle(message)
            if self._scheduler.has_work:
                self._is_checked = False
                self._send_outputs(self._scheduler.step())
                self._log.after_step()

    def _receive(self) -> list[ToEngine] | None:
        if self._scheduler.has_work:
            return self._mailbox.receive(timeout_ms=0)
        if not self._is_checked:
            messages = self._mailbox.receive(INTEGRITY_CHECK_DELAY_MS)
            if messages is None or messages or self._scheduler.has_work:
                return messages
            self._scheduler.check_integrity()
            self._is_checked = True
        messages = self._mailbox.receive(timeout_ms=None)
        self._log.begin()
        return messages

    def _handle(self, message: ToEngine) -> None:
        if isinstance(message, Submit):
            self._scheduler.add(message.requests)
        elif isinstance(message, Abort):
            self._send_outputs(self._scheduler.abort(message.rids))
        elif isinstance(message, FlushCache):
            self._scheduler.clear_cache()
            self._mailbox.send(Reply(message.call_id, self._scheduler.stats()))
        elif isinstance(message, GetStats):
            self._mailbox.send(Reply(message.call_id, self._scheduler.stats()))
        else:
            raise AssertionError(f"{type(message).__name__} is not expected here")

    def _send_outputs(self, outputs: list[RequestOutput]) -> None:
        if outputs:
            self._mailbox.send(StepOutput(outputs))


FULL_COLLECTION = 1000
"""After how many collections of what is not so young everything is looked at, a hundred times Python's own number: no
step runs meanwhile, and the parts of grammars that list thousands of texts take a quarter of a second."""

SWITCH_SECONDS = 0.0005
"""For how long a thread that compiles a grammar may keep the interpreter from the one that computes, each time that one
comes back from a kernel. Ten times less than Python's own."""


def main() -> int:
    sys.setswitchinterval(SWITCH_SECONDS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us by closing the socket
    mailbox = Mailbox(socket.socket(fileno=sys.stdin.fileno()))
    try:
        return _run(mailbox)
    finally:
        mailbox.close()


def _run(mailbox: Mailbox) -> int:
    """Returns the exit code."""
    start = mailbox.receive_start()
    if start is None:
        return 0
    set_up_log("engine", start.args.log_level)
    try:
        loaded = load_engine_model(start.args, start.model_path)
        vocab_message = _wait_for_vocab(mailbox)
        if vocab_message is None:
            return 0
        scheduler = build_scheduler(start.args, loaded, vocab_message.vocab, mailbox.wake)
    except Exception as error:  # whatever it is, the parent raises it to its user
        if not isinstance(error, SglangError):
            logger.exception("the engine could not start")
        mailbox.send(StartupFailed(type(error).__name__, str(error)))
        _wait_until_heard(mailbox)
        return 1
    gc.freeze()  # what is there now stays; no collection has to look at it again
    gc.set_threshold(*gc.get_threshold()[:2], FULL_COLLECTION)
    mailbox.send(Ready(loaded.info))
    try:
        EngineLoop(mailbox, scheduler).run()
    finally:
        scheduler.close()
    return 0


def _wait_for_vocab(mailbox: Mailbox) -> SetVocab | None:
    """The first message; None if the parent went away, or wants us to."""
    while (messages := mailbox.receive(timeout_ms=None)) == []:
        pass
    return messages[0] if messages and isinstance(messages[0], SetVocab) else None


def _wait_until_heard(mailbox: Mailbox) -> None:
    """The parent, which may still be busy, closes the socket when it has read the last message. If this process ended
    before, the parent could find a socket that it cannot write to first, and would never know why."""
    while mailbox.receive(timeout_ms=None) is not None:
        pass


if __name__ == "__main__":
    sys.exit(main())
