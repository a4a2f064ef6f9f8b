"""Regular expressions mean what ``re.fullmatch`` makes of them, or are refused by name."""

from __future__ import annotations

import re
import sys

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.limits import MAX_CONSTRAINT_BYTES, MAX_NESTING, MAX_POSITIONS
from sglang.srt.grammar.pattern import Chars
from sglang.srt.grammar.python_regex import parse_regex
from tests.grammar.texts import accepts, grammar_of

TABLE: list[tuple[str, list[str], list[str]]] = [
    # pattern, accepted, rejected
    (r"abc", ["abc"], ["", "ab", "abcd", "ABC"]),
    (r"(Paris|London)", ["Paris", "London"], ["Pari", "ParisLondon"]),
    (r"\d{4}-\d{2}-\d{2}", ["2024-01-31"], ["2024-1-31", "2024-01-31 "]),
    (r"\d+\.?\d*", ["1", "1.", "1.5"], [".5", "1.5.", ""]),
    (r"[a-zA-Z0-9._%+-]+@[a-zA-Z0-9.-]+\.[a-zA-Z]{2,}", ["a.b+c@d-e.org"], ["a@b", "@b.de", "a@b.c"]),
    (r"1[3-9]\d{9}", ["13912345678"], ["12912345678", "1391234567"]),
    (r"\{.*?\}", ["{}", "{a}", "{a}}"], ["{", "{\n}", "a{}"]),
    (r"\{[^}]*\}", ["{}", "{\n}"], ["{}}"]),
    (r"[-+]?[0-9]+[ \n]*", ["-12", "3 \n"], ["", "- 1", "1a"]),
    (r"\"[\w\d\s]*\"", ['"é 1_"', '""'], ['"-"', '"']),
    (r"a*?b+?c??", ["b", "aabbc"], ["", "aac"]),
    (r"a{2,3}?|b{2}|c{,2}|d{3,}", ["aa", "bb", "", "cc", "dddd"], ["a", "aaaa", "ccc", "dd"]),
    (r"(?:a|)(|b)c", ["c", "ac", "bc", "abc"], ["ab"]),
    (r"(?P<x>a)(?#comment)b", ["ab"], ["a"]),
    (r"(?x) a  b # comment", ["ab"], ["a b"]),
    (r"[]a]", ["]", "a"], ["[", ""]),
    (r"[^]a]", ["[", "\n"], ["]", "a"]),
    (r"[\]\-\\^]", ["]", "-", "\\", "^"], ["a"]),
    (r"[a\-z]", ["a", "-", "z"], ["b"]),
    (r"[+-\-]", ["+", ",", "-"], ["."]),
    (r"\x41\u00e9\U0001f600\101\0\n\t\\", ["Aé😀A\0\n\t\\"], ["A"]),
    (r".", ["a", "é", "😀", "\r"], ["\n", "", "ab"]),
    (r"(?s).", ["\n", "a"], [""]),
    (r"(?s:.).", ["\na"], ["a\n"]),
    (r"\D\W\S", ["a- "[:2] + "x"], ["1-x", "aax", "a- "]),
    (r"[^\w\s]", ["-", "😀"], ["a", " ", "_"]),
    (r"[\d\s]", ["1", "\u2003"], ["a"]),
    (r"(?a)\w\d\s", ["a1 "], ["é1 ", "a٢ ", "a1\u2003"]),
    (r"\w", ["a", "é", "_", "三", "中", "ª"], ["-", "\u0301", "😀", "\u203f"]),
    (r"\s", [" ", "\x1c", "\x85", "\u3000"], ["\u200b", "a"]),
    (r"(?i)straße", ["STRAßE", "ſtraẞe"], ["strasse"]),
    (r"(?i)k", ["k", "K", "\u212a"], ["q"]),
    (r"(?ia)k", ["k", "K"], ["\u212a"]),
    (r"(?i)[^k]", ["a"], ["k", "K", "\u212a"]),
    (r"(?i)[à-ý]+", ["ÀÝ", "éé"], ["e"]),
    (r"(?i:a)b", ["ab", "Ab"], ["AB"]),
    (r"(?i)a(?-i:b)", ["Ab", "ab"], ["aB"]),
    (r"^abc$", ["abc"], ["abc\n"]),
    (r"\Aabc\Z", ["abc"], ["abc\n"]),
    (r"(?m)^abc$", ["abc"], ["abc\n"]),
    (r"(^a|b)c($|d)", ["ac", "bc", "acd"], ["c"]),
    (r"^^(?:^a)?(?:b$)?$$", ["", "a", "ab", "b"], ["ba"]),
    (r"a|[^\s\S]|(?:b[^\s\S]){0,3}", ["a", ""], ["b"]),
    (r"(?:a{0}b){2}", ["bb"], ["ab"]),
    ("é\u0301|日本語", ["é\u0301", "日本語"], ["é", "日"]),
    ("\n\\\n", ["\n\n"], ["\n"]),
    (r"/\"'`#", ["/\"'`#"], ["/"]),
]


