"""Ranges of numbers as regular expressions, against Python's own idea of what lies in them."""

from __future__ import annotations

import json
import random
import re
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglang.lang.typed.number_regex import INTEGER, NUMBER, Bound, numbers_between

BOUNDS = st.none() | st.builds(Bound, st.integers(-1200, 1200).map(Fraction), st.booleans())


def is_inside(number: Fraction, minimum: Bound | None, maximum: Bound | None) -> bool:
    above = minimum is None or number > minimum.value or (number == minimum.value and not minimum.is_excluded)
    below = maximum is None or number < maximum.value or (number == maximum.value and not maximum.is_excluded)
    return above and below


@given(BOUNDS, BOUNDS)
def test_integers(minimum: Bound | None, maximum: Bound | None) -> None:
    inside = [number for number in range(-1300, 1301) if is_inside(Fraction(number), minimum, maximum)]
    if not inside:
        with pytest.raises(ValueError, match="no number is in the range"):
            numbers_between(minimum, maximum, 0)
        return
    regex = re.compile(numbers_between(minimum, maximum, 0))
    assert [number for number in range(-1300, 1301) if regex.fullmatch(str(number))] == inside


@given(
    st.decimals(-30, 30, places=2),
    st.decimals(0, 30, places=3),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_decimals(least: Decimal, width: Decimal, is_left_open: bool, is_right_open: bool, seed: int) -> None:
    minimum = Bound(Fraction(least), is_left_open)
    maximum = Bound(Fraction(least) + Fraction(width), is_right_open)
    if width < 1:
        return
    regex = re.compile(numbers_between(minimum, maximum, 3))
    randoms = random.Random(seed)
    edges = [minimum.value, maximum.value]
    for decimals in range(4):
        near = [round(edge * 10**decimals) + step for edge in edges for step in (-1, 0, 1)]
        anywhere = [randoms.randrange(-40 * 10**decimals, 70 * 10**decimals) for _ in range(30)]
        for units in near + anywhere:
            text = f"{Decimal(units).scaleb(-decimals):f}"
            expected = is_inside(Fraction(units, 10**decimals), minimum, maximum) and not re.match("-[0.]*$", text)
            assert bool(regex.fullmatch(text)) == expected, text


@pytest.mark.parametrize("text", ["007", "+1", "1.", ".5", "1.2345678", "-0", " 1", "1e5", ""])
def test_only_as_json_writes_them(text: str) -> None:
    assert not re.fullmatch(numbers_between(Bound(Fraction(-5)), None, 6), text)


@pytest.mark.parametrize("regex", [INTEGER, NUMBER])
@pytest.mark.parametrize(
    "text", ["0", "-1", "10", "99999999999999999999", "0.5", "-3.25", "6.02e23", "1E-9", "01", "-"]
)
def test_without_a_range(regex: str, text: str) -> None:
    """What matches is JSON, and of integers an integer; the other way round for what is written without need."""
    if re.fullmatch(regex, text):
        number = json.loads(text)
        assert isinstance(number, int) or regex is NUMBER
    else:
        assert regex is INTEGER or text in ("01", "-")
