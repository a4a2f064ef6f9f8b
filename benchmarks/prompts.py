"""Prompts made of token ids drawn at random: the same for every system."""

from __future__ import annotations

import random


class Prompts:
    """Those of one name: prompts of different names have nothing in common.

    Draws from the ordinary part of a vocabulary: special tokens are at its beginning or its end.
    """

    def __init__(self, vocab_size: int, name: str) -> None:
        self._vocab_size = vocab_size
        self._name = name
        self._draw = random.Random(name)
        self._first, self._last = vocab_size // 100 + 1, vocab_size * 4 // 5

    def tokens(self, count: int) -> list[int]:
        return [self._draw.randint(self._first, self._last) for _ in range(count)]

    def batch(self, size: int, length: int) -> list[list[int]]:
        return [self.tokens(length) for _ in range(size)]

    def part(self, name: object) -> Prompts:
        """Others, which do not depend on what has been drawn here."""
        return Prompts(self._vocab_size, f"{self._name}/{name}")
