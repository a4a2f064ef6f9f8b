"""What a loader finds out about a model's tokenizer, whatever the file format."""

from __future__ import annotations

from dataclasses import dataclass

import tokenizers

from sglang.srt.tokenizer.chat_template import ChatTemplate


@dataclass(frozen=True)
class TokenizerParts:
    """``token_bytes`` and ``special_ids`` as in Vocab. ``backend`` neither pads nor truncates."""

    backend: tokenizers.Tokenizer
    token_bytes: list[bytes]
    special_ids: list[int]
    bos_token_id: int | None
    chat_template: ChatTemplate | None
