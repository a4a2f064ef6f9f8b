"""How far one model's next-token distributions are from another's, and what that amounts to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from sglang.srt.executor.step import IntArray

FloatArray = npt.NDArray[np.float64]
Logits = npt.NDArray[np.float32]

ROWS_AT_ONCE = 64
"""Distributions are compared in float64 this many at a time, which bounds the memory it takes."""


@dataclass(frozen=True, slots=True)
class WindowScores:
    """Of every row of a window, or of several windows: [windows, rows]."""

    nll: FloatArray  # nats: minus the log-probability of the token that follows
    divergence: FloatArray  # nats: Kullback-Leibler, from the reference's distribution to this one
    same_top: npt.NDArray[np.bool_]  # whether the most likely token is the reference's


def score_window(logits: Logits, reference: Logits, targets: IntArray) -> WindowScores:
    """logits, reference: [rows, vocab]; targets: [rows], the token that follows each row."""
    parts = []
    for begin in range(0, len(targets), ROWS_AT_ONCE):
        rows = slice(begin, begin + ROWS_AT_ONCE)
        parts.append(_score_rows(_logprobs(logits[rows]), _logprobs(reference[rows]), torch.from_numpy(targets[rows])))
    nll, divergence, same_top = (np.concatenate(part) for part in zip(*parts, strict=True))
    return WindowScores(nll, divergence, same_top)


def _logprobs(logits: Logits) -> torch.Tensor:
    return torch.from_numpy(logits).log_softmax(-1, dtype=torch.float64)


def _score_rows(
    logprobs: torch.Tensor, reference: torch.Tensor, targets: torch.Tensor
) -> tuple[npt.NDArray[np.float64], ...]:
    nll = -logprobs.gather(1, targets[:, None])[:, 0]
    divergence = (reference.exp() * (reference - logprobs)).sum(-1)
    same_top = logprobs.argmax(-1) == reference.argmax(-1)
    return nll.numpy(), divergence.numpy(), same_top.numpy()


def stack(windows: Sequence[WindowScores]) -> WindowScores:
    return WindowScores(
        nll=np.stack([scores.nll for scores in windows]),
        divergence=np.stack([scores.divergence for scores in windows]),
        same_top=np.stack([scores.same_top for scores in windows]),
    )


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its standard error: that of the windows' means, since rows of one window resemble each other."""

    mean: float
    standard_error: float

    def __str__(self) -> str:
        return f"{self.mean:.6f} ± {self.standard_error:.6f}"


def estimate(values: FloatArray) -> Estimate:
    """values: [windows, rows], at least two windows."""
    means = values.mean(axis=1)
    return Estimate(float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means))))
