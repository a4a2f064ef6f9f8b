"""From a constraint as a user wrote it to the text of a grammar that is known to compile and to match something."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict

from sglang.srt.errors import InvalidRequestError, shown
from sglang.srt.grammar.json_schema import json_schema_grammar
from sglang.srt.grammar.lark import regular_grammar
from sglang.srt.grammar.limits import check_extent, check_size
from sglang.srt.grammar.pattern import NOTHING, Pattern, literal, union
from sglang.srt.grammar.python_regex import parse_regex
from sglang.srt.grammar.recursive import ebnf_grammar
from sglang.srt.grammar.stop_regex import compile_stop_regex
from sglang.srt.grammar.text_matcher import TextMatcher
from sglang.srt.sampling_params import Constraint, SamplingParams

MAX_CACHED_GRAMMARS = 256
MAX_CACHED_CHARACTERS = 4 * 1024 * 1024
"""Of the constraints and grammars kept."""


class Lowering:
    """Lowers constraints in threads, and remembers them. Belongs to one event loop."""

    def __init__(self) -> None:
        self._cache: OrderedDict[Constraint, str] = OrderedDict()
        self._num_characters = 0

    async def lower(self, params: SamplingParams) -> str | None:
        """The grammar of its constraint, see `lower`; None where there is none. Checks its ``stop_regex`` too."""
        for source in params.stop_regex:
            compile_stop_regex(source)
        constraint = params.constraint
        if constraint is None:
            return None
        if constraint in self._cache:
            self._cache.move_to_end(constraint)
            return self._cache[constraint]
        grammar = await asyncio.to_thread(lower, constraint)
        if constraint not in self._cache:  # somebody else may have asked for it meanwhile
            self._cache[constraint] = grammar
            self._num_characters += len(constraint.text) + len(grammar)
        while len(self._cache) > MAX_CACHED_GRAMMARS or self._num_characters > MAX_CACHED_CHARACTERS:
            oldest, lowered = self._cache.popitem(last=False)
            self._num_characters -= len(oldest.text) + len(lowered)
        return grammar


def lower(constraint: Constraint) -> str:
    """The grammar, in the notation of llguidance, of exactly the texts that satisfy `constraint`.

    Raises InvalidRequestError that names the kind of constraint and what is wrong with it. May be called from any
    thread. The same constraint always has the same grammar, or the same error.
    """
    kind, text = constraint.kind, constraint.text
    if kind == "regex":
        grammar = _regex_grammar(parse_regex("regex", text))
    elif kind == "choices":
        check_size("choices", text)
        grammar = regular_grammar(union(map(literal, json.loads(text))))
    elif kind == "json_schema":
        grammar = json_schema_grammar(text)
    else:
        grammar = ebnf_grammar(text)
    _check_compiles(constraint, grammar)
    return grammar


def _regex_grammar(pattern: Pattern) -> str:
    if pattern == NOTHING:
        raise InvalidRequestError("regex matches no text at all")
    check_extent("regex", [pattern])
    return regular_grammar(pattern)


def _check_compiles(constraint: Constraint, grammar: str) -> None:
    """Without a model's vocabulary, which is cheap and finds everything but what a vocabulary lacks."""
    matcher = TextMatcher(grammar)
    goes_on = matcher.problem is None and matcher.can_go_on()
    if matcher.problem is not None:
        raise InvalidRequestError(f"{constraint.kind} cannot be used: {matcher.problem}: {shown(constraint.text)}")
    if not goes_on:
        raise InvalidRequestError(f"{constraint.kind} matches only the empty text: {shown(constraint.text)}")
