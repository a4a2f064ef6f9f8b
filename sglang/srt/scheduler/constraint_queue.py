"""Requests that wait for what their constraint says: each for its own only, and while they hold no memory.

First all wait for their grammar. Where following an output takes long (`grammar.pace`), its request waits here again
after every token that is drawn, while the others go on.
"""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any, NamedTuple

from sglang.srt.errors import InvalidRequestError, RequestFailedError
from sglang.srt.executor.sampler import SampledToken
from sglang.srt.grammar.compiler import CompiledGrammar, GrammarCompiler
from sglang.srt.scheduler.request import Request

Following = Callable[[], Sequence[int]]
"""Gives the tokens to append, as `OutputConstraint.begin` and `accept` do; raises what they raise, or why there is no
grammar.
"""


class Answer(NamedTuple):
    """drawn: what the request had drawn; None before anything is."""

    request: Request
    drawn: SampledToken | None
    following: Following


class _Waiting(NamedTuple):
    """answer: called when it is there; None if the request waits for something else then. leave: called if it is not
    wanted any more.
    """

    answer: Callable[[], Answer | None]
    leave: Callable[[], object]


class ConstraintQueue:
    """Belongs to the scheduler's thread, but for `on_ready`, which may be called from another when there is an answer.

    beside: follows outputs that take long, one at a time. jumps: whether text that a grammar forces is appended without
    being drawn. It changes no answer.
    """

    def __init__(
        self,
        compiler: GrammarCompiler,
        beside: Executor,
        on_ready: Callable[[], None] = lambda: None,
        jumps: bool = True,
    ) -> None:
        self._compiler = compiler
        self._beside = beside
        self._on_ready = on_ready
        self._jumps = jumps
        self._waiting: dict[Request, _Waiting] = {}
        self._ready: deque[weakref.ref[Request]] = deque()  # those that have an answer, and some that have left

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[Request]:
        return iter(self._waiting)

    def __contains__(self, request: Request) -> bool:
        return request in self._waiting

    @property
    def has_ready(self) -> bool:
        return bool(self._ready)

    def add(self, request: Request, grammar: str) -> None:
        """A new one."""
        future = self._compiler.compile(grammar)
        self._wait(request, future, _Waiting(partial(self._begin, request, future), lambda: None))

    def follow(self, request: Request, drawn: SampledToken) -> None:
        """One whose constraint is slow, after it has drawn a token."""
        assert drawn.token_id is not None
        work = partial(request.constraint.accept, drawn.token_id, request.max_tokens_left)
        self._follow_beside(request, drawn, work)

    def remove(self, request: Request) -> None:
        self._waiting.pop(request).leave()

    def close(self) -> None:
        """Nobody waits any more: begin nothing that is not begun."""
        self._compiler.close()
        self._beside.shutdown(wait=False, cancel_futures=True)

    def pop_ready(self) -> Iterator[Answer]:
        while self._ready:
            request = self._ready.popleft()()
            if request is not None and request in self._waiting:
                answer = self._waiting.pop(request).answer()
                if answer is not None:
                    yield answer

    def _wait(self, request: Request, future: Future[Any], waiting: _Waiting) -> None:
        self._waiting[request] = waiting
        reference = weakref.ref(request)  # the compiler keeps the future, and that what it has called
        future.add_done_callback(lambda _: self._announce(reference))

    def _announce(self, request: weakref.ref[Request]) -> None:
        self._ready.append(request)
        self._on_ready()

    def _begin(self, request: Request, future: Future[CompiledGrammar]) -> Answer | None:
        begin = partial(self._begun, request, future)
        if future.exception() is None and future.result().is_slow:
            self._follow_beside(request, None, begin)
            return None
        return Answer(request, None, begin)

    def _begun(self, request: Request, future: Future[CompiledGrammar]) -> Sequence[int]:
        jumps = self._jumps and not request.message.return_logprob  # only a token that is drawn has a probability
        request.constrain(_result(future).constrain(request.end_ids, jumps))
        return request.constraint.begin(request.max_tokens_left)

    def _follow_beside(self, request: Request, drawn: SampledToken | None, work: Following) -> None:
        future = self._beside.submit(work)
        self._wait(request, future, _Waiting(lambda: Answer(request, drawn, future.result), future.cancel))


def _result(future: Future[CompiledGrammar]) -> CompiledGrammar:
    try:
        return future.result()
    except InvalidRequestError:
        raise
    except Exception as error:
        raise RequestFailedError(f"the constraint could not be compiled: {type(error).__name__}: {error}") from error
