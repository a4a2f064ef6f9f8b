"""Tokenizers from Hugging Face folders: the ids of ``transformers``, and the exact bytes of every token."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from sglang.srt.errors import InvalidRequestError, ModelLoadError
from sglang.srt.tokenizer.tokenizer import Tokenizer, load_tokenizer

CORPUS = ["the quick brown fox jumps over the lazy dog", "naïve café, 你好 世界", "def f(x):\n    return x + 1"] * 20
TEXTS = [
    "",
    "the fox",
    " the  fox\n\n",
    "naïve 😀👩‍👩‍👧 \x00\x7f",
    "<s>the</s>fox<|tool|> x",
    "你好\u00a0мир\ttab",
    "<0x41> ▁",
]
SPECIAL = ("<unk>", "<s>", "</s>")


def byte_level() -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    backend.add_tokens([AddedToken("<|tool|>", special=False), AddedToken("€é", special=False)])
    return backend


def sentencepiece() -> tokenizers.Tokenizer:
    """As Llama 2: ``▁`` for spaces, and a byte token for every byte."""
    backend = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    steps = [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    backend.normalizer = normalizers.Sequence(steps)
    as_bytes = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=450, special_tokens=[*SPECIAL, *as_bytes], max_token_length=4, show_progress=False
    )
    backend.train_from_iterator(CORPUS, trainer)
    state = json.loads(backend.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in SPECIAL]
    backend = tokenizers.Tokenizer.from_str(json.dumps(state))
    undo = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    backend.decoder = decoders.Sequence(undo)
    backend.add_tokens([AddedToken("<|tool|>", special=False, normalized=False)])
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return backend


def save(backend: tokenizers.Tokenizer, folder: Path, **config: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "eos_token": "</s>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (folder / "tokenizer_config.json").write_text(json.dumps({**names, **config}))
    return folder


@pytest.fixture(scope="module")
def byte_level_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(byte_level(), tmp_path_factory.mktemp("byte_level"))


@pytest.fixture(scope="module")
def sentencepiece_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(sentencepiece(), tmp_path_factory.mktemp("sentencepiece"))


@pytest.fixture(scope="module")
def complete_tokenizer(byte_level_folder: Path) -> Tokenizer:
    return load_tokenizer(byte_level_folder, eos_ids=[2])


@pytest.mark.parametrize("build", [byte_level, sentencepiece])
@pytest.mark.parametrize(
    "config",
    [{}, {"add_bos_token": True}, {"add_bos_token": True, "add_eos_token": True}, {"add_bos_token": False}],
    ids=str,
)
def test_ids_equal_transformers(
    build: Callable[[], tokenizers.Tokenizer], config: dict[str, bool], tmp_path: Path
) -> None:
    folder = save(build(), tmp_path, **config)
    theirs = PreTrainedTokenizerFast.from_pretrained(folder)
    ours = load_tokenizer(folder, eos_ids=[2])
    assert ours.bos_token_id == theirs.bos_token_id == 1
    for add_special_tokens in (True, False):
        expected = [theirs.encode(text, add_special_tokens=add_special_tokens) for text in TEXTS]
        assert ours.encode_batch(TEXTS, add_special_tokens) == expected
        assert [ours.encode(text, add_special_tokens) for text in TEXTS] == expected


def test_padding_and_truncation_in_the_file_are_ignored(tmp_path: Path) -> None:
    backend = byte_level()
    backend.enable_padding(length=8)
    backend.enable_truncation(max_length=2)
    ids = load_tokenizer(save(backend, tmp_path), eos_ids=[]).encode("the quick brown fox and 你好")
    assert len(ids) > 8


def test_byte_level_bytes(byte_level_folder: Path) -> None:
    vocab = load_tokenizer(byte_level_folder, eos_ids=[2]).vocab
    by_piece = {
        piece: vocab.token_bytes[token_id]
        for piece, token_id in tokenizers.Tokenizer.from_file(str(byte_level_folder / "tokenizer.json"))
        .get_vocab()
        .items()
    }
    assert (by_piece["Ġ"], by_piece["Ċ"], by_piece["Ã"], by_piece["!"]) == (b" ", b"\n", b"\xc3", b"!")
    assert (by_piece["<s>"], by_piece["<|tool|>"], by_piece["€é"]) == (b"<s>", b"<|tool|>", "€é".encode())
    assert sorted(data for data in vocab.token_bytes if len(data) == 1) == [bytes([byte]) for byte in range(256)]
    assert (vocab.special_ids, vocab.eos_ids) == ([0, 1, 2], [2])


def test_sentencepiece_bytes(sentencepiece_folder: Path) -> None:
    vocab = load_tokenizer(sentencepiece_folder, eos_ids=[2]).vocab
    assert [vocab.token_bytes[3 + byte] for byte in range(256)] == [bytes([byte]) for byte in range(256)]
    assert " 世界".encode() in vocab.token_bytes
    assert not any("▁".encode() in data for data in vocab.token_bytes)
    assert vocab.special_ids == [0, 1, 2]


def test_decode_is_the_concatenation_of_bytes(sentencepiece_folder: Path) -> None:
    tokenizer = load_tokenizer(sentencepiece_folder, eos_ids=[2])
    ids = tokenizer.encode("naïve 😀")
    assert tokenizer.decode(ids) == " naïve 😀"
    assert tokenizer.decode(ids, skip_special_tokens=False) == "<s> naïve 😀"
    assert tokenizer.decode(ids[:-1]) == " naïve \ufffd"
    assert tokenizer.decode([10**6]) == ""


@given(text=st.text())
def test_token_bytes_spell_the_text(complete_tokenizer: Tokenizer, text: str) -> None:
    ids = complete_tokenizer.encode(text)
    assert b"".join(complete_tokenizer.vocab.token_bytes[token] for token in ids) == text.encode()
    assert complete_tokenizer.decode(ids, skip_special_tokens=False) == text


def test_lone_surrogate_is_refused(complete_tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidRequestError, match=r"'\\ud83d' at position 2"):
        complete_tokenizer.encode("ok\ud83d")


def test_metaspace_and_word_piece_spellings(tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer(models.WordLevel({"▁a": 0, "##b": 1, "c": 3}, unk_token="c"))
    backend.decoder = decoders.Metaspace()
    assert load_tokenizer(save(backend, tmp_path), []).vocab.token_bytes == [b" a", b"##b", b"", b"c"]
    backend.decoder = decoders.WordPiece()
    assert load_tokenizer(save(backend, tmp_path), []).vocab.token_bytes == [" ▁a".encode(), b"b", b"", b" c"]


NAMED = [{"name": "default", "template": "D{{ eos_token }}"}, {"name": "tool_use", "template": "T"}]


@pytest.mark.parametrize(
    ("config", "files", "plain", "with_tools"),
    [
        ({"chat_template": "{{ bos_token }}C{{ eos_token }}"}, {}, "<s>C</s>", "<s>C</s>"),
        ({"chat_template": NAMED}, {}, "D</s>", "T"),
        ({"chat_template": "config"}, {"chat_template.json": '{"chat_template": "json"}'}, "json", "json"),
        ({"chat_template": "config"}, {"chat_template.jinja": "file {{ bos_token }}"}, "file <s>", "file <s>"),
    ],
)
def test_where_chat_templates_are_found(
    config: dict[str, Any], files: dict[str, str], plain: str, with_tools: str, tmp_path: Path
) -> None:
    folder = save(byte_level(), tmp_path, **config)
    for name, content in files.items():
        (folder / name).write_text(content)
    template = load_tokenizer(folder, eos_ids=[2]).chat_template
    assert template is not None
    assert (template.render([]), template.render([], tools=[{}])) == (plain, with_tools)


def test_a_base_model_has_no_chat_template(complete_tokenizer: Tokenizer) -> None:
    assert complete_tokenizer.chat_template is None


def test_special_tokens_map_names_what_the_configuration_does_not(byte_level_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes((byte_level_folder / "tokenizer.json").read_bytes())
    assert load_tokenizer(tmp_path, eos_ids=[]).bos_token_id is None
    (tmp_path / "special_tokens_map.json").write_text('{"bos_token": {"content": "<s>"}}')
    assert load_tokenizer(tmp_path, eos_ids=[]).bos_token_id == 1


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "has no tokenizer.json"),
        ({"tokenizer.json": "{}"}, "cannot read .*tokenizer.json"),
        ({"tokenizer_config.json": "["}, "cannot read .*tokenizer_config.json"),
        ({"tokenizer_config.json": "[]"}, "expected an object, found list"),
        ({"tokenizer_config.json": '{"chat_template": [{"name": "rag", "template": ""}]}'}, "none named 'default'"),
    ],
)
def test_unreadable_folders(files: dict[str, str], reason: str, byte_level_folder: Path, tmp_path: Path) -> None:
    if files and "tokenizer.json" not in files:
        (tmp_path / "tokenizer.json").write_bytes((byte_level_folder / "tokenizer.json").read_bytes())
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelLoadError, match=reason):
        load_tokenizer(tmp_path, eos_ids=[])


def test_unsupported_decoders(tmp_path: Path) -> None:
    backend = byte_level()
    backend.decoder = decoders.CTC()
    with pytest.raises(ModelLoadError, match=r"unsupported decoder .*CTC"):
        load_tokenizer(save(backend, tmp_path), eos_ids=[])
    state = json.loads(backend.to_str())
    state["decoder"] = None
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))
    with pytest.raises(ModelLoadError, match="no decoder"):
        load_tokenizer(tmp_path, eos_ids=[])


def test_neither_folder_nor_gguf(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=r"expected a \.gguf file or a folder"):
        load_tokenizer(tmp_path / "model.bin", eos_ids=[])
