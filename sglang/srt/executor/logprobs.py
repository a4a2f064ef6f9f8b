"""Log-probabilities of the model's own distribution, and the ranking of tokens by likelihood."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from sglang.srt.device import HOST

if TYPE_CHECKING:
    from torch import Tensor

FloatArray = npt.NDArray[np.float32]
IdArray = npt.NDArray[np.int64]

_MIN_GROUPS = 1024
_GROUPS_PER_TOKEN = 4
"""How finely a vocabulary is grouped to find a lower bound of its best tokens; see `most_likely`."""


class TokenScore(NamedTuple):
    """`top` holds the most likely (log-probability, token id), by falling log-probability, then by rising id."""

    logprob: float
    top: list[tuple[float, int]]


def prompt_logprobs(logits: Tensor, target_ids: Tensor, top_n: int) -> list[TokenScore]:
    """How likely the model found the tokens that did follow.

    logits: float32 [rows, vocab]; target_ids: int64 [rows], the token after each row's.
    """
    return [score(row, target, top_n) for row, target in zip(logits, target_ids.tolist(), strict=True)]


def candidate_logprobs(logits: Tensor, candidates: Sequence[IdArray]) -> list[list[float]]:
    """How likely each row found each of its candidates, in their order; NaN where a row is no distribution.

    logits: float32 [rows, vocab]; candidates: int64 token ids, one or more for each row.
    """
    return [row.log_softmax(dim=-1).to(HOST).numpy()[ids].tolist() for row, ids in zip(logits, candidates, strict=True)]


def score(logits: Tensor, token_id: int, top_n: int) -> TokenScore:
    """logits: float32 [vocab]. If they are no distribution (NaN, +inf, or all -inf): nan and no alternatives."""
    logprobs = logits.log_softmax(dim=-1).to(HOST).numpy()  # of one row, which torch computes on one thread
    logprob = float(logprobs[token_id])
    if top_n == 0 or np.isnan(logprob):
        return TokenScore(logprob, [])
    top_ids = most_likely(logprobs, top_n)[:top_n]
    return TokenScore(logprob, list(zip(logprobs[top_ids].tolist(), top_ids.tolist(), strict=True)))


def most_likely(log_weights: FloatArray, at_least: int) -> IdArray:
    """The first `at_least` ids (or somewhat more, or all there are) by falling log-weight, then by rising id.

    log_weights: float32 [vocab], none above 0 and none NaN. No full sort unless a large part is asked for: with the
    tokens dealt into groups, at least n tokens reach the n-th highest group maximum, so those that do hold the best n.
    """
    groups = max(_MIN_GROUPS, _GROUPS_PER_TOKEN * at_least)
    group_size = len(log_weights) // groups
    if group_size < 2:
        return _in_rank_order(log_weights, np.arange(len(log_weights)))
    maxima = log_weights[: groups * group_size].reshape(group_size, groups).max(axis=0)
    bound = np.partition(maxima, groups - at_least)[groups - at_least]
    return _in_rank_order(log_weights, np.flatnonzero(log_weights >= bound))


def _in_rank_order(log_weights: FloatArray, ids: IdArray) -> IdArray:
    # One integer key per token: the bits of a float that is not negative sort as the float does, then comes the id.
    keys = np.abs(log_weights[ids]).view(np.uint32).astype(np.uint64) << np.uint64(32) | ids.astype(np.uint64)
    keys.sort()
    order: IdArray = (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
    return order
