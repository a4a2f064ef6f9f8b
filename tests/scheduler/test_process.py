"""The engine process, without the process."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import msgspec

from sglang.srt.args import EngineArgs
from sglang.srt.frames import FrameReader, frame
from sglang.srt.messages import EngineStart, FromEngine, SetVocab, StartupFailed
from sglang.srt.scheduler import process
from sglang.srt.scheduler.process import Mailbox
from sglang.srt.vocab import Vocab

HEARD_SECONDS = 60.0


def test_an_engine_that_cannot_start_stays_until_that_is_heard(tmp_path: Path) -> None:
    """So its parent can send what it has to send before it reads why that is of no use."""
    parent, engine = socket.socketpair()
    mailbox = Mailbox(engine)
    with parent:
        parent.settimeout(HEARD_SECONDS)
        missing = str(tmp_path / "missing.gguf")
        parent.sendall(
            frame(msgspec.msgpack.encode(EngineStart(args=EngineArgs(model_path=missing), model_path=missing)))
        )
        thread = threading.Thread(target=process._run, args=(mailbox,))
        thread.start()
        (failure,) = FrameReader().push(parent.recv(1 << 20))
        assert isinstance(msgspec.msgpack.decode(failure, type=FromEngine), StartupFailed)
        large = Vocab(token_bytes=[b"x" * 100] * 50_000, special_ids=[], eos_ids=[0])
        parent.sendall(frame(msgspec.msgpack.encode(SetVocab(large))))  # more than a socket holds unread
        assert thread.is_alive()
    thread.join()
    mailbox.close()
