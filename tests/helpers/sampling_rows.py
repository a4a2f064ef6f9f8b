"""Rows to draw from and the ways to draw, shared by the tests of all samplers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sglang.srt.executor.sampler import SamplingRow
from sglang.srt.sampling_params import SamplingParams

PROMPT = np.array([1, 1, 2, 7], dtype=np.int64)
OUTPUT = np.array([2, 3, 3, 3], dtype=np.int64)


def make_row(params: SamplingParams | None = None, seed: int = 0, position: int = 0, **rest: Any) -> SamplingRow:
    return SamplingRow(params=params or SamplingParams(), seed=seed, position=position, **rest)


def mask_of(allowed: Sequence[int], vocab: int) -> npt.NDArray[np.uint32]:
    words = [0] * math.ceil(vocab / 32)
    for token_id in allowed:
        words[token_id // 32] |= 1 << token_id % 32
    return np.array(words, dtype=np.uint32)


WAYS: dict[str, tuple[SamplingParams, dict[str, Any]]] = {
    "plain": (SamplingParams(), {}),
    "cold": (SamplingParams(temperature=0.6), {}),
    "hot": (SamplingParams(temperature=3.0), {}),
    "top_k": (SamplingParams(top_k=3), {}),
    "top_k cuts a tie": (SamplingParams(top_k=2), {}),
    "top_p": (SamplingParams(top_p=0.7), {}),
    "min_p": (SamplingParams(min_p=0.4), {}),
    "top_k and top_p": (SamplingParams(top_k=5, top_p=0.6), {}),
    "top_k, top_p and min_p": (SamplingParams(temperature=1.4, top_k=7, top_p=0.95, min_p=0.35), {}),
    "bias": (SamplingParams(logit_bias={0: -3.0, 5: 2.5}), {}),
    "repetition": (SamplingParams(repetition_penalty=1.6), {}),
    "frequency and presence": (SamplingParams(frequency_penalty=0.5, presence_penalty=-0.7), {}),
    "all penalties and top_p": (
        SamplingParams(repetition_penalty=0.7, frequency_penalty=-0.3, presence_penalty=0.4, top_p=0.8),
        {},
    ),
    "banned": (SamplingParams(), {"banned_ids": (0, 6)}),
    "mask": (SamplingParams(), {"allowed_mask": mask_of([0, 2, 3, 6], 8)}),
    "mask and top_k": (SamplingParams(top_k=4), {"allowed_mask": mask_of([1, 3, 4, 5, 7], 8)}),
    "mask and top_p": (SamplingParams(temperature=0.7, top_p=0.8), {"allowed_mask": mask_of([2, 3, 4, 5], 8)}),
    "mask and min_p": (SamplingParams(min_p=0.5), {"allowed_mask": mask_of([3, 4, 5, 6, 7], 8)}),
    "mask and ban": (SamplingParams(), {"allowed_mask": mask_of([0, 1, 7], 8), "banned_ids": (0, 3)}),
}


"""Parameters, and further fields of rows over a vocabulary of eight."""

SHAPES: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "normal": lambda vocab, generator: torch.randn(vocab, generator=generator) * 3,
    "flat": lambda vocab, _: torch.zeros(vocab),
    "nearly flat": lambda vocab, generator: torch.rand(vocab, generator=generator) * 1e-3,
    "tied": lambda vocab, generator: torch.randint(-3, 3, (vocab,), generator=generator).float(),
    "signed zeros": lambda vocab, generator: torch.randint(0, 2, (vocab,), generator=generator).float() * 0.0 - 0.0,
    "peaked": lambda vocab, generator: torch.randn(vocab, generator=generator) - 40.0 * (torch.arange(vocab) != 2),
    "long tail": lambda vocab, generator: -1.1 * torch.log1p(torch.randperm(vocab, generator=generator).float()),
    "mostly impossible": lambda vocab, generator: torch.randn(vocab, generator=generator).masked_fill(
        torch.arange(vocab) % 97 != 3, -math.inf
    ),
    "huge": lambda vocab, generator: torch.randn(vocab, generator=generator) * 1e4,
}
SETTINGS = [
    SamplingParams(),
    SamplingParams(temperature=1e-5),
    SamplingParams(temperature=100.0),
    SamplingParams(top_p=1e-9),
    SamplingParams(top_p=0.3),
    SamplingParams(top_p=0.9),
    SamplingParams(top_p=0.9999),
    SamplingParams(top_k=2),
    SamplingParams(top_k=50),
    SamplingParams(top_k=3000, top_p=0.99),
    SamplingParams(top_k=10**9, temperature=0.7),
    SamplingParams(min_p=0.05),
    SamplingParams(min_p=1.0),
    SamplingParams(temperature=1.5, top_k=400, top_p=0.95, min_p=0.01),
]
