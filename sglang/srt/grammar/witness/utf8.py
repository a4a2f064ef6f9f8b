"""Texts that may end within a character."""

from __future__ import annotations

from sglang.srt.grammar.charset import CharSet, charset
from sglang.srt.grammar.witness.expressions import NotFoundError


def decoded(data: bytes) -> tuple[str, bytes]:
    """The characters, and the bytes of one that is not whole. Raises NotFoundError for what begins no character."""
    try:
        return data.decode(), b""
    except UnicodeDecodeError as error:
        whole, partial = data[: error.start], data[error.start :]
        if error.end < len(data) or not characters_from(partial):
            raise NotFoundError from error
        return whole.decode(), partial


def characters_from(partial: bytes) -> CharSet:
    """The characters whose UTF-8 begins with these bytes."""
    lead = partial[0]
    size = 2 if lead >> 5 == 0b110 else 3 if lead >> 4 == 0b1110 else 4 if lead >> 3 == 0b11110 else 0
    missing = size - len(partial)
    if missing < 1:
        return ()
    value = lead & (0xFF >> (size + 1))
    for byte in partial[1:]:
        value = value << 6 | byte & 0x3F
    low, high = value << 6 * missing, (value + 1 << 6 * missing) - 1
    return charset([(max(low, _SMALLEST[size]), min(high, 0x10FFFF))])


_SMALLEST = {2: 0x80, 3: 0x800, 4: 0x10000}
