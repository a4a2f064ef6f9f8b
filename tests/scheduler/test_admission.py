"""The token budget under random traffic: how many rows prompts may have, and that they get on."""

from __future__ import annotations

import random
import sys

import pytest

from sglang.srt.args import UNLIMITED, EngineArgs
from sglang.srt.cache.pool import SlotPool
from sglang.srt.cache.prefix_cache import NoPrefixCache
from sglang.srt.scheduler.admission import EFFICIENT_ROWS, PROMPT_SHARE, RunningRequests, release
from sglang.srt.scheduler.build import token_budget
from sglang.srt.scheduler.request import Request
from tests.helpers.scheduling import VOCAB, Bench, request

ENOUGH_SLOTS = 20_000


class Traffic:
    """Requests that come and end at random, with a budget that says how many rows each step may have."""

    def __init__(self, rng: random.Random, budget: int, num_slots: int) -> None:
        self._rng = rng
        self._budget = budget
        self._cache = NoPrefixCache(SlotPool(num_slots))
        self.running = RunningRequests(self._cache, decode_reserve=0)
        self._num_arrivals = 0

    def arrive(self) -> Request:
        self._num_arrivals += 1
        length, new_tokens = self._rng.choice([1, 2, 5, 60]), self._rng.randint(1, 20)
        return Request(request(f"r{self._num_arrivals}", [7] * length, new_tokens), VOCAB, self._num_arrivals)

    def schedule(self) -> tuple[list[Request], list[Request]]:
        """Those who decode and the others, each in the order of admission."""
        is_decoding = {request.rid: request.num_uncomputed == 1 for request in self.running.requests}
        left = self.running.advance(self._budget)
        while left > 0 and not self.running.retracted and self._rng.random() < 0.5:
            used = self.running.try_admit(self.arrive(), left)
            if used is None:
                break
            left -= used
        decoding = [request for request in self.running.requests if is_decoding.get(request.rid)]
        prompts = [request for request in self.running.requests if not is_decoding.get(request.rid)]
        rows = sum(request.num_scheduled for request in prompts)
        beside_decoding = min(self._budget, max(self._budget // PROMPT_SHARE, EFFICIENT_ROWS))
        assert rows <= (beside_decoding if any(is_decoding.values()) else self._budget)
        return decoding, prompts

    def compute(self) -> None:
        """Who has all its tokens computed gets another one, or ends."""
        for one in list(self.running.requests):
            one.commit()
            if one.num_uncomputed == 0:
                one.append_token(self._rng.randrange(100))
                if one.max_tokens_left == 0:
                    self.running.remove(one)
                    release(one, self._cache)


@pytest.mark.parametrize("budget", [1, 2, 3, 4, 17, 130, 1024, sys.maxsize])
def test_decoding_rows_wait_for_nobody_and_the_oldest_prompt_gets_on(budget: int) -> None:
    traffic = Traffic(random.Random(budget), budget, ENOUGH_SLOTS)
    num_mixed = 0
    for _ in range(300):
        decoding, prompts = traffic.schedule()
        assert all(request.num_scheduled == 1 for request in decoding)
        assert not prompts or prompts[0].num_scheduled > 0
        num_mixed += bool(decoding and prompts)
        traffic.compute()
    assert num_mixed > 50


@pytest.mark.parametrize("seed", range(10))
def test_the_budget_holds_where_memory_is_short(seed: int) -> None:
    rng = random.Random(seed)
    traffic = Traffic(rng, rng.choice([5, 32]), num_slots=80)
    num_retracted = 0
    for _ in range(300):
        traffic.schedule()
        num_retracted += len(traffic.running.retracted)
        traffic.compute()
    assert num_retracted


def test_a_budget_without_limit_computes_any_prompt_in_one_step_beside_others() -> None:
    args = EngineArgs(model_path="m", chunked_prefill_size=UNLIMITED)
    budget = token_budget(args, chunk=1000)
    running = RunningRequests(NoPrefixCache(SlotPool(1000)), decode_reserve=4)
    running.try_admit(Request(request("decoding", [1]), VOCAB, 0), 1)
    running.requests[0].commit()
    running.requests[0].append_token(5)
    assert running.try_admit(Request(request("long", [7] * 900), VOCAB, 1), running.advance(budget)) == 900


def test_who_joins_in_the_same_round_is_reckoned_with() -> None:
    """Each of them is about to generate: 290 slots are enough for two of these, and would hold the prompts of ten."""
    bench = Bench(total=290, decode_reserve=128)
    bench.add(*(request(str(number), [number] * 10, 128) for number in range(4)))
    bench.step()
    assert (bench.scheduler.stats().num_running, bench.scheduler.stats().num_waiting) == (2, 2)
    bench.run()
    assert len(bench.finished) == 4 and bench.scheduler.counters.retractions == 0
