"""The requests of one step, and the step they become."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sglang.srt.executor.step import PromptLogprobRows, SequenceRows, StepInput
from sglang.srt.scheduler.request import Request


class ScheduledBatch:
    """`requests` each have num_scheduled > 0. `sampled` are those whose every token is computed by this step, and that
    want another; `prompt_only` those that want none. `scored` are those with input log-probabilities in this step.
    `sampled` and `scored` are in the order of their results.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests
        complete = [request for request in requests if request.num_held == request.num_tokens]
        self.sampled = [request for request in complete if request.message.max_new_tokens > 0]
        self.prompt_only = [request for request in complete if request.message.max_new_tokens == 0]
        self.scored: list[Request] = []
        self.step = self._make_step()

    @property
    def num_rows(self) -> int:
        return len(self.step.token_ids)

    def _make_step(self) -> StepInput:
        sequences: list[SequenceRows] = []
        prompt_logprobs: list[PromptLogprobRows] = []
        last_row: dict[int, int] = {}
        row = 0
        for request in self.requests:
            sequences.append(SequenceRows(row, request.num_scheduled, request.runs.as_array()))
            if (rows := _prompt_logprob_rows(request, row)) is not None:
                prompt_logprobs.append(rows)
                self.scored.append(request)
            row += request.num_scheduled
            last_row[id(request)] = row - 1
        spans = [slice(r.num_computed, r.num_held) for r in self.requests]
        return StepInput(
            token_ids=np.concatenate([r.tokens[span] for r, span in zip(self.requests, spans, strict=True)]),
            positions=np.concatenate([np.arange(span.start, span.stop) for span in spans]),
            slots=np.concatenate([r.slots[span] for r, span in zip(self.requests, spans, strict=True)]),
            sequences=sequences,
            sample_rows=np.array([last_row[id(request)] for request in self.sampled], dtype=np.int64),
            samples=[request.sampling_row() for request in self.sampled],
            prompt_logprobs=prompt_logprobs,
        )


def _prompt_logprob_rows(request: Request, first_row: int) -> PromptLogprobRows | None:
    """The rows of this step, of which the first is `first_row`, that score a prompt token still unscored."""
    position = request.logprob_position
    if position is None:
        return None
    begin = max(position, request.num_computed)
    end = min(request.num_held, request.num_prompt_tokens - 1)
    if begin >= end:
        return None
    assert begin == position, "the prefix match went past a row whose logits are wanted"
    return PromptLogprobRows(
        first_row=first_row + begin - request.num_computed,
        targets=request.tokens[begin + 1 : end + 1],
        top_logprobs_num=request.message.top_logprobs_num,
    )
