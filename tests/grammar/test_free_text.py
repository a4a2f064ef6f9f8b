"""Texts without some words, against all texts."""

from __future__ import annotations

import itertools
import random

import pytest

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.lark import regular_rules
from sglang.srt.grammar.structural.free_text import texts_without
from tests.grammar.texts import acceptor

WORDS = [
    ["a"],
    ["ab"],
    ["aab"],
    ["abab"],
    ["ab", "ba"],
    ["aa", "aab"],
    ["abc", "bca", "b"],
    ["aba", "bb"],
    ["a", "b", "c"],
]


@pytest.mark.parametrize("words", WORDS)
def test_texts_without_words_are_all_the_others(words: list[str]) -> None:
    matches = acceptor(regular_rules(texts_without("", words), "start"))
    texts = [
        "".join(text)
        for length in range(7)
        for text in itertools.product("abc"[: 3 if length < 6 else 2], repeat=length)
    ]
    assert [text for text in texts if matches(text) is any(word in text for word in words)][:5] == []


def test_words_that_are_too_many_to_be_left_out_are_refused() -> None:
    rng = random.Random(1)
    words = ["".join(rng.choices("ab", k=40)) for _ in range(10)]
    with pytest.raises(InvalidRequestError, match="name has texts that are too many, or too alike"):
        texts_without("name", words)


def test_words_that_are_too_long_together_are_refused() -> None:
    with pytest.raises(InvalidRequestError, match="name has texts of more than 400 characters together"):
        texts_without("name", [f"word {number}" for number in range(100)])
