"""What one request may say next. The scheduler asks the same questions of a request without a constraint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import llguidance
import llguidance.numpy
import numpy as np
import numpy.typing as npt

from sglang.srt.grammar.text_matcher import TextMatcher, failure
from sglang.srt.grammar.vocab_tokenizer import end_tokens, num_tokens
from sglang.srt.vocab import Vocab

Mask = npt.NDArray[np.uint32]
"""Token i is allowed if bit i % 32 of word i // 32 is set."""


class OutputConstraint(Protocol):
    """``allowed_mask``: the tokens that may be drawn next; None allows all. ``is_at_end``: nothing may follow.
    ``error``: why the request cannot go on. All three change with `begin` and `accept` only.
    """

    @property
    def allowed_mask(self) -> Mask | None: ...

    @property
    def is_at_end(self) -> bool: ...

    @property
    def error(self) -> str | None: ...

    def begin(self) -> Sequence[int]:
        """To be called once, first. Returns the tokens that the output begins with for certain; they count as drawn."""
        ...

    def accept(self, token_id: int) -> Sequence[int]:
        """`token_id` was drawn. Returns the tokens that follow for certain, which need not be drawn."""
        ...

    def is_satisfied_at(self, length: int) -> bool:
        """Whether the output may be just its first `length` bytes."""
        ...

    def may_end_with(self, token_id: int, length: int) -> bool:
        """Whether `token_id`, an end token that was drawn, may end the output and leave its first `length` bytes."""
        ...


class Unconstrained:
    allowed_mask = None
    is_at_end = False
    error = None

    def begin(self) -> Sequence[int]:
        return ()

    def accept(self, token_id: int) -> Sequence[int]:
        return ()

    def is_satisfied_at(self, length: int) -> bool:
        return True

    def may_end_with(self, token_id: int, length: int) -> bool:
        return True


UNCONSTRAINED = Unconstrained()


class Constrained:
    """Follows one output through a grammar. Belongs to one thread.

    End tokens are no text. They are allowed where the grammar may end and something else may follow; where nothing
    else may, the output is at its end without them. With `jumps`, text that the grammar forces is not drawn; the mask
    admits only the tokens of that text's own tokenisation, so drawing them one by one gives the same tokens.
    """

    def __init__(
        self, matcher: llguidance.LLMatcher, grammar: str, vocab: Vocab, end_ids: Iterable[int], jumps: bool
    ) -> None:
        self._matcher = matcher
        self._grammar = grammar
        self._vocab = vocab
        self._end_ids = [token_id for token_id in end_ids if token_id in vocab.special or token_id in vocab.eos]
        self._jumps = jumps
        self._mask = np.zeros((1, (num_tokens(vocab) + 31) // 32), dtype=np.int32)
        self._text = bytearray()
        self._text_matcher: TextMatcher | None = None
        self.is_at_end = False
        self.error: str | None = None

    @property
    def allowed_mask(self) -> Mask:
        words: Mask = self._mask[0].view(np.uint32)
        return words

    def begin(self) -> Sequence[int]:
        return self._advance()

    def accept(self, token_id: int) -> Sequence[int]:
        if token_id in self._end_ids:
            return ()
        self._matcher.consume_token(token_id)
        self._text += self._vocab.token_bytes[token_id]
        return self._advance()

    def is_satisfied_at(self, length: int) -> bool:
        if self._text_matcher is None:
            self._text_matcher = TextMatcher(self._grammar)
        return self._text_matcher.is_satisfied_by(self._text[:length])

    def may_end_with(self, token_id: int, length: int) -> bool:
        return token_id in self._end_ids or self.is_satisfied_at(length)

    def _advance(self) -> Sequence[int]:
        forced = self._matcher.compute_ff_tokens() if self._jumps else []
        self._matcher.consume_tokens(forced)
        self._text += b"".join(self._vocab.token_bytes[token_id] for token_id in forced)
        self._fill_mask()
        return forced

    def _fill_mask(self) -> None:
        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._mask)
        may_end = self._matcher.is_accepting()
        words = self.allowed_mask
        for token_id in end_tokens(self._vocab):
            words[token_id // 32] &= ~np.uint32(1 << token_id % 32)
        problem = failure(self._matcher)
        if problem is None and not words.any():
            self.is_at_end = may_end
            problem = None if may_end else "no token of the model can come next"
        if problem is not None:
            self.error = f"the constraint cannot be followed any further: {problem}"
        if may_end:
            for token_id in self._end_ids:
                words[token_id // 32] |= np.uint32(1 << token_id % 32)
