"""From a constraint as a user wrote it to the text of a grammar that is known to compile and to match something."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from sglang.srt.errors import ConfigurationError, InvalidRequestError, shown
from sglang.srt.grammar import lark_source
from sglang.srt.grammar.frame import BARE, Frame
from sglang.srt.grammar.json_schema import json_schema_rules
from sglang.srt.grammar.lark import regular_rules
from sglang.srt.grammar.limits import check_extent, check_size
from sglang.srt.grammar.pattern import NOTHING, Pattern, literal, union
from sglang.srt.grammar.python_regex import parse_regex
from sglang.srt.grammar.recursive import ebnf_rules, is_lark
from sglang.srt.grammar.schema.whitespace import read_whitespace
from sglang.srt.grammar.stop_regex import check_stop_regexes
from sglang.srt.grammar.structural import nodes as structural
from sglang.srt.grammar.structural.reading import read_structural_tag
from sglang.srt.grammar.structural.writing import structural_rules
from sglang.srt.grammar.text_matcher import TextMatcher
from sglang.srt.grammar.workers import grammar_threads
from sglang.srt.sampling_params import WHITESPACE, Constraint, SamplingParams

T = TypeVar("T")

MAX_THREADS = 4
"""Constraints that are lowered at a time. One that takes long, up to its limits, holds up few others."""

MAX_CACHED_GRAMMARS = 256
MAX_CACHED_CHARACTERS = 4 * 1024 * 1024
"""Of the constraints and grammars kept."""


@dataclass
class _Work:
    """One constraint being lowered, for all who ask for it meanwhile: clients send the same one many times at once."""

    task: asyncio.Task[str]
    num_waiting: int = 0


class Lowering:
    """Lowers constraints in threads, and remembers them. Belongs to one event loop."""

    def __init__(self, whitespace: str = "") -> None:
        """whitespace: of schemas that say nothing of it. Raises ConfigurationError."""
        try:
            read_whitespace(whitespace)
        except InvalidRequestError as error:
            raise ConfigurationError(f"constrained_json_whitespace_pattern cannot be used: {error}") from error
        self._whitespace = whitespace
        self._cache: OrderedDict[tuple[Constraint, Frame], str] = OrderedDict()
        self._num_characters = 0
        self._under_way: dict[tuple[Constraint, Frame], _Work] = {}
        self._threads = grammar_threads(MAX_THREADS, "lowering")

    async def lower(self, params: SamplingParams, frame: Frame = BARE) -> str | None:
        """The grammar of its constraint, see `lower`; None where there is none. Checks its ``stop_regex`` too."""
        if params.stop_regex:
            await self._in_thread(check_stop_regexes, params.stop_regex)
        if params.constraint is None:
            return None
        constraint = params.constraint
        if constraint.whitespace:
            await self._in_thread(_check_whitespace, constraint, frame)
        elif constraint.whitespace is None:
            constraint = msgspec.structs.replace(constraint, whitespace=self._whitespace)
        key = constraint, frame
        if key in self._cache:
            self._cache.move_to_end(key)
            return self._cache[key]
        work = self._under_way.get(key)
        if work is None:
            work = self._under_way[key] = _Work(asyncio.ensure_future(self._lower(key)))
        work.num_waiting += 1
        try:  # whoever leaves, others may wait for the same
            return await asyncio.shield(work.task)
        except InvalidRequestError as error:  # each gets an error of its own, to put the id of a request on
            raise InvalidRequestError(str(error)) from error
        finally:
            work.num_waiting -= 1
            if not work.num_waiting:
                work.task.cancel()
                del self._under_way[key]

    async def _lower(self, key: tuple[Constraint, Frame]) -> str:
        grammar = await self._in_thread(lower, *key)
        self._cache[key] = grammar
        self._num_characters += _size(key, grammar)
        while len(self._cache) > MAX_CACHED_GRAMMARS or self._num_characters > MAX_CACHED_CHARACTERS:
            self._num_characters -= _size(*self._cache.popitem(last=False))
        return grammar

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)


def _size(key: tuple[Constraint, Frame], grammar: str) -> int:
    constraint, frame = key
    return len(constraint.text) + len(constraint.whitespace or "") + len(frame.calls) + len(grammar)


def lower(constraint: Constraint, frame: Frame = BARE) -> str:
    """The grammar, in the notation of llguidance, of exactly the texts that satisfy `constraint`, or of all that the
    frame makes of them.

    Raises InvalidRequestError that names the kind of constraint and what is wrong with it. May be called from any
    thread. The same constraint always has the same grammar, or the same error.
    """
    if frame == BARE:
        grammar = _rules(constraint, "start", "")
    else:
        answer = _rules(constraint, frame.answer, frame.no_answer)
        _check_apart(constraint, frame, answer)
        grammar = frame.around(answer, constraint.whitespace or "")
    _check_compiles(constraint, grammar)
    return grammar


def _rules(constraint: Constraint, name: str, unless: str) -> str:
    """The rule `name`. unless: a terminal; what is regular, or begins with free text, does not match it."""
    kind, text, whitespace = constraint.kind, constraint.text, constraint.whitespace or ""
    check_size(kind, text)
    check_size(WHITESPACE, whitespace)
    if kind == "regex":
        return regular_rules(_checked(parse_regex("regex", text, plain_digits=True)), name, unless)
    if kind == "choices":
        return regular_rules(union(map(literal, json.loads(text))), name, unless)
    if kind == "json_schema":
        return json_schema_rules(text, name, whitespace)
    if kind == "structural_tag":
        return structural_rules(read_structural_tag(text), name, unless, whitespace)
    return ebnf_rules(text, name, unless, whitespace)


def _check_whitespace(constraint: Constraint, frame: Frame) -> None:
    """That there is JSON for it to stand in."""
    kind, text = constraint.kind, constraint.text
    check_size(kind, text)
    if not (
        frame.calls
        or kind == "json_schema"
        or (kind == "ebnf" and is_lark(text) and lark_source.has_schema(text))
        or (kind == "structural_tag" and structural.has_schema(read_structural_tag(text)))
    ):
        raise InvalidRequestError(f"{WHITESPACE} belongs to a JSON Schema, and {kind} has none: {shown(text)}")


def _checked(pattern: Pattern) -> Pattern:
    if pattern == NOTHING:
        raise InvalidRequestError("regex matches no text at all")
    check_extent("regex", [pattern])
    return pattern


def _check_apart(constraint: Constraint, frame: Frame, answer: str) -> None:
    """That what stands around an answer can be told from it."""
    alone = f"start: {frame.answer}\n{answer}\n{frame.definitions}"
    if TextMatcher(alone).matches_nothing():
        raise InvalidRequestError(
            f"{constraint.kind} matches nothing that can be told from {frame.others}: {shown(constraint.text)}"
        )
    if constraint.kind == "json_schema" or frame.no_answer in answer:
        return
    for beginning in frame.other_beginnings:
        if TextMatcher(alone).may_begin_with(beginning.encode()):
            raise InvalidRequestError(
                f"{constraint.kind} cannot be told from {frame.others}: it may begin with {shown(beginning)}, too"
            )


def _check_compiles(constraint: Constraint, grammar: str) -> None:
    """Without a model's vocabulary, which is cheap and finds everything but what a vocabulary lacks."""
    matcher = TextMatcher(grammar)
    goes_on = matcher.problem is None and matcher.can_go_on()
    if matcher.problem is not None:
        raise InvalidRequestError(f"{constraint.kind} cannot be used: {matcher.problem}: {shown(constraint.text)}")
    if not goes_on:
        raise InvalidRequestError(f"{constraint.kind} matches only the empty text: {shown(constraint.text)}")
