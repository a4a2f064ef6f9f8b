"""Regular expressions for the numbers in a range, as JSON writes numbers, but without an exponent.

A number of d decimals is a whole number of units of 10**-d. Texts of one length are ordered like the numbers they stand
for, so a range falls into pieces of equal length, and each is described from its first character on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

INTEGER = "-?(?:0|[1-9][0-9]*)"
NUMBER = rf"{INTEGER}(?:\.[0-9]{{1,17}})?(?:[eE][-+]?[0-9]{{1,2}})?"


@dataclass(frozen=True, slots=True)
class Bound:
    value: Fraction
    is_excluded: bool = False

    def first(self, decimals: int) -> int:
        """The least number of this many decimals that is not below, in units."""
        units = self.value * Fraction(10**decimals)
        first = math.ceil(units)
        return first + 1 if self.is_excluded and first == units else first

    def last(self, decimals: int) -> int:
        return -Bound(-self.value, self.is_excluded).first(decimals)


def numbers_between(minimum: Bound | None, maximum: Bound | None, max_decimals: int) -> str:
    """All numbers in the range that have at most `max_decimals` decimals. Raises ValueError if there are none."""
    alternatives: list[str] = []
    for decimals in range(max_decimals + 1):
        first = None if minimum is None else minimum.first(decimals)
        last = None if maximum is None else maximum.last(decimals)
        alternatives.extend(_signed(first, last, decimals))
    if not alternatives:
        raise ValueError("no number is in the range")
    return f"(?:{'|'.join(alternatives)})"


def _signed(first: int | None, last: int | None, decimals: int) -> Iterator[str]:
    if last is None or last >= 0:
        yield from _from(max(first or 0, 0), last, decimals)
    if first is None or first < 0:
        magnitude = 1 if last is None or last >= 0 else -last
        for alternative in _from(magnitude, None if first is None else -first, decimals):
            yield "-" + alternative


def _from(first: int, last: int | None, decimals: int) -> Iterator[str]:
    """What is not negative, a piece for every number of digits."""
    width = max(len(str(first)), decimals + 1)
    while last is None or first <= last:
        greatest = 10**width - 1
        upper = greatest if last is None else min(greatest, last)
        yield _between(_written(first, width, decimals), _written(upper, width, decimals))
        if last is None:
            yield f"[1-9][0-9]{{{width - decimals},}}" + _any(_written(0, decimals + 1, decimals)[1:])
            return
        first, width = greatest + 1, width + 1


def _written(units: int, width: int, decimals: int) -> str:
    digits = str(units).zfill(width)
    return f"{digits[:-decimals]}.{digits[-decimals:]}" if decimals else digits


def _between(lower: str, upper: str) -> str:
    """The texts from `lower` to `upper`, which are equally long and have their point at the same place."""
    if not lower:
        return ""
    low, high, rest = lower[0], upper[0], lower[1:]
    zeros, nines = re.sub("[0-9]", "0", rest), re.sub("[0-9]", "9", rest)
    if low == high:
        return re.escape(low) + _between(rest, upper[1:])
    parts = []
    if rest != zeros:
        parts.append(low + _between(rest, nines))
        low = chr(ord(low) + 1)
    last_part = []
    if upper[1:] != nines:
        last_part.append(high + _between(zeros, upper[1:]))
        high = chr(ord(high) - 1)
    if low <= high:
        parts.append(_digit(low, high) + _any(rest))
    parts.extend(last_part)
    return parts[0] if len(parts) == 1 else f"(?:{'|'.join(parts)})"


def _digit(low: str, high: str) -> str:
    return low if low == high else f"[{low}-{high}]"


def _any(text: str) -> str:
    """All texts with digits where this has digits."""
    return re.sub("[0-9]", "[0-9]", re.escape(text))
