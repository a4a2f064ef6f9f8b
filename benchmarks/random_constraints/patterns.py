"""Random regular expressions in Python's notation, each with a text that it matches."""

from __future__ import annotations

import random

Drawn = tuple[str, str]
"""An expression and a text."""

ATOMS: tuple[Drawn, ...] = (
    ("a", "a"),
    ("(?:hello)", "hello"),
    ("(?:x-y)", "x-y"),
    (r"\.", "."),
    ("é", "é"),
    ("(?:日本)", "日本"),
    (r"\d", "7"),
    (r"\w", "w"),
    (r"\s", " "),
    (r"\D", "d"),
    (r"\S", "s"),
    (".", "o"),
    ("[a-f]", "b"),
    ("[^a-z]", "4"),
    (r"[\w.+-]", "+"),
    (r"[^\d\s]", "n"),
    (r"\x41", "A"),
    ("[à-ü]", "è"),
    (r"\t", "\t"),
    (r"[\]\[^-]", "^"),
    ("🙂", "🙂"),
)
QUANTIFIERS = (
    *[("", 1)] * 4,
    *(("?", 1), ("*", 2), ("+", 2), ("{2}", 2), ("{1,3}", 2), ("{0,2}", 1), ("{2,4}", 3)),
    *(("{2,}", 3), ("??", 0), ("*?", 1), ("+?", 1), ("{1,4}?", 2)),
)
"""Each with a number of times that it allows."""

FLAGS = ("", "", "", "(?i)", "(?s)", "(?a)")
DEPTH = 2
MAX_PARTS = 3


def draw_regex(draw: random.Random) -> Drawn:
    """It ends in a character of its own, so that it does not match the empty text only."""
    expression, text = _expression(draw, DEPTH)
    start, end = ("^", "$") if draw.random() < 0.1 else ("", "")
    return f"{draw.choice(FLAGS)}{start}{expression}!{end}", f"{text}!"


def _expression(draw: random.Random, depth: int) -> Drawn:
    parts = [_quantified(draw, depth) for _ in range(draw.randint(1, MAX_PARTS))]
    return "".join(part[0] for part in parts), "".join(part[1] for part in parts)


def _quantified(draw: random.Random, depth: int) -> Drawn:
    atom, text = draw.choice(ATOMS) if depth == 0 or draw.random() < 0.6 else _group(draw, depth - 1)
    quantifier, times = draw.choice(QUANTIFIERS)
    return atom + quantifier, text * times


def _group(draw: random.Random, depth: int) -> Drawn:
    options = [_expression(draw, depth) for _ in range(draw.randint(1, MAX_PARTS))]
    opening = draw.choice(("(", "(?:", "(?:", "(?i:"))
    return f"{opening}{'|'.join(option[0] for option in options)})", options[0][1]
