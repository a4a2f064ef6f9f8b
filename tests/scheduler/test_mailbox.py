"""The engine's end of the socket."""

from __future__ import annotations

import socket

import msgspec
import pytest

from sglang.srt.args import EngineArgs
from sglang.srt.frames import FrameReader, frame
from sglang.srt.messages import Abort, EngineStart, FromEngine, GetStats, StartupFailed, ToEngine
from sglang.srt.scheduler.process import Mailbox


@pytest.fixture
def ends() -> tuple[socket.socket, Mailbox]:
    """The parent's end, and the engine's."""
    parent, engine = socket.socketpair()
    return parent, Mailbox(engine)


def tell(parent: socket.socket, *messages: ToEngine | EngineStart) -> None:
    parent.sendall(b"".join(frame(msgspec.msgpack.encode(message)) for message in messages))


def heard(data: bytes) -> list[FromEngine]:
    return [msgspec.msgpack.decode(message, type=FromEngine) for message in FrameReader().push(data)]


def read_until_closed(parent: socket.socket) -> bytes:
    return b"".join(iter(lambda: parent.recv(1 << 20), b""))


def test_the_start_comes_first_and_what_came_with_it_is_kept(ends: tuple[socket.socket, Mailbox]) -> None:
    parent, mailbox = ends
    start = EngineStart(args=EngineArgs(model_path="m"), model_path="m")
    with parent:
        tell(parent, start, GetStats(1), Abort(["a"]))
        assert mailbox.receive_start() == start
        assert mailbox.receive(timeout_ms=None) == [GetStats(1), Abort(["a"])]
        assert mailbox.receive(timeout_ms=0) == []
    mailbox.close()


def test_a_ring_ends_the_wait(ends: tuple[socket.socket, Mailbox]) -> None:
    parent, mailbox = ends
    with parent:
        mailbox.wake()
        assert mailbox.receive(timeout_ms=None) == []
    mailbox.close()


def test_an_orphan_knows(ends: tuple[socket.socket, Mailbox]) -> None:
    parent, mailbox = ends
    parent.close()
    mailbox.send(StartupFailed("E", "nobody hears this"))
    assert mailbox.receive_start() is None
    assert mailbox.receive(timeout_ms=None) is None
    mailbox.close()


def test_a_parent_that_does_not_read_holds_nothing_up(ends: tuple[socket.socket, Mailbox]) -> None:
    """What is sent meanwhile waits here, and leaves in order once there is room."""
    parent, mailbox = ends
    messages: list[FromEngine] = [StartupFailed(str(index), "x" * 100_000) for index in range(30)]
    for message in messages:
        mailbox.send(message)
    reader = FrameReader()
    found: list[bytes] = []
    with parent:
        while len(found) < len(messages) - 1:
            found += reader.push(parent.recv(1 << 20))
            assert mailbox.receive(timeout_ms=0) == []
        found += reader.push(parent.recv(1 << 20)) if len(found) < len(messages) else []
    assert [msgspec.msgpack.decode(data, type=FromEngine) for data in found] == messages
    mailbox.close()


def test_the_last_message_leaves_before_the_end(ends: tuple[socket.socket, Mailbox]) -> None:
    parent, mailbox = ends
    with parent:
        mailbox.send(StartupFailed("E", "why"))
        mailbox.close()
        assert heard(read_until_closed(parent)) == [StartupFailed("E", "why")]
