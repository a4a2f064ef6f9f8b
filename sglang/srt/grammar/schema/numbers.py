"""Sets of numbers: intervals, of which only whole numbers, or only others, or only multiples may count."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache

from sglang.srt.grammar.charset import charset
from sglang.srt.grammar.pattern import EMPTY_TEXT, NOTHING, Pattern, chars, concat, literal, repeat, union
from sglang.srt.grammar.python_regex import parse_regex

MAX_DIGITS = 400
"""Of a number in a schema, written without an exponent."""

_FEW = 100

_BRIEF_DIGITS = 19
"""As many as a 64-bit integer has."""

_BRIEF_DIGITS_OF_FRACTION = 15
"""Before and behind the point: doubles tell as many apart, so what is below a bound is read as a number below it."""

_DIGITS_OF_BOUNDS = 15
"""Of bounds that the library reads, as doubles."""

_MOST_REMAINDERS = 1_000
"""That are counted for each number of digits: some thousand states of an automaton that is made as it is needed."""


@dataclass(frozen=True)
class Numbers:
    """From `low` to `high`, None is without end; the bounds themselves do not count where they are open.

    whole: only whole numbers, only others, or both. multiple: only multiples of it. avoided: no multiples of these.
    is_brief: of the rest those with so few digits that programs can compute with them are written. It leaves no set
    empty: there are as many more digits as the numbers have that define it.
    """

    low: Fraction | None = None
    high: Fraction | None = None
    is_low_open: bool = False
    is_high_open: bool = False
    whole: bool | None = None
    multiple: Fraction | None = None
    avoided: frozenset[Fraction] = frozenset()
    is_brief: bool = False

    def meet(self, other: Numbers) -> Numbers | None:
        """None if no number is in both."""
        if None not in (self.whole, other.whole) and self.whole != other.whole:
            return None
        low, is_low_open = max((self._low_key, other._low_key))
        high, is_high_open = min((self._high_key, other._high_key))
        found = Numbers(
            None if isinstance(low, float) else low,
            None if isinstance(high, float) else high,
            bool(is_low_open),
            not is_high_open,
            other.whole if self.whole is None else self.whole,
            _common_multiple(self.multiple, other.multiple),
            self.avoided | other.avoided,
        ).simplified()
        return None if found.is_empty else found

    @property
    def _low_key(self) -> tuple[Fraction | float, bool]:
        return (-math.inf if self.low is None else self.low, self.is_low_open)

    @property
    def _high_key(self) -> tuple[Fraction | float, bool]:
        """Of two bounds the lower comes first, and of equal ones the open one."""
        return (math.inf if self.high is None else self.high, not self.is_high_open)

    def simplified(self) -> Numbers:
        """The same set; for whole numbers and multiples the bounds are among them, and closed, and what is avoided are
        multiples of theirs.
        """
        found = self
        if found.multiple is not None and found.whole:
            found = replace(found, multiple=_common_multiple(found.multiple, Fraction(1)))
        if found.multiple is not None and found.multiple.denominator == 1 and found.whole is None:
            found = replace(found, whole=True)
        if found.whole and found.multiple == 1:
            found = replace(found, multiple=None)
        step = found.step
        if step is None:
            return found
        low, high = found.low, found.high
        if low is not None:
            low = step * (math.floor(low / step) + 1 if found.is_low_open else math.ceil(low / step))
        if high is not None:
            high = step * (math.ceil(high / step) - 1 if found.is_high_open else math.floor(high / step))
        avoided = frozenset(_least_multiple(unit, step) for unit in found.avoided)
        return replace(found, low=low, high=high, is_low_open=False, is_high_open=False, avoided=avoided)

    @property
    def step(self) -> Fraction | None:
        if self.multiple is not None:
            return self.multiple
        return Fraction(1) if self.whole else None

    @property
    def is_counted(self) -> bool:
        """Whether all multiples count, be they whole or not."""
        return self.multiple is not None and self.whole is not False and not self.avoided

    @property
    def is_empty(self) -> bool:
        if self.step in self.avoided or (self.avoided and self.members(_FEW) == []):
            return True
        if self.low is None or self.high is None:
            return False
        if self.low == self.high:
            return self.is_low_open or self.is_high_open or (self.whole is False and self.low.denominator == 1)
        return self.low > self.high

    def members(self, limit: int) -> list[Fraction] | None:
        """All of them, if there are no more than `limit`."""
        if self.low is None or self.high is None:
            return None
        step = self.step
        if self.low == self.high:
            found = [self.low]
        elif step is None or self.whole is False or (self.high - self.low) / step >= limit:
            return None
        else:
            found = [self.low + step * index for index in range(int((self.high - self.low) / step) + 1)]
        return [member for member in found if not any((member / unit).denominator == 1 for unit in self.avoided)]

    def without(self, number: Fraction) -> Iterator[Numbers]:
        """What is left of it, in parts."""
        for part in (Numbers(high=number, is_high_open=True), Numbers(low=number, is_low_open=True)):
            met = self.meet(part)
            if met is not None:
                yield met


def _common_multiple(one: Fraction | None, other: Fraction | None) -> Fraction | None:
    return one or other if one is None or other is None else _least_multiple(one, other)


def _least_multiple(one: Fraction, other: Fraction) -> Fraction:
    """That both have in common."""
    denominator = one.denominator * other.denominator
    return Fraction(math.lcm(int(one * denominator), int(other * denominator)), denominator)


def decimal_text(number: Fraction) -> str:
    """`number` is a decimal fraction; without an exponent."""
    places = 0
    while number.denominator != 1 and (number * 10**places).denominator != 1:
        places += 1
    digits = str(abs(int(number * 10**places))).zfill(places + 1)
    text = digits if not places else f"{digits[:-places]}.{digits[-places:]}"
    return f"-{text}" if number < 0 else text


NO_SPACE = {"x-guidance": {"whitespace_flexible": False}}
"""The library's own keyword: it would write white space before a value."""


