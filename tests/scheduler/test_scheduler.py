"""The scheduler on a model that detects every wrong slot. No weights, no torch arithmetic."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from sglang.srt.args import EngineArgs
from sglang.srt.cache.pool import SlotPool
from sglang.srt.cache.prefix_cache import EndedPrefixCache, NoPrefixCache, PrefixCache, RadixPrefixCache
from sglang.srt.scheduler.build import make_cache, make_policy
from sglang.srt.scheduler.policy import (
    AGEING_TOKENS,
    RANDOM_PATIENCE,
    FirstComeFirstServed,
    LongestPrefixMatch,
    RandomOrder,
    SchedulePolicy,
)
from sglang.srt.vocab import Vocab
from tests.helpers.scheduling import VOCAB_SIZE, Bench, expected_input_logprobs, expected_tokens, request


def test_a_request_gets_its_true_continuation() -> None:
    bench = Bench()
    message = request("a", range(10))
    bench.add(message)
    bench.run()
    assert bench.finished["a"].token_ids == expected_tokens(message)
    assert bench.finished["a"].finish is not None and bench.finished["a"].finish.type == "length"
    bench.assert_baseline()


@pytest.mark.parametrize("budget", [1, 3, 7, 64, 1000])
def test_chunk_size_changes_nothing(budget: int) -> None:
    bench = Bench(budget=budget)
    messages = [request(f"r{i}", [*range(50), i], seed=i) for i in range(5)]
    bench.add(*messages)
    bench.run()
    assert all(bench.finished[m.rid].token_ids == expected_tokens(m) for m in messages)
    assert max(len(step.token_ids) for step in bench.executor.steps) <= max(budget, len(messages))


@pytest.mark.parametrize(("budget", "beside_decoding"), [(40, 40), (200, 128), (600, 150)])
def test_a_long_prompt_takes_a_part_of_the_budget_beside_those_who_decode(budget: int, beside_decoding: int) -> None:
    bench = Bench(2000, budget=budget)
    bench.add(request("decoding", range(5), max_new_tokens=100))
    bench.step()
    bench.add(request("long", [7] * 1000))
    bench.step()
    assert len(bench.executor.steps[-1].token_ids) == 1 + beside_decoding
    bench.abort("decoding")
    bench.step()
    assert len(bench.executor.steps[-1].token_ids) == budget


def test_a_prompt_gets_on_beside_any_number_of_those_who_decode() -> None:
    bench = Bench(budget=3)
    bench.add(*(request(f"r{i}", [i], max_new_tokens=50, seed=i) for i in range(5)), request("prompt", [9] * 4))
    for _ in range(20):
        bench.step()
    assert list(bench.finished) == ["prompt"]


def test_simultaneous_requests_compute_a_common_prefix_once() -> None:
    """64 requests, 1,000 shared tokens: 1,000 + their own are computed, then all decode as one batch."""
    bench = Bench(total=20_000, budget=512, max_running=64)
    shared = [i % VOCAB_SIZE for i in range(1000)]
    messages = [request(f"r{i}", [*shared, i, i + 1, i + 2], max_new_tokens=20, seed=i) for i in range(64)]
    bench.add(*messages)
    prefill_rows = 0
    while any(r.num_output_tokens == 0 for r in bench.scheduler._running.requests) or bench.scheduler._waiting:
        bench.step()
        prefill_rows += len(bench.executor.steps[-1].token_ids)
    decoded_meanwhile = sum(r.num_output_tokens - 1 for r in bench.scheduler._running.requests)
    assert prefill_rows - decoded_meanwhile == 1000 + 64 * 3
    bench.step()
    assert len(bench.executor.steps[-1].token_ids) == 64 == len(bench.executor.steps[-1].samples)
    bench.run()
    assert all(bench.finished[m.rid].token_ids == expected_tokens(m) for m in messages)
    assert sorted(bench.finished[m.rid].cached_tokens for m in messages) == [0] + [1000] * 63


def test_sharing_goes_on_when_the_request_that_computes_dies() -> None:
    bench = Bench(total=5000, budget=100)
    messages = [request(f"r{i}", [*([7] * 450), i], seed=i) for i in range(4)]
    bench.add(*messages)
    bench.step()
    bench.abort("r0")
    before = bench.executor.num_rows
    bench.run()
    decoded = sum(len(bench.finished[m.rid].token_ids) - 1 for m in messages[1:])
    assert bench.executor.num_rows - before == 350 + 3 + decoded
    assert all(bench.finished[m.rid].token_ids == expected_tokens(m) for m in messages[1:])
    bench.assert_baseline()


def test_a_repeated_prompt_computes_only_its_last_token() -> None:
    bench = Bench()
    for rid in ("cold", "warm"):
        bench.add(request(rid, range(40)))
        bench.run()
    assert bench.finished["cold"].token_ids == bench.finished["warm"].token_ids
    assert (bench.finished["cold"].cached_tokens, bench.finished["warm"].cached_tokens) == (0, 39)


def test_namespaces_share_nothing() -> None:
    bench = Bench()
    for namespace in ("", "tenant a", "tenant b"):
        bench.add(request(namespace or "none", range(40), namespace=namespace))
        bench.run()
    assert [bench.finished[rid].cached_tokens for rid in ("none", "tenant a", "tenant b")] == [0, 0, 0]


def test_without_a_radix_cache_nothing_is_shared_and_all_is_free_again() -> None:
    bench = Bench(make_cache=NoPrefixCache)
    messages = [request(f"r{i}", range(40), seed=i) for i in range(6)]
    bench.add(*messages)
    bench.run()
    assert all(bench.finished[m.rid].token_ids == expected_tokens(m) for m in messages)
    assert all(output.cached_tokens == 0 for output in bench.finished.values())
    assert bench.scheduler.stats().free_tokens == bench.scheduler.stats().total_tokens


@pytest.mark.parametrize("start", [0, 1, 20, 38, 39])
def test_input_logprobs_cap_the_match_and_survive_chunking(start: int) -> None:
    bench = Bench(budget=7)
    bench.add(request("warm-up", range(40)))
    bench.run()
    message = request("scored", range(40), return_logprob=True, logprob_start_len=start)
    bench.add(message)
    bench.run()
    output = bench.finished["scored"]
    assert output.input_logprobs == expected_input_logprobs(message)
    assert output.token_ids == expected_tokens(message)
    assert output.cached_tokens == min(start, 39)
    bench.assert_baseline()


def test_a_prompt_can_be_computed_without_generating() -> None:
    bench = Bench(budget=16)
    bench.add(request("prefill", range(40), max_new_tokens=0))
    bench.run()
    output = bench.finished["prefill"]
    assert output.token_ids == [] and output.finish is not None and output.finish.type == "length"
    bench.add(request("next", range(41)))
    bench.run()
    assert bench.finished["next"].cached_tokens == 40


def test_retraction_loses_no_token() -> None:
    """Memory for about two of eight requests: they take turns, and each gets its whole true answer."""
    bench = Bench(total=120, budget=32, max_running=8, decode_reserve=4)
    messages = [request(f"r{i}", [i] * 10, max_new_tokens=50, seed=i) for i in range(8)]
    bench.add(*messages)
    bench.run()
    assert bench.scheduler.counters.retractions > 0
    assert all(bench.finished[m.rid].token_ids == expected_tokens(m) for m in messages)
    bench.assert_baseline()


def test_a_request_as_large_as_the_cache_fits_even_when_its_prompt_is_cached() -> None:
    bench = Bench(total=60, budget=16)
    for rid in ("cold", "warm"):
        message = request(rid, range(50), max_new_tokens=10)
        bench.add(message)
        bench.run()
        assert bench.finished[rid].token_ids == expected_tokens(message)
    bench.assert_baseline()


def test_eviction_changes_no_result() -> None:
    bench = Bench(total=200, budget=64)
    message = request("first", range(60))
    bench.add(message)
    bench.run()
    for i in range(6):
        bench.add(request(f"filler{i}", [100 + i] * 90))
        bench.run()
    bench.add(request("again", range(60)))
    bench.run()
    assert bench.finished["again"].token_ids == bench.finished["first"].token_ids == expected_tokens(message)
    assert bench.finished["again"].cached_tokens == 0


@pytest.mark.parametrize("policy", [LongestPrefixMatch(), FirstComeFirstServed()])
def test_no_request_starves_behind_a_stream_of_cache_hits(policy: SchedulePolicy) -> None:
    """Every step brings two new requests with a long cached prefix, and there is room for two at a time."""
    bench = Bench(total=20_000, budget=600, max_running=2, policy=policy)
    hot = [5] * 512
    bench.add(request("warm-up", hot, max_new_tokens=1))
    bench.run()
    bench.add(request("h0", [*hot, 0], max_new_tokens=1), request("cold", [9] * 100, max_new_tokens=1))
    steps = 0
    while "cold" not in bench.finished:
        steps += 1
        bench.add(*(request(f"s{steps}.{i}", [*hot, steps % 250, i], max_new_tokens=1) for i in range(2)))
        bench.step()
        assert steps <= 512 // AGEING_TOKENS + 4, "the cold request starves"


def test_longest_prefix_goes_first() -> None:
    bench = Bench(total=5000, budget=300, max_running=1)
    for rid, prompt in (("w1", [1] * 50), ("w2", [2] * 100)):
        bench.add(request(rid, prompt, max_new_tokens=1))
    bench.run()
    prompts = {"none": [3] * 50, "short": [1] * 51, "long": [2] * 101}
    bench.add(*(request(rid, prompt, max_new_tokens=1) for rid, prompt in prompts.items()))
    bench.run()
    assert list(bench.finished)[2:] == ["long", "short", "none"]


def test_a_step_that_fails_once_costs_no_request() -> None:
    bench = Bench(max_running=2)
    messages = [request(f"r{i}", [i] * 20, seed=i) for i in range(4)]
    bench.add(*messages)
    bench.step()
    bench.executor.fail_next = RuntimeError("no more memory")
    bench.run()
    assert all(bench.finished[m.rid].token_ids == expected_tokens(m) for m in messages)
    bench.assert_baseline()


def test_a_request_that_breaks_every_step_it_is_in_fails_alone() -> None:
    bench = Bench()
    bench.executor.breaking.add(1000)
    healthy = [request(f"r{i}", [i] * 20, max_new_tokens=30, seed=i) for i in range(6)]
    broken = [request(f"broken{i}", [i, 1000], seed=i) for i in range(3)]
    bench.add(*healthy[:3], broken[0])
    for message in [*broken[1:], *healthy[3:]]:
        bench.step()
        bench.add(message)
    bench.run()
    assert all(bench.finished[m.rid].token_ids == expected_tokens(m) for m in healthy)
    for message in broken:
        finish = bench.finished[message.rid].finish
        assert finish is not None and finish.status_code == 500 and "1000" in (finish.message or "")
    bench.assert_baseline()


def test_a_prefix_is_shared_in_flight_or_from_the_end_of_its_request_on() -> None:
    prompt = [7] * 30
    for cache, in_flight in ((RadixPrefixCache, 29), (EndedPrefixCache, 0)):
        bench = Bench(make_cache=cache)
        bench.add(request("first", prompt), request("beside it", prompt))
        bench.run()
        bench.add(request("later", prompt))
        bench.run()
        cached = {rid: output.cached_tokens for rid, output in bench.finished.items()}
        assert cached == {"first": 0, "beside it": in_flight, "later": 29}
        bench.assert_baseline()


def test_a_random_order_is_drawn_anew() -> None:
    bench = Bench(max_running=1, policy=RandomOrder(random.Random(1)))
    names = [f"r{number}" for number in range(8)]
    orders = []
    for _ in range(2):
        bench.finished.clear()
        bench.add(*(request(name, [number] * 4, max_new_tokens=1) for number, name in enumerate(names)))
        bench.run()
        orders.append(list(bench.finished))
    assert sorted(orders[0]) == sorted(orders[1]) == names
    assert orders[0] != names != orders[1] != orders[0]


class LastArrivals(random.Random):
    """Draws whoever came last first: the worst that chance can do to an old request."""

    def sample(self, population: Any, k: int, *, counts: Any = None) -> list[Any]:
        return list(reversed(population))[:k]


def test_chance_passes_nobody_over_for_ever() -> None:
    """Every step brings a new request, and there is room for one at a time."""
    bench = Bench(total=20_000, max_running=1, policy=RandomOrder(LastArrivals()))
    bench.add(*(request(rid, [9] * 10, max_new_tokens=1) for rid in ("first", "second")))
    while "second" not in bench.finished:
        bench.add(request(f"s{bench.scheduler.counters.steps}", [5] * 10, max_new_tokens=1))
        bench.step()
        assert bench.scheduler.counters.steps <= 3 * RANDOM_PATIENCE + 3, "an old request starves"
    assert bench.scheduler.counters.steps > 2 * RANDOM_PATIENCE, "its turn did not come by chance"
    assert "first" in bench.finished


@pytest.mark.parametrize(
    ("given", "policy", "cache"),
    [
        ({}, LongestPrefixMatch, RadixPrefixCache),
        ({"schedule_policy": "fcfs"}, FirstComeFirstServed, RadixPrefixCache),
        ({"schedule_policy": "random"}, RandomOrder, RadixPrefixCache),
        ({"disable_in_flight_sharing": True}, LongestPrefixMatch, EndedPrefixCache),
        ({"disable_radix_cache": True}, FirstComeFirstServed, NoPrefixCache),
        ({"disable_radix_cache": True, "disable_in_flight_sharing": True}, FirstComeFirstServed, NoPrefixCache),
    ],
)
def test_what_the_arguments_mean(given: dict[str, Any], policy: type, cache: type) -> None:
    args = EngineArgs(model_path="m", **given)
    assert type(make_policy(args)) is policy
    assert type(make_cache(args, SlotPool(8))) is cache


@pytest.mark.parametrize(
    ("given", "is_warned"),
    [
        ({}, False),
        ({"disable_radix_cache": True}, True),
        ({"disable_radix_cache": True, "schedule_policy": "fcfs"}, False),
    ],
)
def test_a_policy_that_cannot_be_followed_is_warned_of(
    given: dict[str, Any], is_warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    make_policy(EngineArgs(model_path="m", **given))
    assert ["schedule_policy=lpm, the default, is fcfs" in message for message in caplog.messages] == [True] * is_warned


@pytest.mark.parametrize("seed", range(30))
def test_random_traffic(seed: int) -> None:
    """Arrivals, aborts and failures at random moments, in a cache that is always too small."""
    rng = random.Random(seed)
    policies: list[SchedulePolicy] = [LongestPrefixMatch(), FirstComeFirstServed(), RandomOrder(rng)]
    caches: list[Callable[[SlotPool], PrefixCache]] = [RadixPrefixCache, EndedPrefixCache, NoPrefixCache]
    bench = Bench(
        total=rng.choice([40, 100, 400]),
        budget=rng.choice([1, 5, 32, 100]),
        max_running=rng.choice([1, 3, 16]),
        policy=rng.choice(policies),
        make_cache=rng.choice(caches),
        decode_reserve=rng.choice([0, 4, 128]),
    )
    sent = {}
    aborted: set[str] = set()
    for number in range(200):
        if rng.random() < 0.5:
            prompt = [rng.randrange(2) for _ in range(rng.randint(1, 25))]
            start = rng.choice([None, None, rng.randrange(len(prompt))])
            message = request(
                f"r{number}",
                prompt,
                max_new_tokens=rng.randint(0, 14),
                seed=rng.randrange(3),
                namespace=rng.choice(["", "", "x"]),
                return_logprob=start is not None,
                logprob_start_len=start,
            )
            sent[message.rid] = message
            bench.add(message)
        if sent and rng.random() < 0.15:
            rid = rng.choice(list(sent))
            aborted.add(rid)
            bench.abort(rid)
        if rng.random() < 0.01:
            bench.executor.fail_next = RuntimeError("injected")
        bench.step()
    bench.executor.fail_next = None
    bench.run()
    assert bench.finished.keys() == sent.keys()
    for rid, message in sent.items():
        output = bench.finished[rid]
        assert output.finish is not None
        true = expected_tokens(message)
        if output.finish.type == "abort":
            assert output.finish.status_code == 500 or rid in aborted
        else:
            assert output.token_ids == true
            if message.logprob_start_len is not None:
                assert output.input_logprobs == expected_input_logprobs(message)
    bench.assert_baseline()


def test_stop_tokens_and_minimum_length() -> None:
    message = request("a", range(10), max_new_tokens=30)
    true = expected_tokens(message)
    vocab = Vocab(token_bytes=[bytes([i % 256]) for i in range(VOCAB_SIZE)], special_ids=[], eos_ids=[true[4]])
    bench = Bench(vocab=vocab)
    bench.add(message, request("b", range(10), max_new_tokens=30, params={"ignore_eos": True}))
    bench.add(request("c", range(10), max_new_tokens=30, params={"stop_token_ids": (true[2],)}))
    bench.run()
    stopped, ignored, custom = (bench.finished[rid] for rid in "abc")
    assert stopped.token_ids == true[: true.index(true[4]) + 1] and stopped.finish is not None
    assert stopped.finish.type == "stop" and stopped.finish.matched == true[4]
    assert stopped.text == bytes(t % 256 for t in stopped.token_ids[:-1])
    assert ignored.token_ids == true
    assert custom.token_ids == true[: true.index(true[2]) + 1]


def test_what_a_broken_distribution_was_computed_from_is_forgotten() -> None:
    bench = Bench()
    bench.executor.poisoned.add(299)
    healthy = request("healthy", range(20), max_new_tokens=30)
    bench.add(healthy, request("broken", [*range(20), 299]))
    bench.run()
    broken = bench.finished["broken"].finish
    assert broken is not None and broken.status_code == 500 and "NaN" in (broken.message or "")
    assert bench.finished["healthy"].token_ids == expected_tokens(healthy)
    bench.add(request("again", [*range(20), 299, 5]))
    bench.step()
    assert len(bench.executor.steps[-1].token_ids) == 2, "only the healthy prefix is still cached"
    bench.run()
    bench.assert_baseline()


def test_a_broken_prompt_score_is_an_error_without_generation_too() -> None:
    bench = Bench()
    bench.executor.unscorable.add(7)
    fields = {"max_new_tokens": 0, "return_logprob": True, "logprob_start_len": 0}
    bench.add(request("broken", [5, 7, 5], **fields), request("healthy", [5, 6, 5], **fields))
    bench.run()
    broken, healthy = (bench.finished[rid].finish for rid in ("broken", "healthy"))
    assert broken is not None and broken.status_code == 500
    assert healthy is not None and healthy.type == "length"


def test_a_full_cache_still_gives_growing_sequences_long_runs() -> None:
    bench = Bench(total=8000, budget=512, max_running=16)
    for number in range(20):
        bench.add(request(f"old{number}", [number + 20] * 600, max_new_tokens=1))
    bench.run()
    assert bench.scheduler.stats().free_tokens < 1000
    bench.add(*(request(f"r{i}", [i] * 5, max_new_tokens=150, seed=i) for i in range(16)))
    for _ in range(140):
        bench.step()
    assert max(len(rows.runs) for rows in bench.executor.steps[-1].sequences) <= 16


def test_prompts_get_on_beside_more_decodes_than_the_budget() -> None:
    bench = Bench(total=5000, budget=2, max_running=8)
    bench.add(*(request(f"r{i}", [i, i], max_new_tokens=40, seed=i) for i in range(8)))
    for _ in range(30):
        bench.step()
    assert bench.scheduler.stats().num_running == 8
