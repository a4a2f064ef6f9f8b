"""Prompts made of text and generated ids: the ids they become, and the pieces a generated text leaves behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sglang.srt.errors import InvalidRequestError
from sglang.srt.tokenizer.call import NativeInput
from sglang.srt.tokenizer.seams import Segments, generated_segments
from sglang.srt.tokenizer.tokenizer import Tokenizer, load_tokenizer
from sglang.srt.vocab import Vocab
from tests.tokenizer.test_tokenizer import byte_level, save, sentencepiece

VOCAB = Vocab(token_bytes=[b"ab", b"c", "é".encode(), b"<end>", b"", b"\xc3"], special_ids=[3], eos_ids=[3])


@pytest.fixture(scope="module")
def smollm(default_model_path: Path) -> Tokenizer:
    return load_tokenizer(default_model_path, [])


def ids_of(tokenizer: Tokenizer, *pieces: Any) -> list[int]:
    return tokenizer.encode_prompts([Segments(pieces)])[0]


def test_texts_that_meet_are_one_text(smollm: Tokenizer) -> None:
    whole = smollm.encode("Hello world, and good night")
    assert ids_of(smollm, "Hel", "lo wor", "", "ld, and good night") == whole
    assert ids_of(smollm, "Hel", (), "lo world, and good night") == whole


def test_generated_ids_stay_and_text_after_them_is_encoded_by_itself(smollm: Tokenizer) -> None:
    generated = tuple(reversed(smollm.encode(" a b c")))
    ids = ids_of(smollm, "Hello wor", generated, "ld", generated)
    assert ids == [*smollm.encode("Hello wor"), *generated, *smollm.encode("ld"), *generated]


@given(st.lists(st.one_of(st.text(max_size=8), st.lists(st.integers(0, 255), max_size=3).map(tuple)), max_size=8))
def test_where_pieces_are_cut_does_not_matter(tiny_byte_tokenizer: Tokenizer, pieces: list[Any]) -> None:
    characters = [cut for piece in pieces for cut in (piece if isinstance(piece, str) else [piece])]
    assert ids_of(tiny_byte_tokenizer, *characters) == ids_of(tiny_byte_tokenizer, *pieces)


@pytest.fixture(scope="module")
def tiny_byte_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer(save(byte_level(), tmp_path_factory.mktemp("bytes")), [])


def test_text_after_ids_gets_no_leading_space_and_no_beginning_of_text(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(save(sentencepiece(), tmp_path, bos_token="<s>"), [])
    assert tokenizer.decode(ids_of(tokenizer, "the", (5,), "fox")).strip().endswith("fox")
    first = tokenizer.encode("the")
    continued = ids_of(tokenizer, "the", tuple(tokenizer.encode("fox")), "fox")[
        len(first) + len(tokenizer.encode("fox")) :
    ]
    assert tokenizer.vocab.token_bytes[continued[0]][:1] != b" "
    assert tokenizer.decode(continued) == "fox"


def test_a_prompt_that_begins_with_bos_gets_no_other(tmp_path: Path) -> None:
    from tokenizers import processors

    backend = byte_level()
    bos = backend.token_to_id("<s>")
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    tokenizer = load_tokenizer(save(backend, tmp_path, bos_token="<s>"), [])
    assert tokenizer.encode_prompts(["<s>the", "the"]) == [tokenizer.encode("the")] * 2
    assert ids_of(tokenizer, "<s>the", (7,), "<s>") == [*tokenizer.encode("the"), 7, bos]


@pytest.mark.parametrize(
    ("ids", "text", "segments"),
    [
        ([0, 1], b"abc", [[0, 1]]),
        ([0, 1, 3], b"abc", [[0, 1]]),  # the end is no text
        ([0, 1, 0], b"abc", [[0, 1]]),  # a stop string that is a whole token
        ([0, 1], b"ab", [[0]]),
        ([0, 0], b"aba", [[0], "a"]),
        ([0], b"a", ["a"]),
        ([0], b"", []),
        ([], b"", []),
        ([0, 3, 4, 1], b"abc", [[0, 3, 4, 1]]),  # what is hidden in the middle was generated too
        ([0, 3, 0], b"aba", [[0], "a"]),
        ([2, 5], b"\xc3\xa9\xc3", [[2, 5]]),  # ended inside a character
    ],
)
def test_what_stands_for_a_generated_text(ids: list[int], text: bytes, segments: list[Any]) -> None:
    assert generated_segments(ids, len(text), VOCAB, skip_special=True) == segments


def test_one_prompt_or_several() -> None:
    def prompts(segments: object, is_batch: bool) -> list[Any]:
        given = NativeInput(segments=segments)
        assert given.is_batch is is_batch
        return [call.prompt.pieces for call in given.calls if isinstance(call.prompt, Segments)]

    assert prompts(["a", [1, 2], "b"], False) == [("a", (1, 2), "b")]
    assert prompts([[1, 2], [3]], False) == [((1, 2), (3,))]
    assert prompts([["a"], ["b", [1]]], True) == [("a",), ("b", (1,))]
    assert prompts([["a"]], True) == [("a",)]


@pytest.mark.parametrize("segments", [[], "text", [1], [["a"], "b", 3], [["a", ["b"]]], [[1.0]], [True], {"a": 1}])
def test_wrong_segments_are_refused(segments: object) -> None:
    with pytest.raises(InvalidRequestError, match="segments must be"):
        NativeInput(segments=segments)


def test_one_kind_of_prompt() -> None:
    with pytest.raises(InvalidRequestError, match="given: text and segments"):
        NativeInput(text="a", segments=["b"])
