"""Prompts made of pieces: text, and token ids that the model generated.

The one rule: generated ids stay as they are, texts that meet are one text, and a text after ids is encoded by itself,
as the continuation that it is. So a program that goes on after what it generated finds all of it in the cache, and the
same pieces give the same ids wherever they are put together.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import tokenizers

from sglang.srt.vocab import Vocab

Segment = str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Segments:
    """A prompt, piece by piece."""

    pieces: tuple[Segment, ...]

    def merged(self) -> Iterator[Segment]:
        """The pieces, with texts that meet joined and nothing empty."""
        text = ""
        for piece in self.pieces:
            if isinstance(piece, str):
                text += piece
            elif piece:
                if text:
                    yield text
                    text = ""
                yield piece
        if text:
            yield text


def generated_segments(token_ids: Sequence[int], num_text_bytes: int, vocab: Vocab, skip_special: bool) -> list[Any]:
    """The pieces that stand for a generated text in a later prompt.

    num_text_bytes: how many of the bytes of `token_ids` are text; what comes after is a stop string, or the like.
    Tokens that lie in the text stay ids. Of one that is cut, the bytes before the cut become text, to be encoded
    together with what follows. A token that shows nothing is part of the text if more of it follows.
    """
    kept: list[int] = []
    hidden: list[int] = []
    left = num_text_bytes
    for token_id in token_ids:
        data = vocab.visible_bytes(token_id, skip_special)
        if len(data) > left:
            break
        hidden.append(token_id)
        left -= len(data)
        if data:
            kept += hidden
            hidden.clear()
    segments: list[Any] = [kept] if kept else []
    return [*segments, data[:left].decode("utf-8", errors="replace")] if left else segments


def continuation_backend(backend: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    """A tokenizer for text that continues other text: like `backend`, without the space some put before every text."""
    parts = (backend.normalizer, backend.pre_tokenizer)
    states = [None if part is None else json.loads(part.__getstate__()) for part in parts]
    changed = [_without_prefix(state) for state in states]
    if changed == states:
        return backend
    whole = json.loads(backend.to_str())
    whole["normalizer"], whole["pre_tokenizer"] = changed
    return tokenizers.Tokenizer.from_str(json.dumps(whole))


def _without_prefix(state: Any) -> Any:
    """A normalizer or pre-tokenizer as JSON, with nothing put before the text."""
    match state:
        case {"type": "Sequence"}:
            name = "normalizers" if "normalizers" in state else "pretokenizers"
            steps = [_without_prefix(step) for step in state[name]]
            return {**state, name: [step for step in steps if step is not None]}
        case {"type": "Prepend"}:
            return None
        case {"type": "Metaspace"}:
            return {**state, "prepend_scheme": "never"}
        case {"type": "ByteLevel", "add_prefix_space": True}:
            return {**state, "add_prefix_space": False}
    return state
