"""A prompt as it comes back before its completion."""

from __future__ import annotations

from sglang.srt.server.openai.progress import Piece, TokenOffsets, scored_token
from sglang.srt.server.openai.requests import TokenIds
from sglang.srt.tokenizer.completion import Completion
from sglang.srt.tokenizer.tokenizer import Tokenizer


def echoed_prompt(prompt: str | TokenIds, completion: Completion, tokenizer: Tokenizer) -> Piece:
    """Its text, and its tokens if their log-probabilities were asked for."""
    if isinstance(prompt, str):
        text, skip_special_tokens = prompt, False  # those written out in it are part of it
    else:
        skip_special_tokens = completion.request.params.skip_special_tokens
        text = tokenizer.decode(prompt, skip_special_tokens)
    rows = completion.input_logprobs
    offsets = TokenOffsets(tokenizer.vocab, skip_special_tokens)
    starts = [offsets.push(token_id) for _, token_id, _ in rows.tokens]
    # What the tokenizer put before the text, such as a beginning-of-text token, has no place in it.
    added = max(0, offsets.end - len(text))
    return Piece(text, [scored_token(rows, index, max(0, start - added)) for index, start in enumerate(starts)])
