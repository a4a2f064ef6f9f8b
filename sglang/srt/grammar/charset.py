"""Sets of characters as sorted, disjoint, inclusive ranges of code points. Surrogates are no characters."""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from functools import lru_cache

CharSet = tuple[tuple[int, int], ...]

_SURROGATES = (0xD800, 0xDFFF)
_LAST = 0x10FFFF

ANY: CharSet = ((0, _SURROGATES[0] - 1), (_SURROGATES[1] + 1, _LAST))


def charset(ranges: Iterable[tuple[int, int]]) -> CharSet:
    """The characters in any of these ranges."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted(_without_surrogates(ranges)):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return tuple(merged)


@lru_cache(maxsize=4096)
def single(character: str) -> CharSet:
    return charset([(ord(character), ord(character))])


def characters(text: Iterable[str]) -> CharSet:
    return charset((ord(character), ord(character)) for character in text)


def union(*sets: CharSet) -> CharSet:
    return charset(pair for one in sets for pair in one)


def complement(chars: CharSet) -> CharSet:
    gaps = []
    start = 0
    for low, high in chars:
        gaps.append((start, low - 1))
        start = high + 1
    return charset([*gaps, (start, _LAST)])


@lru_cache(maxsize=65_536)
def difference(chars: CharSet, other: CharSet) -> CharSet:
    return complement(union(complement(chars), other))


@lru_cache(maxsize=65_536)
def intersection(chars: CharSet, other: CharSet) -> CharSet:
    return complement(union(complement(chars), complement(other)))


@lru_cache(maxsize=65_536)
def overlap(one: CharSet, other: CharSet) -> bool:
    i = j = 0
    while i < len(one) and j < len(other):
        if one[i][1] < other[j][0]:
            i += 1
        elif other[j][1] < one[i][0]:
            j += 1
        else:
            return True
    return False


def contains(chars: CharSet, character: str) -> bool:
    place = bisect.bisect_right(chars, (ord(character), _LAST)) - 1
    return place >= 0 and ord(character) <= chars[place][1]


@lru_cache(maxsize=65_536)
def lead_bytes(chars: CharSet) -> int:
    """Bit b is set if the UTF-8 of one of the characters begins with byte b."""
    found = 0
    for low, high in chars:
        ascii_high = min(high, 0x7F)
        if low <= ascii_high:
            found |= (1 << (ascii_high + 1)) - (1 << low)
        if high > 0x7F:  # the first byte grows with the code point
            first, last = (chr(code_point).encode()[0] for code_point in (max(low, 0x80), high))
            found |= (1 << (last + 1)) - (1 << first)
    return found


def _without_surrogates(ranges: Iterable[tuple[int, int]]) -> Iterable[tuple[int, int]]:
    first, last = _SURROGATES
    for low, high in ranges:
        for part in ((low, min(high, first - 1)), (max(low, last + 1), high)):
            if part[0] <= part[1]:
                yield part
