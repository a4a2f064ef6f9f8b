"""All the ways to write texts with the tokens of a vocabulary, against enumeration."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglang.srt.select.spellings import Place, Spellings, num_fixed_tokens
from sglang.srt.tokenizer.token_index import TokenIndex
from tests.engine.merging_model import spellings

BYTES = st.sampled_from([b"a", b"b", "é".encode()[:1], "é".encode()[1:]])
TEXT = st.lists(BYTES, min_size=1, max_size=5).map(b"".join)
TOKENS = st.lists(TEXT, max_size=12).map(lambda tokens: [b"a", b"b", b"", *tokens])


def walk(spelled: Spellings, place: Place, path: tuple[int, ...] = ()) -> dict[tuple[int, ...], int]:
    """All token sequences from here that end a text, and which one."""
    found = {}
    for token_id, following in spelled.next_tokens(place).items():
        longer = (*path, token_id)
        text = spelled.complete(following)
        if text is not None:
            found[longer] = text
        found.update(walk(spelled, following, longer))
    return found


@given(TOKENS, st.lists(TEXT, min_size=1, max_size=5, unique=True))
def test_every_spelling_is_found(tokens: list[bytes], texts: list[bytes]) -> None:
    spelled = Spellings(texts, TokenIndex(tokens))
    expected = {tuple(path): number for number, text in enumerate(texts) for path in spellings(text, tokens)}
    assert walk(spelled, spelled.start) == expected


def test_the_texts_ahead() -> None:
    spelled = Spellings([b"ab", b"b", b"a", b"abc"], TokenIndex([b"a", b"b", b"c", b"ab"]))
    assert sorted(spelled.texts_beyond(spelled.start)) == [0, 1, 2, 3]
    after_a = spelled.next_tokens(spelled.start)[0]
    assert (spelled.complete(after_a), sorted(spelled.texts_beyond(after_a))) == (2, [0, 3])
    after_ab = spelled.next_tokens(after_a)[1]
    assert (spelled.complete(after_ab), spelled.texts_beyond(after_ab)) == (0, [3])
    after_b = spelled.next_tokens(spelled.start)[1]
    assert (spelled.complete(after_b), spelled.texts_beyond(after_b)) == (1, [])


@given(TOKENS, st.lists(TEXT, max_size=4), st.lists(TEXT, min_size=1, max_size=3))
def test_a_prompt_is_given_up_to_where_a_token_can_cross_its_end(
    tokens: list[bytes], tail: list[bytes], texts: list[bytes]
) -> None:
    data = b"".join(tail)
    crossing = [
        begin
        for begin in range(len(data))
        for text in texts
        if any(data[begin:] + text[:end] in tokens for end in range(1, len(text) + 1))
    ]
    fixed = tail[: num_fixed_tokens(tail, texts, TokenIndex(tokens))]
    length = sum(map(len, fixed))
    if not crossing:
        assert fixed == tail
        return
    assert length <= min(crossing)
    following = len(tail[len(fixed)])
    if length + following <= min(crossing):  # one token more would have done, but for the character it ends in
        assert 0x80 <= data[length + following] < 0xC0


@pytest.mark.parametrize(
    ("tail", "texts", "num_fixed"),
    [
        ([b"is", b" "], [b"red"], 1),
        ([b"is", b" "], [b"rat"], 2),
        ([b"is", b" ", b" "], [b"red"], 2),
        ([b"(", "日".encode()[:1], "日".encode()[1:]], [b"x"], 1),
        ([], [b"red"], 0),
    ],
)
def test_examples(tail: Sequence[bytes], texts: Sequence[bytes], num_fixed: int) -> None:
    index = TokenIndex([b" red", b" ", b"r", b"e", b"d", "日".encode()[1:] + b"x"])
    assert num_fixed_tokens(tail, texts, index) == num_fixed


def test_tokens_that_go_on() -> None:
    index = TokenIndex([b"ab", b"b", b"\xff", b"abc", b"\xff\xff"])
    found = [data for data in (b"", b"a", b"ab", b"abc", b"b", b"c", b"\xff", b"\xff\xff") if index.extends(data)]
    assert found == [b"", b"a", b"ab", b"\xff"]
