"""Attention written for being obviously right: whole caches, one sequence and one head group at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from sglang.srt.model.forward_batch import ForwardBatch
from sglang.srt.model.models.llama import LlamaForCausalLM


class DenseAttention:
    """Grows the keys and values of some sequences. Rows of a call are those of the first sequence, the second...

    num_rows: how many rows each sequence has in the coming calls; set it before every step.
    """

    def __init__(self, num_sequences: int) -> None:
        self.num_rows = [0] * num_sequences
        self._cached: dict[tuple[int, int], tuple[torch.Tensor, torch.Tensor]] = {}

    def forward(self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        outputs = []
        parts = (torch.split(rows, self.num_rows) for rows in (query, key, value))
        for sequence, (queries, new_keys, new_values) in enumerate(zip(*parts, strict=True)):
            keys, values = self._cached.get((layer, sequence), (new_keys[:0], new_values[:0]))
            keys, values = torch.cat((keys, new_keys)), torch.cat((values, new_values))
            self._cached[layer, sequence] = keys, values
            outputs.append(self._attend(queries, keys, values))
        return torch.cat(outputs)

    def _attend(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        return attend(query, keys, values)


class Bfloat16Attention(DenseAttention):
    """Rounds what the native kernels round, for contexts of at most 256: queries as they make them, so that scores are
    exponents of 2, keys, values, probabilities.
    """

    def _attend(self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        scale = query.shape[-1] ** -0.5 * math.log2(math.e)
        rounded = (_rounded(query * scale) / scale, _rounded(keys), _rounded(values))
        return attend(*rounded, round_probabilities=True)


def _rounded(x: torch.Tensor) -> torch.Tensor:
    return x.bfloat16().to(x.dtype)


def attend(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, round_probabilities: bool = False
) -> torch.Tensor:
    """query: [rows, heads, head_dim], the last rows of keys, values: [length, kv_heads, head_dim].

    round_probabilities: to bfloat16, before they are divided by their sum.
    """
    rows, heads, head_dim = query.shape
    length, kv_heads, _ = keys.shape
    grouped = query.view(rows, kv_heads, heads // kv_heads, head_dim)
    scores = torch.einsum("rkgd,lkd->kgrl", grouped, keys) * head_dim**-0.5
    visible = torch.ones(rows, length, dtype=torch.bool).tril(length - rows)
    scores = scores.float().masked_fill(~visible, float("-inf"))
    if round_probabilities:
        weights = _rounded((scores - scores.amax(-1, keepdim=True)).exp())
        weights /= weights.sum(-1, keepdim=True)
    else:
        weights = scores.softmax(-1).to(values.dtype)
    return torch.einsum("kgrl,lkd->rkgd", weights, values).reshape(rows, heads * head_dim)


@torch.inference_mode()
def forward_logits(
    model: LlamaForCausalLM,
    token_ids: Sequence[int],
    chunk: int | None = None,
    attention_class: type[DenseAttention] = DenseAttention,
) -> torch.Tensor:
    """The logits at every position of one sequence, [tokens, vocab], computed in chunks of this many tokens."""
    attention = attention_class(1)
    logits = []
    positions = torch.arange(len(token_ids))
    for own_positions in torch.split(positions, chunk or len(token_ids)):
        attention.num_rows = [len(own_positions)]
        rows = torch.tensor(token_ids)[own_positions]
        logits.append(model.compute_logits(model.forward(ForwardBatch(rows, own_positions, attention))))
    return torch.cat(logits)


@torch.inference_mode()
def generate_greedy(model: LlamaForCausalLM, prompts: Sequence[Sequence[int]], num_tokens: int) -> list[list[int]]:
    """The `num_tokens` most likely continuations of all prompts, decoded in one batch."""
    attention = DenseAttention(len(prompts))
    attention.num_rows = [len(prompt) for prompt in prompts]
    token_ids = torch.tensor([token for prompt in prompts for token in prompt])
    positions = torch.cat([torch.arange(len(prompt)) for prompt in prompts])
    last_rows = torch.tensor(attention.num_rows).cumsum(0) - 1
    generated = []
    for _ in range(num_tokens):
        hidden = model.forward(ForwardBatch(token_ids, positions, attention))
        token_ids = model.compute_logits(hidden[last_rows]).argmax(-1)
        positions = positions[last_rows] + 1
        attention.num_rows = [1] * len(prompts)
        last_rows = torch.arange(len(prompts))
        generated.append(token_ids)
    return torch.stack(generated, dim=1).tolist()
