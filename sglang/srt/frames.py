"""Messages on a stream of bytes: four bytes that say how long one is, then the message."""

from __future__ import annotations

_LENGTH_BYTES = 4


def frame(message: bytes) -> bytes:
    return len(message).to_bytes(_LENGTH_BYTES, "big") + message


class FrameReader:
    """Cuts a stream into its messages as it arrives."""

    def __init__(self) -> None:
        self._rest = bytearray()  # begins where a frame begins

    def push(self, data: bytes) -> list[bytes]:
        """The messages that `data` completes."""
        rest = self._rest
        rest += data
        messages: list[bytes] = []
        begin = 0
        while len(rest) >= begin + _LENGTH_BYTES:
            body = begin + _LENGTH_BYTES
            end = body + int.from_bytes(rest[begin:body], "big")
            if len(rest) < end:
                break
            messages.append(bytes(rest[body:end]))
            begin = end
        del rest[:begin]
        return messages
