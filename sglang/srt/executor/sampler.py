"""From a row of logits to a token.

The model's logits are first adjusted (bias, penalties, banned ids, grammar mask). A greedy row takes the highest.
Any other row has the probabilities softmax((logit - highest) / temperature) and keeps

* the `top_k` most likely tokens, of equal ones those with the lower ids;
* the shortest run of most likely tokens whose probabilities add up to `top_p`;
* the tokens with a probability of at least `min_p` times the highest;

all judged on the same probabilities, so their order does not matter. One uniform number then picks from what is left
by inverting the cumulative probability: in rank order if `top_k` or `top_p` is set, else in order of id.
Logits and probabilities are float32, sums of probabilities float64.

A row's result is the same in bits whatever the batch, the row's place in it, and the number of threads: the only
operations on several rows at once are elementwise arithmetic and softmax and sums along a row, whose order depends
on the length of the row alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sglang.srt.executor.logprobs import FloatArray, IdArray, TokenLogprobs, most_likely, token_logprobs
from sglang.srt.executor.random import uniform
from sglang.srt.sampling_params import ALL_TOKENS, SamplingParams

DoubleArray = npt.NDArray[np.float64]

_FLOAT32_MAX = float(np.finfo(np.float32).max)

_ROWS_AT_ONCE = 32
"""Rows whose probabilities are held in memory together."""

_BLOCK = 256
"""Tokens whose probabilities are added up before the cumulative sum over blocks."""

_FIRST_CANDIDATES = 256
_CANDIDATE_GROWTH = 4
"""How many of the most likely tokens are ranked to find a `top_p` set, and the factor for each further attempt."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SamplingRow:
    """What decides the token drawn from one row of logits.

    seed: 0 to 2**63 - 1. position: absolute index of the new token in its sequence.
    prompt_ids, output_ids: int64, read only if the parameters have penalties; every id within the vocabulary.
    banned_ids: tokens not to draw now, such as the stop tokens before `min_new_tokens` is reached.
    allowed_mask: uint32 [ceil(vocab / 32)]; token i is allowed if bit i % 32 of word i // 32 is set. None allows all.
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
    def adjusts_logits(self) -> bool:
        return bool(
            self.params.logit_bias or self.params.has_penalties or self.banned_ids or self.allowed_mask is not None
        )


@dataclass(frozen=True, slots=True)
class SampledToken:
    """Either a token, with its log-probabilities if the row asked for them, or the error that prevented it."""

    token_id: int | None
    error: str | None = None
    logprobs: TokenLogprobs | None = None


@dataclass(frozen=True, slots=True)
class _AdjustedRow:
    """logits: float32 [vocab]; `best` is the highest of them and `best_id` its lowest id."""

    logits: Tensor
    best_id: int
    best: float
    error: str | None = None


def sample(logits: Tensor, rows: Sequence[SamplingRow]) -> list[SampledToken]:
    """Choose one token for each row of logits, float32 [rows, vocab], left unchanged.

    Log-probabilities are those of `logits` itself, before any adjustment and temperature.
    A row without a distribution (NaN, +inf, or no token possible) gets an error and disturbs no other.
    """
    adjusted = list(map(_adjust, logits, rows, *_highest(logits)))
    chosen = [None if row.error else row.best_id for row in adjusted]
    to_draw = [index for index, row in enumerate(rows) if chosen[index] is not None and not row.params.is_greedy]
    for start in range(0, len(to_draw), _ROWS_AT_ONCE):
        chunk = to_draw[start : start + _ROWS_AT_ONCE]
        drawn = _draw([adjusted[index] for index in chunk], [rows[index] for index in chunk])
        for index, token_id in zip(chunk, drawn, strict=True):
            chosen[index] = token_id
    logprobs = _asked_logprobs(logits, rows, chosen)
    return [
        SampledToken(token_id, row.error, logprobs.get(index))
        for index, (token_id, row) in enumerate(zip(chosen, adjusted, strict=True))
    ]


def _asked_logprobs(
    logits: Tensor, rows: Sequence[SamplingRow], chosen: Sequence[int | None]
) -> dict[int, TokenLogprobs | None]:
    asked = {
        index: token_id for index, token_id in enumerate(chosen) if token_id is not None and rows[index].return_logprob
    }
    if not asked:
        return {}
    top_ns = [rows[index].top_logprobs_num for index in asked]
    found = token_logprobs(logits[list(asked)], list(asked.values()), top_ns)
    return dict(zip(asked, found, strict=True))


def _highest(logits: Tensor) -> tuple[list[int], list[float]]:
    """Id (the lowest of equals) and value of each row's highest logit; NaN counts as highest."""
    # On host memory numpy's argmax takes a tenth of the time of torch's.
    ids = torch.from_numpy(logits.numpy().argmax(axis=1)) if logits.is_cpu else logits.argmax(dim=1)
    return ids.tolist(), logits.gather(1, ids[:, None])[:, 0].tolist()


def _adjust(logits: Tensor, row: SamplingRow, best_id: int, best: float) -> _AdjustedRow:
    if not math.isfinite(best):
        error = f"the model gave no distribution over tokens: its highest logit is {best}"
        return _AdjustedRow(logits, best_id, best, error)
    if not row.adjusts_logits:
        return _AdjustedRow(logits, best_id, best)
    adjusted = _adjusted(logits.cpu().numpy(), row)
    best_id = int(adjusted.argmax())
    best = float(adjusted[best_id])
    error = None if math.isfinite(best) else _no_token(best)
    return _AdjustedRow(torch.from_numpy(adjusted).to(logits.device), best_id, best, error)


