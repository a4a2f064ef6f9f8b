"""The sampler on the native kernels: one call for all rows of a step.

What is computed is defined in `sampler`. The results are those of its functions except where a uniform number lies
within rounding of the boundary between two tokens. Log-probabilities are float64; few ask for those of the distribution
drawn from, which are computed there.
"""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from sglang.srt.executor.logprobs import FloatArray, IdArray, TokenScore
from sglang.srt.executor.sampler import SampledToken, SamplingRow, dead_end, no_distribution, processed_score
from sglang.srt.kernels._native import Sampler, ThreadPool
from sglang.srt.sampling_params import ALL_TOKENS, SamplingParams

DoubleArray = npt.NDArray[np.float64]
Bias = tuple[IdArray, FloatArray]

_ROW = struct.Struct("<3q6d7q")
"""SamplingRow of csrc/sampling.h."""

_GREEDY = 0.0
_NO_MASK = -1
_NO_LOGPROB = -1

_NO_DISTRIBUTION = -1
"""Comes in place of a token id. What is lower is a dead end."""


class NativeSampler:
    """For logits of one vocabulary. To be used by one thread at a time."""

    def __init__(self, level: str, pool: ThreadPool, vocab_size: int) -> None:
        """level: one of the usable levels of the native kernels. pool: the threads that share the rows."""
        self._native = Sampler(level, pool, vocab_size)
        self._vocab_size = vocab_size
        self._biases = _BiasCache()

    def sample(self, logits: FloatArray, rows: Sequence[SamplingRow]) -> list[SampledToken]:
        """As `sampler.sample`. logits: C-contiguous float32 [rows, vocab].

        Raises ValueError if a token id of a row is not in the vocabulary.
        """
        packed = _PackedRows(self._vocab_size)
        self._biases.next_step()
        for row in rows:
            packed.add(row, self._biases.get(row.params) if row.params.logit_bias else None)
        token_ids = np.empty(len(rows), dtype=np.int64)
        values = np.empty(len(rows))
        top_ids, top_logprobs = np.empty(packed.num_tops, dtype=np.int64), np.empty(packed.num_tops)
        self._native.sample(
            logits, packed.records(), packed.ids(), packed.biases(), packed.masks(),
            token_ids, values, top_ids, top_logprobs,
        )  # fmt: skip
        tops = _pairs(top_logprobs, top_ids)
        tokens = [
            self._token(row, token_id, value, tops)
            for row, token_id, value in zip(rows, token_ids.tolist(), values.tolist(), strict=True)
        ]
        return [
            _with_processed_score(token, row_logits, row) if row.wants_processed else token
            for token, row_logits, row in zip(tokens, logits, rows, strict=True)
        ]

    def prompt_logprobs(self, logits: FloatArray, target_ids: IdArray, top_n: int) -> list[TokenScore]:
        """As `logprobs.prompt_logprobs`. logits: C-contiguous float32 [rows, vocab]; target_ids: int64 [rows].

        Raises ValueError if a target is not in the vocabulary.
        """
        num_top = min(top_n, self._vocab_size)
        logprobs = np.empty(len(target_ids))
        top_ids = np.empty(len(target_ids) * num_top, dtype=np.int64)
        top_logprobs = np.empty(len(top_ids))
        self._native.score(logits, target_ids, top_n, logprobs, top_ids, top_logprobs)
        tops = _pairs(top_logprobs, top_ids)
        return [_score(logprob, _take(tops, num_top)) for logprob in logprobs.tolist()]

    def candidate_logprobs(self, logits: FloatArray, candidates: Sequence[IdArray]) -> list[list[float]]:
        """As `logprobs.candidate_logprobs`. logits: C-contiguous float32 [rows, vocab].

        Raises IndexError if a candidate is not in the vocabulary.
        """
        best = logits.argmax(axis=1)  # a NaN counts as highest
        scores = self.prompt_logprobs(logits, best, 0)
        return [
            (score.logprob + (row[ids].astype(np.float64) - row[best_id])).tolist()
            for row, ids, best_id, score in zip(logits, candidates, best, scores, strict=True)
        ]

    def _token(self, row: SamplingRow, token_id: int, value: float, tops: Iterator[tuple[float, int]]) -> SampledToken:
        is_scored = row.return_logprob and not row.wants_processed
        if token_id >= 0 and not is_scored:
            return SampledToken(token_id)
        top = _take(tops, min(row.top_logprobs_num, self._vocab_size)) if is_scored else []
        if token_id >= 0:
            return SampledToken(token_id, logprob=value, top=top)
        return no_distribution(value) if token_id == _NO_DISTRIBUTION else dead_end(value)


