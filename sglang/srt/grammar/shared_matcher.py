"""One matcher of a grammar, of which every output has a copy."""

from __future__ import annotations

from collections.abc import Callable

import llguidance

from sglang.srt.grammar.workers import on_large_stack


class SharedMatcher:
    """Copies share a lexer, which finds its states when they are needed, each only once for all. An output that brings
    it to a limit of the library breaks it for all of them: they go on with `alone`, and later ones with another one.

    Belongs to one thread at a time, first to one of `workers`. make: compiles one. prepare: what is done to one that is
    to be copied, so that it need not be done to each copy; it takes states of the lexer.
    """

    def __init__(
        self,
        make: Callable[[], llguidance.LLMatcher],
        prepare: Callable[[llguidance.LLMatcher], object] = lambda matcher: None,
    ) -> None:
        self._make = make
        self._prepare = prepare
        self._matcher = self._made()
        self._is_broken = False

    def copy(self) -> llguidance.LLMatcher:
        if self._is_broken:
            self._matcher = on_large_stack(self._made)
            self._is_broken = False
        return self._matcher.deep_copy()

    def alone(self) -> llguidance.LLMatcher:
        """With a lexer of its own, for an output whose copy has failed."""
        self._is_broken = True
        return on_large_stack(self._make)

    def _made(self) -> llguidance.LLMatcher:
        matcher = self._make()
        self._prepare(matcher)
        return matcher
