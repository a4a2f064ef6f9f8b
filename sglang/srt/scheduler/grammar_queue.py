"""Requests that wait for their grammar: each for its own only, and before they stand in line for memory."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future

from sglang.srt.errors import InvalidRequestError
from sglang.srt.grammar.compiler import CompiledGrammar, GrammarCompiler
from sglang.srt.scheduler.request import Request


class GrammarQueue:
    """`jumps`: whether text that a grammar forces is appended without being drawn."""

    def __init__(self, compiler: GrammarCompiler, jumps: bool) -> None:
        self._compiler = compiler
        self._jumps = jumps
        self._grammars: dict[str, tuple[Request, Future[CompiledGrammar]]] = {}

    def __len__(self) -> int:
        return len(self._grammars)

    def __contains__(self, request: Request) -> bool:
        return request.rid in self._grammars

    @property
    def has_ready(self) -> bool:
        return any(future.done() for _, future in self._grammars.values())

    def add(self, request: Request, grammar: str) -> None:
        self._grammars[request.rid] = (request, self._compiler.compile(grammar))

    def remove(self, request: Request) -> None:
        del self._grammars[request.rid]

    def pop_ready(self) -> Iterator[tuple[Request, str | None]]:
        """Those whose grammar is there, now constrained by it, or why they cannot be."""
        ready = [(request, future) for request, future in self._grammars.values() if future.done()]
        for request, future in ready:
            del self._grammars[request.rid]
            yield request, self._constrain(request, future)

    def _constrain(self, request: Request, future: Future[CompiledGrammar]) -> str | None:
        try:
            compiled = future.result()
        except InvalidRequestError as error:
            return str(error)
        jumps = self._jumps and not request.message.return_logprob  # only a token that is drawn has a probability
        request.constrain(compiled.constrain(request.end_ids, jumps))
        return None
