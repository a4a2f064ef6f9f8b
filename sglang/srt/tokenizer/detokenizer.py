"""Bytes to text, a piece at a time."""

from __future__ import annotations

import codecs


class IncrementalDecoder:
    """Turns the bytes of one token stream into text as they arrive.

    The concatenation of everything ``push`` returns, up to and including the call with ``final=True``, equals decoding
    the concatenated bytes at once with ``errors="replace"``, whatever the chunking. Bytes that may still become a
    character are held back: at most three of them.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    @property
    def is_within_character(self) -> bool:
        """Whether bytes are held back."""
        return bool(self._decoder.getstate()[0])

    def push(self, data: bytes, final: bool = False) -> str:
        """The text that ``data`` completes. ``final`` also releases what is held back, and starts a new stream."""
        return self._decoder.decode(data, final)
