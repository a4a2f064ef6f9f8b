"""The native sampler at every level, against the definition in float64, the reference, and itself in other batches."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import torch

from sglang.srt.executor.logprobs import candidate_logprobs, prompt_logprobs
from sglang.srt.executor.random import uniform
from sglang.srt.executor.sampler import SampledToken, SamplingRow, sample
from sglang.srt.sampling_params import LogprobsMode, SamplingParams
from tests.helpers.sampling_rows import OUTPUT, PROMPT, SETTINGS, SHAPES, WAYS, make_row, mask_of

pytest.importorskip("sglang.srt.kernels._native", reason="the native kernels were not built")

from sglang.srt.executor.native_sampler import NativeSampler
from sglang.srt.kernels import _native

Floats = npt.NDArray[np.float32]

TOLERANCE = 1e-6  # of the cumulative weight, as a share of the total
LOGPROB_TOLERANCE = 2e-6
ALMOST_ONE = 1.0 - 2.0**-53


def make_sampler(level: str, vocab: int, num_threads: int = 1) -> NativeSampler:
    return NativeSampler(level, _native.ThreadPool(num_threads), vocab)


def draw(level: str, logits: Floats, rows: Sequence[SamplingRow]) -> list[SampledToken]:
    return make_sampler(level, logits.shape[1]).sample(logits, rows)


def token_ids(level: str, logits: Floats, rows: Sequence[SamplingRow]) -> list[int]:
    tokens = draw(level, logits, rows)
    assert [(token.error, token.dead_end) for token in tokens] == [(None, None)] * len(rows)
    return [token.token_id for token in tokens if token.token_id is not None]


def shaped(shape: str, vocab: int, rng: np.random.Generator) -> Floats:
    values: Floats = SHAPES[shape](vocab, torch.Generator().manual_seed(int(rng.integers(2**62)))).numpy()
    return values


# --- the definition, in float64 -------------------------------------------------------------------------------------


def adjusted(logits: Floats, row: SamplingRow) -> Floats:
    """Float32 as in the definition, so that what ties there ties here."""
    params = row.params
    values: Floats = logits.copy()
    for token_id, bias in params.logit_bias.items():
        values[token_id] += np.float32(bias)
    penalty = np.float32(params.repetition_penalty)
    for token_id in {*row.prompt_ids.tolist(), *row.output_ids.tolist()}:
        values[token_id] = values[token_id] / penalty if values[token_id] > 0 else values[token_id] * penalty
    for token_id, count in zip(*np.unique(row.output_ids, return_counts=True), strict=True):
        values[token_id] -= np.float32(params.frequency_penalty * count + params.presence_penalty)
    allowed = np.ones(len(values), dtype=bool)
    if row.allowed_mask is not None:
        bits = np.unpackbits(row.allowed_mask.view(np.uint8), bitorder="little")
        allowed = np.arange(len(values)) < len(bits)
        allowed[: len(bits)] &= bits[: len(values)] == 1
    allowed[list(row.banned_ids)] = False
    values[~allowed] = -np.inf
    return values


def is_right(logits: Floats, row: SamplingRow, u: float, token_id: int) -> bool:
    """Whether the row's share of the cumulative weight has `u` in it, the kept tokens being those of the definition."""
    params, values = row.params, adjusted(logits, row)
    log_weights = (values - values.max()) / np.float32(params.temperature)
    weights = np.exp(log_weights.astype(np.float64))
    order = np.arange(len(values))
    if params.top_p < 1.0 or 0 < params.top_k < len(values):
        order = np.lexsort((order, -log_weights))
    cumulative = np.cumsum(weights[order])
    (place,) = np.flatnonzero(order == token_id)
    for top_p in (params.top_p - TOLERANCE, params.top_p, params.top_p + TOLERANCE):
        kept = np.ones(len(order), dtype=bool)
        if params.top_p < 1.0:
            kept[int(np.searchsorted(cumulative, top_p * cumulative[-1])) + 1 :] = False
        if params.top_k > 0:
            kept[params.top_k :] = False
        if params.min_p > 0.0:
            kept &= log_weights[order] >= np.float32(math.log(params.min_p))
        shares = np.cumsum(np.where(kept, weights[order], 0.0))
        shares /= shares[-1]
        below = shares[place - 1] if place else 0.0
        if kept[place] and below - TOLERANCE <= u <= shares[place] + TOLERANCE:
            return True
    return False


