"""Whether one output can still be ended within its budget, and how."""

from __future__ import annotations

from collections.abc import Callable

from sglang.srt.grammar.witness.expressions import NotFoundError
from sglang.srt.grammar.witness.outputs import Outputs

Cut = Callable[[bytes], "list[int] | None"]
"""Makes tokens of a text, each of a byte at least; None if there are none for it."""


class Ending:
    """Follows one output. Where that comes to a bound, or no tokens say what is missing, it is lost: then it can be
    ended as far as anybody knows, and nobody knows how.
    """

    def __init__(self, outputs: Outputs, cut: Cut) -> None:
        self._outputs = outputs
        self._cut = cut
        self._position = outputs.start
        self._num_read = 0
        self._is_lost = False

    def can_end(self, text: bytes | bytearray, num_tokens: int) -> bool:
        """Whether `text` can be made whole with at most so many more tokens. It goes on from what could.

        As long as every output could be ended with so many, `text` is not looked at.
        """
        if self._is_lost or num_tokens >= self._outputs.most_bytes:
            return True
        try:
            position = self._outputs.follow(self._position, text[self._num_read :])
            can_end = self._outputs.num_bytes_to_end(position) <= num_tokens
            if not can_end:
                tokens = self._cut(self._outputs.shortest_end(position))
                can_end = tokens is not None and len(tokens) <= num_tokens
        except NotFoundError:
            self._is_lost = True
            return True
        if can_end:
            self._position, self._num_read = position, len(text)
        return can_end

    def tokens_to_end(self, text: bytes | bytearray) -> list[int] | None:
        """What makes `text` whole, as short as it can be in bytes; None if it is lost. It goes on from what could."""
        if self._is_lost:
            return None
        try:
            position = self._outputs.follow(self._position, text[self._num_read :])
            tokens = self._cut(self._outputs.shortest_end(position))
        except NotFoundError:
            tokens = None
        self._is_lost = tokens is None
        return tokens
