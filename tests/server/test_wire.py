"""Bodies as they come in."""

from __future__ import annotations

import pytest
from starlette.requests import Request
from starlette.types import Message

from sglang.srt.server import wire


def request_of(*chunks: bytes, length: str | None = None) -> Request:
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    waiting = iter([*messages, {"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Message:
        return next(waiting)

    headers = [] if length is None else [(b"content-length", length.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


async def test_a_body_may_come_in_pieces() -> None:
    assert await wire.read_object(request_of(b'{"a"', b":", b"1}")) == {"a": 1}


async def test_a_body_that_is_too_large_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 7)
    assert await wire.read_object(request_of(b'{"a"', b":1}")) == {"a": 1}
    request = request_of(b'{"a"', b":10}", b"and more")
    with pytest.raises(wire.BodyTooLargeError, match="the body may have up to 7 bytes") as caught:
        await wire.read_object(request)
    assert caught.value.http_status == 413
    assert (await request.receive())["body"] == b"and more"


async def test_a_body_that_is_said_to_be_too_large_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_BODY_BYTES", 7)
    for length in ("7", "0" * 5000 + "7"):
        assert await wire.read_object(request_of(b'{"a":1}', length=length)) == {"a": 1}
    request = request_of(b'{"a"', length="8")
    with pytest.raises(wire.BodyTooLargeError, match="the body may have up to 7 bytes"):
        await wire.read_object(request)
    assert (await request.receive())["body"] == b'{"a"'