@pytest.mark.parametrize(("pattern", "accepted", "rejected"), TABLE)
def test_table(pattern: str, accepted: list[str], rejected: list[str]) -> None:
    grammar = grammar_of("regex", pattern)
    assert [accepts(grammar, text) for text in accepted] == [True] * len(accepted)
    assert [accepts(grammar, text) for text in rejected] == [False] * len(rejected)
    assert all(re.fullmatch(pattern, text) for text in accepted), "the table is wrong"
    assert not any(re.fullmatch(pattern, text) for text in rejected), "the table is wrong"


@pytest.mark.parametrize("pattern", [r"\d", r"\w", r"[\d_]", r"(?i)[\w-]"])
def test_digits_that_hardly_anybody_means_are_not_generated(pattern: str) -> None:
    """Though they match. Who names them gets them, and what must be no digit is none of them."""
    tagged = grammar_of("structural_tag", {"format": {"type": "regex", "pattern": pattern}})
    for grammar in (grammar_of("regex", pattern), tagged):
        assert accepts(grammar, "7") and not any(accepts(grammar, text) for text in "٢𝟘🯸½²")
    assert all(re.fullmatch(r"\w", text) for text in "٢𝟘🯸½²") and re.fullmatch(r"\d+", "٢𝟘🯸")
    named = grammar_of("regex", r"[\d٠-٩]+")
    assert accepts(named, "2٢") and not accepts(named, "𝟘")
    assert not any(accepts(grammar_of("regex", without), "٢") for without in (r"\D", r"[^\d]", r"\W", r"[^\w]"))
    assert accepts(grammar_of("regex", r"\S"), "٢")


@pytest.mark.parametrize("pattern", [r"[\w\W]", r"[\d\D]", r"[\w\D]", r"(?i)[\W\w]"])
def test_sets_of_all_characters_have_all_digits(pattern: str) -> None:
    grammar = grammar_of("regex", pattern)
    assert all(accepts(grammar, text) for text in "a2-\n٢𝟘🯸½²Ⅷ")


def test_numerals_with_a_case_are_not_generated_either() -> None:
    assert re.fullmatch(r"(?i)\w", "Ⅷ") and re.fullmatch(r"(?i)\w", "ⅷ")
    assert not any(accepts(grammar_of("regex", p), t) for p in (r"\w", r"(?i)\w", r"(?i:[\d\w])") for t in "Ⅷⅷ")
    named = grammar_of("regex", r"(?i)[\wⅧ]")
    assert all(accepts(named, text) for text in "aAⅧⅷ") and not accepts(named, "Ⅸ")


