"""All the ways to write some texts with the tokens of a vocabulary, one token at a time.

The same text is made by many token sequences: " yes" by its own token, by " y" and "es", by " ", "y", "e" and "s", ...
A model gives each of them a probability, and only their sum is the probability of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sglang.srt.tokenizer.token_index import TokenIndex

_CONTINUATION = range(0x80, 0xC0)
"""Bytes that are never the first of a UTF-8 character."""


class Place(NamedTuple):
    """After `length` bytes that the texts [first, last) of the sorted texts have in common."""

    length: int
    first: int
    last: int


class Spellings:
    """Of `texts`, which differ. Texts are named by their index there."""

    def __init__(self, texts: Sequence[bytes], index: TokenIndex) -> None:
        self._order = sorted(range(len(texts)), key=lambda number: texts[number])
        self._sorted = [texts[number] for number in self._order]
        self._index = index
        self._next: dict[Place, dict[int, Place]] = {}
        self.start = Place(0, 0, len(texts))

    def next_tokens(self, place: Place) -> dict[int, Place]:
        """The tokens that go on with a text, and where they lead."""
        if place not in self._next:
            self._next[place] = self._find_next(place)
        return self._next[place]

    def complete(self, place: Place) -> int | None:
        """The text that ends here. Of those that share a beginning the shortest comes first."""
        return self._order[place.first] if len(self._sorted[place.first]) == place.length else None

    def texts_beyond(self, place: Place) -> Sequence[int]:
        """The texts that go on from here."""
        begin = place.first + (len(self._sorted[place.first]) == place.length)
        return self._order[begin : place.last]

    def _find_next(self, place: Place) -> dict[int, Place]:
        found: dict[int, Place] = {}
        for number in range(place.first, place.last):
            text = self._sorted[number]
            for end in range(place.length + 1, min(len(text), place.length + self._index.longest) + 1):
                for token_id in self._index.ids(text[place.length : end]):
                    first = found[token_id].first if token_id in found else number
                    found[token_id] = Place(end, first, number + 1)
        return found


def num_fixed_tokens(tail: Sequence[bytes], texts: Sequence[bytes], index: TokenIndex) -> int:
    """How many tokens of `tail`, the end of a prompt, stay as they are when one of `texts` follows.

    A token may begin in the prompt and end in the text. The first byte where such a token can begin lies in a token of
    `tail`; from that one on the prompt is spelled anew, together with the text, and so is the rest of a character.
    """
    data = b"".join(tail)
    first = next((begin for begin in range(len(data)) if _can_cross(data[begin:], texts, index)), len(data))
    num_fixed, end = len(tail), len(data)
    while num_fixed and (end > first or (end < len(data) and data[end] in _CONTINUATION)):
        num_fixed -= 1
        end -= len(tail[num_fixed])
    return num_fixed


def _can_cross(beginning: bytes, texts: Sequence[bytes], index: TokenIndex) -> bool:
    """Whether a token is made of all of `beginning` and the first bytes of a text."""
    if not index.extends(beginning):
        return False
    room = index.longest - len(beginning)
    return any(index.ids(beginning + text[:end]) for text in texts for end in range(1, min(room, len(text)) + 1))
