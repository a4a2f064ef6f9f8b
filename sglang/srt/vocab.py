"""What the engine knows about text: the bytes of every token. It travels to the engine process once, at start."""

from __future__ import annotations

from functools import cached_property

import msgspec


class Vocab(msgspec.Struct, frozen=True, dict=True):
    """token_bytes[i] is the exact byte string token i stands for (for a special token, its literal text in UTF-8).

    Concatenating the bytes of a token sequence gives the bytes of its text; a single token may hold part of a
    UTF-8 character. Ids in ``special_ids`` are control tokens, left out of the text unless the request asks for them.
    Ids in ``eos_ids`` end a generation unless the request says ``ignore_eos``. ``tokenizer_json`` is how the model's
    tokenizer cuts text that continues other text, as ``tokenizers.Tokenizer.to_str`` writes it.
    """

    token_bytes: list[bytes]
    special_ids: list[int]
    eos_ids: list[int]
    tokenizer_json: str | None = None

    @property
    def size(self) -> int:
        return len(self.token_bytes)

    @cached_property
    def special(self) -> frozenset[int]:
        return frozenset(self.special_ids)

    @cached_property
    def eos(self) -> frozenset[int]:
        return frozenset(self.eos_ids)

    def visible_bytes(self, token_id: int, skip_special_tokens: bool) -> bytes:
        """The bytes token_id adds to the text; empty for a skipped special token or an id past the vocabulary."""
        if token_id >= len(self.token_bytes) or (skip_special_tokens and token_id in self.special):
            return b""
        return self.token_bytes[token_id]
