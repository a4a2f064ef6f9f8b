"""Small vocabularies of every kind, each with the tokenizer that belongs to it."""

from __future__ import annotations

import json
from functools import lru_cache

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from sglang.srt.tokenizer.seams import continuation_backend
from sglang.srt.tokenizer.token_bytes import METASPACE, byte_level_bytes, byte_of_piece
from sglang.srt.vocab import Vocab

TEXTS = [
    '{"name":"John","age":30,"city":"New York","is_student":false,"scores":[1,2.5,null]}',
    "The capital of France is Paris. The answer is yes, no, maybe; true or false?",
    "2024-01-31 was a Wednesday, said Bob to Alice. Über café naïve 日本語 😀",
]
END = "<end>"


@lru_cache(maxsize=1)
def byte_level_vocab() -> Vocab:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=420, initial_alphabet=alphabet, special_tokens=[END], show_progress=False)
    )
    pieces = [str(tokenizer.id_to_token(i)) for i in range(tokenizer.get_vocab_size())]
    data = [piece.encode() if piece == END else byte_level_bytes(piece) for piece in pieces]
    end = pieces.index(END)
    return Vocab(token_bytes=data, special_ids=[end], eos_ids=[end], tokenizer_json=tokenizer.to_str())


@lru_cache(maxsize=1)
def sentencepiece_vocab() -> Vocab:
    """With byte fallback, and a space that its tokenizer puts before every text."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.Metaspace(replacement=METASPACE, prepend_scheme="always")
    trained.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=200, show_progress=False))
    words = [str(trained.id_to_token(i)) for i in range(trained.get_vocab_size())]
    pieces = ["<unk>", END, *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    ids = {piece: index for index, piece in enumerate(pieces)}
    merges = [(left, right) for left, right in _merges(trained) if left + right in ids]
    tokenizer = Tokenizer(models.BPE(ids, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(METASPACE), normalizers.Replace(" ", METASPACE)])
    tokenizer.add_special_tokens([END])
    data = [byte_of_piece(piece) or piece.replace(METASPACE, " ").encode() for piece in pieces]
    return Vocab(
        token_bytes=data, special_ids=[0, 1], eos_ids=[1], tokenizer_json=continuation_backend(tokenizer).to_str()
    )


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [tuple(merge) for merge in merges]


def without_tokenizer(vocab: Vocab) -> Vocab:
    return Vocab(token_bytes=vocab.token_bytes, special_ids=vocab.special_ids, eos_ids=vocab.eos_ids)
