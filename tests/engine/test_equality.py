"""The same request has the same answer: cold, from the cache, after eviction, in any batch, in any chunks, streamed or
not, in-process or over HTTP. The torch path's matrix products may depend on the batch in the last bits, so
log-probabilities are compared with a tolerance; tokens and text are compared as they are.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

import sglang as sgl
from tests.helpers.runtime import assert_baseline

PROMPTS = [
    "The capital of France is",
    "北京是中国的首都，上海是",
    "def fibonacci(n):\n    if n < 2:\n        return",
    "3.14159265358979323846",
    "Once upon a time, in a small village by the sea, there lived a clockmaker. Naïve café — ½ 😀. One night she",
]
OTHERS = [f"{number} {name} is a" for number, name in enumerate(("Water", "The moon", "A prime", "水") * 4)]

GREEDY = {"temperature": 0.0, "max_new_tokens": 6, "ignore_eos": True}
SCORED: dict[str, Any] = {"return_logprob": True, "logprob_start_len": 0, "top_logprobs_num": 2}
SAMPLED = {"temperature": 0.8, "max_new_tokens": 5, "ignore_eos": True, "sampling_seed": 1234}

CACHE_TOKENS = 160


@pytest.fixture(scope="module")
def cold(engine: sgl.Engine) -> list[Any]:
    """Each prompt alone, with nothing in the cache."""
    engine.flush_cache()
    return [engine.generate(prompt, GREEDY, **SCORED) for prompt in PROMPTS]


@pytest.fixture(scope="module")
def sampled(engine: sgl.Engine) -> list[Any]:
    """Each prompt alone."""
    return [engine.generate(prompt, SAMPLED) for prompt in PROMPTS]


@pytest.fixture(scope="module")
def small_chunks() -> Iterator[sgl.Engine]:
    with sgl.Engine(model_path="smollm2", num_threads=1, chunked_prefill_size=3) as running:
        yield running
        assert_baseline(running)


@pytest.fixture(scope="module")
def small_cache() -> Iterator[sgl.Engine]:
    """Has room for a few of the prompts at a time."""
    with sgl.Engine(
        model_path="smollm2",
        num_threads=1,
        max_total_tokens=CACHE_TOKENS,
        chunked_prefill_size=17,
        max_running_requests=4,
    ) as running:
        yield running
        assert_baseline(running)


def assert_same(actual: Any, expected: Any) -> None:
    """Text and tokens are the same, and so are the log-probabilities, of the prompt as far as both have them."""
    assert (actual["text"], actual["output_ids"]) == (expected["text"], expected["output_ids"])
    found, wanted = actual["meta_info"], expected["meta_info"]
    for name in ("finish_reason", "prompt_tokens", "completion_tokens"):
        assert found[name] == wanted[name]
    for name in ("output_token_logprobs", "input_token_logprobs"):
        assert_same_scores(found[name], wanted[name][-len(found[name]) :])
    for name in ("output_top_logprobs", "input_top_logprobs"):
        for row, other in zip(found[name], wanted[name][-len(found[name]) :], strict=True):
            assert_same_scores(row or [], other or [] if row else [])


def assert_same_scores(actual: Any, expected: Any) -> None:
    """Rows of (log-probability or None, token, text). The first input token has None."""
    assert [tuple(row[1:]) for row in actual] == [tuple(row[1:]) for row in expected]
    for (value, *_), (wanted, *_) in zip(actual, expected, strict=True):
        assert value is None or value == pytest.approx(wanted, abs=1e-4)


def outputs(results: list[Any]) -> list[list[int]]:
    return [result["output_ids"] for result in results]


def test_the_prompts_are_scored_in_full(cold: list[Any]) -> None:
    for result in cold:
        meta = result["meta_info"]
        assert len(meta["input_token_logprobs"]) == len(meta["input_top_logprobs"]) == meta["prompt_tokens"]
        assert [row[0] is None for row in meta["input_token_logprobs"]] == [True] + [False] * (
            meta["prompt_tokens"] - 1
        )
        assert len(meta["output_token_logprobs"]) == len(meta["output_top_logprobs"]) == 6
        for row, top in zip(meta["output_token_logprobs"], meta["output_top_logprobs"], strict=True):
            assert len(top) == 2 and top[0] == row, "greedy takes the most likely token"
        assert meta["cached_tokens"] == 0


def test_from_the_cache(engine: sgl.Engine, cold: list[Any]) -> None:
    engine.generate(PROMPTS, {"max_new_tokens": 1})
    starts = [result["meta_info"]["prompt_tokens"] - 2 for result in cold]
    results = engine.generate(PROMPTS, GREEDY, **{**SCORED, "logprob_start_len": starts})
    for result, wanted, start in zip(results, cold, starts, strict=True):
        assert result["meta_info"]["cached_tokens"] == start > 0
        assert len(result["meta_info"]["input_token_logprobs"]) == 2
        assert_same(result, wanted)


def test_scoring_the_prompt_again_computes_it_again(engine: sgl.Engine, cold: list[Any]) -> None:
    for result, wanted in zip(engine.generate(PROMPTS, GREEDY, **SCORED), cold, strict=True):
        assert result["meta_info"]["cached_tokens"] == 0
        assert_same(result, wanted)


def test_in_a_batch_of_others(engine: sgl.Engine, cold: list[Any]) -> None:
    engine.flush_cache()
    results = engine.generate([*OTHERS[:8], *PROMPTS, *OTHERS[8:]], GREEDY, **SCORED)
    for result, wanted in zip(results[8 : 8 + len(PROMPTS)], cold, strict=True):
        assert_same(result, wanted)


def test_streamed(engine: sgl.Engine, cold: list[Any]) -> None:
    so_far: dict[int, Any] = {}
    num_chunks = 0
    for chunk in engine.generate(PROMPTS, GREEDY, **SCORED, stream=True):
        before = so_far.get(chunk["index"], {"text": "", "output_ids": []})
        assert chunk["text"].startswith(before["text"])
        assert chunk["output_ids"][: len(before["output_ids"])] == before["output_ids"]
        so_far[chunk["index"]] = chunk
        num_chunks += 1
    assert num_chunks > len(PROMPTS), "nothing was streamed"
    for index, wanted in enumerate(cold):
        assert_same(so_far[index], wanted)


def test_in_chunks_of_3(small_chunks: sgl.Engine, cold: list[Any]) -> None:
    for result, wanted in zip(small_chunks.generate(PROMPTS[2:4], GREEDY, **SCORED), cold[2:4], strict=True):
        assert_same(result, wanted)


def test_in_chunks_of_17(small_cache: sgl.Engine, cold: list[Any]) -> None:
    for result, wanted in zip(small_cache.generate(PROMPTS, GREEDY, **SCORED), cold, strict=True):
        assert_same(result, wanted)


def test_after_eviction(small_cache: sgl.Engine, cold: list[Any]) -> None:
    prompt, wanted = PROMPTS[-1], cold[-1]
    filler = small_cache.tokenizer.encode("one two three four five six seven eight nine ten " * 20)[: CACHE_TOKENS - 1]
    unscored = {**SCORED, "logprob_start_len": None}
    cached = []
    for _ in range(2):
        for _ in range(2):
            result = small_cache.generate(prompt, GREEDY, **unscored)
            cached.append(result["meta_info"]["cached_tokens"])
            assert result["text"] == wanted["text"]
            assert_same_scores(
                result["meta_info"]["output_token_logprobs"], wanted["meta_info"]["output_token_logprobs"]
            )
        small_cache.generate(input_ids=filler, sampling_params={"max_new_tokens": 1})
    assert cached[1] == cached[3] == wanted["meta_info"]["prompt_tokens"] - 1
    assert cached[2] < cached[1] // 2


def test_over_http(server_url: str, cold: list[Any]) -> None:
    body = {"text": PROMPTS, "sampling_params": GREEDY, **SCORED}
    response = httpx.post(f"{server_url}/generate", json=body, timeout=60)
    for result, wanted in zip(response.json(), json.loads(json.dumps(cold)), strict=True):
        assert_same(result, wanted)


def test_streamed_over_http(server_url: str, cold: list[Any]) -> None:
    body = {"text": PROMPTS, "sampling_params": GREEDY, **SCORED, "stream": True}
    response = httpx.post(f"{server_url}/generate", json=body, timeout=60)
    events = [line.removeprefix("data: ") for line in response.text.split("\n\n")[:-2]]
    last = {chunk["index"]: chunk for chunk in map(json.loads, events)}
    for index, wanted in enumerate(json.loads(json.dumps(cold))):
        assert_same(last[index], wanted)


def test_asynchronously(engine: sgl.Engine, cold: list[Any]) -> None:
    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(engine.async_generate(prompt, GREEDY, **SCORED) for prompt in PROMPTS))

    for result, wanted in zip(asyncio.run(all_at_once()), cold, strict=True):
        assert_same(result, wanted)


def test_a_seed_repeats_a_sample(engine: sgl.Engine, sampled: list[Any], server_url: str) -> None:
    batched = engine.generate([*OTHERS[:8], *PROMPTS], SAMPLED)
    assert outputs(batched[8:]) == outputs(sampled)
    body = {"text": PROMPTS, "sampling_params": SAMPLED}
    over_http = httpx.post(f"{server_url}/generate", json=body, timeout=60).json()
    assert outputs(over_http) == outputs(sampled)
    assert {result["meta_info"]["sampling_seed"] for result in [*batched, *over_http]} == {1234}


def test_a_seed_repeats_a_sample_in_small_chunks(small_chunks: sgl.Engine, sampled: list[Any]) -> None:
    assert outputs(small_chunks.generate(PROMPTS[:2], SAMPLED)) == outputs(sampled[:2])


def test_a_seed_is_chosen_and_reported(engine: sgl.Engine) -> None:
    unseeded = {name: value for name, value in SAMPLED.items() if name != "sampling_seed"}
    results = engine.generate([PROMPTS[0]] * 3, unseeded)
    seeds = [result["meta_info"]["sampling_seed"] for result in results]
    assert len(set(seeds)) == 3
    again = engine.generate([PROMPTS[0]] * 3, [{**unseeded, "sampling_seed": seed} for seed in seeds])
    assert outputs(again) == outputs(results)


def test_samples_of_one_prompt_differ_and_repeat(engine: sgl.Engine) -> None:
    first, again = (engine.generate(PROMPTS[4], {**SAMPLED, "n": 4}) for _ in range(2))
    assert outputs(first) == outputs(again)
    assert len({tuple(ids) for ids in outputs(first)}) == 4


def test_samples_of_a_batch_are_the_whole_list_again_and_again(engine: sgl.Engine) -> None:
    both = engine.generate([PROMPTS[0], PROMPTS[3]], {**SAMPLED, "n": 2})
    alone = [engine.generate(prompt, {**SAMPLED, "n": 2}) for prompt in (PROMPTS[0], PROMPTS[3])]
    assert outputs(both) == outputs([alone[0][0], alone[1][0], alone[0][1], alone[1][1]])