NOT_SUPPORTED = "which is not supported"
REFUSED: list[tuple[str, str]] = [
    (r"ab(", "regex is not a regular expression: missing ), unterminated subpattern at position 2: 'ab('"),
    (r"a**", "regex is not a regular expression: multiple repeat at position 2"),
    (r"[z-a]", "regex is not a regular expression: bad character range z-a at position 1"),
    (r"a(?=b)", f"regex has a lookaround (position 1), {NOT_SUPPORTED}: 'a(?=b)'"),
    (r"(?<!a)b(?!c)", f"regex has a lookaround (position 0, 7), {NOT_SUPPORTED}"),
    (r"(?!)", f"regex has a lookaround (position 0), {NOT_SUPPORTED}"),
    (r"(a)\\\1", f"regex has a backreference (position 5), {NOT_SUPPORTED}"),
    (r"(?P<x>a)(?P=x)", f"regex has a backreference (position 8), {NOT_SUPPORTED}"),
    (r"(a)?(?(1)b|c)", f"regex has a conditional group (position 4), {NOT_SUPPORTED}"),
    (r"\bab\B", f"regex has a word boundary (position 0, 4), {NOT_SUPPORTED}"),
    (r"a^[\^$]b", "regex has an anchor (position 1) elsewhere than at its beginning, which is not supported"),
    (r"(a$)+", "regex has an anchor (position 2) elsewhere than at its end, which is not supported"),
    (r"(^a)*", "regex has an anchor (position 1) elsewhere than at its beginning"),
    (r"a\Zb", "regex has an anchor (position 1) elsewhere than at its end"),
    (r"a\A", "regex has an anchor (position 1) elsewhere than at its beginning"),
    (r"[^\s\S]", "regex matches no text at all"),
    (r"a[^\s\S]b", "regex matches no text at all"),
    (r"()", "regex matches only the empty text: '()'"),
    (r"a{0}|^$", "regex matches only the empty text"),
    ("\\ud800", "regex has the lone surrogate \\ud800, which is no character"),
    (r"[a-\udc00]", "regex has the lone surrogate \\udc00, which is no character"),
    (r"a{5000000000}", "regex: the repetition number is too large"),
    (r"(a{1000}){1000}", f"regex has 1000000 characters with its repetitions written out; at most {MAX_POSITIONS}"),
    (r"((((a{99}){99}){99}){99}){99}", "regex has 9509900499 characters with its repetitions written out"),
    ("(" * 25 + "a" + ")" * 25, f"regex is nested more than {MAX_NESTING} levels deep"),
    ("(?:a|b" * 13 + "c" + ")?" * 13, f"regex is nested more than {MAX_NESTING} levels deep"),
    ("(" * 50_000, f"regex is nested more than {MAX_NESTING} levels deep"),
    ("a" * 262_145, f"regex has 262145 bytes; a constraint has at most {MAX_CONSTRAINT_BYTES}"),
]
if sys.version_info >= (3, 11):
    REFUSED += [
        (r"a(?>b)", f"regex has an atomic group (position 1), {NOT_SUPPORTED}"),
        (r"a++b", f"regex has a possessive quantifier (position 1), {NOT_SUPPORTED}"),
        (r"a{2}+", f"regex has a possessive quantifier (position 3), {NOT_SUPPORTED}"),
    ]


def test_nesting_up_to_the_limit() -> None:
    nested = "(?:a|b" * 12 + "c" + ")?" * 12
    assert accepts(grammar_of("regex", nested), "b" * 12 + "c")
    assert accepts(grammar_of("regex", "(" * 23 + "a" + ")" * 23), "a")


