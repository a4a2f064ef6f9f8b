"""Requests that are given up at random moments, in whatever state they then are, leave nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import sglang as sgl
from sglang.srt.grammar import lowering
from tests.helpers.runtime import SECONDS, assert_baseline, state_of

NUM_REQUESTS = 200
ENDLESS = {"temperature": 0.0, "max_new_tokens": 1500, "ignore_eos": True}
SHORT = {"temperature": 0.0, "max_new_tokens": 20, "ignore_eos": True}
SHARED = "Eighty bytes that many requests begin with, so that they wait for who computes. "


@pytest.fixture(scope="module")
def small_engine(tiny_model: str) -> Iterator[sgl.Engine]:
    """Computes four requests at a time, and a long prompt in several steps."""
    with sgl.Engine(
        model_path=tiny_model, num_threads=1, max_running_requests=4, chunked_prefill_size=17, max_total_tokens=3000
    ) as running:
        yield running


class Clock:
    """Ticks with the steps of the engine: one of its requests is a stream that goes on for ever."""

    def __init__(self, engine: sgl.Engine) -> None:
        self._engine = engine
        self._stream: AsyncIterator[Any] | None = None

    async def tick(self) -> None:
        if self._stream is None:
            self._stream = await self._engine.async_generate("clock", ENDLESS, stream=True)
        if await anext(self._stream, None) is None:
            self._stream = None


async def give_up(task: asyncio.Task[None]) -> bool:
    """Whether it had not ended before."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return task.cancelled()


async def use(engine: sgl.Engine, number: int, rng: random.Random, progress: dict[int, int]) -> None:
    """One request of a random kind. `progress` says how many chunks its stream brought."""
    prompt = rng.choice(["", SHARED, SHARED * 2]) + rng.choice(["", f"{number} "]) + "and then"
    params = {**ENDLESS, "n": rng.choice([1, 1, 3])}
    if rng.random() < 0.5:
        await engine.async_generate(prompt, params)
        return
    async for _ in await engine.async_generate(prompt, params, stream=True):
        progress[number] = progress.get(number, 0) + 1


async def abort_all(engine: sgl.Engine, rng: random.Random) -> tuple[int, dict[int, int], list[dict[str, int]]]:
    clock, progress = Clock(engine), dict[int, int]()
    states: list[dict[str, int]] = []
    doomed: dict[asyncio.Task[None], int] = {}
    num_started = num_given_up = now = 0
    while num_started < NUM_REQUESTS or doomed:
        await clock.tick()
        now += 1
        for _ in range(rng.choice([0, 0, 1, 2])):
            if num_started < NUM_REQUESTS:
                task = asyncio.create_task(use(engine, num_started, rng, progress))
                doomed[task] = now + rng.choice([0, 1, 2, 5, 20, 40])
                num_started += 1
        for _ in range(rng.randrange(3)):
            await asyncio.sleep(0)  # some are not even sent yet, some on their way
        for task in [task for task, end in doomed.items() if end <= now]:
            del doomed[task]
            num_given_up += await give_up(task)
        if now % 10 == 0:
            states.append(await asyncio.to_thread(state_of, engine))
    return num_given_up, progress, states


def test_requests_given_up_at_random_moments_leave_nothing_behind(small_engine: sgl.Engine) -> None:
    prompts = ["one", "two", SHARED, SHARED + "and then"]
    before = [result["output_ids"] for result in small_engine.generate(prompts, SHORT)]
    num_given_up, progress, states = asyncio.run(abort_all(small_engine, random.Random(20)))
    assert_baseline(small_engine)
    for _ in range(2):
        assert [result["output_ids"] for result in small_engine.generate(prompts, SHORT)] == before
        small_engine.flush_cache()
    state = state_of(small_engine)
    assert state["free_tokens"] == state["total_tokens"]
    assert max(state["num_running"] for state in states) == 4 and max(state["num_waiting"] for state in states) > 4
    assert num_given_up > NUM_REQUESTS / 2, "most requests ended before they were given up"
    assert 10 < len(progress) < NUM_REQUESTS / 2, "not all states were met"


def test_one_prompt_of_a_batch_may_end_before_the_call_is_given_up(small_engine: sgl.Engine) -> None:
    async def leave_after_the_first() -> None:
        stream = await small_engine.async_generate(["one", "two", "three"], [ENDLESS, SHORT, ENDLESS], stream=True)
        async for chunk in stream:
            if chunk["meta_info"]["finish_reason"] is not None:
                assert chunk["index"] == 1
                break
        await stream.aclose()

    asyncio.run(leave_after_the_first())
    assert_baseline(small_engine)


def test_what_is_aborted_while_it_is_made_ready_never_runs(
    small_engine: sgl.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, may_go_on, lower = threading.Event(), threading.Event(), lowering.lower

    def slow(*arguments: Any) -> str:
        begun.set()
        assert may_go_on.wait(SECONDS)
        return lower(*arguments)

    async def abort(prefix: str) -> int:
        return small_engine._engine.manager.abort(prefix)

    monkeypatch.setattr(lowering, "lower", slow)
    sampling = {**ENDLESS, "regex": "(made|ready)+"}
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(small_engine.generate, ["a", "b"], sampling, rid=["slow-a", "slow-b"])
        assert begun.wait(SECONDS)
        assert small_engine._run(abort("nobody")) == 0
        assert small_engine._run(abort("slow-b")) == 1
        assert small_engine._run(abort("slow")) == 2
        may_go_on.set()
        results = answer.result(SECONDS)
    for result in results:
        assert result["meta_info"]["finish_reason"]["type"] == "abort"
        assert result["meta_info"]["completion_tokens"] <= 1
    assert_baseline(small_engine)
