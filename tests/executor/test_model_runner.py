"""A tiny random llama through slots, steps and the scheduler, against the same model computed densely."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from sglang.srt.cache.pool import SlotPool
from sglang.srt.cache.prefix_cache import NoPrefixCache, PrefixCache, RadixPrefixCache
from sglang.srt.cache.slot_runs import SlotRuns
from sglang.srt.device import HOST
from sglang.srt.executor import model_runner
from sglang.srt.executor.kv_storage import KVStorage
from sglang.srt.executor.model_runner import SCORED_ROWS_AT_ONCE, ModelRunner
from sglang.srt.executor.sampler import SamplingRow, sample
from sglang.srt.executor.step import CandidateRow, PromptLogprobRows, SequenceRows, StepInput, StepResult
from sglang.srt.executor.torch_network import TorchNetwork, TorchSampler
from sglang.srt.grammar.compiler import GrammarCompiler
from sglang.srt.messages import GenerateRequest, RequestOutput, TokenLogprob
from sglang.srt.model.config import ModelConfig
from sglang.srt.model.loader.load import allocate
from sglang.srt.model.models.llama import LlamaForCausalLM
from sglang.srt.sampling_params import SamplingParams
from sglang.srt.scheduler.constraint_queue import ConstraintQueue
from sglang.srt.scheduler.policy import LongestPrefixMatch
from sglang.srt.scheduler.scheduler import Scheduler
from sglang.srt.vocab import Vocab
from tests.helpers.scheduling import InlineExecutor
from tests.model.dense_attention import forward_logits

CONFIG = ModelConfig(
    architecture="LlamaForCausalLM",
    vocab_size=160,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=3,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=512,
)
VOCAB = Vocab(token_bytes=[bytes([i]) for i in range(CONFIG.vocab_size)], special_ids=[], eos_ids=[])
TOLERANCE = 1e-5
TOP = 3


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """On tensors this small a second thread costs more than it gives, and much more on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def tiny_model() -> LlamaForCausalLM:
    """Changing the first of 150 tokens changes log-probabilities after the last by 0.7; float32 errs by 3e-6."""
    generator = torch.Generator().manual_seed(0)
    model = LlamaForCausalLM(CONFIG)
    allocate(model, torch.float32, HOST)
    for name, parameter in model.named_parameters():
        parameter.normal_(1.0 if "norm" in name else 0.0, 0.1, generator=generator)
    return model


def make_runner(num_slots: int, model: LlamaForCausalLM | None = None) -> ModelRunner[torch.Tensor]:
    """Slots that nobody has written hold NaN."""
    storage = KVStorage(CONFIG, num_slots, torch.float32, HOST)
    for layer in (*storage.keys, *storage.values):
        layer.fill_(math.nan)
    heads_per_kv_head = CONFIG.num_attention_heads // CONFIG.num_key_value_heads
    return ModelRunner(TorchNetwork(model or tiny_model(), storage, heads_per_kv_head, HOST), TorchSampler())


def random_ids(count: int, seed: int) -> list[int]:
    ids: list[int] = np.random.default_rng(seed).integers(0, CONFIG.vocab_size, count).tolist()
    return ids


def dense_logprobs(token_ids: Sequence[int]) -> torch.Tensor:
    """[tokens, vocab]"""
    return forward_logits(tiny_model(), token_ids).log_softmax(-1)


def assert_scores(entry: TokenLogprob, logprobs: torch.Tensor) -> None:
    """entry: a token and the TOP most likely, of the distribution logprobs [vocab]."""
    assert entry.logprob == pytest.approx(float(logprobs[entry.token_id]), abs=TOLERANCE)
    assert entry.top is not None
    values, ids = logprobs.topk(TOP)
    assert [token_id for _, token_id in entry.top] == ids.tolist()
    assert [logprob for logprob, _ in entry.top] == pytest.approx(values.tolist(), abs=TOLERANCE)


# --- one step -------------------------------------------------------------------------------------------------------


