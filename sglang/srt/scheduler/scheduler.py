"""The loop: schedule, launch, collect. One thread owns everything here.

There is no prefill phase and no decode phase. A request has the tokens it is known to have and those whose keys and
values are computed; every step lets the second catch up with the first under a token budget. A request whose tokens
are all computed gets a new one drawn, and is one behind again. Prefix hits, chunked prefill, decoding and coming back
after a retraction are all this one rule.
"""

from __future__ import annotations

import bisect
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from sglang.srt.cache.prefix_cache import PrefixCache
from sglang.srt.errors import InvalidRequestError, RequestFailedError
from sglang.srt.executor.sampler import SampledToken
from sglang.srt.executor.step import StepInput, StepResult
from sglang.srt.messages import EngineStats, FinishReason, GenerateRequest, RequestOutput, TokenLogprob
from sglang.srt.scheduler.admission import DECODE_RESERVE, RunningRequests, discard, release
from sglang.srt.scheduler.batch import ScheduledBatch
from sglang.srt.scheduler.constraint_queue import ConstraintQueue, Following
from sglang.srt.scheduler.policy import SchedulePolicy
from sglang.srt.scheduler.request import Request
from sglang.srt.vocab import Vocab

logger = logging.getLogger(__name__)

ABORTED = FinishReason(type="abort", message="The request was aborted.", status_code=499)


class StepExecutor(Protocol):
    def execute(self, step: StepInput) -> StepResult: ...


@dataclass(slots=True)
class Counters:
    """Since start. ``computed_tokens`` counts rows; ``cached_tokens`` prompt tokens that needed none."""

    steps: int = 0
    computed_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    retractions: int = 0


