"""Random constraints, asked of our server over HTTP at temperature 1, and every answer checked.

    python -m benchmarks.random_constraints [--count 2000] [--seed 0] [--streams 32 | --rate 6] [--case "schema 17"]
        [--json FILE]

Schemas, regular expressions and grammars are made from a seed each; a third are odd: wrong, contradictory, enormous. A
schema's answer is held against jsonschema with formats, that of a regular expression against re.fullmatch, that of a
grammar against an Earley recogniser. Every failure is printed with the name that `--case` makes it from again; then the
status is 1.

Beside them run requests without a constraint, whose texts must be what they are without neighbours. How long they take
is compared with what they take beside the same requests asked freely: the same prompts, and as many tokens. Of so many
at a time constrained ones come closer together, as forced tokens end them in fewer steps; with `--rate` they come at
the same times.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.options import make_parser, only_configuration, parse, run
from benchmarks.random_constraints.asking import Asker
from benchmarks.random_constraints.case import Case
from benchmarks.random_constraints.neighbours import Neighbours
from benchmarks.random_constraints.outcomes import FAILURES, Judged, Outcome, judge, summarise
from benchmarks.random_constraints.source import cases, named
from benchmarks.report import LINE_WIDTH
from benchmarks.rounds import running
from benchmarks.systems.ours import OurServer

MIN_ANSWERED = 0.9
MAX_ENDED_BY_BUDGET = 0.1
MAX_DEPTH = 50_000
"""Of Python's calls: an answer may be a thousand lists one within another, each checked in some calls of its own."""

SHOWN = 600
"""Characters of a failure."""


def make_options() -> argparse.ArgumentParser:
    parser = make_parser(__doc__, rounds=1, peers=())
    parser.add_argument("--count", type=int, default=2000, help="of cases (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first case (default: %(default)s)")
    parser.add_argument("--case", action="append", metavar="NAME", help="only this one, as a failure names it")
    parser.add_argument("--streams", type=int, default=32, help="cases at a time (default: %(default)s)")
    parser.add_argument("--rate", type=float, help="cases a second instead of so many at a time")
    parser.add_argument("--new-tokens", type=int, default=256, help="budget of an answer (default: %(default)s)")
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds for an answer (default: %(default)s)")
    return parser


async def ask(asker: Asker, wanted: Sequence[Case]) -> tuple[list[Judged], Neighbours]:
    neighbours = Neighbours(asker)
    await neighbours.ask_alone()
    asked = await neighbours.beside("constraints", asker.ask_all(wanted))
    await neighbours.beside("the same asked freely", asker.ask_freely(asked))
    return [judge(one) for one in asked], neighbours


def show(judged: Sequence[Judged], neighbours: Neighbours, console: Console) -> None:
    summary = summarise(judged)
    table = Table(title=f"{len(judged)} constraints")
    table.add_column("kind")
    for outcome in Outcome:
        table.add_column(outcome.value, justify="right")
    for kind, counts in sorted(summary.by_kind.items()):
        table.add_row(kind, *(str(counts[outcome]) for outcome in Outcome))
    console.print(table)
    console.print(
        f"{summary.num_satisfiable} can be met: {summary.answered:.1%} of them answered in full (wanted: "
        f"{MIN_ANSWERED:.0%}), {summary.ended_by_budget:.1%} ended by the budget (at most {MAX_ENDED_BY_BUDGET:.0%})"
    )
    for where, seconds in neighbours.seconds.items():
        console.print(
            f"neighbours beside {where}: mean {statistics.mean(seconds):.2f} s, "
            f"median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s, of {len(seconds)}"
        )
    console.print(f"longest answer: {max(one.seconds for one in judged):.1f} s")
    for text in neighbours.different:
        console.print(f"a neighbour's text differs {text}", markup=False)
    for one in judged:
        if one.outcome in FAILURES or (one.case.can_be_met and one.outcome is Outcome.REFUSED):
            shown = f"{one.case.name}: {one.outcome.value}: {one.detail[:SHOWN]}\n    {one.case.constraint[:SHOWN]!r}"
            console.print(shown, markup=False, highlight=False)


def to_json(judged: Sequence[Judged]) -> list[dict[str, Any]]:
    return [
        {"name": one.case.name, "outcome": one.outcome.value, "detail": one.detail, "constraint": one.case.constraint}
        for one in judged
    ]


def main() -> None:
    options = parse(make_options(), quick={"count": 90})
    wanted = [named(name) for name in options.case] if options.case else cases(options.seed, options.count)
    server = OurServer("sglang", **only_configuration(options))
    with running([server]):
        asker = Asker(server.url, options.streams, options.new_tokens, options.time_limit, options.rate)
        judged, neighbours = asyncio.run(ask(asker, wanted))
    show(judged, neighbours, Console(width=LINE_WIDTH))
    if options.json is not None:
        options.json.write_text(json.dumps(to_json(judged), indent=1) + "\n")
    sys.exit(1 if summarise(judged).failures or neighbours.different else 0)


if __name__ == "__main__":
    sys.setrecursionlimit(MAX_DEPTH)
    run(main)
