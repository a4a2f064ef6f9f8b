"""What a loader finds out about a model's tokenizer, whatever the file format."""

from __future__ import annotations

from dataclasses import dataclass

import tokenizers
from tokenizers.processors import TemplateProcessing

from sglang.srt.tokenizer.chat_template import ChatTemplate


@dataclass(frozen=True)
class TokenizerParts:
    """``token_bytes`` and ``special_ids`` as in Vocab. ``backend`` neither pads nor truncates."""

    backend: tokenizers.Tokenizer
    token_bytes: list[bytes]
    special_ids: list[int]
    bos_token_id: int | None
    chat_template: ChatTemplate | None


def surround_with(backend: tokenizers.Tokenizer, first_id: int | None, last_id: int | None) -> None:
    """Makes ``backend`` put these tokens, and no others, around a text encoded with special tokens."""
    affixes = {name: token for name, token in (("first", first_id), ("last", last_id)) if token is not None}
    backend.post_processor = TemplateProcessing(
        single=[name for name in ("first", "$A", "last") if name == "$A" or name in affixes],
        special_tokens=[
            {"id": name, "ids": [token], "tokens": [backend.id_to_token(token)]} for name, token in affixes.items()
        ],
    )