@pytest.mark.parametrize(("pattern", "message"), REFUSED, ids=[pattern[:20] for pattern, _ in REFUSED])
def test_refused(pattern: str, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        grammar_of("regex", pattern)
    assert str(caught.value).startswith(message) and len(str(caught.value)) < 300


@pytest.mark.parametrize("part", ["a", "[", "{", "(?", "\\", "a|", "(?:a)", "[a]", "word|"])
def test_what_is_much_too_long_is_refused_at_once(part: str) -> None:
    """A pattern of twice the size takes twice the time, not four times: that were 40 seconds."""
    with pytest.raises(InvalidRequestError, match=r"^regex "):
        grammar_of("regex", part * (262_144 // len(part)))


def test_what_is_long_as_written_is_not_read() -> None:
    with pytest.raises(InvalidRequestError, match="has more than 20000 characters"):
        grammar_of("regex", "a" * 80_000)
    for source in ("a" * 80_001, "word|" * 30_000, r"\." * 10_000 + "[a-z]b{2}" * 10_000 + "a" * 70_001):
        with pytest.raises(InvalidRequestError, match="has more than 80000 literal characters"):
            grammar_of("regex", source)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        (r"[[a]", "[", True),  # Python warns of these two: they may mean something else one day
        (r"[a||b]", "|", True),
        (r"(a|aa)+b", "a" * 200, False),
        (r"(a*)*b", "a" * 200 + "b", True),
        (r"(?:a?){500}a{500}", "a" * 60, False),
        (r"a{0,10000}", "a" * 200, True),
    ],
)
def test_questionable_and_catastrophic_patterns(pattern: str, text: str, expected: bool) -> None:
    assert accepts(grammar_of("regex", pattern), text) == expected


ALPHABET = "abAB01 _-\n.éªſK"

ATOMS = st.sampled_from(
    [
        "a",
        "b",
        "0",
        "é",
        ".",
        r"\d",
        r"\w",
        r"\s",
        r"\D",
        r"\W",
        r"\S",
        "[ab]",
        "[^a]",
        r"[\w-]",
        "[a-b0-9]",
        r"[^\d\s]",
        "",
        "_",
    ]
)
SUFFIXES = st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{,2}", "{2,}", "*?", "+?", "??"])


def joined(children: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.lists(children, min_size=1, max_size=3).map("".join),
        st.lists(children, min_size=2, max_size=3).map(lambda options: f"(?:{'|'.join(options)})"),
        st.tuples(children, SUFFIXES).map(lambda pair: f"(?:{pair[0]}){pair[1]}"),
        st.tuples(children, st.sampled_from("iasm")).map(
            lambda pair: f"(?{pair[1]}:{pair[0]})" if pair[1] != "a" else pair[0]
        ),
        children.map(lambda inner: f"({inner})"),
    )


PATTERNS = st.builds(
    lambda flags, first, body, last: f"{flags}{first}{body}{last}",
    st.sampled_from(["", "(?i)", "(?a)", "(?ia)", "(?s)"]),
    st.sampled_from(["", "^", r"\A"]),
    st.recursive(ATOMS, joined, max_leaves=8),
    st.sampled_from(["", "$", r"\Z"]),
)


@settings(max_examples=250, deadline=None)
@given(pattern=PATTERNS, texts=st.lists(st.text(ALPHABET, max_size=6), min_size=1, max_size=12))
def test_random_patterns_against_python(pattern: str, texts: list[str]) -> None:
    compiled = re.compile(pattern)
    try:
        grammar = grammar_of("regex", pattern)
    except InvalidRequestError as error:
        assume("anchor" not in str(error))  # else it matches nothing, or only the empty text
        assert not any(compiled.fullmatch(text) for text in texts if text)
        return
    for text in texts:
        assert accepts(grammar, text) == (compiled.fullmatch(text) is not None), (pattern, text)


@pytest.mark.parametrize(
    "pattern", [r"(?i)[a-zà-þ]", r"(?i)[^i]", r"(?i)[ſ-Ɓ\d]", r"[^\W\d_]", r"(?i)\w", r"(?i)[\u0390\u1fd3]"]
)
def test_every_character_against_python(pattern: str) -> None:
    """Sets under ``(?i)`` have corners: characters that become one another by way of a third."""
    everything = [chr(i) for low, high in cs.ANY for i in range(low, high + 1)]
    expected = cs.characters(re.findall(pattern, "".join(everything)))
    assert parse_regex("regex", pattern) == Chars(expected)
