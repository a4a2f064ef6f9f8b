"""What one request may say next. The scheduler asks the same questions of a request without a constraint."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

import llguidance
import llguidance.numpy
import numpy as np
import numpy.typing as npt

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.text_matcher import TextMatcher, failure
from sglang.srt.grammar.vocab_tokenizer import end_tokens, num_tokens
from sglang.srt.grammar.witness.ending import Ending
from sglang.srt.vocab import Vocab

Mask = npt.NDArray[np.uint32]
"""Token i is allowed if bit i % 32 of word i // 32 is set."""


class OutputConstraint(Protocol):
    """``allowed_mask``: the tokens that may be drawn next; None allows all. ``is_at_end``: nothing may follow.
    ``is_ended_early``: the output is at that end, or on its way there, because it may have no more tokens.
    ``error``: why the request cannot go on. All change with `begin` and `accept` only.
    """

    @property
    def allowed_mask(self) -> Mask | None: ...

    @property
    def is_at_end(self) -> bool: ...

    @property
    def is_ended_early(self) -> bool: ...

    @property
    def error(self) -> str | None: ...

    def begin(self, room: int) -> Sequence[int]:
        """To be called once, first. Returns the tokens that the output begins with for certain; they count as drawn.

        room: how many tokens the output may have. Raises InvalidRequestError if that is too few for any.
        """
        ...

    def accept(self, token_id: int, room: int) -> Sequence[int]:
        """`token_id` was drawn, and the output may have `room` tokens more. Returns those to append: all that are
        certain.

        The first is `token_id`, unless the output could not become whole after it; then they make it whole without it.
        Where there are none and the output is not at its end, draw again.
        """
        ...

    def closed_at(self, length: int) -> bool | None:
        """Whether the output is whole that had to end at `length` bytes; None where anything is."""
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
    is_ended_early = False
    error = None

    def begin(self, room: int) -> Sequence[int]:
        return ()

    def accept(self, token_id: int, room: int) -> Sequence[int]:
        return (token_id,)

    def closed_at(self, length: int) -> bool | None:
        return None

    def is_satisfied_at(self, length: int) -> bool:
        return True

    def may_end_with(self, token_id: int, length: int) -> bool:
        return True


UNCONSTRAINED = Unconstrained()


class Constrained:
    """Follows one output through a grammar. Belongs to one thread.

    End tokens are no text. They are allowed where the grammar may end and something else may follow; where nothing
    else may, the output is at its end without them.

    What is certain to follow is appended without being drawn with `jumps`, and otherwise drawn where nothing else may
    be: the tokens are the same. Certain is text that the grammar forces, and what makes an output whole that has no
    more room for anything else. A drawn token stays only if its `ending` is still possible then; so a request whose
    tokens run out ends with a whole output.
    """

    def __init__(
        self,
        matcher: llguidance.LLMatcher,
        grammar: str,
        vocab: Vocab,
        end_ids: Iterable[int],
        jumps: bool,
        ending: Ending | None = None,
    ) -> None:
        """ending: None where outputs of the grammar cannot be followed; they end where their tokens do."""
        self._matcher = matcher
        self._grammar = grammar
        self._vocab = vocab
        self._end_ids = [token_id for token_id in end_ids if token_id in vocab.special or token_id in vocab.eos]
        self._jumps = jumps
        self._ending = ending
        self._mask = np.zeros((1, (num_tokens(vocab) + 31) // 32), dtype=np.int32)
        self._text = bytearray()  # with what is certain
        self._certain: deque[int] = deque()  # tokens that are to be drawn
        self._text_matcher: TextMatcher | None = None
        self.is_at_end = False
        self.is_ended_early = False
        self.error: str | None = None

    @property
    def allowed_mask(self) -> Mask:
        words: Mask = self._mask[0].view(np.uint32)
        return words

    def begin(self, room: int) -> Sequence[int]:
        forced = self._take_forced()
        tokens = self._instead_of(len(forced), 0, room)
        if tokens is None:
            return self._append((), forced)
        if len(tokens) > room:
            raise InvalidRequestError(
                f"the shortest output found that satisfies the constraint has {len(tokens)} tokens, but at most {room} "
                "may be generated; give max_new_tokens (or max_tokens) at least that, or a shorter prompt"
            )
        return self._end_early(tokens)

    def accept(self, token_id: int, room: int) -> Sequence[int]:
        if self._certain:
            self._certain.popleft()
            self._look_ahead()
            return (token_id,)
        if token_id in self._end_ids:
            return (token_id,)
        length = len(self._text)
        self._matcher.consume_token(token_id)
        self._text += self._vocab.token_bytes[token_id]
        forced = self._take_forced()
        tokens = self._instead_of(1 + len(forced), length, room)
        return self._append((token_id,), forced) if tokens is None else self._end_early(tokens)

    def is_satisfied_at(self, length: int) -> bool:
        if self._text_matcher is None:
            self._text_matcher = TextMatcher(self._grammar)
        return self._text_matcher.is_satisfied_by(self._text[:length])

    def closed_at(self, length: int) -> bool | None:
        return self.is_satisfied_at(length)

    def may_end_with(self, token_id: int, length: int) -> bool:
        return token_id in self._end_ids or self.is_satisfied_at(length)

    def _take_forced(self) -> Sequence[int]:
        forced: list[int] = self._matcher.compute_ff_tokens()
        self._matcher.consume_tokens(forced)
        self._text += self._bytes_of(forced)
        return forced

    def _instead_of(self, num_new: int, length: int, room: int) -> list[int] | None:
        """What has to follow the first `length` bytes instead of the tokens that are new; None if these may stay."""
        if self._ending is None or self._ending.can_end(self._text, room - num_new):
            return None
        tokens = self._ending.tokens_to_end(self._text[:length])
        if tokens is not None:
            del self._text[length:]
        return tokens

    def _end_early(self, tokens: Sequence[int]) -> Sequence[int]:
        self.is_ended_early = True
        self._text += self._bytes_of(tokens)
        return self._append((), tokens)

    def _append(self, drawn: Sequence[int], certain: Sequence[int]) -> Sequence[int]:
        if not self._jumps:
            self._certain.extend(certain)
        self._look_ahead()
        return (*drawn, *certain) if self._jumps else drawn

    def _look_ahead(self) -> None:
        """What may be drawn next, and whether anything may."""
        if self._certain:
            self._mask[:] = 0
            _allow(self.allowed_mask, self._certain[0])
        elif self.is_ended_early:
            self.is_at_end = True
        else:
            self._fill_mask()

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
                _allow(words, token_id)

    def _bytes_of(self, token_ids: Sequence[int]) -> bytes:
        return b"".join(self._vocab.token_bytes[token_id] for token_id in token_ids)


def _allow(words: Mask, token_id: int) -> None:
    words[token_id // 32] |= np.uint32(1 << token_id % 32)
