"""What of a growing sequence its client has not got yet: text, and the tokens that it is made of."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from sglang.srt.tokenizer.completion import Completion, LogprobRows
from sglang.srt.tokenizer.detokenizer import IncrementalDecoder
from sglang.srt.vocab import Vocab


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """offset: where in the text the token begins, in characters. top: (log-probability, token id), best first."""

    token_id: int
    logprob: float | None
    top: Sequence[tuple[float, int]]
    offset: int


@dataclass(frozen=True, slots=True)
class Piece:
    """tokens: those that the text is made of, if log-probabilities were asked for; at the end, also those not shown."""

    text: str
    tokens: list[ScoredToken]


class TokenOffsets:
    """Places tokens in the text that their bytes make; those of one character all begin where it does."""

    def __init__(self, vocab: Vocab, skip_special_tokens: bool, start: int = 0) -> None:
        self.end = start
        self._vocab = vocab
        self._skip_special_tokens = skip_special_tokens
        self._decoder = IncrementalDecoder()

    @property
    def token_end(self) -> int:
        """Where the text ends that the last token is part of: the character to come included, if it began one."""
        return self.end + self._decoder.is_within_character

    def push(self, token_id: int) -> int:
        """Where the token begins; `end` is then where the characters that are complete end."""
        start = self.end
        self.end += len(self._decoder.push(self._vocab.visible_bytes(token_id, self._skip_special_tokens)))
        return start


class Progress:
    """Of one sequence. start: how much text stands before its own, as an echoed prompt does."""

    def __init__(self, completion: Completion, vocab: Vocab, start: int = 0) -> None:
        self._completion = completion
        self._num_characters = 0
        self._num_tokens = 0
        self._num_ids = 0
        self._start = start
        self._offsets = TokenOffsets(vocab, completion.request.params.skip_special_tokens, start)
        self._held: deque[tuple[int, int, int]] = deque()  # (index, start, end) of tokens whose text is to come

    def advance(self) -> Piece | None:
        """What is new; None if that is nothing and there will be more.

        The engine holds text back that may become part of a stop string or a character; its tokens then wait for it.
        """
        is_finished = self._completion.finish_reason is not None
        text = self._completion.text[self._num_characters :]
        if not text and not is_finished:
            return None
        self._num_characters += len(text)
        shown = self._start + self._num_characters
        rows = self._completion.output_logprobs
        self._place(rows)
        tokens = []
        while self._held and (is_finished or self._held[0][2] <= shown):
            index, start, _ = self._held.popleft()
            tokens.append(scored_token(rows, index, min(start, shown)))
        return Piece(text, tokens)

    def take_token_ids(self) -> list[int]:
        """Those that have not been taken, whether or not their text may be shown."""
        taken = self._completion.token_ids[self._num_ids :]
        self._num_ids += len(taken)
        return taken

    def _place(self, rows: LogprobRows) -> None:
        for index in range(self._num_tokens, len(rows.tokens)):
            start = self._offsets.push(rows.tokens[index][1])
            self._held.append((index, start, self._offsets.token_end))
        self._num_tokens = len(rows.tokens)


def scored_token(rows: LogprobRows, index: int, offset: int) -> ScoredToken:
    logprob, token_id, _ = rows.tokens[index]
    top = [(value, other) for value, other, _ in rows.tops[index] or () if value is not None]
    return ScoredToken(token_id, logprob, top, offset)
