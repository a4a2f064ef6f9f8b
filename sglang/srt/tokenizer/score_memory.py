"""What a model said about candidates before: the same tokens before them, the same log-probabilities.

The engine's cache keeps keys and values. To hear again what comes after a cached token it computes that token again;
what is remembered here is not even asked for.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

CAPACITY = 200_000
"""Log-probabilities; about 20 MB."""


class ScoreMemory:
    """By keys that stand for all the tokens before. What was used last is forgotten last. For any thread."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._capacity = capacity
        self._known: OrderedDict[bytes, dict[int, float]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def get(self, key: bytes, token_ids: Sequence[int]) -> list[float] | None:
        """None if one of them is not known."""
        with self._lock:
            known = self._known.get(key)
            if known is None or not all(token_id in known for token_id in token_ids):
                return None
            self._known.move_to_end(key)
            return [known[token_id] for token_id in token_ids]

    def put(self, key: bytes, token_ids: Sequence[int], logprobs: Sequence[float]) -> None:
        with self._lock:
            known = self._known.setdefault(key, {})
            self._size -= len(known)
            known.update(zip(token_ids, logprobs, strict=True))
            self._size += len(known)
            self._known.move_to_end(key)
            while self._size > self._capacity:
                _, forgotten = self._known.popitem(last=False)
                self._size -= len(forgotten)

    def clear(self) -> None:
        with self._lock:
            self._known.clear()
            self._size = 0
