"""A scheduler on the checksum model, and the truth to compare it with."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import numpy as np

from sglang.srt.cache.pool import SlotPool
from sglang.srt.cache.prefix_cache import PrefixCache, RadixPrefixCache
from sglang.srt.executor.sampler import SamplingRow
from sglang.srt.grammar.compiler import GrammarCompiler
from sglang.srt.messages import CandidateLogprobs, GenerateRequest, RequestOutput, TokenLogprob
from sglang.srt.sampling_params import SamplingParams
from sglang.srt.scheduler.constraint_queue import ConstraintQueue
from sglang.srt.scheduler.policy import LongestPrefixMatch, SchedulePolicy
from sglang.srt.scheduler.scheduler import Scheduler
from sglang.srt.vocab import Vocab
from tests.helpers.memory_executor import MemoryExecutor, next_token, score

VOCAB_SIZE = 300
VOCAB = Vocab(token_bytes=[bytes([i % 256]) for i in range(VOCAB_SIZE)], special_ids=[], eos_ids=[])


class InlineExecutor(Executor):
    """Does the work at once, in the thread that asks for it."""

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        run(future, work, *args, **kwargs)
        return future


class PatientExecutor(Executor):
    """Does the next piece of work when it is told to."""

    def __init__(self) -> None:
        self._left: list[Callable[[], None]] = []

    def submit(self, work: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self._left.append(lambda: run(future, work, *args, **kwargs))
        return future

    @property
    def num_left(self) -> int:
        return len(self._left)

    def work(self) -> None:
        self._left.pop(0)()


def run(future: Future[Any], work: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = work(*args, **kwargs)
    except Exception as error:  # noqa: BLE001 - as every executor does
        future.set_exception(error)
    else:
        future.set_result(result)


class Bench:
    """`total` is the cache size a user would configure; the pool has the one spare slot the engine adds."""

    def __init__(
        self,
        total: int = 1000,
        *,
        budget: int = 64,
        max_running: int = 16,
        policy: SchedulePolicy | None = None,
        make_cache: Callable[[SlotPool], PrefixCache] = RadixPrefixCache,
        vocab: Vocab = VOCAB,
        decode_reserve: int = 128,
        jump_forward: bool = True,
        grammars: Executor | None = None,
        beside: Executor | None = None,
    ) -> None:
        self.cache = make_cache(SlotPool(total + 1))
        self.executor = MemoryExecutor(total + 1, VOCAB_SIZE)
        self.scheduler = Scheduler(
            cache=self.cache,
            executor=self.executor,
            policy=policy or LongestPrefixMatch(),
            vocab=vocab,
            constraints=ConstraintQueue(
                GrammarCompiler(vocab, grammars or InlineExecutor()), beside or InlineExecutor(), jumps=jump_forward
            ),
            max_running_requests=max_running,
            token_budget=budget,
            decode_reserve=decode_reserve,
        )
        self.finished: dict[str, RequestOutput] = {}

    def add(self, *requests: GenerateRequest) -> None:
        self.scheduler.add(requests)

    def abort(self, *rids: str) -> None:
        self._note(self.scheduler.abort(rids))

    def step(self) -> None:
        self._note(self.scheduler.step())
        self.scheduler.check_integrity()

    def run(self, max_steps: int = 10_000) -> None:
        """Step until nothing is left to do."""
        for _ in range(max_steps):
            if not self.scheduler.has_work:
                return
            self.step()
        raise AssertionError(f"still working after {max_steps} steps")

    def assert_baseline(self) -> None:
        """Nothing is held: every slot is free or evictable."""
        stats = self.scheduler.stats()
        assert (stats.num_running, stats.num_waiting, stats.running_tokens, stats.protected_tokens) == (0, 0, 0, 0)
        assert stats.free_tokens + stats.evictable_tokens == stats.total_tokens
        self.scheduler.check_integrity()

    def _note(self, outputs: Iterable[RequestOutput]) -> None:
        for output in outputs:
            if output.finish is not None:
                assert output.rid not in self.finished, f"{output.rid} was answered twice"
                self.finished[output.rid] = output


def request(rid: str, prompt: Sequence[int], max_new_tokens: int = 8, **fields: Any) -> GenerateRequest:
    params = fields.pop("params", {})
    return GenerateRequest(
        rid=rid,
        input_ids=np.array(prompt, dtype=np.int32).tobytes(),
        max_new_tokens=max_new_tokens,
        params=SamplingParams(max_new_tokens=max_new_tokens, **params),
        seed=fields.pop("seed", 0),
        **fields,
    )


def expected_tokens(message: GenerateRequest) -> list[int]:
    """The true continuation, computed without scheduler or cache (and without stop conditions)."""
    context = prompt_of(message)
    for _ in range(message.max_new_tokens):
        row = SamplingRow(
            params=message.params, seed=message.seed, sample_index=message.sample_index, position=len(context)
        )
        context.append(next_token(np.array(context, dtype=np.int64), row, VOCAB_SIZE))
    return context[message.num_prompt_tokens :]


def prompt_of(message: GenerateRequest) -> list[int]:
    ids: list[int] = np.frombuffer(message.input_ids, dtype=np.int32).tolist()
    return ids


def expected_candidate_logprobs(message: GenerateRequest) -> list[CandidateLogprobs]:
    """Of all the rows, as if nothing came from the cache."""
    ids = np.array(prompt_of(message), dtype=np.int64)
    first = len(ids) - len(message.candidates)
    return [
        CandidateLogprobs(position, [score(np.append(ids[: position + 1], token_id)) for token_id in candidates])
        for position, candidates in enumerate(message.candidates, start=first)
        if candidates
    ]


def expected_input_logprobs(message: GenerateRequest) -> list[TokenLogprob]:
    start = message.logprob_start_len
    assert start is not None
    ids = np.array(prompt_of(message), dtype=np.int64)
    first = TokenLogprob(None, int(ids[start]))
    return [first, *(TokenLogprob(score(ids[: i + 1]), int(ids[i])) for i in range(start + 1, len(ids)))]