def wrong_draws(level: str, logits: Floats, rows: Sequence[SamplingRow]) -> list[Any]:
    found = zip(logits, rows, token_ids(level, logits, rows), strict=True)
    return [
        (row.params, row.seed, row.position, token_id)
        for row_logits, row, token_id in found
        if not is_right(row_logits, row, uniform(row.seed, row.position, row.sample_index), token_id)
    ]


# --- draws ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
def test_a_draw_is_the_one_of_the_definition(shape: str, level: str, rng: np.random.Generator) -> None:
    for vocab in (4, 15, 16, 255, 256, 257, 3000):
        seeds = rng.integers(0, 2**63, size=2 * len(SETTINGS)).tolist()
        rows = [make_row(params, seed) for params, seed in zip(SETTINGS * 2, seeds, strict=True)]
        logits = np.stack([shaped(shape, vocab, rng) for _ in rows])
        assert not wrong_draws(level, logits, rows)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_draw_from_a_large_vocabulary(shape: str, level: str, rng: np.random.Generator) -> None:
    """Large enough for every way of sorting, and not a multiple of any block."""
    rows = [make_row(params, int(rng.integers(2**63))) for params in SETTINGS]
    logits = np.tile(shaped(shape, 50_021, rng), (len(rows), 1))
    assert not wrong_draws(level, logits, rows)


@pytest.mark.parametrize("way", WAYS)
def test_a_draw_with_adjustments_is_the_one_of_the_definition(way: str, level: str, rng: np.random.Generator) -> None:
    params, rest = WAYS[way]
    rows = [make_row(params, 7, i, prompt_ids=PROMPT, output_ids=OUTPUT, **rest) for i in range(40)]
    logits = rng.normal(0.0, 2.0, (len(rows), 8)).astype(np.float32)
    assert not wrong_draws(level, logits, rows)


