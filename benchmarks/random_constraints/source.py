"""Cases by kind and seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial

from benchmarks.random_constraints.case import Case
from benchmarks.random_constraints.hostile import matches, odd_grammar_case, odd_regex_case, odd_schema_case
from benchmarks.random_constraints.patterns import draw_regex
from benchmarks.random_constraints.rules import GBNF, LARK, Recogniser, Writer, draw_rules, example
from benchmarks.random_constraints.schemas import draw_schema_case
from benchmarks.systems.base import BenchmarkError


def _regex_case(draw: random.Random, name: str) -> Case:
    regex, text = draw_regex(draw)
    return Case(name, "regex", regex, True, partial(matches, regex), text)


def _grammar_case(writer: Writer, start: str, draw: random.Random, name: str) -> Case:
    rules = draw_rules(draw, start)
    is_met = Recogniser(rules, start).accepts
    return Case(name, "ebnf", writer.write(rules), True, is_met, example(rules[start], rules))


KINDS: dict[str, Callable[[random.Random, str], Case]] = {
    "schema": draw_schema_case,
    "regex": _regex_case,
    "gbnf": partial(_grammar_case, GBNF, "root"),
    "lark": partial(_grammar_case, LARK, "start"),
    "odd schema": odd_schema_case,
    "odd regex": odd_regex_case,
    "odd grammar": odd_grammar_case,
}
ORDER = ("schema", "regex", "odd schema", "schema", "gbnf", "odd regex", "schema", "lark", "odd grammar")
"""One of these after the other, so a third are odd."""


def cases(first_seed: int, count: int) -> list[Case]:
    seeds = range(first_seed, first_seed + count)
    return [_case(ORDER[seed % len(ORDER)], seed) for seed in seeds]


def named(name: str) -> Case:
    """As `name` of a case says, such as "schema 17". Raises BenchmarkError if there is no such kind."""
    kind, _, seed = name.rpartition(" ")
    if kind not in KINDS or not seed.isdecimal():
        raise BenchmarkError(f"{name!r} should be a kind and a number; kinds are {', '.join(KINDS)}")
    return _case(kind, int(seed))


def _case(kind: str, seed: int) -> Case:
    name = f"{kind} {seed}"
    return KINDS[kind](random.Random(name), name)
