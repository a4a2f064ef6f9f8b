"""Whether one output can still be ended within its budget, and how."""

from __future__ import annotations

import bisect
import itertools
import math
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.witness.expressions import NotFoundError
from sglang.srt.grammar.witness.outputs import Outputs

NO_TOKENS = np.zeros(0, dtype=np.int64)


class Cutter(Protocol):
    """Makes tokens of texts."""

    @property
    def longest(self) -> int:
        """How many bytes a token has at most. It has one at least."""
        ...

    def cut(self, data: bytes) -> list[int] | None:
        """None where there are no tokens for `data`."""
        ...

    def num_bytes(self, token_id: int) -> int: ...

    def beginning_with(self, data: bytes) -> npt.NDArray[np.int64]:
        """The tokens whose text begins with all of `data`."""
        ...


class Spelling:
    """A text and the tokens that say it. What remains of it, or has something before it, is not cut anew."""

    def __init__(self, text: bytes, tokens: list[int], cutter: Cutter) -> None:
        self.tokens = tokens
        self.text = text
        self._cutter = cutter
        self._starts = [0, *itertools.accumulate(map(cutter.num_bytes, tokens))]

    def tokens_of(self, text: bytes) -> list[int] | None:
        """The tokens of `text`, if it ends as this one does, or this one as it; cut anew are only those in between."""
        common = min(len(text), len(self.text))
        if text[len(text) - common :] != self.text[len(self.text) - common :]:
            return None
        first = bisect.bisect_left(self._starts, len(self.text) - common)
        kept = len(self.text) - self._starts[first]
        begin = self._cutter.cut(text[: len(text) - kept])
        return None if begin is None else [*begin, *self.tokens[first:]]


class Ending:
    """Follows one output. Where that comes to a bound, or no tokens say what is missing, it is lost: then it can be
    ended as far as anybody knows, and nobody knows how.

    shortest: how the shortest output is said; None if it is too long to be said, or cannot be.
    """

    def __init__(self, outputs: Outputs, cutter: Cutter, shortest: Spelling | None = None) -> None:
        self._outputs = outputs
        self._cutter = cutter
        self._shortest = self._spelling = shortest
        self._position = outputs.start
        self._num_read = 0
        self._is_lost = False

    def check_room(self, num_tokens: int) -> None:
        """Raises InvalidRequestError if no output has so few tokens."""
        num_bytes = self._outputs.num_bytes_to_end(self._outputs.start)
        if self._shortest is not None and len(self._shortest.tokens) > num_tokens:
            raise too_few(str(len(self._shortest.tokens)), num_tokens)
        if self._shortest is None and num_tokens * self._cutter.longest < num_bytes < math.inf:
            raise too_few(f"more than {math.ceil(num_bytes / self._cutter.longest) - 1}", num_tokens)

    def refused(self, text: bytes | bytearray, data: bytes) -> npt.NDArray[np.int64] | None:
        """Tokens that cannot follow `text` though the grammar allows them, as the one that says `data`; None if it can.
        Here all can.
        """
        return None

    def refused_at_once(self, text: bytes | bytearray) -> npt.NDArray[np.int64]:
        """Those that are known without being drawn."""
        return NO_TOKENS

    def is_broken(self, text: bytes | bytearray) -> bool:
        """Whether `text` is no beginning of an output though the grammar allows it. Here it always is one."""
        return False

    def is_whole(self, text: bytes | bytearray) -> bool:
        """Whether `text`, which the grammar allows as an output, is one. Here it always is."""
        return True

    def can_end(self, text: bytes | bytearray, num_tokens: int) -> bool:
        """Whether `text` can be made whole with at most so many more tokens. It goes on from what could.

        As long as every output could be ended with so many, `text` is not looked at.
        """
        if self._is_lost or num_tokens >= self._outputs.most_bytes:
            return True
        try:
            position = self._outputs.follow(self._position, text[self._num_read :])
            num_bytes = self._outputs.num_bytes_to_end(position)
            if num_bytes == math.inf:  # it is an output all the same, so this is not what the grammar means
                raise NotFoundError
            can_end, spelling = num_bytes <= num_tokens, self._spelling
            if not can_end and num_bytes <= num_tokens * self._cutter.longest:
                spelling = self._spell(self._outputs.shortest_end(position))
                can_end = len(spelling.tokens) <= num_tokens
        except NotFoundError:
            self._is_lost = True
            return True
        if can_end:
            self._position, self._num_read, self._spelling = position, len(text), spelling
        return can_end

    def tokens_to_end(self, text: bytes | bytearray) -> list[int] | None:
        """What makes `text` whole, as short as it can be in bytes; None if it is lost. It goes on from what could."""
        if self._is_lost:
            return None
        try:
            position = self._outputs.follow(self._position, text[self._num_read :])
            return self._spell(self._outputs.shortest_end(position)).tokens
        except NotFoundError:
            self._is_lost = True
            return None

    def _spell(self, text: bytes) -> Spelling:
        return spell(text, self._spelling, self._cutter)


def spell(text: bytes, last: Spelling | None, cutter: Cutter) -> Spelling:
    """As the last time, as far as it is the same; so it takes no more tokens than were counted then. Raises
    NotFoundError where no tokens say it.
    """
    tokens = None if last is None else last.tokens_of(text)
    if tokens is None:
        tokens = cutter.cut(text)
    if tokens is None:
        raise NotFoundError
    return Spelling(text, tokens, cutter)


def too_few(needed: str, num_tokens: int) -> InvalidRequestError:
    return InvalidRequestError(
        f"the shortest output found that satisfies the constraint has {needed} tokens, but at most {num_tokens} may be "
        "generated; allow at least as many, or shorten the prompt if it takes up the context"
    )
