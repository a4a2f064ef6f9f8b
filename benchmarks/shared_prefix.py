"""Programs whose prompts begin alike: few-shot bursts, conversations, trees of thought, samples of one question.

    python -m benchmarks.shared_prefix [--rounds 3]

Each program runs with prefixes that no system has seen. "few-shot, warm" is a second burst with new questions over the
examples of the first one. llama.cpp runs as a server with a slot for each request at a time, OpenVINO in process with
its prefix cache on.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine

from benchmarks.options import endpoints, make_parser, new_measurements, parse, publish, run, vocab_size
from benchmarks.prompts import Prompts
from benchmarks.rounds import Work, alternate, running
from benchmarks.systems.base import BenchmarkError, Endpoint
from benchmarks.token_programs import (
    Exchange,
    FewShot,
    MultiTurn,
    Program,
    SelfConsistency,
    Tree,
    ask_all,
    cached_share,
)

SLOTS = 32
SLOT_TOKENS = 2048


def timed(work: Coroutine[None, None, list[Exchange]], new_tokens: int) -> tuple[float, list[Exchange]]:
    """Seconds and exchanges. Raises BenchmarkError if an answer is not as long as all should be."""
    started = time.monotonic()
    exchanges = asyncio.run(work)
    seconds = time.monotonic() - started
    lengths = {len(exchange.answer.token_ids) for exchange in exchanges}
    if lengths != {new_tokens}:
        raise BenchmarkError(f"answers have {sorted(lengths)} tokens, not {new_tokens}")
    return seconds, exchanges


class SharedPrefix:
    """The programs as cases; what part of the prompts was cached is kept by case and system."""

    def __init__(self, vocab: int) -> None:
        self._vocab = vocab
        self.cached: dict[tuple[str, str], float] = {}

    def program(self, name: str, program: Program) -> Work[Endpoint]:
        def measure(system: Endpoint, number: int) -> float:
            source = Prompts(self._vocab, f"{name} {number}")
            return self._note(name, system, timed(program.run(system, source), program.new_tokens))

        return Work(f"{name}, cold", "s", False, measure)

    def warm_burst(self, program: FewShot) -> Work[Endpoint]:
        """Repeats the burst of the same round with other questions."""

        def measure(system: Endpoint, number: int) -> float:
            source = Prompts(self._vocab, f"few-shot {number}")
            prompts = program.prompts(source.part("warm"), source.tokens(program.examples_tokens))
            burst = ask_all(system, prompts, program.new_tokens)
            return self._note("few-shot, warm", system, timed(burst, program.new_tokens))

        return Work("few-shot, warm", "s", False, measure)

    def notes(self) -> list[str]:
        return [f"{name}: {system} found {share:.1%} cached" for (name, system), share in self.cached.items()]

    def _note(self, name: str, system: Endpoint, result: tuple[float, list[Exchange]]) -> float:
        seconds, exchanges = result
        share = cached_share(exchanges)
        if share is not None:
            self.cached[name, system.name] = share
        return seconds


def works(shared: SharedPrefix, *, is_small: bool) -> list[Work[Endpoint]]:
    few_shot = FewShot(questions=8 if is_small else 64)
    return [
        shared.program("few-shot", few_shot),
        shared.warm_burst(few_shot),
        shared.program("multi-turn", MultiTurn(conversations=4 if is_small else 16)),
        shared.program("tree", Tree(depth=2 if is_small else 3)),
        shared.program("self-consistency", SelfConsistency(questions=1 if is_small else 4)),
    ]


def main() -> None:
    options = parse(make_parser(__doc__, rounds=3), quick={})
    measurements, facts = new_measurements("programs with shared prefixes", options)
    systems = endpoints(options, slots=SLOTS, slot_tokens=SLOT_TOKENS)
    shared = SharedPrefix(vocab_size(options))
    with running(systems):
        alternate(systems, works(shared, is_small=options.quick), options.rounds, measurements)
    measurements.notes += shared.notes()
    publish(measurements, options, facts)


if __name__ == "__main__":
    run(main)
