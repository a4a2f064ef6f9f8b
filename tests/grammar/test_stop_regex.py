"""Stop patterns found in a growing text, against ``re`` looking at the whole of it every time."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar import charset as cs
from sglang.srt.grammar.stop_regex import (
    MAX_STOP_POSITIONS,
    Match,
    StopSearch,
    check_stop_regexes,
    compile_stop_regex,
)

PATTERNS = ["ab", "a+b", r"\n\n+", "a.*b", r"\d{2,3}", "é|€a", "b|ab", "(ab|c)*d", "[^a]b", r"\s", "(?i)AB", "a{3}|aab"]


def first_match(pattern: str, text: str) -> Match | None:
    """The match complete first, of those the longest; offsets in bytes."""
    for end in range(1, len(text) + 1):
        for start in range(end):
            if re.compile(pattern).fullmatch(text, start, end):
                return Match(len(text[:end].encode()), len(text[:start].encode()), pattern)
    return None


def may_become_a_match(pattern: str, text: str, start: int) -> bool:
    """Whether some short text after `text` completes a match that begins at character `start`."""
    tails = ["", *"ab1d\n€c", "ab", "bb", "aab", "11", "111", "ad", "aa"]
    return any(re.compile(pattern).fullmatch(text + tail, start) for tail in tails)


@settings(max_examples=400, deadline=None)
@given(
    pattern=st.sampled_from(PATTERNS),
    text=st.text("ab1cdé€\n A", max_size=14),
    lengths=st.lists(st.integers(1, 5), max_size=40),
)
def test_against_the_whole(pattern: str, text: str, lengths: list[int]) -> None:
    """However the bytes are cut. Nothing that may still become part of a match is given away."""
    search = StopSearch(compile_stop_regex(pattern))
    data, place = text.encode(), 0
    for length in [*lengths, len(data) + 1]:
        found = search.push(data[place : place + length])
        place = min(place + length, len(data))
        so_far = data[:place].decode(errors="ignore")
        expected = first_match(pattern, so_far)
        assert (min(found, key=lambda match: match[:2]) if found else None) == expected
        if expected:
            return
        undecided = [i for i in range(len(so_far)) if may_become_a_match(pattern, so_far, i)]
        if undecided:
            assert search.undecided_from <= len(so_far[: undecided[0]].encode())
    assert first_match(pattern, text) is None


def test_only_what_may_become_a_match_is_held_back() -> None:
    search = StopSearch(compile_stop_regex(r"\nUser:|a{2}x"))
    for text, undecided in [("Hello", 0), ("\n", 1), ("Us", 3), ("e!", 0), ("aaaa", 2), ("\n", 1), ("b\u00e9", 0)]:
        assert search.push(text.encode()) == []
        assert search._num_bytes - search.undecided_from == undecided, text
    assert search.push("é".encode()[:1]) == [] and search._num_bytes - search.undecided_from == 1


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a*", "stop_regex matches the empty text, and would stop at once or never: 'a*'"),
        ("[^\\s\\S]", "stop_regex matches no text at all"),
        ("(", "stop_regex is not a regular expression: "),
        ("a$b", "stop_regex has an anchor (position 1)"),
        (r"\bend", "stop_regex has a word boundary (position 0), which is not supported"),
        (
            "a{1001}",
            "stop_regex has 1001 characters with its repetitions written out; at most 1000 are supported, of all "
            "patterns together: 'a{1001}'",
        ),
    ],
)
def test_refused(pattern: str, message: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        compile_stop_regex(pattern)
    assert str(caught.value).startswith(message)


def test_catastrophic_patterns_read_on_quickly() -> None:
    """Ways are as many as positions, whatever the text; following them one by one would never end."""
    for pattern in ("(a+)+b", "(a|aa)+b", "(.*)*x{5}", "(a|b)*a(a|b){100}c"):
        search = StopSearch(compile_stop_regex(pattern))
        assert search.push(b"a" * 3000) == []
        assert len(search._ways) <= 500


def test_what_reads_a_character_is_looked_up_once_however_many_ways_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each way is at one place, and might go on at all that follow it: looked at one by one that took 80 ms a byte."""
    num_asked = 0
    contains = cs.contains

    def counted(chars: cs.CharSet, character: str) -> bool:
        nonlocal num_asked
        num_asked += 1
        return contains(chars, character)

    monkeypatch.setattr(cs, "contains", counted)
    search = StopSearch(compile_stop_regex("(?:[^z]?){998}zz"))
    text = "the quick brown " * 6
    assert search.push(text.encode()) == []
    assert num_asked <= MAX_STOP_POSITIONS * len(set(text))


def test_patterns_of_a_request_are_bounded_together() -> None:
    check_stop_regexes(["a{500}", "b{499}c"])
    with pytest.raises(InvalidRequestError, match=r"has 1001 characters .* of all patterns together: 'b'"):
        check_stop_regexes(["a{500}", "c{500}", "b"])
