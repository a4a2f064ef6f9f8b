"""An executor whose "model" is a checksum of the context it reads through its slots.

It stores token ids where a model stores keys and values. If the scheduler ever lets a row read a wrong, stale or
foreign slot, the checksum differs from the one of the true token sequence, and so does the next token.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sglang.srt.executor.sampler import SampledToken, SamplingRow
from sglang.srt.executor.step import PromptLogprobRows, SequenceRows, StepInput, StepResult
from sglang.srt.messages import TokenLogprob

IntArray = npt.NDArray[np.int64]


def next_token(context: IntArray, row: SamplingRow, vocab_size: int) -> int:
    """What the checksum model says after `context`: one of the tokens that the row allows, if there is one."""
    key = np.array([row.seed, row.sample_index, row.position, vocab_size], dtype=np.int64)
    drawn = zlib.crc32(np.concatenate((key, context)).tobytes())
    if row.allowed_mask is None:
        return drawn % vocab_size
    is_allowed = np.unpackbits(row.allowed_mask.view(np.uint8), count=vocab_size, bitorder="little")
    is_allowed[list(row.banned_ids)] = 0
    allowed = np.flatnonzero(is_allowed)
    return int(allowed[drawn % len(allowed)])


def score(context: IntArray) -> float:
    return -float(zlib.crc32(context.tobytes()) % 1000) / 100


class MemoryExecutor:
    """Also records the steps it ran, and fails the next one when `fail_next` is set."""

    def __init__(self, num_slots: int, vocab_size: int) -> None:
        self._vocab_size = vocab_size
        self._memory = np.full(num_slots, -1, dtype=np.int64)
        self.steps: list[StepInput] = []
        self.fail_next: Exception | None = None
        self.poisoned: set[int] = set()  # token ids after which nothing can be drawn
        self.breaking: set[int] = set()  # token ids with which no step can be computed
        self.unscorable: set[int] = set()  # token ids that have no log-probability

    @property
    def num_rows(self) -> int:
        return sum(len(step.token_ids) for step in self.steps)

    def execute(self, step: StepInput) -> StepResult:
        if self.fail_next is not None:
            error, self.fail_next = self.fail_next, None
            raise error
        if broken := self.breaking.intersection(step.token_ids.tolist()):
            raise IndexError(f"token {broken.pop()}")
        self.steps.append(step)
        assert len(set(step.slots.tolist())) == len(step.slots), "two rows write one slot"
        self._memory[step.slots] = step.token_ids
        contexts = self._contexts(step)
        return StepResult(
            samples=[
                self._draw(contexts[int(row)], sample)
                for row, sample in zip(step.sample_rows, step.samples, strict=True)
            ],
            prompt_logprobs=[self._score(rows, contexts) for rows in step.prompt_logprobs],
            candidates=[
                [self._score_token(contexts[row.row], token_id) for token_id in row.token_ids.tolist()]
                for row in step.candidates
            ],
        )

    def _draw(self, context: IntArray, row: SamplingRow) -> SampledToken:
        if self.poisoned.intersection(context.tolist()):
            return SampledToken(None, error="NaN")
        return SampledToken(next_token(context, row, self._vocab_size))

    def _contexts(self, step: StepInput) -> dict[int, IntArray]:
        """For every row the tokens it can see, itself included."""
        contexts: dict[int, IntArray] = {}
        for sequence in step.sequences:
            slots = _expand(sequence)
            for offset in range(sequence.num_rows):
                row = sequence.first_row + offset
                length = len(slots) - sequence.num_rows + offset + 1
                assert step.positions[row] == length - 1 and step.slots[row] == slots[length - 1]
                contexts[row] = self._memory[slots[:length]]
        return contexts

    def _score_token(self, context: IntArray, token_id: int) -> float:
        return math.nan if token_id in self.unscorable else score(np.append(context, token_id))

    def _score(self, rows: PromptLogprobRows, contexts: dict[int, IntArray]) -> list[TokenLogprob]:
        scores = [score(np.append(contexts[rows.first_row + i], target)) for i, target in enumerate(rows.targets)]
        return [
            TokenLogprob(None if target in self.unscorable else value, target)
            for value, target in zip(scores, rows.targets.tolist(), strict=True)
        ]


def _expand(sequence: SequenceRows) -> IntArray:
    pieces: Sequence[IntArray] = [np.arange(start, start + length) for start, length in sequence.runs]
    return np.concatenate(pieces)