class Scheduler:
    """Every request added gets exactly one output with a finish reason: from `step`, or from `abort`."""

    def __init__(
        self,
        *,
        cache: PrefixCache,
        executor: StepExecutor,
        policy: SchedulePolicy,
        vocab: Vocab,
        constraints: ConstraintQueue,
        max_running_requests: int,
        token_budget: int,
        decode_reserve: int = DECODE_RESERVE,
    ) -> None:
        self._cache = cache
        self._executor = executor
        self._policy = policy
        self._vocab = vocab
        self._max_running_requests = max_running_requests
        self._token_budget = token_budget
        self._running = RunningRequests(cache, decode_reserve)
        self._constraints = constraints
        self._waiting: list[Request] = []  # by arrival
        self._by_rid: dict[str, Request] = {}
        self._num_arrivals = 0
        self._is_isolating = False  # a step failed: unproven requests run one at a time
        self.counters = Counters()

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything. Requests that wait for their constraint are no work until it answers."""
        return len(self._by_rid) > len(self._constraints) or self._constraints.has_ready

    def add(self, messages: Iterable[GenerateRequest]) -> None:
        """Accept requests that the door has checked: rids are new, and each fits in the cache on its own."""
        for message in messages:
            request = Request(message, self._vocab, self._num_arrivals)
            self._num_arrivals += 1
            self._by_rid[message.rid] = request
            if message.grammar is not None and message.max_new_tokens > 0:
                self._constraints.add(request, message.grammar)
            else:
                self._waiting.append(request)

    def abort(self, rids: Iterable[str]) -> list[RequestOutput]:
        """End these requests now, wherever they are, and give back all they hold. Unknown rids ended already."""
        outputs = []
        for rid in rids:
            request = self._by_rid.get(rid)
            if request is not None:
                self._leave(request)
                outputs.append(self._output(request, ABORTED))
        return outputs

    def step(self) -> list[RequestOutput]:
        outputs = self._take_constrained()
        batch = self._schedule()
        if batch is None:
            return outputs
        try:
            result = self._executor.execute(batch.step)
        except Exception as error:  # noqa: BLE001 - whatever a model raises ends a request, not the engine
            return outputs + self._recover(batch, error)
        return outputs + self._collect(batch, result)

    def close(self) -> None:
        """After the last step: leave no work behind that the process would wait for before it ends."""
        self._constraints.close()

    def clear_cache(self) -> None:
        """Forget every prefix that no running request uses."""
        self._cache.clear()

    def stats(self) -> EngineStats:
        usage, counters = self._cache.usage(), self.counters
        return EngineStats(
            num_running=len(self._running),
            num_waiting=len(self._waiting) + len(self._constraints),
            total_tokens=usage.total,
            free_tokens=usage.free,
            evictable_tokens=usage.evictable,
            protected_tokens=usage.protected,
            running_tokens=sum(len(request.own_slots) for request in self._running.requests),
            num_steps=counters.steps,
            computed_tokens=counters.computed_tokens,
            cached_tokens=counters.cached_tokens,
            generated_tokens=counters.generated_tokens,
            num_retractions=counters.retractions,
        )

    def check_integrity(self) -> None:
        """Raise AssertionError unless every slot has exactly one owner and every request one place."""
        self._cache.check_integrity(request.own_slots for request in self._running.requests)
        places = [*self._constraints, *self._waiting, *self._running.requests]
        assert len(places) == len(self._by_rid) and all(self._by_rid[r.rid] is r for r in places)
        assert all(request.num_held == 0 for request in self._waiting)

    def _take_constrained(self) -> list[RequestOutput]:
        """Requests whose constraint has answered join the others; what it forces them to say, they have said."""
        outputs: list[RequestOutput | None] = []
        for answer in self._constraints.pop_ready():
            self._wait_again([answer.request])
            outputs.append(self._extend(*answer))
        return [output for output in outputs if output is not None]

    def _schedule(self) -> ScheduledBatch | None:
        budget = self._running.advance(self._token_budget)
        if self._running.retracted:  # memory is short: let the others get on before anyone joins
            self.counters.retractions += len(self._running.retracted)
            self._wait_again(self._running.retracted)
        else:
            self._admit(budget)
        scheduled = [request for request in self._running.requests if request.num_scheduled]
        assert scheduled or not self._waiting, "requests are waiting, but none can be computed"
        return ScheduledBatch(scheduled) if scheduled else None

    def _admit(self, token_budget: int) -> None:
        if not self._waiting or token_budget <= 0 or len(self._running) >= self._max_running_requests:
            return
        admitted: set[int] = set()
        self._is_isolating = self._is_isolating and any(request.is_suspect for request in self._by_rid.values())
        is_closed = self._is_isolating and not all(request.is_proven for request in self._running.requests)
        for request in self._policy.order(self._waiting, self._cache):
            if token_budget <= 0 or len(self._running) >= self._max_running_requests:
                break
            if is_closed and not request.is_proven:
                continue
            is_new = request.cached_tokens is None
            used = self._running.try_admit(request, token_budget)
            if used is None:  # nobody overtakes a request only because it is large
                break
            token_budget -= used
            is_closed = is_closed or (self._is_isolating and not request.is_proven)
            admitted.add(request.arrival)
            if is_new:
                self.counters.cached_tokens += request.cached_tokens or 0
        if admitted:
            self._waiting = [request for request in self._waiting if request.arrival not in admitted]
            youngest = max(admitted)
            for request in self._waiting:
                request.times_passed_over += request.arrival < youngest

    def _wait_again(self, retracted: list[Request]) -> None:
        for request in retracted:
            bisect.insort(self._waiting, request, key=_arrival)

    def _collect(self, batch: ScheduledBatch, result: StepResult) -> list[RequestOutput]:
        self.counters.steps += 1
        self.counters.computed_tokens += batch.num_rows
        for request in batch.requests:
            request.commit()
            if request.has_duplicates:
                self._cache.free(request.settle_duplicates())
        for request, entries in zip(batch.scored, result.prompt_logprobs, strict=True):
            request.add_input_logprobs(entries)
        for (request, position), logprobs in zip(batch.asked, result.candidates, strict=True):
            request.add_candidate_logprobs(position, logprobs)
        outputs = [self._accept_token(*pair) for pair in zip(batch.sampled, result.samples, strict=True)]
        outputs += [self._finish_prompt(request) for request in batch.prompt_only]
        return [output for output in outputs if output is not None]

    def _accept_token(self, request: Request, token: SampledToken) -> RequestOutput | None:
        error = token.error or request.scoring_error
        if error:
            return self._fail_distribution(request, error)
        if token.token_id is None:
            return self._finish(request, _refusal(str(token.dead_end)))
        if request.constraint.is_slow:
            self._running.give_back(request)
            self._constraints.follow(request, token)
            return None
        return self._extend(request, token, partial(request.constraint.accept, token.token_id, request.max_tokens_left))

    def _extend(self, request: Request, drawn: SampledToken | None, following: Following) -> RequestOutput | None:
        """Append the drawn token, if any, and what follows from it. Only an end is reported to who does not stream."""
        is_redrawn = False
        num_before = request.num_output_tokens
        try:
            token_ids = _following(request, drawn, following)
            is_kept = drawn is not None and token_ids[:1] == (drawn.token_id,)
            is_redrawn = drawn is not None and not token_ids and not request.constraint.is_at_end
            finish = None if is_redrawn else self._append(request, token_ids)
            request.num_forced_tokens += request.num_output_tokens - num_before - is_kept
        except InvalidRequestError as error:
            finish = _refusal(str(error))
        except RequestFailedError as error:
            logger.exception("a constraint could not be made ready")
            finish = _failure(str(error))
        except Exception as error:  # a constraint or a search for stops that breaks is that of one request
            logger.exception("a token could not be added to a request")
            finish = _failure(f"the engine failed on this request's output: {type(error).__name__}: {error}")
        if finish is not None:
            return self._finish(request, finish)
        if is_redrawn:
            request.num_redraws += 1
            if request in self._running.requests:
                self._running.give_back(request)
                self._wait_again([request])
            return None
        return self._output(request, None) if request.message.stream else None

    def _append(self, request: Request, token_ids: Sequence[int]) -> FinishReason | None:
        """Append tokens one by one, as far as the output goes. Returns why it ends, if it does."""
        is_whole = len(token_ids) <= request.max_tokens_left
        for token_id in token_ids[: request.max_tokens_left]:
            request.append_token(token_id)
            self.counters.generated_tokens += 1
            stop = self._stop(request, token_id)
            if stop is not None:
                return FinishReason(type="stop", matched=stop)
        if is_whole and request.constraint.error:
            return _refusal(request.constraint.error)
        if is_whole and request.constraint.is_at_end and not request.constraint.is_ended_early:
            return FinishReason(type="stop", matched=request.last_output_id)
        if request.max_tokens_left <= 0 or request.constraint.is_at_end:
            closed = request.constraint.closed_at(request.text.num_bytes)
            return FinishReason(type="length", length=request.num_output_tokens, closed=closed)
        return None

    @staticmethod
    def _stop(request: Request, token_id: int) -> str | int | None:
        """The stop string or the stop token that ends the output with this token, its last."""
        is_end = request.is_end(token_id)
        stop = request.text.push(token_id, is_end, request.constraint.is_satisfied_at)
        return token_id if stop is None and is_end else stop

    def _finish_prompt(self, request: Request) -> RequestOutput:
        if request.scoring_error:
            return self._fail_distribution(request, request.scoring_error)
        return self._finish(request, FinishReason(type="length", length=0))

    def _fail_distribution(self, request: Request, error: str) -> RequestOutput:
        """NaN or the like. What the request computed goes, and all that may have read it."""
        self._leave(request, discard)
        self._cache.clear()
        return self._output(request, _failure(f"the model gave no usable distribution: {error}"))

    def _finish(self, request: Request, reason: FinishReason) -> RequestOutput:
        """What `request` computed is right, whatever the reason. A failure does not complete its text."""
        self._leave(request)
        if reason.type != "abort":
            request.text.finish()
        return self._output(request, reason)

    def _recover(self, batch: ScheduledBatch, error: Exception) -> list[RequestOutput]:
        """A step broke. Its slots hold garbage, so all memory is taken back; everyone starts again but the culprit.

        Those without a good step behind them can be to blame. If that is one, it ends with the reason. Otherwise they
        are suspects, and until all are proven or gone, only one unproven request runs at a time: the next failure has
        one name.
        """
        logger.error("a step of %d rows failed", batch.num_rows, exc_info=error)
        suspects = [request for request in batch.requests if not request.is_proven] or batch.requests
        self._wait_again(self._running.discard_all())
        self._cache.clear()
        if len(suspects) > 1:
            self._is_isolating = True
            for request in suspects:
                request.suspect()
            return []
        self._leave(suspects[0])
        reason = f"the engine failed while computing this request: {type(error).__name__}: {error}"
        return [self._output(suspects[0], _failure(reason))]

    def _leave(self, request: Request, give_back: Callable[[Request, PrefixCache], None] = release) -> None:
        """Forget `request`. Unless it is to `discard`, what it computed stays in the cache while there is room."""
        del self._by_rid[request.rid]
        if request in self._running.requests:
            self._running.remove(request)
            give_back(request, self._cache)
        elif request in self._constraints:
            self._constraints.remove(request)
        else:
            del self._waiting[bisect.bisect_left(self._waiting, request.arrival, key=_arrival)]

    @staticmethod
    def _output(request: Request, finish: FinishReason | None) -> RequestOutput:
        """What happened to `request` since its last output."""
        has_logprobs = request.message.return_logprob
        return RequestOutput(
            request.rid,
            request.take_output_ids(),
            request.text.take(),
            finish,
            request.cached_tokens or 0,
            request.num_retractions,
            request.take_input_logprobs() if has_logprobs else None,
            request.take_output_logprobs() if has_logprobs else None,
            request.take_candidate_logprobs() if request.message.candidates else None,
            request.num_forced_tokens,
            request.first_token_latency,
        )


def _following(request: Request, drawn: SampledToken | None, following: Following) -> tuple[int, ...]:
    """What to append: before anything is drawn, what the output begins with; then as its constraint says."""
    token_ids = tuple(following())
    if drawn is not None and drawn.logprob is not None and token_ids[:1] == (drawn.token_id,):
        request.add_output_logprob(TokenLogprob(drawn.logprob, token_ids[0], drawn.top or None))
    return token_ids


def _arrival(request: Request) -> int:
    return request.arrival


def _refusal(message: str) -> FinishReason:
    return FinishReason(type="abort", message=message, status_code=InvalidRequestError.http_status)


def _failure(message: str) -> FinishReason:
    return FinishReason(type="abort", message=message, status_code=RequestFailedError.http_status)
