"""Grammars on bytes, without a model's vocabulary: the meaning of a constraint as such."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import llguidance
import llguidance.numpy
import numpy as np

from sglang.srt.grammar.limits import PARSER_LIMITS
from sglang.srt.grammar.shared_matcher import SharedMatcher

_BYTES = llguidance.LLTokenizer("byte")
_NUM_BYTES = 256
_LIVING = ("NotStopped", "NoExtension", "EndOfSentence")
"""Stop reasons that are none, or the end of the grammar. Every other is a limit that was hit."""


class ByteMatchers(NamedTuple):
    """Matchers of one grammar, which takes long to read, for many texts. token_ids: for each byte that the texts may
    have the token that is just this byte in the vocabulary of `matchers`.
    """

    matchers: SharedMatcher
    token_ids: Mapping[int, int]


def shared_text_matcher(grammar: str) -> ByteMatchers:
    """Without a model's vocabulary."""
    make = partial(llguidance.LLMatcher, _BYTES, grammar, log_level=0, limits=PARSER_LIMITS)
    return ByteMatchers(SharedMatcher(make), {byte: byte for byte in range(_NUM_BYTES)})


class TextMatcher:
    """Whether beginnings of a growing text satisfy a grammar in full. Goes on from where it was.

    grammar: its text, or a matcher of it that is shared, of which this one has a copy. Where the copies' lexer comes to
    a limit it goes on with one of its own.
    """

    def __init__(self, grammar: str | ByteMatchers) -> None:
        shared = shared_text_matcher(grammar) if isinstance(grammar, str) else grammar
        self._matchers, self._token_ids = shared
        self._matcher = self._matchers.copy()
        self._num_read = 0
        self._is_alone = isinstance(grammar, str)

    @property
    def problem(self) -> str | None:
        return failure(self._matcher)

    def can_go_on(self) -> bool:
        """Whether any byte may come next. Finds problems that show only now."""
        mask = llguidance.numpy.allocate_token_bitmask(1, _BYTES.vocab_size)
        llguidance.numpy.fill_next_token_bitmask(self._matcher, mask)
        return bool(np.unpackbits(mask.view(np.uint8), bitorder="little")[:_NUM_BYTES].any())

    def matches_nothing(self) -> bool:
        """Sure if True. False also where a limit was hit before it was known."""
        return not self.can_go_on() and self.problem in (None, _NOTHING)

    def may_begin_with(self, text: bytes) -> bool:
        """Asked before anything else."""
        return self._matcher.validate_tokens(self._tokens_of(text)) == len(text)

    def is_satisfied_by(self, text: bytes | bytearray) -> bool:
        """`text` begins like all texts that were asked about before, as far as both go."""
        if len(text) < self._num_read:
            self._matcher.rollback(self._num_read - len(text))
        new = text[self._num_read :]
        self._num_read = len(text)
        is_satisfied: bool = self._matcher.consume_tokens(self._tokens_of(new)) and self._matcher.is_accepting()
        if not is_satisfied and not self._is_alone and (self.problem or "").startswith(LEXER_FAILURE):
            self._is_alone = True
            self._matcher, self._num_read = self._matchers.alone(), 0
            return self.is_satisfied_by(text)
        return is_satisfied

    def _tokens_of(self, text: bytes | bytearray) -> list[int]:
        return [*map(self._token_ids.__getitem__, text)]


def failure(matcher: llguidance.LLMatcher) -> str | None:
    """Why a matcher cannot be used any more, if so. A matcher that hit a limit also calls itself stopped."""
    reason = matcher.stop_reason()
    if not matcher.is_error() and reason in _LIVING:
        return None
    lines = [line.strip() for line in matcher.get_error().splitlines() if line.strip() not in ("", _NO_DETAILS)]
    message = (
        " ".join(lines).partition("<backtrace>")[0].replace("panic:", "the library fails at it:").strip() or reason
    )
    if message.startswith("NoExtension"):
        return _NOTHING
    return _TOO_LARGE if _MARK_OF_TOO_LARGE in message else message


LEXER_FAILURE = "lexer error"
"""With which a failure begins that all matchers with the same lexer share."""

_NOTHING = "nothing matches it from here on"
_TOO_LARGE = "it comes to more than 65,000 rules, texts and alternatives, which the library cannot count"
_MARK_OF_TOO_LARGE = "grammar.symbols.len() < u16::MAX"
_PANIC, _BACKTRACE = "panic:", "<backtrace>"
_NO_DETAILS = "<non-verbose/>"