def random_row(vocab: int, rng: np.random.Generator) -> SamplingRow:
    def some(count: int) -> npt.NDArray[np.int64]:
        return rng.integers(0, vocab, rng.integers(0, count))

    params = SamplingParams(
        temperature=float(rng.choice([0.5, 1.0, 1.7])),
        top_p=float(rng.choice([1.0, 0.8])),
        top_k=int(rng.choice([-1, 20])),
        min_p=float(rng.choice([0.0, 0.02])),
        repetition_penalty=float(rng.choice([1.0, 0.7, 1.5])),
        frequency_penalty=float(rng.choice([0.0, 0.4])),
        presence_penalty=float(rng.choice([0.0, -0.5])),
        logit_bias={int(i): float(rng.normal(0, 5)) for i in some(6)},
    )
    mask = None
    if rng.random() < 0.5:
        mask = rng.integers(0, 2**32, size=int(rng.integers(1, vocab // 16)), dtype=np.uint32) | np.uint32(1 << 5)
    return make_row(
        params, int(rng.integers(2**63)), int(rng.integers(1000)), sample_index=int(rng.integers(3)),
        prompt_ids=some(50), output_ids=some(50), banned_ids=tuple(set(some(4).tolist()) - {5}), allowed_mask=mask,
        return_logprob=bool(rng.random() < 0.5), top_logprobs_num=int(rng.integers(0, 30)),
    )  # fmt: skip


def test_rows_of_all_kinds_in_one_batch(level: str, rng: np.random.Generator) -> None:
    vocab = 300
    rows = [random_row(vocab, rng) for _ in range(200)]
    logits = rng.normal(0.0, 3.0, (len(rows), vocab)).astype(np.float32)
    assert not wrong_draws(level, logits, rows)


def test_a_greedy_row_takes_the_first_of_the_highest_adjusted_logits(level: str, rng: np.random.Generator) -> None:
    vocab = 300
    rows = [random_row(vocab, rng) for _ in range(200)]
    greedy = [
        dataclasses.replace(row, params=SamplingParams(**{**params_of(row), "temperature": 0.0}), return_logprob=False)
        for row in rows
    ]
    logits = rng.integers(-6, 6, (len(rows), vocab)).astype(np.float32)  # with many ties
    expected = [int(adjusted(*pair).argmax()) for pair in zip(logits, greedy, strict=True)]
    assert token_ids(level, logits, greedy) == expected


def test_a_greedy_row_with_a_mask_takes_the_first_of_the_highest_allowed(level: str, rng: np.random.Generator) -> None:
    vocab = 300
    logits = rng.integers(-6, 6, (200, vocab)).astype(np.float32)
    chosen = [np.flatnonzero(rng.random(vocab) < share) for share in rng.uniform(0.02, 1.0, len(logits))]
    rows = [make_row(SamplingParams(temperature=0.0), allowed_mask=mask_of(ids.tolist(), vocab)) for ids in chosen]
    expected = [int(ids[row[ids].argmax()]) for ids, row in zip(chosen, logits, strict=True)]
    assert token_ids(level, logits, rows) == expected


def params_of(row: SamplingRow) -> dict[str, Any]:
    return {name: getattr(row.params, name) for name in row.params.__struct_fields__}


def test_top_k_of_one_is_greedy(level: str) -> None:
    logits = np.zeros((2, 5000), dtype=np.float32)
    logits[1, [4000, 77, 4999]] = 3.5
    assert token_ids(level, logits, [make_row(SamplingParams(top_k=1), seed) for seed in (1, 2)]) == [0, 77]


# --- extremes of the uniform number ---------------------------------------------------------------------------------


def position_drawing(u: float, seed: int) -> tuple[int, int]:
    """Position and sample index for which the uniform number is `u`: Philox is a cipher, and is deciphered here."""
    bits = int(u * 2**53) << 11
    c0, c1, c2, c3 = bits >> 32, bits & 0xFFFFFFFF, 0, 0
    for number in reversed(range(10)):
        k0 = (seed + number * 0x9E3779B9) & 0xFFFFFFFF
        k1 = ((seed >> 32) + number * 0xBB67AE85) & 0xFFFFFFFF
        old0 = c3 * pow(0xD2511F53, -1, 2**32) & 0xFFFFFFFF
        old2 = c1 * pow(0xCD9E8D57, -1, 2**32) & 0xFFFFFFFF
        old1, old3 = c0 ^ (0xCD9E8D57 * old2 >> 32) ^ k0, c2 ^ (0xD2511F53 * old0 >> 32) ^ k1
        c0, c1, c2, c3 = old0, old1, old2, old3
    return signed(c1 << 32 | c0), signed(c3 << 32 | c2)


def signed(word: int) -> int:
    return word - 2**64 if word >> 63 else word


def row_drawing(u: float, params: SamplingParams | None = None) -> SamplingRow:
    position, sample_index = position_drawing(u, seed=99)
    assert uniform(99, position, sample_index) == u
    return make_row(params, 99, position, sample_index=sample_index)


@pytest.mark.parametrize("u", [0.0, 2.0**-53, 0.5, ALMOST_ONE])
def test_an_impossible_token_is_never_drawn(u: float, level: str, rng: np.random.Generator) -> None:
    rows = [row_drawing(u, params) for params in SETTINGS]
    logits = np.full((3, 1000), -np.inf, dtype=np.float32)
    logits[0, 300:700] = rng.normal(size=400)
    logits[1, 999] = 1.0
    logits[2, ::7] = 0.1
    for row_logits in logits:
        drawn = token_ids(level, np.tile(row_logits, (len(rows), 1)), rows)
        assert np.isfinite(row_logits[drawn]).all()


def test_a_token_whose_probability_underflows_is_never_drawn(level: str) -> None:
    logits = np.tile(np.array([-1e4, 0.0, 0.0, -1e4], dtype=np.float32), (2, 1))
    assert token_ids(level, logits, [row_drawing(0.0), row_drawing(ALMOST_ONE)]) == [1, 2]


def test_the_uniform_number_cuts_the_distribution_at_the_right_places(level: str) -> None:
    logits = np.zeros((1, 1024), dtype=np.float32)  # exact in floating point: token i owns [i / 1024, (i + 1) / 1024)
    for token_id in (0, 1, 255, 256, 257, 767, 768, 1023):
        for u in (token_id / 1024, math.nextafter((token_id + 1) / 1024, 0) // 2.0**-53 * 2.0**-53):
            assert token_ids(level, logits, [row_drawing(u)]) == [token_id]
            assert token_ids(level, logits, [row_drawing(u, SamplingParams(top_k=1000))]) == [int(u * 1000)]
            assert token_ids(level, logits, [row_drawing(u, SamplingParams(top_p=0.75))]) == [int(u * 768)]


@pytest.mark.parametrize("which", ["seed", "position", "sample index"])
def test_uniform_numbers_are_those_of_the_reference(which: str, rng: np.random.Generator) -> None:
    edges = [0, 1, 2**31, 2**32 - 1, 2**32, 2**62, 2**63 - 1, -1, *rng.integers(-(2**63), 2**63, 50).tolist()]
    fixed = rng.integers(0, 2**63, 3).tolist()
    for value in edges:
        arguments = [
            value if name == which else fixed[i] for i, name in enumerate(("seed", "position", "sample index"))
        ]
        assert _native.uniform(*arguments) == uniform(*arguments)


def test_temperatures_and_logits_at_their_ends(level: str) -> None:
    logits = np.tile(np.array([3e38, 2.9e38, -np.inf, -3e38], dtype=np.float32), (200, 1))
    cold = [make_row(SamplingParams(temperature=1e-5, top_p=0.99), seed) for seed in range(200)]
    hot = [make_row(SamplingParams(temperature=1e300, top_k=3), seed) for seed in range(200)]
    assert set(token_ids(level, logits, cold)) == {0}
    assert set(token_ids(level, logits, hot)) == {0, 1}


# --- rows without a token -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", [SamplingParams(temperature=0.0), SamplingParams(), SamplingParams(top_p=0.5)])
@pytest.mark.parametrize("place", [0, 200, 299])
def test_a_row_without_a_distribution_fails_alone(
    params: SamplingParams, place: int, level: str, rng: np.random.Generator
) -> None:
    logits = rng.normal(size=(6, 300)).astype(np.float32)
    logits[1, place] = math.nan
    logits[2] = -math.inf
    logits[3, place] = math.inf
    logits[4, place], logits[4, place - 1] = math.inf, math.nan
    rows = [make_row(params, seed, return_logprob=True, top_logprobs_num=2) for seed in range(6)]
    tokens = draw(level, logits, rows)
    assert tokens[1:5] == sample(torch.from_numpy(logits), rows)[1:5]
    assert [tokens[0], tokens[5]] == draw(level, logits[[0, 5]], [rows[0], rows[5]])
    assert tokens[0].error is None


@pytest.mark.parametrize(
    "rest",
    [
        {"allowed_mask": np.zeros(1, dtype=np.uint32)},
        {"banned_ids": tuple(range(8))},
        {"params": SamplingParams(repetition_penalty=1e-300), "output_ids": OUTPUT},
    ],
)
def test_a_row_left_without_a_token_says_what_the_reference_says(rest: dict[str, Any], level: str) -> None:
    logits = np.tile(np.arange(2.0, 10.0, dtype=np.float32), (2, 1))
    rows = [make_row(**rest, return_logprob=True, top_logprobs_num=3), make_row()]
    bad, good = draw(level, logits, rows)
    assert bad == sample(torch.from_numpy(logits), rows)[0]
    assert bad.dead_end is not None
    assert good.token_id is not None


def test_no_rows(level: str) -> None:
    assert draw(level, np.empty((0, 100), dtype=np.float32), []) == []


# --- masks and biases -----------------------------------------------------------------------------------------------


def test_a_mask_covers_every_bit_of_every_word(level: str, rng: np.random.Generator) -> None:
    vocab = 131
    rows = [make_row(seed=token_id, allowed_mask=mask_of([token_id], vocab)) for token_id in range(vocab)]
    assert token_ids(level, rng.normal(size=(vocab, vocab)).astype(np.float32), rows) == list(range(vocab))


def test_a_mask_shorter_or_longer_than_the_logits(level: str) -> None:
    logits = np.zeros((200, 70), dtype=np.float32)
    for num_words, expected in [(1, {0, 31}), (2, {0, 31, 32, 63}), (4, {0, 31, 32, 63, 64})]:
        mask = np.full(num_words, 1 | 1 << 31, dtype=np.uint32)
        assert set(token_ids(level, logits, [make_row(seed=s, allowed_mask=mask) for s in range(200)])) == expected


def test_a_mask_that_leaves_most_of_a_large_vocabulary_out(level: str, rng: np.random.Generator) -> None:
    vocab = 50_021
    for num_allowed in (1, 3, 40):
        masks = [mask_of(rng.integers(0, vocab, num_allowed).tolist(), vocab) for _ in SETTINGS]
        rows = [make_row(params, 3, i, allowed_mask=masks[i]) for i, params in enumerate(SETTINGS)]
        logits = rng.normal(0.0, 3.0, (len(rows), vocab)).astype(np.float32)
        assert not wrong_draws(level, logits, rows)


def test_each_request_keeps_its_own_bias_from_step_to_step(level: str) -> None:
    sampler = make_sampler(level, 50)
    logits = np.zeros((2, 50), dtype=np.float32)
    for step in range(4):
        biases = [{step: 9.0}, {40: 9.0}]
        rows = [make_row(SamplingParams(temperature=0.0, logit_bias=bias)) for bias in biases]
        for _ in range(2):
            assert [token.token_id for token in sampler.sample(logits, rows)] == [step, 40]


# --- log-probabilities ----------------------------------------------------------------------------------------------


def log_softmax(logits: Floats) -> npt.NDArray[np.float64]:
    values = logits.astype(np.float64)
    highest = values.max(axis=-1, keepdims=True)
    result: npt.NDArray[np.float64] = values - highest - np.log(np.exp(values - highest).sum(axis=-1, keepdims=True))
    return result


@pytest.mark.parametrize("shape", ["normal", "flat", "nearly flat", "tied", "signed zeros", "peaked", "long tail"])
@pytest.mark.parametrize("vocab", [5, 300, 20_003])
def test_logprobs_are_of_the_raw_distribution(shape: str, vocab: int, level: str, rng: np.random.Generator) -> None:
    logits = np.stack([shaped(shape, vocab, rng) for _ in range(4)])
    params = SamplingParams(temperature=0.2, top_k=3, logit_bias={3: 100.0}, repetition_penalty=2.0)
    rows = [
        make_row(params, return_logprob=True, top_logprobs_num=n, output_ids=OUTPUT % vocab) for n in (0, 1, 20, 700)
    ]
    expected = log_softmax(logits)
    for row, token, own_logits, logprobs in zip(rows, draw(level, logits, rows), logits, expected, strict=True):
        assert token.token_id == 3
        assert token.logprob == pytest.approx(logprobs[3], abs=LOGPROB_TOLERANCE)
        order = np.lexsort((np.arange(vocab), -own_logits))[: row.top_logprobs_num]
        assert [token_id for _, token_id in token.top] == order.tolist()
        np.testing.assert_allclose([p for p, _ in token.top], logprobs[order], rtol=0, atol=LOGPROB_TOLERANCE)


def test_alternatives_are_ranked_through_the_impossible_ones(level: str) -> None:
    vocab = 1000
    logits = np.full((1, vocab), -np.inf, dtype=np.float32)
    logits[0, [700, 3, 999]] = 2.0, 1.0, 1.5
    for sampler_logits in (np.zeros_like(logits), logits):  # the second finds what the first left
        (token,) = draw(level, sampler_logits, [make_row(return_logprob=True, top_logprobs_num=vocab)])
    impossible = sorted(set(range(vocab)) - {700, 3, 999})
    assert [token_id for _, token_id in token.top] == [700, 999, 3, *impossible]
    assert [p for p, _ in token.top[3:]] == [-math.inf] * len(impossible)


@pytest.mark.parametrize("mode", get_args(LogprobsMode))
def test_logprobs_of_both_modes_are_those_of_the_reference(level: str, mode: LogprobsMode) -> None:
    logits = torch.randn(len(WAYS), 8, generator=torch.Generator().manual_seed(0)) * 2
    rows = [
        make_row(
            msgspec.structs.replace(params, logprobs_mode=mode),
            return_logprob=True, top_logprobs_num=n % 9, prompt_ids=PROMPT, output_ids=OUTPUT, **rest,
        )
        for n, (params, rest) in enumerate(WAYS.values())
    ]  # fmt: skip
    for found, expected in zip(draw(level, logits.numpy(), rows), sample(logits, rows), strict=True):
        assert found.token_id == expected.token_id
        assert found.logprob == pytest.approx(expected.logprob, abs=LOGPROB_TOLERANCE)
        assert [token_id for _, token_id in found.top] == [token_id for _, token_id in expected.top]
        assert [p for p, _ in found.top] == pytest.approx([p for p, _ in expected.top], abs=LOGPROB_TOLERANCE)


def test_logprobs_only_where_asked(level: str) -> None:
    rows = [make_row(top_logprobs_num=3), make_row(return_logprob=True)]
    tokens = draw(level, np.zeros((2, 10), dtype=np.float32), rows)
    assert [(token.logprob is None, token.top) for token in tokens] == [(True, []), (False, [])]


def test_prompt_logprobs_are_those_of_log_softmax(level: str, rng: np.random.Generator) -> None:
    logits = rng.normal(0.0, 5.0, (70, 2500)).astype(np.float32)
    targets = rng.integers(0, 2500, 70)
    scored = make_sampler(level, 2500).prompt_logprobs(logits, targets, top_n=3)
    expected = log_softmax(logits)
    found = [row.logprob for row in scored]
    np.testing.assert_allclose(found, expected[np.arange(70), targets], rtol=0, atol=LOGPROB_TOLERANCE)
    assert [[token_id for _, token_id in row.top] for row in scored] == [
        [token_id for _, token_id in row.top]
        for row in prompt_logprobs(torch.from_numpy(logits), torch.from_numpy(targets), 3)
    ]


def test_equal_alternatives_come_by_id_and_there_are_no_more_than_tokens(level: str) -> None:
    logits = np.array([[0.0, 1.0, -0.0, 1.0, -math.inf]], dtype=np.float32)
    (scored,) = make_sampler(level, 5).prompt_logprobs(logits, np.array([4]), top_n=20)
    assert scored.logprob == -math.inf
    assert [token_id for _, token_id in scored.top] == [1, 3, 0, 2, 4]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_prompt_logprobs_of_no_distribution_are_nan(value: float, level: str) -> None:
    logits = np.zeros((2, 40), dtype=np.float32)
    logits[0, 3] = value
    bad, good = make_sampler(level, 40).prompt_logprobs(logits, np.array([5, 5]), top_n=2)
    assert math.isnan(bad.logprob)
    assert bad.top == []
    assert good.logprob == pytest.approx(-math.log(40), abs=LOGPROB_TOLERANCE)
    assert [token_id for _, token_id in good.top] == [0, 1]


def test_candidate_logprobs_are_those_of_log_softmax(level: str, rng: np.random.Generator) -> None:
    logits = rng.normal(0.0, 5.0, (70, 2500)).astype(np.float32)
    logits[3, 17] = -math.inf
    candidates = [rng.integers(0, 2500, size) for size in rng.integers(1, 9, 70)]
    candidates[3][0] = 17
    found = make_sampler(level, 2500).candidate_logprobs(logits, candidates)
    reference = candidate_logprobs(torch.from_numpy(logits), candidates)
    expected = log_softmax(logits)
    for row, ids in enumerate(candidates):
        np.testing.assert_allclose(found[row], expected[row, ids], rtol=0, atol=LOGPROB_TOLERANCE)
        np.testing.assert_allclose(reference[row], expected[row, ids], rtol=0, atol=2e-5)
    alone = make_sampler(level, 2500).candidate_logprobs(logits[5:6], candidates[5:6])
    assert alone == found[5:6]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_candidates_of_no_distribution_are_nan(value: float, level: str) -> None:
    logits = np.zeros((2, 40), dtype=np.float32)
    logits[0, 3] = value
    bad, good = make_sampler(level, 40).candidate_logprobs(logits, [np.array([5, 6]), np.array([3])])
    assert all(map(math.isnan, bad))
    assert good == pytest.approx([-math.log(40)], abs=LOGPROB_TOLERANCE)


# --- a row depends on nothing but itself ----------------------------------------------------------------------------


def test_a_row_gives_the_same_bits_in_any_batch_and_on_any_number_of_threads(
    level: str, rng: np.random.Generator
) -> None:
    vocab = 8000  # large batches are worth waking other threads, small ones are not
    rows = [random_row(vocab, rng) for _ in range(60)]
    logits = rng.normal(0.0, 3.0, (len(rows), vocab)).astype(np.float32)
    samplers = [make_sampler(level, vocab, num_threads) for num_threads in (1, 2, 3)]
    alone = [samplers[0].sample(logits[i : i + 1], [row])[0] for i, row in enumerate(rows)]
    for sampler, _ in itertools.product(samplers, range(3)):
        order = rng.permutation(len(rows))[: rng.integers(1, len(rows))].tolist()
        assert sampler.sample(logits[order], [rows[i] for i in order]) == [alone[i] for i in order]


def test_logits_are_left_unchanged(level: str, rng: np.random.Generator) -> None:
    rows = [random_row(300, rng) for _ in range(30)]
    logits = rng.normal(size=(30, 300)).astype(np.float32)
    before = logits.copy()
    draw(level, logits, rows)
    np.testing.assert_array_equal(logits, before)


# --- what does not fit is refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rest",
    [
        {"params": SamplingParams(logit_bias={100: 1.0})},
        {"params": SamplingParams(presence_penalty=1.0), "output_ids": np.array([3, 100])},
        {"params": SamplingParams(repetition_penalty=1.1), "prompt_ids": np.array([100])},
        {"banned_ids": (1, 100)},
    ],
)
def test_an_id_outside_the_vocabulary_is_named(rest: dict[str, Any], level: str) -> None:
    with pytest.raises(ValueError, match="token id 100 is not in a vocabulary of 100"):
        draw(level, np.zeros((1, 100), dtype=np.float32), [make_row(**rest)])


def test_a_target_outside_the_vocabulary_is_named(level: str) -> None:
    with pytest.raises(ValueError, match="token id -1 is not in a vocabulary of 10"):
        make_sampler(level, 10).prompt_logprobs(np.zeros((2, 10), dtype=np.float32), np.array([3, -1]), top_n=0)


def test_logits_of_another_shape_are_refused(level: str) -> None:
    sampler = make_sampler(level, 100)
    with pytest.raises(ValueError, match="a row of logits has 99 entries, not 100"):
        sampler.sample(np.zeros((1, 99), dtype=np.float32), [make_row()])
    with pytest.raises(ValueError, match="rows has 128 entries, not 256"):
        sampler.sample(np.zeros((2, 100), dtype=np.float32), [make_row()])
