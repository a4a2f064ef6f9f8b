"""Text that arrives in pieces, for readers that need not know it.

A reader is a generator: it asks for what it needs, and yields wherever that has not arrived. It decides by the text
alone, never by where a piece ends, so that what it reads from pieces is what it reads from the whole.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import TypeVar

T = TypeVar("T")

Reader = Generator[None, None, T]


class GrowingText:
    """``place`` is how far it has been read. ``is_whole``: nothing more will come."""

    def __init__(self) -> None:
        self.text = ""
        self.place = 0
        self.is_whole = False
        self._absent: dict[str, int] = {}  # literals that there are none of in the whole text from there on

    def find(self, literal: str, start: int) -> int:
        """Where it begins, as far as the text has come; -1 if it is not there. In a whole text with many places to
        look from, what is missing is looked for once.
        """
        if start >= self._absent.get(literal, len(self.text) + 1):
            return -1
        found = self.text.find(literal, start)
        if found < 0 and self.is_whole:
            self._absent[literal] = start
        return found

    def peek(self) -> Reader[str]:
        """The next character; empty at the end."""
        while self.place >= len(self.text) and not self.is_whole:
            yield
        return self.text[self.place : self.place + 1]

    def begins_with(self, literal: str) -> Reader[bool]:
        """Whether the text goes on so; waits no longer than that is open."""
        while len(found := self.text[self.place : self.place + len(literal)]) < len(literal):
            if self.is_whole or not literal.startswith(found):
                return False
            yield
        return found == literal

    def take(self, literal: str) -> Reader[bool]:
        """Read it if the text goes on so."""
        if not (yield from self.begins_with(literal)):
            return False
        self.place += len(literal)
        return True

    def take_all(self, characters: re.Pattern[str]) -> Reader[str]:
        """Read as far as there is one after another of `characters`, a pattern of the form ``[...]*``."""
        start = self.place
        while True:
            match = characters.match(self.text, self.place)
            assert match is not None, "a pattern that matches the empty text"
            self.place = match.end()
            if self.place < len(self.text) or self.is_whole:
                return self.text[start : self.place]
            yield
