"""One step on the device: rows in, drawn tokens and log-probabilities out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch

from sglang.srt.executor.kv_storage import KVStorage
from sglang.srt.executor.logprobs import TokenScore, prompt_logprobs
from sglang.srt.executor.sampler import SampledToken, sample
from sglang.srt.executor.step import IntArray, PromptLogprobRows, StepInput, StepResult
from sglang.srt.messages import TokenLogprob
from sglang.srt.model.attention.torch_attention import Context, TorchAttention
from sglang.srt.model.forward_batch import ForwardBatch

SCORED_ROWS_AT_ONCE = 128
"""Input log-probabilities are made from this many rows of logits at a time, which bounds their memory."""


class CausalLM(Protocol):
    def forward(self, batch: ForwardBatch) -> torch.Tensor:
        """The hidden state of every row after the final norm: [rows, hidden_size]."""
        ...

    def compute_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[rows, hidden_size] -> [rows, vocab_size] float32."""
        ...


class ModelRunner:
    def __init__(self, model: CausalLM, storage: KVStorage, heads_per_kv_head: int, device: torch.device) -> None:
        self._model = model
        self._storage = storage
        self._heads_per_kv_head = heads_per_kv_head
        self._device = device

    @torch.inference_mode()
    def execute(self, step: StepInput) -> StepResult:
        hidden = self._model.forward(self._forward_batch(step))
        return StepResult(
            samples=self._draw(step, hidden),
            prompt_logprobs=[self._score(rows, hidden) for rows in step.prompt_logprobs],
        )

    def _forward_batch(self, step: StepInput) -> ForwardBatch:
        contexts = [Context(rows.first_row, rows.num_rows, rows.runs) for rows in step.sequences]
        slots = self._tensor(step.slots)
        return ForwardBatch(
            token_ids=self._tensor(step.token_ids),
            positions=self._tensor(step.positions),
            attention=TorchAttention(
                self._storage.keys, self._storage.values, slots, contexts, self._heads_per_kv_head
            ),
        )

    def _draw(self, step: StepInput, hidden: torch.Tensor) -> Sequence[SampledToken]:
        if not step.samples:
            return []
        rows = hidden.index_select(0, self._tensor(step.sample_rows))
        return sample(self._model.compute_logits(rows), step.samples)

    def _score(self, rows: PromptLogprobRows, hidden: torch.Tensor) -> list[TokenLogprob]:
        entries: list[TokenLogprob] = []
        for begin in range(0, len(rows.targets), SCORED_ROWS_AT_ONCE):
            targets = rows.targets[begin : begin + SCORED_ROWS_AT_ONCE]
            first = rows.first_row + begin
            logits = self._model.compute_logits(hidden[first : first + len(targets)])
            scores = prompt_logprobs(logits, self._tensor(targets), rows.top_logprobs_num)
            entries.extend(map(_entry, targets.tolist(), scores))
        return entries

    def _tensor(self, array: IntArray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)


def _entry(token_id: int, score: TokenScore) -> TokenLogprob:
    """A token whose row was no distribution gets no log-probability."""
    if math.isnan(score.logprob):
        return TokenLogprob(None, token_id)
    return TokenLogprob(score.logprob, token_id, score.top or None)
