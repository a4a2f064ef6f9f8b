"""Token ids equal llama.cpp's, as recorded by benchmarks/record_token_table.py."""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sglang.srt.errors import ModelLoadError
from sglang.srt.model.loader.gguf_file import read_gguf_metadata
from sglang.srt.tokenizer.gguf_tokenizer import build_gguf_tokenizer
from sglang.srt.tokenizer.tokenizer import Tokenizer, load_tokenizer

DATA = Path(__file__).parents[1] / "data"


def read_table(name: str) -> Any:
    return json.loads(gzip.decompress((DATA / f"{name}.json.gz").read_bytes()))


def build(metadata: dict[str, Any]) -> Tokenizer:
    return Tokenizer(build_gguf_tokenizer(metadata), eos_ids=[2])


def mismatches(texts: Sequence[str], ours: Sequence[list[int]], expected: Sequence[list[int]]) -> list[Any]:
    return [row for row in zip(texts, ours, expected, strict=True) if row[1] != row[2]]


@pytest.fixture(scope="module")
def metadata(default_model_path: Path) -> dict[str, Any]:
    return read_gguf_metadata(default_model_path)


@pytest.fixture(scope="module")
def default_tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    return build(metadata)


def test_default_model_equals_llama_cpp_on_every_recorded_text(default_tokenizer: Tokenizer) -> None:
    table = read_table("smollm2_token_ids")
    assert len(table["texts"]) == 10_000
    assert mismatches(table["texts"], default_tokenizer.encode_batch(table["texts"]), table["ids"]) == []


def test_every_pre_tokenizer_equals_llama_cpp(metadata: dict[str, Any]) -> None:
    table = read_table("pre_tokenizer_token_ids")
    for family in table["families"]:
        for name in family["names"]:
            ids = build({**metadata, "tokenizer.ggml.pre": name}).encode_batch(table["texts"], add_special_tokens=False)
            assert mismatches(table["texts"], ids, family["ids"]) == [], name


def test_sentencepiece_equals_llama_cpp() -> None:
    table = read_table("sentencepiece_token_ids")
    for case in table["cases"]:
        tokenizer = build({**table["metadata"], **case["changes"]})
        assert mismatches(table["texts"], tokenizer.encode_batch(table["texts"]), case["ids"]) == [], case["changes"]


def test_default_model_vocabulary(default_model_path: Path) -> None:
    tokenizer = load_tokenizer(default_model_path, eos_ids=[2, 0, 2])
    vocab = tokenizer.vocab
    assert (vocab.size, vocab.eos_ids, vocab.special_ids) == (49152, [0, 2], list(range(17)))
    assert vocab.token_bytes[:3] == [b"<|endoftext|>", b"<|im_start|>", b"<|im_end|>"]
    assert tokenizer.bos_token_id == 1
    assert tokenizer.encode(" 3\t") == [216, 35, 197]


def test_sentencepiece_token_bytes() -> None:
    table = read_table("sentencepiece_token_ids")
    verbatim = {"tokenizer.ggml.add_space_prefix": False, "tokenizer.ggml.add_bos_token": False}
    tokenizer = build({**table["metadata"], **verbatim})
    spelled = dict(zip(table["metadata"]["tokenizer.ggml.tokens"], tokenizer.vocab.token_bytes, strict=True))
    assert (spelled["<0xE4>"], spelled["\u2581"], spelled["\n\n"], spelled["<s>"]) == (b"\xe4", b" ", b"\n\n", b"<s>")
    for text in table["texts"]:
        if "<0x" in text:  # llama.cpp reads a byte token written out as the byte
            continue
        assert tokenizer.decode(tokenizer.encode(text), skip_special_tokens=False) == text


def test_a_byte_missing_from_the_vocabulary_separates_its_neighbours(default_tokenizer: Tokenizer) -> None:
    exclamation = default_tokenizer.encode("!")
    assert default_tokenizer.encode("!\x04!") == exclamation * 2 != default_tokenizer.encode("!!")


def test_beginning_and_end_are_added_where_the_file_says(metadata: dict[str, Any]) -> None:
    both = {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True}
    tokenizer = build({**metadata, **both})
    plain = tokenizer.encode("Hello", add_special_tokens=False)
    assert tokenizer.encode("Hello") == [1, *plain, 2]


def test_tokens_by_type(metadata: dict[str, Any]) -> None:
    types = list(metadata["tokenizer.ggml.token_type"])
    types[3], types[4], types[5] = 4, 5, 2
    tokenizer = build({**metadata, "tokenizer.ggml.token_type": types})
    assert tokenizer.encode("<repo_name><file_sep>") == [3, 5]
    assert tokenizer.decode([3, 4, 5]) == "<repo_name>"
    assert tokenizer.decode([3, 4, 5], skip_special_tokens=False) == "<repo_name><file_sep>"


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"tokenizer.ggml.pre": "klingon"}, "unsupported 'tokenizer.ggml.pre' = 'klingon'"),
    ({"tokenizer.ggml.pre": None}, "does not say how it cuts text"),
    ({"tokenizer.ggml.model": "rwkv"}, "unsupported 'tokenizer.ggml.model' = 'rwkv'"),
    ({"tokenizer.ggml.tokens": None}, "'tokenizer.ggml.tokens' is missing"),
    ({"tokenizer.ggml.token_type": [1, 1]}, "49152 tokens but 2 token types"),
    ({"tokenizer.ggml.token_type": [9] * 49152}, "unknown type: 9"),
    ({"tokenizer.ggml.bos_token_id": 70000}, "'tokenizer.ggml.bos_token_id' = 70000 is outside"),
    ({"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": None}, "says to add a token"),
    ({"tokenizer.ggml.merges": ["not there"]}, "merges do not fit"),
    ({"tokenizer.ggml.merges": ["there"]}, "merge 'there'"),
    ({"tokenizer.chat_template": "{% if %}"}, "chat template is not valid"),
]


@pytest.mark.parametrize(("changes", "reason"), REFUSED)
def test_refusals_name_the_value(metadata: dict[str, Any], changes: dict[str, Any], reason: str) -> None:
    changed = {key: value for key, value in {**metadata, **changes}.items() if value is not None}
    with pytest.raises(ModelLoadError, match=reason):
        build_gguf_tokenizer(changed)
