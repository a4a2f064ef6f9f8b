"""A model computed by torch, op by op: what runs where there are no native kernels, and what these are checked by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from sglang.srt.executor.kv_storage import KVStorage
from sglang.srt.executor.logprobs import TokenScore, candidate_logprobs, prompt_logprobs
from sglang.srt.executor.sampler import SampledToken, SamplingRow, sample
from sglang.srt.executor.step import IntArray, StepInput
from sglang.srt.model.attention.torch_attention import Context, TorchAttention
from sglang.srt.model.forward_batch import ForwardBatch


class CausalLM(Protocol):
    def forward(self, batch: ForwardBatch) -> torch.Tensor:
        """The hidden state of every row after the final norm: [rows, hidden_size]."""
        ...

    def compute_logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """[rows, hidden_size] -> [rows, vocab_size] float32."""
        ...


class TorchNetwork:
    def __init__(self, model: CausalLM, storage: KVStorage, heads_per_kv_head: int, device: str) -> None:
        self._model = model
        self._storage = storage
        self._heads_per_kv_head = heads_per_kv_head
        self._device = device
        self._hidden = torch.empty(0)

    @torch.inference_mode()
    def compute(self, step: StepInput, read_rows: IntArray) -> None:
        self._hidden = self._model.forward(self._forward_batch(step))

    @torch.inference_mode()
    def logits(self, rows: IntArray) -> torch.Tensor:
        return self._model.compute_logits(self._hidden.index_select(0, self._tensor(rows)))

    def highest_tokens(self, rows: IntArray) -> None:
        """It has all logits or none."""

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

    def _tensor(self, array: IntArray) -> torch.Tensor:
        return torch.from_numpy(array).to(self._device)


class TorchSampler:
    @torch.inference_mode()
    def sample(self, logits: torch.Tensor, rows: Sequence[SamplingRow]) -> list[SampledToken]:
        return sample(logits, rows)

    @torch.inference_mode()
    def prompt_logprobs(self, logits: torch.Tensor, target_ids: IntArray, top_n: int) -> list[TokenScore]:
        return prompt_logprobs(logits, torch.from_numpy(target_ids), top_n)

    @torch.inference_mode()
    def candidate_logprobs(self, logits: torch.Tensor, candidates: Sequence[IntArray]) -> list[list[float]]:
        return candidate_logprobs(logits, candidates)
