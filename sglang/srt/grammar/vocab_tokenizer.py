"""llguidance's view of a model's vocabulary."""

from __future__ import annotations

import bisect
from functools import cached_property, lru_cache

import llguidance
import numpy as np
import numpy.typing as npt
import tokenizers

from sglang.srt.vocab import Vocab

MAX_REMEMBERED_TEXTS, MAX_REMEMBERED_BYTES = 4096, 256
"""How many texts of up to so many bytes need not be cut again: grammars force the same ones again and again."""


def end_tokens(vocab: Vocab) -> list[int]:
    """The tokens that end a text, at least one: the library insists. Where a
    model has none, it is one past its vocabulary."""
    return vocab.eos_ids or [vocab.size]


def num_tokens(vocab: Vocab) -> int:
    """With the end token that is not the vocabulary's own, if there is one."""
    return max(vocab.size, *(token_id + 1 for token_id in end_tokens(vocab)))


def make_tokenizer(vocab: Vocab, cutter: TextCutter) -> llguidance.LLTokenizer:
    """Takes tenths of a second for a large vocabulary. Control tokens are no text to it; all end tokens end a text."""
    return llguidance.LLTokenizer(
        llguidance.TokenizerWrapper(cutter), n_vocab=num_tokens(vocab), eos_token=end_tokens(vocab)
    )


class TextCutter:
    """Cuts text that a grammar forces into the tokens the model would read there: its own tokenizer's.

    Where that is not known, or does not keep the bytes, each token is the longest that fits. The attributes are those
    that llguidance.TokenizerWrapper asks for.
    """

    bos_token_id = None

    def __init__(self, vocab: Vocab) -> None:
        missing = num_tokens(vocab) - vocab.size
        self.eos_token_id = end_tokens(vocab)[0]
        self.tokens = vocab.token_bytes + [b""] * missing
        self.special_token_ids = [*vocab.special_ids, *range(vocab.size, vocab.size + missing)]
        self._vocab = vocab
        self._remembered = lru_cache(MAX_REMEMBERED_TEXTS)(self._cut)

    def __call__(self, data: bytes) -> list[int]:
        return list(self._remembered(data) if len(data) <= MAX_REMEMBERED_BYTES else self._cut(data))

    def cut(self, data: bytes) -> list[int] | None:
        """The tokens of all of `data`, which need not be whole characters; None where there are none for some of it."""
        ids = self(data)
        return ids if self._bytes_of(ids) == data else None

    def _cut(self, data: bytes) -> list[int]:
        ids = self._encode(data)
        return ids if self._bytes_of(ids) == data else self._longest_first(data)

    def num_bytes(self, token_id: int) -> int:
        return len(self._vocab.visible_bytes(token_id, skip_special_tokens=True))

    @cached_property
    def longest(self) -> int:
        """Of the tokens that are text, in bytes."""
        return max(map(len, self._ids), default=0)

    def beginning_with(self, data: bytes) -> npt.NDArray[np.int64]:
        """The tokens that are text and begin with all of `data`."""
        texts, ids = self._in_order
        return ids[bisect.bisect_left(texts, data) : bisect.bisect_right(texts, data + b"\xff" * self.longest)]

    @cached_property
    def _in_order(self) -> tuple[list[bytes], npt.NDArray[np.int64]]:
        """The texts of tokens in the order of their bytes, and the token of each."""
        pairs = sorted(
            (data, token_id)
            for token_id, data in enumerate(self._vocab.token_bytes)
            if data and token_id not in self._vocab.special
        )
        return [data for data, _ in pairs], np.array([token_id for _, token_id in pairs], dtype=np.int64)

    @cached_property
    def byte_ids(self) -> dict[int, int] | None:
        """For each byte of the tokens that are text the token that is just this byte; None where one has none."""
        ids = {byte: self._ids.get(bytes([byte])) for byte in sorted(set().union(*self._ids))}
        found = {byte: token_id for byte, token_id in ids.items() if token_id is not None}
        return found if len(found) == len(ids) else None

    def _encode(self, data: bytes) -> list[int]:
        if self._tokenizer is None:
            return []
        try:
            text = data.decode()
        except UnicodeDecodeError:  # a text that begins or ends within a character
            return []
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def _bytes_of(self, ids: list[int]) -> bytes:
        return b"".join(self._vocab.visible_bytes(token_id, skip_special_tokens=True) for token_id in ids)

    def _longest_first(self, data: bytes) -> list[int]:
        """Of the beginning of `data`, as far as there are tokens for it."""
        ids: list[int] = []
        while data:
            length = min(len(data), self.longest)
            while length and data[:length] not in self._ids:
                length -= 1
            if not length:
                break
            ids.append(self._ids[data[:length]])
            data = data[length:]
        return ids

    @cached_property
    def _tokenizer(self) -> tokenizers.Tokenizer | None:
        if self._vocab.tokenizer_json is None:
            return None
        tokenizer = tokenizers.Tokenizer.from_str(self._vocab.tokenizer_json)
        tokenizer.encode_special_tokens = True  # what looks like a control token is text here
        return tokenizer

    @cached_property
    def _ids(self) -> dict[bytes, int]:
        """Of several tokens with the same bytes the first."""
        ids: dict[bytes, int] = {}
        for token_id, data in enumerate(self._vocab.token_bytes):
            if data and token_id not in self._vocab.special:
                ids.setdefault(data, token_id)
        return ids