def _no_token(best: float) -> str:
    if best == -math.inf:
        return "no token can be drawn: every one is banned or ruled out by the grammar"
    return f"no token can be drawn: with bias and penalties the highest logit is {best}"


def _adjusted(logits: FloatArray, row: SamplingRow) -> FloatArray:
    """A copy with bias, penalties, banned ids and mask applied, in this order."""
    params = row.params
    adjusted = logits.copy()
    if params.logit_bias:
        adjusted[list(params.logit_bias)] += np.array(list(params.logit_bias.values()), dtype=np.float32)
    if params.repetition_penalty != 1.0:
        _penalise_repetition(adjusted, np.concatenate((row.prompt_ids, row.output_ids)), params.repetition_penalty)
    if params.frequency_penalty != 0.0 or params.presence_penalty != 0.0:
        ids, counts = np.unique(row.output_ids, return_counts=True)
        adjusted[ids] -= (params.frequency_penalty * counts + params.presence_penalty).astype(np.float32)
    adjusted[list(row.banned_ids)] = -math.inf
    if row.allowed_mask is not None:
        bits = np.unpackbits(row.allowed_mask.astype("<u4", copy=False).view(np.uint8), bitorder="little")
        adjusted[bits[: len(adjusted)] == 0] = -math.inf
    return adjusted


def _penalise_repetition(logits: FloatArray, ids: IdArray, penalty: float) -> None:
    """The penalty of Keskar et al., "CTRL" (2019), in place: makes a token less likely whatever its logit's sign.

    An id given twice is penalised once, both entries being computed from the old logit.
    """
    seen = logits[ids]
    logits[ids] = np.where(seen > 0, seen / penalty, seen * penalty)


def _draw(adjusted: Sequence[_AdjustedRow], rows: Sequence[SamplingRow]) -> list[int]:
    logits = torch.stack([row.logits for row in adjusted])
    best = logits.new_tensor([[row.best] for row in adjusted])
    temperature = logits.new_tensor([[min(row.params.temperature, _FLOAT32_MAX)] for row in rows])
    log_weights = logits.sub_(best).div_(temperature)
    probabilities = torch.softmax(log_weights, dim=-1)
    block_sums = _block_sums(probabilities).cpu().numpy()
    return list(map(_draw_row, log_weights, probabilities, block_sums, rows))


def _block_sums(probabilities: Tensor) -> Tensor:
    """float32 [rows, vocab] -> float64 [rows, ceil(vocab / _BLOCK)]."""
    whole = probabilities.shape[1] // _BLOCK * _BLOCK
    sums = probabilities[:, :whole].unflatten(1, (-1, _BLOCK)).sum(dim=-1, dtype=torch.float64)
    if whole == probabilities.shape[1]:
        return sums
    return torch.cat((sums, probabilities[:, whole:].sum(dim=-1, keepdim=True, dtype=torch.float64)), dim=1)


def _draw_row(log_weights: Tensor, probabilities: Tensor, block_sums: DoubleArray, row: SamplingRow) -> int:
    """log_weights, probabilities: float32 [vocab]."""
    params = row.params
    u = uniform(row.seed, row.position, row.sample_index)
    top_k = len(log_weights) if params.top_k == ALL_TOKENS else min(params.top_k, len(log_weights))
    if params.top_p == 1.0 and top_k == len(log_weights) and params.min_p == 0.0:
        return _invert_blocks(probabilities, np.cumsum(block_sums), u)
    p: FloatArray = probabilities.cpu().numpy()
    if params.top_p == 1.0 and top_k == len(log_weights):
        kept = np.flatnonzero(p >= np.float32(params.min_p) * p.max())
    else:
        kept = _head(log_weights.cpu().numpy(), p, top_k, params.top_p * float(block_sums.sum()))
        kept = kept[p[kept] >= np.float32(params.min_p) * p[kept[0]]]
    cumulative = np.cumsum(p[kept], dtype=np.float64)
    return int(kept[_first_above(cumulative, u * float(cumulative[-1]))])


def _head(log_weights: FloatArray, p: FloatArray, top_k: int, mass: float) -> IdArray:
    """In rank order, the fewest tokens whose probabilities add up to `mass`, but at most `top_k` (at least 1)."""
    num_ranked = _FIRST_CANDIDATES
    while True:
        ids = most_likely(log_weights, min(num_ranked, top_k))[:top_k]
        cumulative = np.cumsum(p[ids], dtype=np.float64)
        if cumulative[-1] >= mass or len(ids) == top_k:
            return ids[: int(np.searchsorted(cumulative, mass)) + 1]
        num_ranked *= _CANDIDATE_GROWTH


def _invert_blocks(probabilities: Tensor, cumulative: DoubleArray, u: float) -> int:
    """The token that holds fraction `u` of all probability. cumulative: probability up to the end of each block."""
    wanted = u * float(cumulative[-1])
    block = _first_above(cumulative, wanted)
    if block:
        wanted -= float(cumulative[block - 1])
    start = block * _BLOCK
    inside: FloatArray = probabilities[start : start + _BLOCK].cpu().numpy()
    return start + _first_above(np.cumsum(inside, dtype=np.float64), wanted)


def _first_above(cumulative: DoubleArray, wanted: float) -> int:
    """The first index whose cumulative probability is above `wanted`. Its own probability is never zero.

    Where rounding has lifted `wanted` to the total or past it, that is the first index to reach the total.
    """
    below_total = math.nextafter(float(cumulative[-1]), 0.0)
    return int(cumulative.searchsorted(min(wanted, below_total), side="right"))
