"""One step: rows in, drawn tokens and log-probabilities out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from sglang.srt.executor.logprobs import TokenScore
from sglang.srt.executor.sampler import SampledToken, SamplingRow
from sglang.srt.executor.step import CandidateRow, IntArray, PromptLogprobRows, StepInput, StepResult
from sglang.srt.messages import TokenLogprob

SCORED_ROWS_AT_ONCE = 128
"""Log-probabilities are made from this many rows of logits at a time, which bounds their memory."""

L = TypeVar("L")
"""Logits: float32 [rows, vocab], where the network leaves them and its sampler reads them."""
L_co = TypeVar("L_co", covariant=True)
L_contra = TypeVar("L_contra", contravariant=True)


class Network(Protocol[L_co]):
    """A model and its keys and values."""

    def compute(self, step: StepInput, read_rows: IntArray) -> None:
        """Compute all rows of a step and store their keys and values.

        read_rows: ascending, those whose logits may be asked for. Of others the last layers need not be computed.
        """
        ...

    def logits(self, rows: IntArray) -> L_co:
        """Of some of the rows read of the step computed last, valid until the next call."""
        ...

    def highest_tokens(self, rows: IntArray) -> list[int] | None:
        """Of each of such rows the token that has the highest of its logits, the first of equals.

        None where it takes the logits to know: one may have no such token, or finding them so does not pay.
        """
        ...


class TokenSampler(Protocol[L_contra]):
    def sample(self, logits: L_contra, rows: Sequence[SamplingRow]) -> list[SampledToken]:
        """One token for each row of logits; see `sampler.sample`."""
        ...

    def prompt_logprobs(self, logits: L_contra, target_ids: IntArray, top_n: int) -> list[TokenScore]:
        """How likely the tokens were that did follow; see `logprobs.prompt_logprobs`."""
        ...

    def candidate_logprobs(self, logits: L_contra, candidates: Sequence[IntArray]) -> list[list[float]]:
        """How likely each row found each of some tokens, one at least; see `logprobs.candidate_logprobs`."""
        ...


class ModelRunner(Generic[L]):
    def __init__(self, network: Network[L], sampler: TokenSampler[L]) -> None:
        self._network = network
        self._sampler = sampler

    def execute(self, step: StepInput) -> StepResult:
        self._network.compute(step, step.read_rows())
        samples = self._draw(step) if step.samples else []
        prompt_logprobs = [self._score(rows) for rows in step.prompt_logprobs]
        return StepResult(samples, prompt_logprobs, self._score_candidates(step.candidates))

    def logits(self, step: StepInput, rows: IntArray) -> npt.NDArray[np.float32]:
        """Compute a step, but instead of drawing return the logits of these of its rows: [rows, vocab_size].

        rows: ascending.
        """
        self._network.compute(step, rows)
        logits: npt.NDArray[np.float32] = np.asarray(self._network.logits(rows), dtype=np.float32).copy()
        return logits

    def _draw(self, step: StepInput) -> Sequence[SampledToken]:
        if all(row.takes_highest for row in step.samples):
            token_ids = self._network.highest_tokens(step.sample_rows)
            if token_ids is not None:
                return [SampledToken(token_id) for token_id in token_ids]
        return self._sampler.sample(self._network.logits(step.sample_rows), step.samples)

    def _score(self, rows: PromptLogprobRows) -> list[TokenLogprob]:
        entries: list[TokenLogprob] = []
        for begin in range(0, len(rows.targets), SCORED_ROWS_AT_ONCE):
            targets = rows.targets[begin : begin + SCORED_ROWS_AT_ONCE].astype(np.int64, copy=False)
            first = rows.first_row + begin
            logits = self._network.logits(np.arange(first, first + len(targets)))
            scores = self._sampler.prompt_logprobs(logits, targets, rows.top_logprobs_num)
            entries.extend(map(_entry, targets.tolist(), scores))
        return entries

    def _score_candidates(self, rows: Sequence[CandidateRow]) -> list[list[float]]:
        logprobs: list[list[float]] = []
        for begin in range(0, len(rows), SCORED_ROWS_AT_ONCE):
            some = rows[begin : begin + SCORED_ROWS_AT_ONCE]
            logits = self._network.logits(np.array([one.row for one in some], dtype=np.int64))
            logprobs += self._sampler.candidate_logprobs(logits, [one.token_ids for one in some])
        return logprobs


def _entry(token_id: int, score: TokenScore) -> TokenLogprob:
    """A token whose row was no distribution gets no log-probability."""
    if math.isnan(score.logprob):
        return TokenLogprob(None, token_id)
    return TokenLogprob(score.logprob, token_id, score.top or None)
