"""The engine process: ``python -m sglang.srt.scheduler.process``. Loads the model, then alternates messages and steps.

Started by tokenizer/channel.py with an EngineStart message on standard input. That pipe stays open: when it closes,
the parent is gone, and so is this process. Nothing is computed and nothing spins while there is no request.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path

import msgspec
import zmq

from sglang.srt.errors import SglangError
from sglang.srt.executor.build import load_engine_model
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

LINGER_MS = 1000
"""How long the last message may take to leave after this process has ended its work."""


class Mailbox:
    """The two sockets of the engine process, the pipe that tells whether its parent lives, and a bell to wake it."""

    def __init__(self, start: EngineStart, lifeline: int) -> None:
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
        self._inbox = context.socket(zmq.PULL)
        self._inbox.bind(start.requests_address)
        self._outbox = context.socket(zmq.PUSH)
        self._outbox.setsockopt(zmq.LINGER, LINGER_MS)
        self._outbox.connect(start.outputs_address)
        self._lifeline = lifeline
        self._bell, self._bell_rope = socket.socketpair()
        self._bell.setblocking(False)
        self._bell_rope.setblocking(False)
        self._poller = zmq.Poller()
        self._poller.register(self._inbox, zmq.POLLIN)
        self._poller.register(lifeline, zmq.POLLIN)
        self._poller.register(self._bell, zmq.POLLIN)
        self._decoder = msgspec.msgpack.Decoder(ToEngine)
        self._encoder = msgspec.msgpack.Encoder()

    def receive(self, timeout_ms: int | None) -> list[ToEngine] | None:
        """All messages that are there, waiting for the first up to `timeout_ms` (None: for ever); None if orphaned.

        There may be none after `wake`.
        """
        ready = dict(self._poller.poll(timeout_ms))
        if self._lifeline in ready:
            return None
        if self._bell.fileno() in ready:
            self._bell.recv(4096)
        messages: list[ToEngine] = []
        while True:
            try:
                messages.append(self._decoder.decode(self._inbox.recv(zmq.NOBLOCK)))
            except zmq.Again:
                return messages

    def wake(self) -> None:
        """Make `receive` return, now or next time. From any thread."""
        with suppress(BlockingIOError):  # it has been rung so often that it rings anyway
            self._bell_rope.send(b"!")

    def send(self, message: FromEngine) -> None:
        self._outbox.send(self._encoder.encode(message))


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


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends us by closing the pipe
    start = _read_start(sys.stdin.fileno())
    logging.basicConfig(level=start.args.log_level.upper(), format="[engine] %(levelname)s %(message)s")
    if not Path(start.requests_address.removeprefix("ipc://")).parent.is_dir():
        return 0  # the parent has gone already, and taken the folder of the sockets with it
    mailbox = Mailbox(start, sys.stdin.fileno())
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
        return 1
    mailbox.send(Ready(loaded.info))
    EngineLoop(mailbox, scheduler).run()
    return 0


def _read_start(stdin: int) -> EngineStart:
    size = int.from_bytes(_read_exactly(stdin, 4), "big")
    return msgspec.msgpack.decode(_read_exactly(stdin, size), type=EngineStart)


def _read_exactly(file: int, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = os.read(file, size - len(data))
        if not piece:
            raise EOFError("the parent process closed the pipe before it said how to start")
        data += piece
    return data


def _wait_for_vocab(mailbox: Mailbox) -> SetVocab | None:
    """The first message; None if the parent went away, or wants us to."""
    messages = mailbox.receive(timeout_ms=None)
    if messages is None:
        return None
    return messages[0] if isinstance(messages[0], SetVocab) else None


if __name__ == "__main__":
    sys.exit(main())
