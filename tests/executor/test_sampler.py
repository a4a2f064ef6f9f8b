"""The sampler against plain references: exact distributions, a full sort, and itself in other batches."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from sglang.srt.executor import sampler
from sglang.srt.executor.logprobs import most_likely, prompt_logprobs
from sglang.srt.executor.random import philox4x32, uniform
from sglang.srt.executor.sampler import SampledToken, SamplingRow, sample
from sglang.srt.sampling_params import SamplingParams
from tests.helpers.sampling_rows import OUTPUT, PROMPT, SETTINGS, SHAPES, WAYS, make_row, mask_of

ALMOST_ONE = 1.0 - 2.0**-53
EIGHT_LOGITS = [2.0, 1.5, 1.5, 0.3, -0.2, -1.0, 1.0, 0.9]


def token_ids(logits: Tensor, rows: Sequence[SamplingRow]) -> list[int]:
    tokens = sample(logits, rows)
    assert [token.error for token in tokens] == [None] * len(rows)
    return [token.token_id for token in tokens if token.token_id is not None]


# --- plain references -----------------------------------------------------------------------------------------------


def adjusted_logits(logits: Sequence[float], row: SamplingRow) -> list[float]:
    params, values = row.params, list(logits)
    output = Counter(row.output_ids.tolist())
    for token_id, amount in params.logit_bias.items():
        values[token_id] += amount
    for token_id in {*row.prompt_ids.tolist(), *output}:
        values[token_id] *= params.repetition_penalty if values[token_id] < 0 else 1 / params.repetition_penalty
    for token_id, count in output.items():
        values[token_id] -= params.frequency_penalty * count + params.presence_penalty
    for token_id in range(len(values)):
        masked = row.allowed_mask is not None and not row.allowed_mask[token_id // 32] >> token_id % 32 & 1
        if masked or token_id in row.banned_ids:
            values[token_id] = -math.inf
    return values


def exact_distribution(logits: Sequence[float], row: SamplingRow) -> list[float]:
    params, values = row.params, adjusted_logits(logits, row)
    weights = [math.exp((value - max(values)) / params.temperature) for value in values]
    ranked = sorted(range(len(values)), key=lambda token_id: (-values[token_id], token_id))
    kept: list[int] = []
    for token_id in ranked[: params.top_k if params.top_k > 0 else None]:
        if sum(weights[other] for other in kept) < params.top_p * sum(weights) and weights[token_id] >= params.min_p:
            kept.append(token_id)
    total = sum(weights[token_id] for token_id in kept)
    return [weights[token_id] / total if token_id in kept else 0.0 for token_id in range(len(values))]


def draw_by_full_sort(logits: Tensor, params: SamplingParams, u: float) -> int:
    values = logits.numpy()
    log_weights = (values - values.max()) / np.float32(params.temperature)
    weights = np.exp(log_weights).astype(np.float64)
    ids = np.arange(len(values))
    if 0 < params.top_k < len(ids) or params.top_p < 1.0:
        ids = np.lexsort((ids, -log_weights))
    count = len(ids)
    if params.top_p < 1.0:
        count = int(np.searchsorted(np.cumsum(weights[ids]), params.top_p * math.fsum(weights))) + 1
    ids = ids[: min(count, params.top_k) if params.top_k > 0 else count]
    if params.min_p > 0.0:
        ids = ids[log_weights[ids] >= np.float32(math.log(params.min_p))]
    cumulative = np.cumsum(weights[ids])
    return int(ids[np.flatnonzero(cumulative > u * cumulative[-1])[0]])


def chi_square(observed: Sequence[int], expected: Sequence[float]) -> float:
    return sum((o - e) ** 2 / e for o, e in zip(observed, expected, strict=True) if e > 0)


def chi_square_limit(num_cells: int) -> float:
    """Exceeded by chance once in a thousand tests (the approximation of Wilson and Hilferty)."""
    freedom = max(1, num_cells - 1)
    return freedom * (1 - 2 / (9 * freedom) + 3.09 * math.sqrt(2 / (9 * freedom))) ** 3


def assert_spread_like(counts: Sequence[int], probabilities: Sequence[float]) -> None:
    """A cell of probability zero must be empty."""
    total = sum(counts)
    assert [count for count, p in zip(counts, probabilities, strict=True) if p == 0.0 and count] == []
    cells = sum(p > 0 for p in probabilities)
    assert chi_square(counts, [total * p for p in probabilities]) <= chi_square_limit(cells)


# --- the draw has the right distribution ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", WAYS)
def test_frequencies_match_the_exact_distribution(name: str) -> None:
    params, rest = WAYS[name]
    rows = [
        make_row(params, seed, position, prompt_ids=PROMPT, output_ids=OUTPUT, **rest)
        for seed in range(100)
        for position in range(100)
    ]
    drawn = Counter(token_ids(torch.tensor([EIGHT_LOGITS]).expand(len(rows), -1), rows))
    assert_spread_like([drawn[token_id] for token_id in range(8)], exact_distribution(EIGHT_LOGITS, rows[0]))


def test_frequencies_over_many_blocks_of_a_vocabulary() -> None:
    logits = torch.randn(1, 1000, generator=torch.Generator().manual_seed(3)) * 2
    rows = [make_row(position=position) for position in range(10_000)]
    probabilities = torch.softmax(logits[0].double(), dim=0)
    in_groups: list[float] = probabilities.reshape(20, 50).sum(1).tolist()
    drawn = Counter(token_id // 50 for token_id in token_ids(logits.expand(10_000, -1), rows))
    assert_spread_like([drawn[group] for group in range(20)], in_groups)


# --- the draw equals the definition by a full sort ------------------------------------------------------------------


@pytest.mark.parametrize("vocab", [4, 255, 256, 257, 3000, 20_000])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_draw_equals_the_one_by_full_sort(shape: str, vocab: int) -> None:
    logits = SHAPES[shape](vocab, torch.Generator().manual_seed(vocab))
    rows = [make_row(params, seed) for params in SETTINGS for seed in range(2)]
    expected = [draw_by_full_sort(logits, row.params, uniform(row.seed, 0, 0)) for row in rows]
    assert token_ids(logits.expand(len(rows), -1), rows) == expected


@pytest.mark.parametrize("at_least", [1, 5, 256, 700, 5000])
@pytest.mark.parametrize("shape", SHAPES)
def test_ranking_is_by_weight_then_id(shape: str, at_least: int) -> None:
    values = SHAPES[shape](5000, torch.Generator().manual_seed(1)).numpy()
    log_weights = values - values.max()
    ranked = most_likely(log_weights, at_least)
    assert len(ranked) >= at_least
    assert ranked.tolist() == np.lexsort((np.arange(5000), -log_weights))[: len(ranked)].tolist()


# --- extremes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("u", [0.0, 2.0**-53, 0.5, ALMOST_ONE])
@pytest.mark.parametrize("params", SETTINGS, ids=repr)
def test_an_impossible_token_is_never_drawn(params: SamplingParams, u: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "uniform", lambda *_: u)
    logits = torch.full((3, 1000), -math.inf)
    logits[0, 300:700] = torch.randn(400, generator=torch.Generator().manual_seed(0))
    logits[1, 999] = 1.0
    logits[2, ::7] = 0.1
    for row_logits, token_id in zip(logits, token_ids(logits, [make_row(params)] * 3), strict=True):
        assert row_logits[token_id] > -math.inf


def test_a_token_whose_probability_underflows_is_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.tensor([[-1e4, 0.0, 0.0, -1e4]])
    monkeypatch.setattr(sampler, "uniform", lambda *_: 0.0)
    assert token_ids(logits, [make_row()]) == [1]
    monkeypatch.setattr(sampler, "uniform", lambda *_: ALMOST_ONE)
    assert token_ids(logits, [make_row()]) == [2]


def test_the_uniform_number_cuts_the_distribution_at_the_right_places(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.zeros(1, 1024)  # exact in floating point: token i owns [i / 1024, (i + 1) / 1024)
    for token_id in (0, 1, 255, 256, 257, 767, 768, 1023):
        for u, expected in ((token_id / 1024, token_id), (math.nextafter((token_id + 1) / 1024, 0), token_id)):
            monkeypatch.setattr(sampler, "uniform", lambda *_, u=u: u)
            assert token_ids(logits, [make_row()]) == [expected]
            assert token_ids(logits, [make_row(SamplingParams(top_k=1000))]) == [int(u * 1000)]


@pytest.mark.parametrize("params", [SamplingParams(temperature=0.0), SamplingParams(top_k=1)], ids=repr)
def test_greedy_takes_the_lowest_id_among_equals_and_draws_nothing(
    params: SamplingParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(sampler, "uniform")
    logits = torch.zeros(2, 5000)
    logits[1, [4000, 77, 4999]] = 3.5
    assert token_ids(logits, [make_row(params)] * 2) == [0, 77]


def test_a_greedy_choice_sees_bias_penalties_and_bans() -> None:
    logits = torch.tensor([[3.0, 2.9, 2.8, -1.0]]).expand(4, -1)
    rows = [
        make_row(SamplingParams(temperature=0.0, logit_bias={3: 5.0})),
        make_row(
            SamplingParams(temperature=0.0, repetition_penalty=1.5),
            prompt_ids=np.array([0, 0]),
            output_ids=np.array([1]),
        ),
        make_row(SamplingParams(temperature=0.0), banned_ids=(0,)),
        make_row(SamplingParams(temperature=0.0), allowed_mask=mask_of([3], 4)),
    ]
    assert token_ids(logits, rows) == [3, 2, 1, 3]


@pytest.mark.parametrize("params", SETTINGS, ids=repr)
def test_a_vocabulary_of_two(params: SamplingParams) -> None:
    assert set(token_ids(torch.tensor([[0.0, 30.0]]).expand(50, -1), [make_row(params, s) for s in range(50)])) <= {
        0,
        1,
    }


def test_temperatures_at_both_ends() -> None:
    logits = torch.tensor([[1.0, 1.01, -math.inf]]).expand(400, -1)
    cold = SamplingParams(temperature=1e-5)
    hot = SamplingParams(temperature=1e300)
    assert set(token_ids(logits, [make_row(cold, seed) for seed in range(400)])) == {1}
    assert set(token_ids(logits, [make_row(hot, seed) for seed in range(400)])) == {0, 1}


def test_logits_at_the_end_of_float32() -> None:
    logits = torch.tensor([[3e38, -3e38, 3e38]]).expand(100, -1)
    rows = [make_row(SamplingParams(temperature=1e-5, top_p=0.99), seed) for seed in range(100)]
    assert set(token_ids(logits, rows)) == {0, 2}


# --- adjustments ----------------------------------------------------------------------------------------------------


IDS = st.lists(st.integers(0, 39), max_size=30)


@st.composite
def adjusting_rows(draw: st.DrawFn) -> SamplingRow:
    """Rows over a vocabulary of 40."""
    params = SamplingParams(
        repetition_penalty=draw(st.floats(0.5, 2.0)),
        frequency_penalty=draw(st.floats(-2.0, 2.0)),
        presence_penalty=draw(st.floats(-2.0, 2.0)),
        logit_bias=draw(st.dictionaries(st.integers(0, 39), st.floats(-100.0, 100.0), max_size=5)),
    )
    return make_row(
        params,
        prompt_ids=np.array(draw(IDS), dtype=np.int64),
        output_ids=np.array(draw(IDS), dtype=np.int64),
        banned_ids=tuple(draw(st.lists(st.integers(0, 39), max_size=3))),
        allowed_mask=draw(st.none() | IDS.map(lambda allowed: mask_of(allowed, 40))),
    )


@given(logits=st.lists(st.floats(-50, 50, width=32), min_size=40, max_size=40), row=adjusting_rows())
@settings(deadline=None, max_examples=100)
def test_adjustments_equal_a_plain_reference(logits: list[float], row: SamplingRow) -> None:
    given_logits = np.array(logits, dtype=np.float32)
    found = sampler._adjusted(given_logits, row)
    assert given_logits.tolist() == logits
    np.testing.assert_allclose(found, adjusted_logits(logits, row), rtol=1e-4, atol=1e-3)


def test_a_mask_covers_every_bit_of_every_word() -> None:
    vocab = 70
    rows = [make_row(seed=token_id, allowed_mask=mask_of([token_id], vocab)) for token_id in range(vocab)]
    assert token_ids(torch.randn(vocab, vocab, generator=torch.Generator().manual_seed(0)), rows) == list(range(vocab))


def test_bits_of_a_mask_past_the_vocabulary_mean_nothing() -> None:
    rows = [make_row(seed=seed, allowed_mask=np.array([0xFFFFFFFF], dtype=np.uint32)) for seed in range(50)]
    assert token_ids(torch.zeros(50, 5), rows) == token_ids(torch.zeros(50, 5), [make_row(seed=s) for s in range(50)])


# --- rows without a distribution ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params", [SamplingParams(temperature=0.0), SamplingParams(), SamplingParams(top_p=0.5)], ids=repr
)
def test_a_row_without_a_distribution_fails_alone(params: SamplingParams) -> None:
    logits = torch.randn(5, 300, generator=torch.Generator().manual_seed(0))
    logits[1, 200] = math.nan
    logits[2] = -math.inf
    logits[3, 5] = math.inf
    rows = [make_row(params, seed, return_logprob=True, top_logprobs_num=2) for seed in range(5)]
    tokens = sample(logits, rows)
    for bad, value in ((1, "nan"), (2, "-inf"), (3, "inf")):
        error = f"the model gave no distribution over tokens: its highest logit is {value}"
        assert tokens[bad] == SampledToken(None, error=error)
    assert [tokens[0], tokens[4]] == sample(logits[[0, 4]], [rows[0], rows[4]])
    assert tokens[0].error is None


@pytest.mark.parametrize(
    ("rest", "message"),
    [
        ({"allowed_mask": np.zeros(1, dtype=np.uint32)}, "ruled out by the grammar"),
        ({"banned_ids": tuple(range(8))}, "every one is banned"),
        (
            {"params": SamplingParams(repetition_penalty=1e-300), "output_ids": OUTPUT},
            "with bias and penalties the highest logit is inf",
        ),
    ],
)
def test_a_row_left_without_a_token_says_why(rest: dict[str, Any], message: str) -> None:
    bad, good = sample(torch.tensor([EIGHT_LOGITS] * 2) * 10, [make_row(**rest), make_row()])
    assert bad.token_id is None
    assert message in str(bad.dead_end)
    assert good.token_id is not None


def test_no_rows() -> None:
    assert sample(torch.empty(0, 100), []) == []


# --- a row depends on nothing but itself ----------------------------------------------------------------------------


MIXED_ROWS = [
    make_row(
        params,
        seed=5,
        position=index,
        sample_index=index % 3,
        prompt_ids=PROMPT,
        output_ids=OUTPUT,
        banned_ids=(3,) if index % 4 == 0 else (),
        return_logprob=index % 2 == 0,
        top_logprobs_num=index % 5,
    )
    for index, params in enumerate(
        [params for params, _ in WAYS.values()] + SETTINGS + [SamplingParams(temperature=0.0)] * 3
    )
]


@given(order=st.permutations(range(len(MIXED_ROWS))), size=st.integers(1, len(MIXED_ROWS)), vocab=st.integers(8, 3000))
@settings(deadline=None, max_examples=25)
def test_a_row_gives_the_same_bits_alone_and_in_any_batch(order: list[int], size: int, vocab: int) -> None:
    logits = torch.randn(len(MIXED_ROWS), vocab, generator=torch.Generator().manual_seed(vocab)) * 3
    batch = order[:size]
    together = sample(logits[batch], [MIXED_ROWS[index] for index in batch])
    alone = [sample(logits[index : index + 1].clone(), [MIXED_ROWS[index]])[0] for index in batch]
    assert together == alone


def test_the_number_of_threads_does_not_matter() -> None:
    logits = torch.randn(4, 70_000, generator=torch.Generator().manual_seed(0))
    rows = [make_row(SamplingParams(top_p=p), return_logprob=True, top_logprobs_num=20) for p in (0.1, 0.9, 0.99, 1.0)]
    before = torch.get_num_threads()
    try:
        results = []
        for num_threads in (1, 2, 3):
            torch.set_num_threads(num_threads)
            results.append(sample(logits, rows))
    finally:
        torch.set_num_threads(before)
    assert results[0] == results[1] == results[2]


def test_the_global_generator_is_left_alone() -> None:
    before = torch.get_rng_state()
    random_state = random.getstate()
    sample(
        torch.randn(2, 50, generator=torch.Generator().manual_seed(0)), [make_row(), make_row(SamplingParams(top_k=5))]
    )
    assert torch.equal(torch.get_rng_state(), before)
    assert random.getstate() == random_state


# --- log-probabilities ----------------------------------------------------------------------------------------------


def test_logprobs_are_of_the_raw_distribution() -> None:
    logits = torch.randn(2, 3000, generator=torch.Generator().manual_seed(0)) * 4
    expected = torch.log_softmax(logits, dim=-1)
    params = SamplingParams(temperature=0.2, top_k=3, logit_bias={9: 100.0}, repetition_penalty=2.0)
    rows = [make_row(params, return_logprob=True, top_logprobs_num=n, output_ids=OUTPUT) for n in (4, 0)]
    first, second = sample(logits, rows)
    assert first.token_id == second.token_id == 9
    assert [first.logprob, second.logprob] == expected[:, 9].tolist()
    assert [logprob for logprob, _ in first.top] == expected[0].topk(4).values.tolist()
    assert [token_id for _, token_id in first.top] == expected[0].topk(4).indices.tolist()
    assert second.top == []


@pytest.mark.parametrize("name", WAYS)
def test_processed_logprobs_are_of_the_distribution_drawn_from(name: str) -> None:
    params, rest = WAYS[name]
    params = msgspec.structs.replace(params, logprobs_mode="processed_logprobs")
    rest = {**rest, "prompt_ids": PROMPT, "output_ids": OUTPUT, "return_logprob": True, "top_logprobs_num": 8}
    row = make_row(params, **rest)
    (token,) = sample(torch.tensor([EIGHT_LOGITS]), [row])
    exact = exact_distribution(EIGHT_LOGITS, row)
    assert sorted(token_id for _, token_id in token.top) == [i for i, p in enumerate(exact) if p > 0]
    assert sum(math.exp(logprob) for logprob, _ in token.top) == pytest.approx(1.0)
    for logprob, token_id in token.top:
        assert math.exp(logprob) == pytest.approx(exact[token_id], rel=1e-5)
    assert (token.logprob, token.token_id) in token.top
    assert token.top == sorted(token.top, key=lambda entry: (-entry[0], entry[1]))


def test_processed_logprobs_of_a_greedy_row_are_without_temperature() -> None:
    """A mask leaves two tokens."""
    params = SamplingParams(temperature=0.0, logprobs_mode="processed_logprobs")
    row = make_row(params, return_logprob=True, top_logprobs_num=1, allowed_mask=mask_of([3, 7], 8))
    (token,) = sample(torch.tensor([EIGHT_LOGITS]), [row])
    difference = EIGHT_LOGITS[3] - EIGHT_LOGITS[7]
    assert token.token_id == 7 and token.logprob == pytest.approx(-math.log1p(math.exp(difference)), rel=1e-5)
    assert token.top == [(token.logprob, 7)]


def test_logprobs_only_where_asked() -> None:
    tokens = sample(torch.zeros(2, 10), [make_row(top_logprobs_num=3), make_row(return_logprob=True)])
    assert [(token.logprob is None, token.top) for token in tokens] == [(True, []), (False, [])]


def test_equal_alternatives_come_by_id_and_there_are_no_more_than_tokens() -> None:
    logits = torch.tensor([[0.0, 1.0, 0.0, 1.0, -math.inf]])
    (scored,) = prompt_logprobs(logits, torch.tensor([4]), top_n=20)
    assert scored.logprob == -math.inf
    assert [token_id for _, token_id in scored.top] == [1, 3, 0, 2, 4]


def test_prompt_logprobs_are_those_of_log_softmax() -> None:
    logits = torch.randn(70, 2500, generator=torch.Generator().manual_seed(0)) * 5
    targets = torch.randint(0, 2500, (70,), generator=torch.Generator().manual_seed(1))
    scored = prompt_logprobs(logits, targets, top_n=3)
    expected = torch.log_softmax(logits, dim=-1)
    assert [row.logprob for row in scored] == expected.gather(1, targets[:, None])[:, 0].tolist()
    assert [[token_id for _, token_id in row.top] for row in scored] == expected.topk(3).indices.tolist()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_prompt_logprobs_of_no_distribution_are_nan(value: float) -> None:
    logits = torch.zeros(2, 40)
    logits[0, 3] = value
    bad, good = prompt_logprobs(logits, torch.tensor([5, 5]), top_n=2)
    assert math.isnan(bad.logprob)
    assert bad.top == []
    assert good.logprob == pytest.approx(-math.log(40))
    assert good.top == [(good.logprob, 0), (good.logprob, 1)]


# --- uniform numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the known answers that come with the authors' Random123 library
        ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_published_answers(
    counter: tuple[int, int, int, int], key: tuple[int, int], expected: tuple[int, int, int, int]
) -> None:
    assert philox4x32(counter, key) == expected


def test_every_part_of_every_argument_changes_the_number() -> None:
    places = [0, 1, 2**31, 2**32, 2**33, 2**62, 2**63 - 1]
    numbers = {uniform(seed, position, index) for seed in places for position in places for index in places}
    assert len(numbers) == len(places) ** 3
    assert all(0.0 <= number < 1.0 for number in numbers)


VARIED: dict[str, Callable[[int], float]] = {
    "seed": lambda i: uniform(i, 17, 0),
    "position": lambda i: uniform(42, i, 0),
    "sample index": lambda i: uniform(42, 17, i),
    "all together": lambda i: uniform(i, i, i),
    "large seeds": lambda i: uniform(2**63 - 1 - i, 0, 0),
}


@pytest.mark.parametrize("name", VARIED)
def test_numbers_are_uniform_and_each_independent_of_the_last(name: str) -> None:
    numbers = [VARIED[name](i) for i in range(10_001)]
    pairs = Counter((int(a * 8), int(b * 8)) for a, b in itertools.pairwise(numbers))
    assert_spread_like([pairs[a, b] for a in range(8) for b in range(8)], [1 / 64] * 64)
    fine = Counter(int(number * 2**40) % 64 for number in numbers)
    assert_spread_like([fine[bits] for bits in range(64)], [1 / 64] * 64)


def test_numbers_of_neighbouring_seeds_and_samples_are_independent() -> None:
    pairs = Counter(
        (int(uniform(seed, p, 0) * 8), int(uniform(seed + 1, p, 1) * 8)) for seed in range(100) for p in range(100)
    )
    assert_spread_like([pairs[a, b] for a in range(8) for b in range(8)], [1 / 64] * 64)


def test_a_mask_shorter_or_longer_than_the_logits() -> None:
    """Ids that the mask has no bit for are not allowed; bits past the logits mean nothing."""
    logits = torch.zeros(1, 70)
    for num_words, expected in [(1, {0, 31}), (2, {0, 31, 32, 63}), (4, {0, 31, 32, 63, 64})]:
        mask = np.full(num_words, 1 | 1 << 31, dtype=np.uint32)
        drawn = {sample(logits, [make_row(seed=seed, allowed_mask=mask)])[0].token_id for seed in range(200)}
        assert drawn == expected