def json_of_multiples(numbers: Numbers) -> str | None:
    """The same as JSON Schema, for the library to count in remainders; None if its numbers are too long for that."""
    found: dict[str, object] = {"type": "integer" if numbers.whole else "number", **NO_SPACE}
    low, high = _bounds_of_multiples(numbers)
    for keyword, bound in (("multipleOf", numbers.multiple), ("minimum", low), ("maximum", high)):
        if bound is not None:
            text = decimal_text(bound)
            if sum(map(str.isdigit, text)) > _DIGITS_OF_BOUNDS:
                return None
            found[keyword] = json.loads(text)
    return json.dumps(found)


def is_read_exactly(multiple: Fraction) -> bool:
    """Whether the library finds the number: it reads a double and multiplies that by ten until it is whole."""
    number, places = float(multiple), 0
    while number % 1:
        number, places = number * 10, places + 1
    return Fraction(int(number), 10**places) == multiple


def _bounds_of_multiples(numbers: Numbers) -> tuple[Fraction | None, Fraction | None]:
    """With ends where brief numbers have none of their own. Remainders of large numbers are not counted digit by digit:
    they have too many.
    """
    low, high, unit = numbers.low, numbers.high, numbers.multiple
    if unit is None or not numbers.is_brief or unit.numerator > _MOST_REMAINDERS:
        return low, high
    end = Fraction(10**_DIGITS_OF_BOUNDS - 1)
    if high is None and (low is None or low + unit <= end):
        high = end
    if low is None and high is not None and high - unit >= -end:
        low = -end
    return low, high


def texts_of(numbers: Numbers) -> list[list[tuple[Pattern, bool]]]:
    """Alternatives, each the texts that match all patterns marked True and none marked False. Multiples are not told
    from others.
    """
    if numbers.low is not None and numbers.low == numbers.high:
        return [[(literal(decimal_text(numbers.low)), True)]]
    kind = [*_KINDS[numbers.whole], *([(_brief(*_most_digits(numbers)), True)] if numbers.is_brief else [])]
    if numbers.low is None and numbers.high is None:
        return [kind]
    found = []
    if numbers.high is None or numbers.high > 0 or (numbers.high == 0 and not numbers.is_high_open):
        low = numbers.low if numbers.low is not None and numbers.low >= 0 else Fraction(0)
        is_low_open = numbers.is_low_open and low == numbers.low
        found.append(_magnitudes(low, is_low_open, numbers.high, numbers.is_high_open, sign=""))
    if numbers.low is None or numbers.low < 0:
        is_below = numbers.high is not None and numbers.high < 0
        nearest = -numbers.high if is_below and numbers.high is not None else Fraction(0)
        is_open = numbers.is_high_open if is_below else True
        farthest = None if numbers.low is None else -numbers.low
        found.append(_magnitudes(nearest, is_open, farthest, numbers.is_low_open, sign="-"))
    return [[*alternative, *kind] for alternative in found]


def _magnitudes(
    low: Fraction, is_low_open: bool, high: Fraction | None, is_high_open: bool, sign: str
) -> list[tuple[Pattern, bool]]:
    patterns = [_at_least(decimal_text(low), is_low_open)]
    if high is not None:
        patterns.append(_at_most(decimal_text(high), is_high_open))
    return [(concat([literal(sign), pattern]), True) for pattern in patterns]


def _digits(low: int, high: int) -> Pattern:
    return chars(charset([(0x30 + low, 0x30 + high)])) if low <= high else NOTHING


