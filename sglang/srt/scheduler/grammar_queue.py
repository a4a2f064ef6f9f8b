"""Requests that wait for their grammar: each for its own only, and before they stand in line for memory."""

from __future__ import annotations

import logging
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future

from sglang.srt.errors import InvalidRequestError, RequestFailedError
from sglang.srt.grammar.compiler import CompiledGrammar, GrammarCompiler
from sglang.srt.messages import FinishReason
from sglang.srt.scheduler.request import Request

logger = logging.getLogger(__name__)


class GrammarQueue:
    """Belongs to the scheduler's thread, but for `on_ready`, which may be called from another when a grammar is there.

    jumps: whether text that a grammar forces is appended without being drawn. It changes no answer.
    """

    def __init__(
        self, compiler: GrammarCompiler, on_ready: Callable[[], None] = lambda: None, jumps: bool = True
    ) -> None:
        self._compiler = compiler
        self._on_ready = on_ready
        self._jumps = jumps
        self._waiting: dict[Request, Future[CompiledGrammar]] = {}
        self._ready: deque[weakref.ref[Request]] = deque()  # those whose grammar is there, and some that have left

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
        future = self._waiting[request] = self._compiler.compile(grammar)
        reference = weakref.ref(request)  # the compiler keeps the future, and that what it has called
        future.add_done_callback(lambda _: self._announce(reference))

    def remove(self, request: Request) -> None:
        del self._waiting[request]

    def pop_ready(self) -> Iterator[tuple[Request, FinishReason | None]]:
        """Those whose grammar is there, now constrained by it, or how they end because they cannot be."""
        while self._ready:
            request = self._ready.popleft()()
            if request is not None and request in self._waiting:
                yield request, self._constrain(request, self._waiting.pop(request))

    def _announce(self, request: weakref.ref[Request]) -> None:
        self._ready.append(request)
        self._on_ready()

    def _constrain(self, request: Request, future: Future[CompiledGrammar]) -> FinishReason | None:
        jumps = self._jumps and not request.message.return_logprob  # only a token that is drawn has a probability
        try:
            request.constrain(future.result().constrain(request.end_ids, jumps))
        except InvalidRequestError as error:
            return FinishReason(type="abort", message=str(error), status_code=error.http_status)
        except Exception as error:
            logger.exception("a grammar could not be compiled")
            message = f"the constraint could not be compiled: {type(error).__name__}: {error}"
            return FinishReason(type="abort", message=message, status_code=RequestFailedError.http_status)
        return None
