"""Lark's own notation: what it imports, ignores and repeats."""

from __future__ import annotations

import json

import pytest

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.common_terminals import COMMON_TERMINALS
from tests.grammar.texts import accepts, grammar_of

EXAMPLES = {
    "DIGIT": (["7"], ["", "77", "٣"]),
    "HEXDIGIT": (["f", "B", "0"], ["g", "ff"]),
    "INT": (["0", "007"], ["", "-1", "1.0"]),
    "SIGNED_INT": (["-1", "+1", "1"], ["--1", "-"]),
    "DECIMAL": (["1.", ".5", "1.5"], ["1", "."]),
    "_EXP": (["e5", "E-05"], ["5", "e"]),
    "FLOAT": (["1e5", "1.5", ".5E+2", "1."], ["1", "e5"]),
    "SIGNED_FLOAT": (["-1e5", "+.5"], ["-1"]),
    "NUMBER": (["1", "1.5e3"], ["-1"]),
    "SIGNED_NUMBER": (["-1", "+1.5e3", "2"], ["1-"]),
    "ESCAPED_STRING": ([r'""', r'"a\"b"', r'"\\"', '"é\t"'], ['"a\nb"', r'"\"', '"', '"\\\n"']),
    "LCASE_LETTER": (["a"], ["A", "é"]),
    "UCASE_LETTER": (["Z"], ["z"]),
    "LETTER": (["a", "Z"], ["_", "ab"]),
    "WORD": (["abC"], ["a1", ""]),
    "CNAME": (["_a1", "A"], ["1a", ""]),
    "WS_INLINE": ([" \t"], ["\n", ""]),
    "WS": ([" \t\f\r\n"], ["\v", ""]),
    "CR": (["\r"], ["\n"]),
    "LF": (["\n"], ["\r"]),
    "NEWLINE": (["\n", "\r\n\n"], ["\r", ""]),
    "SH_COMMENT": (["#", "# a"], ["#\n", "a"]),
    "CPP_COMMENT": (["//", "// a"], ["//\n", "/"]),
    "C_COMMENT": (["/**/", "/* a\n* **/"], ["/*/", "/* */ */"]),
    "SQL_COMMENT": (["--", "-- a"], ["--\n", "-"]),
}


def test_every_common_terminal_has_examples() -> None:
    assert EXAMPLES.keys() == COMMON_TERMINALS.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_common_terminals(name: str) -> None:
    end = "\n" if name.endswith("COMMENT") else ">"  # of comments the last lexeme goes on otherwise
    grammar = grammar_of("ebnf", f'start: "<" {name} {json.dumps(end)}\n%import common.{name}\n')
    right, wrong = EXAMPLES[name]
    assert [text for text in right if not accepts(grammar, f"<{text}{end}")] == []
    assert [text for text in wrong if accepts(grammar, f"<{text}{end}")] == []


@pytest.mark.parametrize(
    ("source", "right", "wrong"),
    [
        ("start: INT WORD\n%import common (INT, WORD)", "1a", "a1"),
        ("start: N\n%import common.INT -> N", "12", "a"),
        ("start: N // %import common.INT\n%import common . INT->N", "12", "a"),
        ('start: "a" "b"\n%ignore " "', "a  b", "a_b"),
        ('start: "a" "b"\n%ignore " "', "ab", "ab "),
        ('start: A "c"\nA: "a" "b"\n%ignore " "', "ab c", "a bc"),
        ('start: x ~ 2..3\nx: "a" | "b"', "aba", "a"),
        ('start: "a"~2', "aa", "aaa"),
        ('?start: ["a"] x -> y\n!x: "B"i', "ab", "a"),
    ],
)
def test_notation(source: str, right: str, wrong: str) -> None:
    grammar = grammar_of("ebnf", source)
    assert accepts(grammar, right)
    assert not accepts(grammar, wrong)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ('start: A\nA: ~"a"', "'~' between terminals is not supported"),
        ("start: A\n%import common.NOTHING -> A", "cannot be used"),
        ("start: INT\nINT: /a/\n%import common.INT", "duplicate token"),
        ('start: r "y"\nr[lazy]: /a*/', "the library fails at it: assertion failed: !state.has_lowest_match(): 'start"),
    ],
)
def test_what_is_refused(source: str, said: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        grammar_of("ebnf", source)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 700
