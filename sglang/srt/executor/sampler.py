"""From a row of logits to a token.

The model's logits are first adjusted (bias, penalties, banned ids, grammar mask). A greedy row takes the highest.
Any other row gives each token the log-weight (logit - highest) / temperature and keeps

* the `top_k` most likely tokens, of equal ones those with the lower ids;
* the shortest run of most likely tokens whose share of the weight of all tokens reaches `top_p`;
* the tokens that are at least `min_p` times as likely as the most likely one;

all judged on the same weights, so their order does not matter. One uniform number then picks from what is left by
inverting the cumulative weight: in rank order if `top_k` (below the vocabulary's size) or `top_p` (below 1) is set,
else in order of id. Logits and weights are float32, sums of weights float64.

Rows are computed one by one, on one thread, from nothing but their own inputs. That makes a result the same in bits
whatever the batch, the row's place in it and the number of threads, and it is faster than waking other threads for
the microseconds that a row takes.

`native_sampler` computes the same where the native kernels were built.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sglang.srt.device import HOST
from sglang.srt.executor.logprobs import FloatArray, IdArray, TokenScore, most_likely, score
from sglang.srt.executor.random import uniform
from sglang.srt.kernels import ops
from sglang.srt.sampling_params import ALL_TOKENS, SamplingParams

if TYPE_CHECKING:
    from torch import Tensor

DoubleArray = npt.NDArray[np.float64]

_FLOAT32_MAX = float(np.finfo(np.float32).max)
_FLOAT32_TINY = float(np.finfo(np.float32).tiny)

_BLOCK = 256
"""Tokens whose weights are added up before the cumulative sum over blocks."""

_FIRST_CANDIDATES = 256
_CANDIDATE_GROWTH = 4
"""How many of the most likely tokens are ranked to find a `top_p` set, and the factor for each further attempt."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SamplingRow:
    """What decides the token drawn from one row of logits.

    seed: 0 to 2**63 - 1. position: absolute index of the new token in its sequence.
    prompt_ids, output_ids: int64, read only if the parameters have penalties; every id within the vocabulary.
    banned_ids: tokens not to draw now, such as the stop tokens before `min_new_tokens` is reached.
    allowed_mask: uint32 words; token i is allowed if bit i % 32 of word i // 32 is set, and not if there is no such
    word. None allows all.
    """

    params: SamplingParams
    seed: int
    position: int
    sample_index: int = 0
    prompt_ids: IdArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    output_ids: IdArray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    banned_ids: tuple[int, ...] = ()
    allowed_mask: npt.NDArray[np.uint32] | None = None
    return_logprob: bool = False
    top_logprobs_num: int = 0

    @property
    def wants_processed(self) -> bool:
        """Whether its log-probability is that of the distribution drawn from."""
        return self.return_logprob and self.params.logprobs_mode == "processed_logprobs"

    @property
    def adjusts_logits(self) -> bool:
        return bool(
            self.params.logit_bias or self.params.has_penalties or self.banned_ids or self.allowed_mask is not None
        )

    @property
    def takes_highest(self) -> bool:
        """Whether it is the token with the highest of the model's own logits, and nothing else is asked of them."""
        return self.params.is_greedy and not self.adjusts_logits and not self.return_logprob


@dataclass(frozen=True, slots=True)
class SampledToken:
    """Either a token or why there is none: `error`, the model gave no distribution; `dead_end`, the row's own bias,
    penalties, bans and mask leave nothing of it.

    If the row asked for it: the token's log-probability, and `top` with the most likely (log-probability, token id),
    by falling log-probability, then by rising id.
    """

    token_id: int | None
    error: str | None = None
    dead_end: str | None = None
    logprob: float | None = None
    top: list[tuple[float, int]] = field(default_factory=list)


def no_distribution(highest: float) -> SampledToken:
    """In place of a token, if the highest of the model's own logits is not finite."""
    return SampledToken(None, error=f"the model gave no distribution over tokens: its highest logit is {highest}")


def dead_end(highest: float) -> SampledToken:
    """In place of a token, if after the row's adjustments the highest logit is not finite."""
    if highest == -math.inf:
        return SampledToken(None, dead_end="no token can be drawn: every one is banned or ruled out by the grammar")
    message = f"no token can be drawn: with bias and penalties the highest logit is {highest}"
    return SampledToken(None, dead_end=message)


