"""Answers of constraints with a thought before them."""

from __future__ import annotations

from typing import Any

import pytest

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.frame import Frame, ThoughtMarks
from tests.grammar.texts import Kind, accepts, grammar_of

BEGUN, NOT_BEGUN = (Frame(ThoughtMarks("<think>", "</think>", is_begun)) for is_begun in (True, False))

TRIGGERED = {"structures": [{"begin": "<f>", "schema": {"type": "integer"}, "end": "</f>"}], "triggers": ["<f>"]}
TWELVE: list[tuple[Kind, Any]] = [
    ("json_schema", {"type": "integer"}),
    ("regex", "[0-9]+"),
    ("choices", ["12", "13"]),
    ("ebnf", 'root ::= "1" "2"+'),
    ("ebnf", "root ::= digit root | digit\ndigit ::= [0-9]"),
    ("ebnf", 'start: "1" START\nSTART: /[0-9]/  // start'),
    ("ebnf", 'root ::= "<title>" root | "12"'),
    ("ebnf", 'start: %json {"type": "integer", "title": "start"}'),
    ("structural_tag", {"format": {"type": "regex", "pattern": "[0-9]+"}}),
]


@pytest.mark.parametrize(("kind", "source"), TWELVE)
def test_every_constraint_begins_where_the_thought_ends(kind: Kind, source: Any) -> None:
    begun, not_begun = (grammar_of(kind, source, frame) for frame in (BEGUN, NOT_BEGUN))
    for text, fits_begun, fits_not_begun in (
        ("12", False, True),
        ("a</think>12", True, False),
        ("<think>a\nb</think>\n\n12", True, True),
        ("<think></think> 12", True, True),
        ("<think>12", False, False),
        ("<think></think>x", False, False),
        ("<think></think>\n\n\n12", False, False),
        ("<think></think>12</think>12", False, False),
    ):
        assert accepts(begun, text) is fits_begun, text
        assert accepts(not_begun, text) is fits_not_begun, text


@pytest.mark.parametrize(
    ("kind", "source"),
    [("regex", "(.|\\n)*"), ("ebnf", "root ::= [^\\x01]*"), ("structural_tag", TRIGGERED)],
)
def test_an_answer_of_any_text_begins_with_no_space_and_no_thought(kind: Kind, source: Any) -> None:
    """Who reads it takes the white space away, and what begins like a thought for one."""
    begun, not_begun = (grammar_of(kind, source, frame) for frame in (BEGUN, NOT_BEGUN))
    for text, fits_begun, fits_not_begun in (
        ("a", False, True),
        ("<thin", False, True),
        ("<think>", False, False),
        ("</think>a </think>", True, True),
        ("<think></think>\n\na", True, True),
        ("<think></think>\n\n\na", False, False),
        ("</think>\u3000\u3000\u3000a", False, True),
    ):
        assert accepts(begun, text) is fits_begun, text
        assert accepts(not_begun, text) is fits_not_begun, text


def test_tags_after_a_thought() -> None:
    grammar = grammar_of("structural_tag", TRIGGERED, NOT_BEGUN)
    for text in ("a <f>1</f>", "<think><f></think>\n<f>1</f> b", "<f>1</f><think>"):
        assert accepts(grammar, text), text
    for text in ("a <f>", "<think></think><f>x</f>", "<think></think><f>"):
        assert not accepts(grammar, text), text


@pytest.mark.parametrize(
    ("kind", "source", "message"),
    [
        ("ebnf", 'root ::= "(" root ")" | " "', "ebnf cannot be told from a thought: it may begin with ' ', too"),
        (
            "ebnf",
            'root ::= "<" [a-z]+ ">" root | "a"',
            "ebnf cannot be told from a thought: it may begin with '<think>', too",
        ),
        ("ebnf", "start: /\\n*a/", "ebnf cannot be told from a thought: it may begin with '\\n', too"),
    ],
)
def test_what_cannot_be_told_from_a_thought_is_refused(kind: Kind, source: Any, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        grammar_of(kind, source, NOT_BEGUN)
    assert str(caught.value) == message


def test_an_answer_that_is_never_told_apart_matches_nothing() -> None:
    with pytest.raises(InvalidRequestError, match="regex"):
        grammar_of("regex", r"\s+", BEGUN)
