"""The tokens of a vocabulary, found by the bytes they stand for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence


class TokenIndex:
    """Tokens that stand for nothing are not in it. Immutable."""

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._ids: dict[bytes, list[int]] = {}
        for token_id, data in enumerate(token_bytes):
            if data:
                self._ids.setdefault(data, []).append(token_id)
        self._sorted = sorted(self._ids)
        self.longest = max(map(len, self._sorted), default=0)

    def ids(self, data: bytes) -> Sequence[int]:
        """The tokens that stand for exactly `data`; several may."""
        return self._ids.get(data, ())

    def extends(self, data: bytes) -> bool:
        """Whether there is a token that begins with `data` and goes on."""
        following = bisect_right(self._sorted, data)
        return following < len(self._sorted) and self._sorted[following].startswith(data)