class _PackedRows:
    """The rows of a step as the native sampler reads them: a record per row, and the rest one after the other."""

    def __init__(self, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._records: list[bytes] = []
        self._ids: list[IdArray] = []
        self._biases: list[FloatArray] = []
        self._masks: list[npt.NDArray[np.uint32]] = []
        self.num_tops = 0

    def add(self, row: SamplingRow, bias: Bias | None) -> None:
        """bias: the row's `logit_bias` as arrays, if it has any."""
        params = row.params
        num_biased = num_prompt_ids = num_output_ids = num_banned = 0
        num_mask_words, num_top = _NO_MASK, _NO_LOGPROB
        if bias is not None:
            num_biased = len(bias[0])
            self._ids.append(bias[0])
            self._biases.append(bias[1])
        if params.has_penalties:
            num_prompt_ids, num_output_ids = len(row.prompt_ids), len(row.output_ids)
            self._ids += (row.prompt_ids, row.output_ids)
        if row.banned_ids:
            num_banned = len(row.banned_ids)
            self._ids.append(np.array(row.banned_ids, dtype=np.int64))
        if row.allowed_mask is not None:
            num_mask_words = len(row.allowed_mask)
            self._masks.append(row.allowed_mask)
        if row.return_logprob and not row.wants_processed:
            num_top = min(row.top_logprobs_num, self._vocab_size)
            self.num_tops += num_top
        self._records.append(
            _ROW.pack(
                row.seed, row.position, row.sample_index,
                _GREEDY if params.is_greedy else params.temperature, params.top_p, params.min_p,
                params.repetition_penalty, params.frequency_penalty, params.presence_penalty,
                self._vocab_size if params.top_k == ALL_TOKENS else params.top_k,
                num_mask_words, num_biased, num_prompt_ids, num_output_ids, num_banned, num_top,
            )
        )  # fmt: skip

    def records(self) -> bytes:
        return b"".join(self._records)

    def ids(self) -> IdArray:
        return np.concatenate(self._ids) if self._ids else np.empty(0, dtype=np.int64)

    def biases(self) -> FloatArray:
        return np.concatenate(self._biases) if self._biases else np.empty(0, dtype=np.float32)

    def masks(self) -> npt.NDArray[np.uint32]:
        return np.concatenate(self._masks) if self._masks else np.empty(0, dtype=np.uint32)


class _BiasCache:
    """The arrays of each `logit_bias`, kept from one step to the next while its request draws."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[SamplingParams, Bias]] = {}
        self._current: dict[int, tuple[SamplingParams, Bias]] = {}

    def next_step(self) -> None:
        """What the last step did not ask for is forgotten."""
        self._last, self._current = self._current, {}

    def get(self, params: SamplingParams) -> Bias:
        key = id(params)  # the entry holds `params`, so no other object has its id
        entry = self._current.get(key) or self._last.get(key)
        if entry is None:
            bias = params.logit_bias
            entry = params, (np.array(list(bias), dtype=np.int64), np.array(list(bias.values()), dtype=np.float32))
        self._current[key] = entry
        return entry[1]


def _with_processed_score(token: SampledToken, logits: FloatArray, row: SamplingRow) -> SampledToken:
    if token.token_id is None:
        return token
    logprob, top = processed_score(logits, row, token.token_id)
    return SampledToken(token.token_id, logprob=logprob, top=top)


def _score(logprob: float, top: list[tuple[float, int]]) -> TokenScore:
    return TokenScore(logprob, [] if math.isnan(logprob) else top)


def _pairs(logprobs: DoubleArray, ids: IdArray) -> Iterator[tuple[float, int]]:
    return zip(logprobs.tolist(), ids.tolist(), strict=True)


def _take(pairs: Iterator[tuple[float, int]], count: int) -> list[tuple[float, int]]:
    return list(itertools.islice(pairs, count))
