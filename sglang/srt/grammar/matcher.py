"""What one request may say next. The scheduler asks the same questions of a request without a constraint."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from time import thread_time
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sglang.srt.grammar.mask_cache import Mask, MaskMemory
from sglang.srt.grammar.pace import Pace
from sglang.srt.grammar.shared_matcher import SharedMatcher
from sglang.srt.grammar.text_matcher import LEXER_FAILURE, ByteMatchers, TextMatcher, failure
from sglang.srt.grammar.vocab_tokenizer import end_tokens, num_tokens
from sglang.srt.grammar.witness.ending import Ending
from sglang.srt.grammar.witness.unique_ending import UniqueEnding
from sglang.srt.vocab import Vocab


class OutputConstraint(Protocol):
    """``allowed_mask``: the tokens that may be drawn next; None allows all. ``is_at_end``: nothing may follow.
    ``is_ended_early``: the output is at that end, or on its way there, because it may have no more tokens.
    ``error``: why the request cannot go on. All change with `begin` and `accept` only. ``is_slow``: these take so long
    that nobody else should wait for them.
    """

    @property
    def is_slow(self) -> bool: ...

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
    is_slow = False
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
    """Follows one output through a grammar. Belongs to one thread at a time, as do all of one grammar.

    End tokens are no text. They are allowed where the grammar may end and something else may follow; where nothing
    else may, the output is at its end without them.

    What is certain to follow is appended without being drawn with `jumps`, and otherwise drawn where nothing else may
    be: the tokens are the same. Certain is text that the grammar forces, and what makes an output whole that has no
    more room for anything else, or that the library cannot follow any further. A drawn token stays only if its `ending`
    is still possible then; so a request whose tokens run out ends with a whole output.
    """

    def __init__(
        self,
        matchers: SharedMatcher,
        text_matchers: ByteMatchers,
        vocab: Vocab,
        end_ids: Iterable[int],
        jumps: bool,
        pace: Pace,
        ending: Ending | UniqueEnding | None = None,
        memory: MaskMemory | None = None,
    ) -> None:
        """text_matchers: of the same grammar, byte by byte. ending: None where outputs of the grammar cannot be
        followed; they end where their tokens do. memory: None where all masks are to be computed.
        """
        self._matchers = matchers
        self._matcher = matchers.copy()
        self._is_alone = False
        self._tokens_read: list[int] = []
        self._text_matchers = text_matchers
        self._vocab = vocab
        self._end_ids = [token_id for token_id in end_ids if token_id in vocab.special or token_id in vocab.eos]
        self._jumps = jumps
        self._pace = pace
        self._ending = ending
        self._memory = memory
        self.allowed_mask: Mask = np.zeros((num_tokens(vocab) + 31) // 32, dtype=np.uint32)
        self._mask_address = self.allowed_mask.ctypes.data  # asking takes microseconds
        self._text = bytearray()  # with what is certain
        self._certain: deque[int] = deque()  # tokens that are to be drawn
        self._text_matcher: TextMatcher | None = None
        self.is_at_end = False
        self.is_ended_early = False
        self.error: str | None = None

    @property
    def is_slow(self) -> bool:
        return self._pace.is_slow

    def begin(self, room: int) -> Sequence[int]:
        started = thread_time()
        if self._ending is not None:
            self._ending.check_room(room)
        appended = self._go_on((), room)
        self._pace.note(thread_time() - started)
        return appended

    def accept(self, token_id: int, room: int) -> Sequence[int]:
        started = thread_time()
        appended = self._accept(token_id, room)
        self._pace.note(thread_time() - started)
        return appended

    def _accept(self, token_id: int, room: int) -> Sequence[int]:
        if self._certain:
            self._certain.popleft()
            self._look_ahead()
            return (token_id,)
        if token_id in self._end_ids:
            return (token_id,)
        refused = None if self._ending is None else self._ending.refused(self._text, self._bytes_of([token_id]))
        if refused is not None:
            return self._refuse(refused)
        return self._go_on((token_id,), room)

    def is_satisfied_at(self, length: int) -> bool:
        if length == len(self._text) and self.error is None:
            return self.is_ended_early or (bool(self._matcher.is_accepting()) and self._is_whole(self._text))
        if self._text_matcher is None:
            self._text_matcher = TextMatcher(self._text_matchers)
        text = self._text[:length]
        return self._text_matcher.is_satisfied_by(text) and self._is_whole(text)

    def _is_whole(self, text: bytes | bytearray) -> bool:
        return self._ending is None or self._ending.is_whole(text)

    def closed_at(self, length: int) -> bool | None:
        return self.is_satisfied_at(length)

    def may_end_with(self, token_id: int, length: int) -> bool:
        return token_id in self._end_ids or self.is_satisfied_at(length)

    def _go_on(self, drawn: tuple[int, ...], room: int) -> Sequence[int]:
        length = len(self._text)
        self._read(drawn)
        forced = self._forced()
        self._read(forced)
        left = room - len(drawn) - len(forced)
        if self._ending is not None and not self._ending.can_end(self._text, left):
            if self._end_early(length):
                return self._append(())
            if self._ending.is_broken(self._text):
                return self._fail(_NO_OTHER_ITEM)
        self._certain.extend(forced)
        return self._append(drawn)

    def _refuse(self, tokens: npt.NDArray[np.int64]) -> Sequence[int]:
        """Have something else drawn, if there is anything."""
        _forbid(self.allowed_mask, tokens)
        if self.allowed_mask.any():
            return ()
        if self._end_early(len(self._text)):
            return self._append(())
        return self._fail(_NO_OTHER_ITEM)

    def _fail(self, problem: str) -> Sequence[int]:
        """Of what was drawn last nothing is appended."""
        self.error = f"{_STUCK}: {problem}"
        self.is_at_end = True
        return ()

    def _read(self, tokens: Sequence[int]) -> None:
        self._tokens_read += tokens
        if not self._matcher.consume_tokens(list(tokens)):
            self._memory = None  # the library came to a limit, and is to say so
        self._text += self._bytes_of(tokens)

    def _forced(self) -> list[int]:
        """Nothing is where the choice is known."""
        if self._memory is not None and self._memory.find(self._text) is not None:
            return []
        forced: list[int] = self._matcher.compute_ff_tokens()
        return forced

    def _end_early(self, length: int) -> bool:
        """Have the first `length` bytes completed instead of all that follows them; False if it is not known how."""
        rest = None if self._ending is None else self._ending.tokens_to_end(self._text[:length])
        if rest is None:
            return False
        whole = self._text[:length] + self._bytes_of(rest)
        if not TextMatcher(self._text_matchers).is_satisfied_by(whole):  # of a grammar whose lexemes are greedy, say
            return False
        self.is_ended_early = True
        self._text = whole
        self._certain.extend(rest)
        return True

    def _append(self, drawn: Sequence[int]) -> Sequence[int]:
        """With what is certain after it, if that is not drawn."""
        if not self._jumps:
            self._look_ahead()
            return drawn
        appended = [*drawn, *self._certain]
        self._certain.clear()
        self._look_ahead()
        if self._certain:  # the grammar could not be followed any further
            return [*appended, *self._append(())]
        return appended

    def _look_ahead(self) -> None:
        """What may be drawn next, and whether anything may."""
        if not self._certain and not self.is_ended_early:
            self._fill_mask()
        if self._certain:
            self.allowed_mask[:] = 0
            _allow(self.allowed_mask, self._certain[0])
        elif self.is_ended_early:
            self.is_at_end = True

    def _fill_mask(self) -> None:
        choice = None if self._memory is None else self._memory.find(self._text)
        if choice is None:
            may_end = self._compute_mask()
        else:
            self.allowed_mask[:], may_end = choice
        if may_end and self._is_whole(self._text):
            for token_id in self._end_ids:
                _allow(self.allowed_mask, token_id)
        if self._ending is not None and not (self.is_at_end or self.error or self.is_ended_early):
            _forbid(self.allowed_mask, self._ending.refused_at_once(self._text))
            if not self.allowed_mask.any():
                self._give_up(_NO_OTHER_ITEM)

    def _compute_mask(self) -> bool:
        """Whether end tokens are to be allowed beside what is."""
        words = self.allowed_mask
        self._matcher.unsafe_compute_mask_ptr(self._mask_address, words.nbytes)
        may_end = bool(self._matcher.is_accepting())
        for token_id in end_tokens(self._vocab):  # also where the output may not end: one may be text to the library
            words[token_id // 32] &= ~np.uint32(1 << token_id % 32)
        problem = failure(self._matcher)
        if problem is not None and problem.startswith(LEXER_FAILURE) and not self._is_alone:
            self._go_on_alone()
            return self._compute_mask()
        if problem is None and not words.any():
            self.is_at_end = may_end
            problem = None if may_end else "no token of the model can come next"
        if problem is not None:
            self._give_up(problem)
            return False
        if self._memory is not None and not self.is_at_end and not self._matcher.compute_ff_bytes():
            self._memory.keep(words, may_end)
        return may_end

    def _go_on_alone(self) -> None:
        """Perhaps it was not this output that broke the lexer."""
        self._is_alone = True
        self._matcher = self._matchers.alone()
        self._matcher.consume_tokens(self._tokens_read)

    def _give_up(self, problem: str) -> None:
        """The library cannot go on. Perhaps it is known how to end what there is."""
        if not self._end_early(len(self._text)):
            self.error = f"{_STUCK}: {problem}"

    def _bytes_of(self, token_ids: Sequence[int]) -> bytes:
        return b"".join(self._vocab.token_bytes[token_id] for token_id in token_ids)


_STUCK = "the constraint cannot be followed any further"
_NO_OTHER_ITEM = "every item that may come next is in the array already"


def _forbid(words: Mask, token_ids: npt.NDArray[np.int64]) -> None:
    if not len(token_ids):
        return
    bits = np.left_shift(np.uint32(1), (token_ids % 32).astype(np.uint32))
    np.bitwise_and.at(words, token_ids // 32, ~bits)


def _allow(words: Mask, token_id: int) -> None:
    words[token_id // 32] |= np.uint32(1 << token_id % 32)
