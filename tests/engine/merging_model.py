"""A random model with few tokens that spell the same text in many ways."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from tests.helpers.tiny_models import make_tiny_llama

MERGES = [
    ("a", "b"),
    ("b", "a"),
    ("a", "a"),
    ("ab", "a"),
    ("ab", "ab"),
    ("1", "0"),
    ("10", "0"),
    (":", "a"),
    ("Ġ", "a"),
]
NUM_TOKENS = 256 + len(MERGES) + 1


def save_merging_model(folder: Path) -> str:
    """Its tokens are the 256 bytes, the results of MERGES, and one special token, ``<end>``."""
    make_tiny_llama(folder, vocab_size=NUM_TOKENS, max_position_embeddings=2048)
    vocab = {letter: index for index, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    for left, right in MERGES:
        vocab[left + right] = len(vocab)
    tokenizer = Tokenizer(models.BPE(vocab, MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<end>"])
    tokenizer.save(str(folder / "tokenizer.json"))
    template = "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>", "chat_template": template}))
    return str(folder)


def spellings(text: bytes, token_bytes: list[bytes]) -> list[list[int]]:
    """All token sequences that stand for `text`."""
    if not text:
        return [[]]
    first = [(token_id, data) for token_id, data in enumerate(token_bytes) if data and text.startswith(data)]
    return list(
        itertools.chain.from_iterable(
            ([token_id, *rest] for rest in spellings(text[len(data) :], token_bytes)) for token_id, data in first
        )
    )
