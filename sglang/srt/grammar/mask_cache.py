"""Masks that the library computed, remembered by where an output was then.

Many outputs of a grammar, and many places of one output, have the same masks: a text in quotes goes on as it did one
character before. A mask is found again in microseconds; to compute it takes tens or hundreds of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sglang.srt.grammar.witness.expressions import NotFoundError
from sglang.srt.grammar.witness.outputs import Outputs
from sglang.srt.grammar.witness.stack import Position

MAX_BYTES = 16 * 1024 * 1024
"""Of the masks of all grammars of a model: about 2,300 masks of a vocabulary of 50,000 tokens."""

ENTRY_BYTES = 1024
"""What a mask takes beside itself: its position, above all."""

Mask = npt.NDArray[np.uint32]
"""Token i is allowed if bit i % 32 of word i // 32 is set."""


class Choice(NamedTuple):
    """What may come next where no text is forced. mask: without end tokens; read-only. may_end: they are allowed."""

    mask: Mask
    may_end: bool


class MaskCache:
    """Of all grammars, each known by its text. What was not used for longest goes first. For any thread."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._choices: OrderedDict[tuple[str, Position], Choice] = OrderedDict()
        self._num_bytes = 0
        self._lock = Lock()

    def find(self, grammar: str, position: Position) -> Choice | None:
        key = grammar, position
        with self._lock:
            choice = self._choices.get(key)
            if choice is not None:
                self._choices.move_to_end(key)
        return choice

    def keep(self, grammar: str, position: Position, choice: Choice) -> None:
        """There was none yet."""
        with self._lock:
            self._choices[grammar, position] = choice
            self._num_bytes += _size(choice)
            while self._num_bytes > self._max_bytes:
                _, oldest = self._choices.popitem(last=False)
                self._num_bytes -= _size(oldest)

    def forget(self, grammar: str) -> None:
        with self._lock:
            for key in [key for key in self._choices if key[0] == grammar]:
                self._num_bytes -= _size(self._choices.pop(key))


class MaskMemory:
    """Follows one output, and knows what may come next where another one of its grammar was before.

    Nothing is known before `is_usable` says that `witness.lexing.is_told_by_position` holds of the grammar, which it
    may at any time. Where the output cannot be followed nothing is known of it from there on.
    """

    def __init__(self, cache: MaskCache, grammar: str, outputs: Outputs, is_usable: Callable[[], bool]) -> None:
        self._cache = cache
        self._grammar = grammar
        self._outputs = outputs
        self._is_usable = is_usable
        self._position: Position | None = outputs.start
        self._num_read = 0
        self._is_in_use = False  # of the text that was asked about last

    def find(self, text: bytes | bytearray) -> Choice | None:
        """After `text`, which goes on from the one before."""
        self._is_in_use = self._is_in_use or self._is_usable()
        if not self._is_in_use:
            return None
        self._follow(text)
        return None if self._position is None else self._cache.find(self._grammar, self._position)

    def keep(self, mask: Mask, may_end: bool) -> None:
        """What the library says of the text that was asked about last and was not known."""
        if self._is_in_use and self._position is not None:
            kept = mask.copy()
            kept.flags.writeable = False
            self._cache.keep(self._grammar, self._position, Choice(kept, may_end))

    def _follow(self, text: bytes | bytearray) -> None:
        if self._position is None or self._num_read == len(text):
            return
        try:
            self._position = self._outputs.follow(self._position, text[self._num_read :])
            self._num_read = len(text)
        except NotFoundError:
            self._position = None


def _size(choice: Choice) -> int:
    return choice.mask.nbytes + ENTRY_BYTES
