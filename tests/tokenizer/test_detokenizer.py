"""Text comes out the same however its bytes were cut."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglang.srt.tokenizer.detokenizer import IncrementalDecoder

# Pieces of UTF-8 that meet badly: leads without tails, tails without leads, overlong forms, surrogates, past the end.
_HOSTILE = (
    b"\xf0\x9f\x98\x80",
    b"\xf0\x9f",
    b"\xe2\x82\xac",
    b"\xe2",
    b"\x80",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xf5",
    b"a",
)
_streams = st.one_of(st.binary(max_size=64), st.lists(st.sampled_from(_HOSTILE), max_size=12).map(b"".join))


@given(data=_streams, cuts=st.lists(st.integers(0, 64), max_size=20))
def test_any_chunking_gives_the_text_of_the_whole(data: bytes, cuts: list[int]) -> None:
    decoder = IncrementalDecoder()
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    text = "".join(decoder.push(data[start:end]) for start, end in pairwise(bounds))
    assert text + decoder.push(b"", final=True) == data.decode("utf-8", errors="replace")


@pytest.mark.parametrize(
    ("chunks", "texts"),
    [
        ([b"\xf0\x9f", b"\x98", b"\x80!"], ["", "", "😀!"]),
        ([b"ab\xe2\x82", b"c"], ["ab", "\ufffdc"]),
        ([b"\xff", b"a"], ["\ufffd", "a"]),
    ],
)
def test_text_is_released_as_soon_as_it_is_certain(chunks: list[bytes], texts: list[str]) -> None:
    decoder = IncrementalDecoder()
    assert [decoder.push(chunk) for chunk in chunks] == texts


def test_final_releases_a_cut_character_and_starts_afresh() -> None:
    decoder = IncrementalDecoder()
    assert decoder.push(b"x\xe2\x82", final=True) == "x\ufffd"
    assert decoder.push(b"\xac") == "\ufffd"