def sample(logits: Tensor, rows: Sequence[SamplingRow]) -> list[SampledToken]:
    """Choose one token for each row of logits, float32 [rows, vocab], left unchanged.

    Log-probabilities are those of `logits` itself, before any adjustment and temperature, or as `processed_score` says.
    A row without a distribution (NaN, +inf, or no token possible) gets an error and disturbs no other.
    """
    with np.errstate(over="ignore"):  # to -inf is right: the token is impossible; to +inf becomes the row's error
        return [
            _sample_row(row_logits, row, best_id, best)
            for row_logits, row, best_id, best in zip(logits, rows, *_highest(logits), strict=True)
        ]


def _highest(logits: Tensor) -> tuple[list[int], list[float]]:
    """Id (the lowest of equals) and value of each row's highest logit; NaN counts as highest."""
    ids = ops.argmax_rows(logits)
    return ids.tolist(), logits.gather(1, ids[:, None])[:, 0].tolist()


def _sample_row(logits: Tensor, row: SamplingRow, best_id: int, best: float) -> SampledToken:
    if not math.isfinite(best):
        return no_distribution(best)
    adjusted: FloatArray | None = None
    if row.adjusts_logits:
        adjusted = _adjusted(logits.to(HOST).numpy(), row)
        best_id = int(adjusted.argmax())
        best = float(adjusted[best_id])
        if not math.isfinite(best):
            return dead_end(best)
    token_id = best_id
    if not row.params.is_greedy:
        u = uniform(row.seed, row.position, row.sample_index)
        token_id = _draw(logits.to(HOST).numpy() if adjusted is None else adjusted, best, row.params, u)
    if not row.return_logprob:
        return SampledToken(token_id)
    if row.wants_processed:
        logprob, top = processed_score(logits.to(HOST).numpy(), row, token_id)
    else:
        logprob, top = score(logits, token_id, row.top_logprobs_num)
    return SampledToken(token_id, logprob=logprob, top=top)


def processed_score(logits: FloatArray, row: SamplingRow, token_id: int) -> TokenScore:
    """How probable it was to draw `token_id` from the row, which has tokens to draw; `top` has only such tokens.

    Of a greedy row the distribution is that of its adjusted logits.
    """
    with np.errstate(over="ignore"):  # as in `sample`
        adjusted = _adjusted(logits, row) if row.adjusts_logits else logits
    best = float(adjusted.max())
    if row.params.is_greedy:
        log_weights, kept = adjusted - best, None
    else:
        log_weights = _log_weights(adjusted, best, row.params)
        kept = _kept(log_weights, row.params)
    if kept is not None:
        is_kept = np.zeros(len(log_weights), dtype=np.bool_)
        is_kept[kept] = is_kept[token_id] = True  # what was drawn, too, if rounding has put it past the boundary
        log_weights[~is_kept] = -math.inf
    log_sum = math.log(float(np.exp(log_weights).sum(dtype=np.float64)))
    top: list[tuple[float, int]] = []
    if row.top_logprobs_num:
        ranked = most_likely(log_weights, row.top_logprobs_num)[: row.top_logprobs_num].tolist()
        top = [(float(log_weights[i]) - log_sum, i) for i in ranked if log_weights[i] > -math.inf]
    return TokenScore(float(log_weights[token_id]) - log_sum, top)


def _adjusted(logits: FloatArray, row: SamplingRow) -> FloatArray:
    """A copy with bias, penalties, banned ids and mask applied, in this order."""
    params = row.params
    adjusted: FloatArray = logits.copy()
    if params.logit_bias:
        adjusted[list(params.logit_bias)] += np.array(list(params.logit_bias.values()), dtype=np.float32)
    if params.repetition_penalty != 1.0:
        _penalise_repetition(adjusted, np.concatenate((row.prompt_ids, row.output_ids)), params.repetition_penalty)
    if params.frequency_penalty != 0.0 or params.presence_penalty != 0.0:
        ids, counts = np.unique(row.output_ids, return_counts=True)
        adjusted[ids] -= (params.frequency_penalty * counts + params.presence_penalty).astype(np.float32)
    adjusted[list(row.banned_ids)] = -math.inf
    if row.allowed_mask is not None:
        words = row.allowed_mask.astype("<u4", copy=False).view(np.uint8)
        is_allowed = np.unpackbits(words, count=len(adjusted), bitorder="little").view(np.bool_)
        np.copyto(adjusted, -math.inf, where=~is_allowed)
    return adjusted


