"""Multiples of a number, and numbers that are none: listed where they are few, or else told by their last digits."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import lru_cache

from sglang.srt.grammar.charset import characters
from sglang.srt.grammar.pattern import Pattern, chars, concat, literal, repeat, union
from sglang.srt.grammar.python_regex import parse_regex
from sglang.srt.grammar.schema.numbers import Numbers, decimal_text, texts_of

MAX_LISTED = 1_000
MAX_ENDINGS = 500
"""Last digits by which multiples are told."""

_DECIMAL = parse_regex("decimal", r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_DIGIT = chars(characters("0123456789"))
_SIGN = repeat(literal("-"), 0, 1)
_SOME_DIGITS, _ZEROS = repeat(_DIGIT, 1, None), repeat(literal("0"), 0, None)


def texts_by_multiples(numbers: Numbers) -> list[list[tuple[Pattern, bool]]] | None:
    """As `texts_of`, only those of `multiple` and none of those `avoided`; None if they are too many to be listed, and
    their last digits do not tell them. Exponents do not occur.
    """
    members = numbers.members(MAX_LISTED)
    if members is not None:
        return [[(union(literal(decimal_text(member)) for member in members), True)]]
    conditions = [(_DECIMAL, True)]
    wanted = [] if numbers.multiple is None else [(numbers.multiple, True)]
    for unit, is_wanted in [*wanted, *((unit, False) for unit in sorted(numbers.avoided))]:
        multiples = _multiples(unit)
        if multiples is None:
            return None
        conditions.append((multiples, is_wanted))
    return [[*alternative, *conditions] for alternative in texts_of(numbers)]


def are_told_by_last_digits(numbers: Numbers) -> bool:
    """Whether their `multiple` is one that its multiples' last digits tell."""
    return numbers.multiple is not None and _multiples(numbers.multiple) is not None


@lru_cache(maxsize=256)
def _multiples(unit: Fraction) -> Pattern | None:
    """Those of it, among decimal numbers; None if many digits are needed to tell them."""
    places = _exponent(unit.denominator)
    if places is None:
        return None
    options = []
    for written in range(places + 1):
        # A number of so many places, read without its point, has to be a multiple of this.
        whole = int(unit * 10**places)
        endings = _endings(whole // math.gcd(whole, 10 ** (places - written)), written)
        if endings is None:
            return None
        options.append(concat([_SIGN, endings, _after(written, places)]))
    return union(options)


def _after(written: int, places: int) -> Pattern:
    """What may follow the digits that count: zeros, behind the last place."""
    if written < places:
        return literal("")
    return _ZEROS if places else repeat(concat([literal(".0"), _ZEROS]), 0, 1)


def _endings(unit: int, places: int) -> Pattern | None:
    """Digits with a point before the last `places`, which without it are a multiple of the unit."""
    length = _exponent(unit)
    if length is None or 10**length // unit > MAX_ENDINGS:
        return None
    options = []
    for value in range(0, 10**length, unit):
        digits = str(value).zfill(length)
        if length <= places:
            free = repeat(_DIGIT, places - length, places - length)
            point = literal("." if places else "")
            options.append(concat([_SOME_DIGITS, point, free, literal(digits if length else "")]))
            continue
        fraction = literal(f".{digits[length - places :]}" if places else "")
        options.append(concat([_SOME_DIGITS, literal(digits[: length - places]), fraction]))
        options.append(concat([literal(str(value // 10**places)), fraction]))
    return union(options)


def _exponent(number: int) -> int | None:
    """Of the smallest power of ten that it divides; None if it divides none."""
    twos = fives = 0
    while number % 2 == 0:
        number, twos = number // 2, twos + 1
    while number % 5 == 0:
        number, fives = number // 5, fives + 1
    return max(twos, fives) if number == 1 else None
