"""Automata of positions, and what reads texts with them, against Python's engine."""

from __future__ import annotations

import itertools
import random
import re

import pytest

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.automaton import build, positions
from sglang.srt.grammar.lexemes import not_empty
from sglang.srt.grammar.pattern import Pattern, concat, literal, num_positions, repeat, union
from sglang.srt.grammar.schema import strings
from tests.grammar.texts import accepts, grammar_of

TEXTS = ["".join(text) for length in range(8) for text in itertools.product("ab", repeat=length)]


def random_pattern(rng: random.Random, depth: int) -> tuple[Pattern, str]:
    """And the same for Python."""
    if depth == 0 or rng.random() < 0.25:
        letter = rng.choice("ab")
        return literal(letter), letter
    one, source = random_pattern(rng, depth - 1)
    other, other_source = random_pattern(rng, depth - 1)
    low, more = rng.randint(0, 3), rng.choice([None, 0, 1, 3])
    high = None if more is None else low + more
    return rng.choice(
        [
            (concat([one, other]), source + other_source),
            (union([one, other]), f"(?:{source}|{other_source})"),
            (repeat(one, low, high), f"(?:{source}){{{low},{'' if high is None else high}}}"),
        ]
    )


@pytest.mark.parametrize("by_library", [False, True])
def test_texts_match_as_in_python(by_library: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    strings.matches.cache_clear()
    monkeypatch.setattr(strings, "_MAX_PAIRS", 0 if by_library else 20_000)
    rng = random.Random(2)
    for _ in range(100 if by_library else 300):
        pattern, source = random_pattern(rng, 4)
        reader = re.compile(source)
        for text in rng.sample(TEXTS, 30):
            is_match = reader.fullmatch(text) is not None
            assert strings.matches(pattern, text) == is_match, (source, text)
            assert strings.matches(not_empty(pattern), text) == (is_match and text != ""), (source, text)
    strings.matches.cache_clear()


def test_positions_come_in_order_however_many_there_are() -> None:
    rng = random.Random(3)
    for count in (0, 1, 5, 16, 17, 40, 300):
        members = sorted(rng.sample(range(900), count))
        assert list(positions(sum(1 << member for member in members))) == members


def test_counted_repetitions_are_chains() -> None:
    """Each is linked to the next one only, not to all behind it."""
    automaton = build(repeat(literal("a"), 0, 1000))
    assert sum(after.bit_count() for after in automaton.follow) == 999


def test_what_many_parts_match_besides_nothing_stays_small() -> None:
    optional = [repeat(literal(letter), 0, 1) for letter in "ab" * 500]
    assert num_positions(not_empty(concat(optional))) < 10 * len(optional)


def test_long_repetitions_and_many_optional_parts_are_no_problem() -> None:
    long = {"format": {"type": "sequence", "elements": [
        {"type": "regex", "pattern": "[a-z]{0,9000}"}, {"type": "const_string", "value": "."},
    ]}}  # fmt: skip
    assert accepts(grammar_of("structural_tag", long), "a" * 300 + ".")
    for text, is_valid in (("ab" * 200, True), ("a" * 402, False)):
        schema = {"enum": [text, "c"], "pattern": "^(a?b?){200}c?$"}
        assert accepts(grammar_of("json_schema", schema), f'"{text}"') is is_valid
    with pytest.raises(InvalidRequestError, match="too large to tell where it ends"):
        grammar_of("structural_tag", {"format": {"type": "regex", "pattern": "a?b?" * 5000}})
