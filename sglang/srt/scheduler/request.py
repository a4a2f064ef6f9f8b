"""One sequence being continued: the tokens it has, those whose keys and values are computed, and its slots."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from time import perf_counter

import numpy as np

from sglang.srt.cache.pool import SlotArray
from sglang.srt.cache.prefix_cache import EMPTY_PREFIX, Prefix
from sglang.srt.cache.radix_tree import TokenArray
from sglang.srt.cache.slot_runs import SlotRuns
from sglang.srt.executor.sampler import SamplingRow
from sglang.srt.grammar.matcher import UNCONSTRAINED, OutputConstraint
from sglang.srt.messages import CandidateLogprobs, GenerateRequest, TokenLogprob
from sglang.srt.scheduler.output import OutputText
from sglang.srt.vocab import Vocab

_REDRAW_SHIFT = 32
"""Of the number of a draw at the same place, beside that of the sample."""

_NO_SLOTS: SlotArray = np.empty(0, dtype=np.int64)
_NO_TOKENS: TokenArray = np.empty(0, dtype=np.int64)


class Request:
    """Invariant: 0 <= prefix.num_tokens <= num_held and num_computed <= num_held <= num_tokens.

    Tokens [0, num_computed) are computed; those up to num_held are being computed by the step in flight, and between
    steps there are none. Every token before num_held has a slot. Slots [0, prefix.num_tokens) belong to the cache and
    are locked for this request; the rest are its own. While a step is in flight a slot before prefix.num_tokens may be
    the request's own duplicate of a shared one (see settle_duplicates).

    Nothing that it holds refers back to it: it is gone as soon as it has ended, with what follows its grammar, which is
    large and which Python's collector would find minutes later.
    """

    def __init__(self, message: GenerateRequest, vocab: Vocab, arrival: int) -> None:
        self.message = message
        self.params = message.params
        self._vocab = vocab
        self.end_ids = frozenset[int]() if self.params.ignore_eos else vocab.eos.union(self.params.stop_token_ids)
        self.arrival = arrival
        self.num_prompt_tokens = message.num_prompt_tokens
        self._max_tokens = self.num_prompt_tokens + message.max_new_tokens
        self._tokens = np.empty(self._max_tokens, dtype=np.int64)
        self._tokens[: self.num_prompt_tokens] = np.frombuffer(message.input_ids, dtype=np.int32)
        self._slots = _NO_SLOTS  # as long as the tokens while the request runs
        self.num_tokens = self.num_prompt_tokens
        self.num_computed = 0
        self.num_held = 0
        self.prefix = EMPTY_PREFIX
        self.has_duplicates = False  # some slots before prefix.num_tokens are this request's own
        self.runs = SlotRuns()
        self.constraint: OutputConstraint = UNCONSTRAINED
        self._held_off_ids = tuple(self.end_ids)  # not drawn before min_new_tokens
        self._has_penalties = self.params.has_penalties
        self.text = OutputText(vocab, message.params)
        self.cached_tokens: int | None = None  # prompt tokens that this request did not compute; known once admitted
        self.num_retractions = 0
        self.num_redraws = 0  # of the token that is appended next
        self.num_forced_tokens = 0  # output tokens that were certain, and not drawn
        self.first_token_latency: float | None = None  # seconds since it arrived here
        self._arrived = perf_counter()
        self.is_proven = False  # all its tokens were computed once without a failure
        self.is_suspect = False  # not proven, and part of a step that failed
        self.times_passed_over = 0
        self.input_logprobs: list[TokenLogprob] = []  # one per prompt token from logprob_start_len on
        if message.logprob_start_len is not None:  # nothing that is computed precedes the first of them
            self.input_logprobs.append(TokenLogprob(None, int(self._tokens[message.logprob_start_len])))
        self._new_candidate_logprobs: list[CandidateLogprobs] = []
        self.scoring_error: str | None = None
        self._num_input_logprobs_taken = 0
        self._new_output_ids: list[int] = []
        self._new_output_logprobs: list[TokenLogprob] = []

    @property
    def rid(self) -> str:
        return self.message.rid

    @property
    def num_uncomputed(self) -> int:
        return self.num_tokens - self.num_computed

    @property
    def num_output_tokens(self) -> int:
        return self.num_tokens - self.num_prompt_tokens

    @property
    def last_output_id(self) -> int | None:
        return int(self._tokens[self.num_tokens - 1]) if self.num_output_tokens else None

    @property
    def num_scheduled(self) -> int:
        return self.num_held - self.num_computed

    @property
    def max_tokens_left(self) -> int:
        return self._max_tokens - self.num_tokens

    @property
    def tokens(self) -> TokenArray:
        return self._tokens[: self.num_tokens]

    @property
    def slots(self) -> SlotArray:
        return self._slots[: self.num_held]

    @property
    def last_slot(self) -> int | None:
        return int(self._slots[self.num_held - 1]) if self.num_held else None

    @property
    def own_slots(self) -> SlotArray:
        """The held slots that the cache does not own."""
        shared = self.prefix.num_tokens
        if not self.has_duplicates:
            return self.slots[shared:]
        duplicates = self.slots[:shared][self.slots[:shared] != self.prefix.slots]
        return np.concatenate((duplicates, self.slots[shared:]))

    @property
    def logprob_position(self) -> int | None:
        """The next position whose row must be computed for an input log-probability, or None when there is none."""
        start = self.message.logprob_start_len
        if start is None:
            return None
        position = start + len(self.input_logprobs) - 1  # a row gives the log-probability of the token after it
        return position if position < self.num_prompt_tokens - 1 else None

    @property
    def matchable_tokens(self) -> TokenArray:
        """What may come from the cache: everything but the rows whose logits are still wanted."""
        limit = self.num_tokens - 1
        if self.logprob_position is not None:
            limit = min(limit, self.logprob_position)
        return self.tokens[:limit]

    def constrain(self, constraint: OutputConstraint) -> None:
        """Before anything is computed. Below min_new_tokens a stop token that is text is then text like any other."""
        self.constraint = constraint
        self._held_off_ids = tuple(self.end_ids & (self._vocab.special | self._vocab.eos))

    def start(self, prefix: Prefix) -> None:
        """Begin, or begin again after a retraction, with `prefix` computed already."""
        assert self.num_held == 0
        self.prefix = prefix
        self.num_computed = self.num_held = prefix.num_tokens
        self._slots = np.empty(len(self._tokens), dtype=np.int64)
        self._slots[: prefix.num_tokens] = prefix.slots
        self.runs = SlotRuns(prefix.slots)
        if self.cached_tokens is None:
            self.cached_tokens = min(prefix.num_tokens, self.num_prompt_tokens)

    def stop(self) -> None:
        """Hold nothing any more. The caller has given the slots back."""
        self.prefix = EMPTY_PREFIX
        self.has_duplicates = False
        self.num_computed = self.num_held = 0
        self._slots = _NO_SLOTS
        self.runs = SlotRuns()

    def schedule(self, slots: SlotArray) -> None:
        """The next len(slots) tokens are computed in this step, in these slots."""
        self._slots[self.num_held : self.num_held + len(slots)] = slots
        self.num_held += len(slots)
        self.runs.extend(slots)

    def schedule_next(self, slot: int) -> None:
        """The next token is computed in this step, in this slot."""
        self._slots[self.num_held] = slot
        self.num_held += 1
        self.runs.append(slot)

    def scheduled_rows(self) -> tuple[list[int], range, list[int]]:
        """Tokens, positions and slots of what is being computed."""
        begin, end = self.num_computed, self.num_held
        return self._tokens[begin:end].tolist(), range(begin, end), self._slots[begin:end].tolist()

    def scheduled_candidates(self) -> Iterator[tuple[int, TokenArray]]:
        """Position and candidates of what is being computed, where there are candidates."""
        lists = self.message.candidates
        first = self.num_prompt_tokens - len(lists)
        for position in range(max(first, self.num_computed), min(self.num_held, self.num_prompt_tokens)):
            if ids := lists[position - first]:
                yield position, np.array(ids, dtype=np.int64)

    def share(self, prefix: Prefix) -> None:
        """`prefix` now holds this request's first tokens, in part perhaps in other slots than this request's."""
        old, new = self.prefix.num_tokens, prefix.num_tokens
        self.has_duplicates |= not np.array_equal(self._slots[old:new], prefix.slots[old:])
        self.prefix = prefix

    def settle_duplicates(self) -> SlotArray:
        """Point to the shared slots wherever this request computed its own; returns the slots no longer needed."""
        shared = self._slots[: self.prefix.num_tokens]
        unneeded: SlotArray = shared[shared != self.prefix.slots]
        shared[:] = self.prefix.slots
        self.runs = SlotRuns(self.slots)
        self.has_duplicates = False
        return unneeded

    def commit(self) -> None:
        """The step is over: what was scheduled is computed."""
        self.num_computed = self.num_held
        if self.num_computed == self.num_tokens:
            self.is_proven, self.is_suspect = True, False

    def suspect(self) -> None:
        """A step failed in which this request took part."""
        self.is_proven, self.is_suspect = False, True

    def add_input_logprobs(self, entries: Sequence[TokenLogprob]) -> None:
        """For the positions that follow those scored already."""
        self.input_logprobs.extend(entries)
        for entry in entries:
            if entry.logprob is None and self.scoring_error is None:
                self.scoring_error = f"input token {entry.token_id} has no probability"

    def add_candidate_logprobs(self, position: int, logprobs: list[float]) -> None:
        if math.isnan(logprobs[0]):
            self.scoring_error = self.scoring_error or f"what follows the input token at {position} has no probability"
        else:
            self._new_candidate_logprobs.append(CandidateLogprobs(position, logprobs))

    def append_token(self, token_id: int) -> None:
        self._tokens[self.num_tokens] = token_id
        self.num_tokens += 1
        self.num_redraws = 0
        self._new_output_ids.append(token_id)
        if self.first_token_latency is None:
            self.first_token_latency = perf_counter() - self._arrived

    def add_output_logprob(self, entry: TokenLogprob) -> None:
        """Of the token that is appended next."""
        self._new_output_logprobs.append(entry)

    def take_output_ids(self) -> list[int]:
        """The output tokens since the last call."""
        taken, self._new_output_ids = self._new_output_ids, []
        return taken

    def take_input_logprobs(self) -> list[TokenLogprob]:
        """Those since the last call."""
        taken = self.input_logprobs[self._num_input_logprobs_taken :]
        self._num_input_logprobs_taken += len(taken)
        return taken

    def take_candidate_logprobs(self) -> list[CandidateLogprobs]:
        """Those since the last call."""
        taken, self._new_candidate_logprobs = self._new_candidate_logprobs, []
        return taken

    def take_output_logprobs(self) -> list[TokenLogprob]:
        """Those since the last call."""
        taken, self._new_output_logprobs = self._new_output_logprobs, []
        return taken

    def sampling_row(self) -> SamplingRow:
        """How to draw the token after the last one. Its arrays are views, valid until the step is over."""
        return SamplingRow(
            params=self.params,
            seed=self.message.seed,
            sample_index=self.message.sample_index + (self.num_redraws << _REDRAW_SHIFT),  # each has a draw of its own
            position=self.num_tokens,
            prompt_ids=self._tokens[: self.num_prompt_tokens] if self._has_penalties else _NO_TOKENS,
            output_ids=self._tokens[self.num_prompt_tokens : self.num_tokens] if self._has_penalties else _NO_TOKENS,
            banned_ids=self._held_off_ids if self.num_output_tokens < self.params.min_new_tokens else (),
            allowed_mask=self.constraint.allowed_mask,
            return_logprob=self.message.return_logprob,
            top_logprobs_num=self.message.top_logprobs_num,
        )

    def is_end(self, token_id: int) -> bool:
        """Whether `token_id`, which was appended last and is not part of the text yet, ends the output."""
        if token_id not in self.end_ids or self.num_output_tokens <= self.params.min_new_tokens:
            return False
        shown = self._vocab.visible_bytes(token_id, skip_special_tokens=True) if self.params.no_stop_trim else b""
        return self.constraint.may_end_with(token_id, self.text.num_bytes + len(shown))