@dataclass
class Stream:
    """A sequence whose slots are known in advance, `num_computed` of which hold its keys and values already."""

    token_ids: list[int]
    slots: list[int]
    num_computed: int = 0


@dataclass
class StepBuilder:
    """The next `num_rows` tokens of some streams, drawing a greedy token after the last of each."""

    streams: list[tuple[Stream, int]]
    draws: bool = True
    scored: list[PromptLogprobRows] = field(default_factory=list)

    def build(self) -> StepInput:
        sequences, last_rows, row = [], [], 0
        for stream, num_rows in self.streams:
            slots = np.array(stream.slots[: stream.num_computed + num_rows])
            sequences.append(SequenceRows(row, num_rows, SlotRuns(slots).as_array()))
            row += num_rows
            last_rows.append(row - 1)
        params = SamplingParams(temperature=0.0)
        rows = [
            SamplingRow(params=params, seed=0, position=s.num_computed + n, return_logprob=True, top_logprobs_num=TOP)
            for s, n in self.streams
        ]
        return StepInput(
            token_ids=self._new("token_ids"),
            positions=np.concatenate([np.arange(s.num_computed, s.num_computed + n) for s, n in self.streams]),
            slots=self._new("slots"),
            sequences=sequences,
            sample_rows=np.array(last_rows if self.draws else [], dtype=np.int64),
            samples=rows if self.draws else [],
            prompt_logprobs=self.scored,
        )

    def _new(self, name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.concatenate([np.array(getattr(s, name)[s.num_computed :][:n]) for s, n in self.streams])


def execute_and_check(runner: ModelRunner[torch.Tensor], *streams: tuple[Stream, int]) -> None:
    """Every stream's draw is what the dense model says after its tokens."""
    result = runner.execute(StepBuilder(list(streams)).build())
    for (stream, num_rows), token in zip(streams, result.samples, strict=True):
        stream.num_computed += num_rows
        logprobs = dense_logprobs(stream.token_ids[: stream.num_computed])[-1]
        assert token.error is None and token.token_id == int(logprobs.argmax())
        assert_scores(TokenLogprob(token.logprob, token.token_id, token.top), logprobs)


@pytest.mark.parametrize("scattered", [False, True])
def test_chunks_and_decodes_in_one_step(scattered: bool) -> None:
    """Four streams at different places, three of which share 40 tokens that the first one computes meanwhile."""
    slots = np.arange(400) if not scattered else np.random.default_rng(1).permutation(400)
    pool = iter(slots.tolist())
    shared, shared_slots = random_ids(40, 1), [next(pool) for _ in range(40)]

    def stream(prefix: list[int], prefix_slots: list[int], own: int, seed: int) -> Stream:
        return Stream([*prefix, *random_ids(own, seed)], [*prefix_slots, *(next(pool) for _ in range(own))])

    first, second, third = (stream(shared, shared_slots, own, seed=own) for own in (30, 9, 20))
    alone = stream([], [], 100, seed=5)
    runner = make_runner(400)
    execute_and_check(runner, (first, 25), (alone, 1))
    execute_and_check(runner, (first, 15), (alone, 60))
    second.num_computed = third.num_computed = 40
    execute_and_check(runner, (alone, 1), (first, 1), (second, 1), (third, 7))
    execute_and_check(runner, (third, 1), (second, 1), (first, 1), (alone, 1))
    execute_and_check(runner, (first, 20), (third, 1), (alone, 30), (second, 3))
    execute_and_check(runner, (second, 1), (third, 1))


def test_a_prefix_is_read_in_the_step_that_computes_it() -> None:
    shared, runner = random_ids(50, 1), make_runner(200)
    writer = Stream([*shared, *random_ids(10, 2)], list(range(60)))
    readers = [
        Stream([*shared, *random_ids(own, own)], [*range(50), *range(100 + 20 * own, 100 + 20 * own + own)], 50)
        for own in (1, 4)
    ]
    execute_and_check(runner, (readers[0], 1), (writer, 60), (readers[1], 4))


def test_a_step_may_draw_nothing() -> None:
    step = StepBuilder([(Stream(random_ids(20, 1), list(range(20))), 20)], draws=False).build()
    result = make_runner(50).execute(step)
    assert result == StepResult([], [])


def test_logits_of_chosen_rows_of_a_step() -> None:
    first, second = Stream(random_ids(30, 1), list(range(30))), Stream(random_ids(20, 2), list(range(40, 60)))
    runner = make_runner(60)
    runner.execute(StepBuilder([(first, 10)], draws=False).build())
    first.num_computed = 10
    logits = runner.logits(StepBuilder([(first, 20), (second, 20)]).build(), np.array([39, 0, 19]))
    expected = [dense_logprobs(second.token_ids)[19], *dense_logprobs(first.token_ids)[[10, 29]]]
    torch.testing.assert_close(torch.from_numpy(logits).log_softmax(-1), torch.stack(expected), atol=TOLERANCE, rtol=0)


def score_prompt(
    num_rows: int, first_row: int, count: int, num_before: int = 0
) -> tuple[list[int], list[TokenLogprob]]:
    """Score `count` tokens of a prompt of which `num_before` were computed in an earlier step."""
    prompt = random_ids(num_before + num_rows, 1)
    runner, stream = make_runner(512), Stream(prompt, list(range(len(prompt))))
    if num_before:
        runner.execute(StepBuilder([(stream, num_before)], draws=False).build())
        stream.num_computed = num_before
    begin = num_before + first_row + 1
    rows = PromptLogprobRows(first_row, np.array(prompt[begin : begin + count]), TOP)
    (entries,) = runner.execute(StepBuilder([(stream, num_rows)], scored=[rows]).build()).prompt_logprobs
    return prompt, entries


@pytest.mark.parametrize(
    ("num_rows", "first_row", "count", "num_before"),
    [
        (20, 0, 19, 0),
        (20, 7, 1, 30),
        (SCORED_ROWS_AT_ONCE + 1, 0, SCORED_ROWS_AT_ONCE, 0),
        (SCORED_ROWS_AT_ONCE + 2, 0, SCORED_ROWS_AT_ONCE + 1, 0),
        (3 * SCORED_ROWS_AT_ONCE, 5, 2 * SCORED_ROWS_AT_ONCE + 50, 40),
    ],
)
def test_prompt_logprobs(num_rows: int, first_row: int, count: int, num_before: int) -> None:
    prompt, entries = score_prompt(num_rows, first_row, count, num_before)
    begin = num_before + first_row + 1
    assert [entry.token_id for entry in entries] == prompt[begin : begin + count] and len(entries) == count
    logprobs = dense_logprobs(prompt)
    for position, entry in enumerate(entries, start=begin):
        assert_scores(entry, logprobs[position - 1])


@pytest.mark.parametrize("rows_at_once", [1, 7, 64])
def test_how_many_rows_are_scored_at_once_changes_nothing(rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    prompt, _ = score_prompt(70, 0, 69)
    monkeypatch.setattr(model_runner, "SCORED_ROWS_AT_ONCE", rows_at_once)
    _, entries = score_prompt(70, 0, 69)
    logprobs = dense_logprobs(prompt)
    for position, entry in enumerate(entries):
        assert_scores(entry, logprobs[position])


def test_candidate_logprobs_of_rows_of_several_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = Stream(random_ids(30, 1), list(range(30))), Stream(random_ids(20, 2), list(range(40, 60)))
    step = StepBuilder([(first, 30), (second, 20)], draws=False).build()
    asked = [(49, [5]), (3, [7, 7, 0, 159]), (29, [1, 2])]
    rows = [CandidateRow(row, np.array(token_ids)) for row, token_ids in asked]
    logprobs = torch.cat((dense_logprobs(first.token_ids), dense_logprobs(second.token_ids)))
    for rows_at_once in (1, 2, 64):
        monkeypatch.setattr(model_runner, "SCORED_ROWS_AT_ONCE", rows_at_once)
        found = make_runner(60).execute(dataclasses.replace(step, candidates=rows)).candidates
        for (row, token_ids), values in zip(asked, found, strict=True):
            assert values == pytest.approx(logprobs[row, token_ids].tolist(), abs=TOLERANCE)


def test_a_sequence_that_the_model_breaks_on_disturbs_no_other() -> None:
    """Token 0 has NaN for an embedding: no draw, no log-probability, and the other stream does not notice."""
    broken = copy.deepcopy(tiny_model())
    broken.model.embed_tokens.weight[0] = math.nan
    runner = make_runner(100, broken)
    sick, well = Stream([5, 6, 0, 7], [0, 1, 2, 3]), Stream([1, 2, 3, 4, 5], [4, 5, 6, 7, 8])
    rows = PromptLogprobRows(0, np.array([6, 0, 7]), TOP)
    result = runner.execute(StepBuilder([(sick, 4), (well, 5)], scored=[rows]).build())
    assert result.samples[0].token_id is None and "no distribution" in str(result.samples[0].error)
    assert result.samples[1].token_id == int(dense_logprobs(well.token_ids)[-1].argmax())
    assert result.prompt_logprobs[0][-1] == TokenLogprob(None, 7)


# --- the scheduler on top -------------------------------------------------------------------------------------------

SHARED = random_ids(60, 7)
PROMPTS = {
    "whole": SHARED,
    "longer": [*SHARED, *random_ids(30, 8)],
    "branch": [*SHARED[:45], *random_ids(5, 9)],
    "longest": [*SHARED, *random_ids(90, 10)],
    "alone": random_ids(25, 11),
    "one": random_ids(1, 12),
    "scored": [*SHARED, *random_ids(3, 13)],
    "sampled": [*SHARED, 5],
    "penalised": [*SHARED[:50], 6],
}
LOGPROB_START = {"scored": 0, "longest": 100, "alone": 3}
PARAMS = {
    "sampled": SamplingParams(temperature=1.0, top_p=0.9),
    "penalised": SamplingParams(temperature=0.7, repetition_penalty=1.3, frequency_penalty=0.5),
}
GREEDY = SamplingParams(temperature=0.0)
NUM_NEW = 12


def request(name: str, rid: str | None = None, **fields: Any) -> GenerateRequest:
    values = {"return_logprob": True, "top_logprobs_num": TOP, "logprob_start_len": LOGPROB_START.get(name)} | fields
    return GenerateRequest(
        rid=rid or name,
        input_ids=np.array(PROMPTS[name], dtype=np.int32).tobytes(),
        max_new_tokens=NUM_NEW,
        params=PARAMS.get(name, GREEDY),
        seed=len(name),
        **values,
    )


@cache
def truth(name: str) -> RequestOutput:
    """What a request must get, one whole dense forward pass per token."""
    message, ids = request(name), list(PROMPTS[name])
    for _ in range(NUM_NEW):
        row = SamplingRow(
            params=message.params,
            seed=message.seed,
            position=len(ids),
            prompt_ids=np.frombuffer(message.input_ids, dtype=np.int32).astype(np.int64),
            output_ids=np.array(ids[message.num_prompt_tokens :], dtype=np.int64),
        )
        (token,) = sample(forward_logits(tiny_model(), ids)[-1:], [row])
        assert token.token_id is not None
        ids.append(token.token_id)
    return RequestOutput(name, ids[message.num_prompt_tokens :], b"")


def make_scheduler(total: int = 2000, budget: int = 256, radix: bool = True, **options: Any) -> Scheduler:
    pool = SlotPool(total + 1)
    prefix_cache: PrefixCache = RadixPrefixCache(pool) if radix else NoPrefixCache(pool)
    return Scheduler(
        cache=prefix_cache,
        executor=make_runner(total + 1),
        policy=LongestPrefixMatch(),
        vocab=VOCAB,
        constraints=ConstraintQueue(GrammarCompiler(VOCAB, InlineExecutor()), InlineExecutor()),
        max_running_requests=16,
        token_budget=budget,
        **options,
    )


def run(scheduler: Scheduler, *messages: GenerateRequest) -> dict[str, RequestOutput]:
    scheduler.add(messages)
    finished = {}
    while scheduler.has_work:
        for output in scheduler.step():
            finished[output.rid] = output
        scheduler.check_integrity()
    return finished


def assert_true(name: str, output: RequestOutput) -> None:
    """The tokens of the truth, and log-probabilities within the tolerance."""
    ids = [*PROMPTS[name], *truth(name).token_ids]
    assert output.finish is not None and output.finish.type == "length", output.finish
    assert output.token_ids == truth(name).token_ids
    logprobs = dense_logprobs(ids)
    assert output.output_logprobs is not None and len(output.output_logprobs) == NUM_NEW
    for position, entry in enumerate(output.output_logprobs, start=len(PROMPTS[name])):
        assert entry.token_id == ids[position]
        assert_scores(entry, logprobs[position - 1])
    start = LOGPROB_START.get(name)
    if start is None:
        assert output.input_logprobs == []
        return
    assert output.input_logprobs is not None
    assert output.input_logprobs[0] == TokenLogprob(None, ids[start])
    assert [entry.token_id for entry in output.input_logprobs] == PROMPTS[name][start:]
    for position, entry in enumerate(output.input_logprobs[1:], start=start + 1):
        assert_scores(entry, logprobs[position - 1])


@pytest.mark.parametrize("name", PROMPTS)
def test_cold_and_cached(name: str) -> None:
    scheduler = make_scheduler()
    cold = run(scheduler, request(name, "cold"))["cold"]
    warm = run(scheduler, request(name, "warm"))["warm"]
    assert_true(name, cold)
    assert_true(name, warm)
    assert cold.cached_tokens == 0
    assert warm.cached_tokens == min(len(PROMPTS[name]) - 1, LOGPROB_START.get(name, len(PROMPTS[name])))


@pytest.mark.parametrize("name", PROMPTS)
def test_chunked(name: str) -> None:
    assert_true(name, run(make_scheduler(budget=7), request(name))[name])


@pytest.mark.parametrize("radix", [True, False])
@pytest.mark.parametrize("budget", [5, 33, 1000])
def test_batched_and_chunked(budget: int, radix: bool) -> None:
    scheduler = make_scheduler(budget=budget, radix=radix)
    finished = run(scheduler, *map(request, PROMPTS))
    for name in PROMPTS:
        assert_true(name, finished[name])
    assert (scheduler.counters.cached_tokens > 0) == radix


def test_two_of_each_in_one_batch() -> None:
    """Twins share even their last prompt token's slot, or a duplicate of it."""
    finished = run(make_scheduler(), *(request(name, f"{name} {i}") for name in PROMPTS for i in range(2)))
    for rid, output in finished.items():
        assert_true(rid.split()[0], output)


def test_arriving_one_by_one() -> None:
    scheduler, finished = make_scheduler(budget=20), {}
    for name in PROMPTS:
        scheduler.add([request(name)])
        finished.update({output.rid: output for _ in range(3) for output in scheduler.step()})
    finished.update(run(scheduler))
    for name in PROMPTS:
        assert_true(name, finished[name])


@pytest.mark.parametrize("radix", [True, False])
def test_retracted(radix: bool) -> None:
    """Memory for little more than the longest request: the others lose theirs, again and again, but no token."""
    scheduler = make_scheduler(total=170, radix=radix, budget=64, decode_reserve=1)
    finished = run(scheduler, *map(request, PROMPTS))
    assert scheduler.counters.retractions > 0
    for name in PROMPTS:
        assert_true(name, finished[name])


def test_beside_requests_that_are_aborted() -> None:
    """What an aborted request had computed is shared, or its slots are written anew."""
    scheduler = make_scheduler(total=500, budget=40)
    scheduler.add([request("longest", "doomed"), request("longer", "doomed too")])
    finished = {}
    for index, name in enumerate(PROMPTS):
        scheduler.add([request(name)])
        finished.update({output.rid: output for output in scheduler.step()})
        if index in (1, 3):
            scheduler.abort(["doomed" if index == 1 else "doomed too"])
    finished.update(run(scheduler))
    for name in PROMPTS:
        assert_true(name, finished[name])