def _penalise_repetition(logits: FloatArray, ids: IdArray, penalty: float) -> None:
    """In place, the penalty of Keskar et al., "CTRL" (2019): one above 1 makes a token less likely whatever its sign.

    An id given twice is penalised once, both entries being computed from the old logit.
    """
    seen = logits[ids]
    penalty = max(penalty, _FLOAT32_TINY)
    logits[ids] = np.where(seen > 0, seen / penalty, seen * penalty)


def _draw(logits: FloatArray, best: float, params: SamplingParams, u: float) -> int:
    """The token at fraction `u` in [0, 1) of the cumulative weight of the tokens kept. best: the highest logit."""
    log_weights = _log_weights(logits, best, params)
    kept = _kept(log_weights, params)
    if kept is None:
        return _invert_blocks(np.exp(log_weights, out=log_weights), u)
    cumulative = np.cumsum(np.exp(log_weights[kept]), dtype=np.float64)
    return int(kept[_first_above(cumulative, u * float(cumulative[-1]))])


def _log_weights(logits: FloatArray, best: float, params: SamplingParams) -> FloatArray:
    log_weights = logits - best
    log_weights /= min(params.temperature, _FLOAT32_MAX)
    return log_weights


def _kept(log_weights: FloatArray, params: SamplingParams) -> IdArray | None:
    """What `top_k`, `top_p` and `min_p` leave; None is all. In rank order if one of the first two is set."""
    log_min_p = math.log(params.min_p) if params.min_p > 0.0 else -math.inf
    top_k = len(log_weights) if params.top_k == ALL_TOKENS else min(params.top_k, len(log_weights))
    if params.top_p < 1.0:
        kept = _nucleus(log_weights, params.top_p, top_k)
    elif top_k < len(log_weights):
        kept = most_likely(log_weights, top_k)[:top_k]
    elif params.min_p > 0.0:
        return np.flatnonzero(log_weights >= log_min_p)
    else:
        return None
    return kept[log_weights[kept] >= log_min_p]


def _nucleus(log_weights: FloatArray, top_p: float, top_k: int) -> IdArray:
    """In rank order, the fewest tokens whose share of all weight reaches `top_p`, but at most `top_k`."""
    weights = np.exp(log_weights)
    wanted = top_p * float(_block_sums(weights).sum())
    num_ranked = _FIRST_CANDIDATES
    while True:
        ids = most_likely(log_weights, min(num_ranked, top_k))[:top_k]
        cumulative = np.cumsum(weights[ids], dtype=np.float64)
        if cumulative[-1] >= wanted or len(ids) == top_k:
            return ids[: int(cumulative.searchsorted(wanted)) + 1]
        num_ranked *= _CANDIDATE_GROWTH


def _invert_blocks(weights: FloatArray, u: float) -> int:
    """The token that holds fraction `u` of the weight of all, found by its block and then inside the block."""
    cumulative = np.cumsum(_block_sums(weights))
    wanted = u * float(cumulative[-1])
    block = _first_above(cumulative, wanted)
    if block:
        wanted -= float(cumulative[block - 1])
    start = block * _BLOCK
    return start + _first_above(np.cumsum(weights[start : start + _BLOCK], dtype=np.float64), wanted)


def _block_sums(weights: FloatArray) -> DoubleArray:
    sums: DoubleArray = np.add.reduceat(weights, np.arange(0, len(weights), _BLOCK), dtype=np.float64)
    return sums


def _first_above(cumulative: DoubleArray, wanted: float) -> int:
    """The first index whose cumulative weight is above `wanted`. Its own weight is never zero.

    Where rounding has lifted `wanted` to the total or past it, that is the first index to reach the total.
    """
    below_total = math.nextafter(float(cumulative[-1]), 0.0)
    return int(cumulative.searchsorted(min(wanted, below_total), side="right"))
