"""The requests of one step, and the step they become."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sglang.srt.executor.step import CandidateRow, PromptLogprobRows, SequenceRows, StepInput
from sglang.srt.scheduler.request import Request


class ScheduledBatch:
    """`requests` each have num_scheduled > 0. `sampled` are those whose every token is computed by this step, and that
    want another; `prompt_only` those that want none. `scored` are those with input log-probabilities in this step.
    `asked` has the request and the position of every row with candidates. `sampled`, `scored` and `asked` are in the
    order of their results.
    """

    def __init__(self, requests: Sequence[Request]) -> None:
        self.requests = requests
        self.sampled: list[Request] = []
        self.prompt_only: list[Request] = []
        self.scored: list[Request] = []
        self.asked: list[tuple[Request, int]] = []
        self.step = self._make_step()

    @property
    def num_rows(self) -> int:
        return len(self.step.token_ids)

    def _make_step(self) -> StepInput:
        token_ids: list[int] = []
        positions: list[int] = []
        slots: list[int] = []
        sequences: list[SequenceRows] = []
        sample_rows: list[int] = []
        prompt_logprobs: list[PromptLogprobRows] = []
        candidates: list[CandidateRow] = []
        for request in self.requests:
            first_row = len(token_ids)
            new_ids, new_positions, new_slots = request.scheduled_rows()
            token_ids += new_ids
            positions += new_positions
            slots += new_slots
            sequences.append(SequenceRows(first_row, len(new_ids), request.runs.as_array()))
            if (rows := _prompt_logprob_rows(request, first_row)) is not None:
                prompt_logprobs.append(rows)
                self.scored.append(request)
            for position, ids in request.scheduled_candidates():
                candidates.append(CandidateRow(first_row + position - request.num_computed, ids))
                self.asked.append((request, position))
            if request.num_held < request.num_tokens:
                continue
            if request.message.max_new_tokens > 0:
                sample_rows.append(len(token_ids) - 1)
                self.sampled.append(request)
            else:
                self.prompt_only.append(request)
        return StepInput(
            token_ids=np.array(token_ids, dtype=np.int64),
            positions=np.array(positions, dtype=np.int64),
            slots=np.array(slots, dtype=np.int64),
            sequences=sequences,
            sample_rows=np.array(sample_rows, dtype=np.int64),
            samples=[request.sampling_row() for request in self.sampled],
            prompt_logprobs=prompt_logprobs,
            candidates=candidates,
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