_DIGIT = _digits(0, 9)
_ANY_DIGITS = repeat(_DIGIT, 0, None)
_POINT = literal(".")
_ANY_FRACTION = repeat(concat([_POINT, repeat(_DIGIT, 1, None)]), 0, 1)
_NOT_ZERO = concat([_ANY_DIGITS, _digits(1, 9), _ANY_DIGITS])
_ZEROS = repeat(literal("0"), 0, None)


def _split(text: str) -> tuple[str, str]:
    whole, _, fraction = text.partition(".")
    return whole, fraction.rstrip("0")


def _at_least(text: str, is_open: bool) -> Pattern:
    """Decimal numbers without sign and exponent that are at least this one, or greater."""
    whole, fraction = _split(text)
    return union(
        [concat([_greater(whole), _ANY_FRACTION]), concat([literal(whole), _fraction_at_least(fraction, is_open)])]
    )


def _at_most(text: str, is_open: bool) -> Pattern:
    whole, fraction = _split(text)
    return union(
        [concat([_smaller(whole), _ANY_FRACTION]), concat([literal(whole), _fraction_at_most(fraction, is_open)])]
    )


def _greater(digits: str) -> Pattern:
    """Whole numbers, greater than this one."""
    length = len(digits)
    same = [
        concat([
            literal(digits[:place]),
            _digits(int(digits[place]) + 1, 9),
            repeat(_DIGIT, rest := length - place - 1, rest),
        ])
        for place in range(length)
    ]  # fmt: skip
    return union([*same, concat([_digits(1, 9), repeat(_DIGIT, length, None)])])


def _smaller(digits: str) -> Pattern:
    length = len(digits)
    same = [
        concat([
            literal(digits[:place]),
            _digits(1 if place == 0 and length > 1 else 0, int(digits[place]) - 1),
            repeat(_DIGIT, rest := length - place - 1, rest),
        ])
        for place in range(length)
    ]  # fmt: skip
    if length == 1:
        return union(same)
    return union([*same, literal("0"), concat([_digits(1, 9), repeat(_DIGIT, 0, length - 2)])])


def _fraction_at_least(digits: str, is_open: bool) -> Pattern:
    """With the point in front; the empty text is zero."""
    if not digits:
        return concat([_POINT, _NOT_ZERO]) if is_open else _ANY_FRACTION
    greater = [
        concat([literal(digits[:place]), _digits(int(digit) + 1, 9), _ANY_DIGITS]) for place, digit in enumerate(digits)
    ]
    return concat([_POINT, union([*greater, concat([literal(digits), _NOT_ZERO if is_open else _ANY_DIGITS])])])


def _fraction_at_most(digits: str, is_open: bool) -> Pattern:
    if not digits:
        return NOTHING if is_open else repeat(concat([_POINT, repeat(literal("0"), 1, None)]), 0, 1)
    smaller = [
        concat([literal(digits[:place]), _digits(0, int(digit) - 1), _ANY_DIGITS]) for place, digit in enumerate(digits)
    ]
    ended = [literal(digits[:place]) for place in range(1, len(digits))]
    exact = [] if is_open else [concat([literal(digits), _ZEROS])]
    return union([EMPTY_TEXT, concat([_POINT, union([*smaller, *ended, *exact])])])


def _most_digits(numbers: Numbers) -> tuple[int, int]:
    """Of whole numbers, and of others before and behind the point together.

    Between two different bounds lies a number with one place more than they have, and beyond one bound a number with
    one digit or place more; so it is with multiples.
    """
    defining = [abs(one) for one in (numbers.low, numbers.high, numbers.multiple, *numbers.avoided) if one is not None]
    split = [_split(decimal_text(one)) for one in defining]
    before = max((len(whole) for whole, _ in split), default=0)
    behind = max((len(fraction) for _, fraction in split), default=0)
    return max(_BRIEF_DIGITS, before + 1), max(_BRIEF_DIGITS_OF_FRACTION, before + behind + 1)


@lru_cache(maxsize=64)
def _brief(digits: int, digits_of_fraction: int) -> Pattern:
    texts = rf"-?([0-9]{{1,{digits}}}|[0-9.]{{1,{digits_of_fraction + 1}}})([eE][+\-]?[0-9]{{1,2}})?"
    return parse_regex("brief number", texts)


_WHOLE = parse_regex("whole", r"0|-?[1-9][0-9]*")
_DECIMAL = parse_regex("decimal", r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")
_NUMBER = parse_regex("number", r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+\-]?[0-9]+)?")
_WRITTEN_WHOLE = parse_regex("written whole", r"-?[0-9]+(\.0+)?")
_KINDS: dict[bool | None, list[tuple[Pattern, bool]]] = {
    True: [(_WHOLE, True)],
    False: [(_DECIMAL, True), (_WRITTEN_WHOLE, False)],
    None: [(_NUMBER, True)],
}
