"""What each part of the cache and the scheduler is worth: our engine, with one thing taken away at a time.

    python -m benchmarks.ablations [--only scheduling,burst] [--rounds 3]

Scheduling: groups of requests with a long prefix for each group, arriving in turn from all groups, over a cache that
holds a few groups. "full" may reorder them, "fcfs" (--schedule-policy fcfs) does not, "random order" (--schedule-policy
random) does without looking. "best order" is fcfs with arrivals group by group, the least work there can be. "no cache"
(--disable-radix-cache) computes every prompt.

Burst: questions after the same new examples. "full" shares them within the step that computes them. "prefix first" has
them computed before the burst, as the hint of a fork does for servers that need it. "one ahead" lets the first question
finish and then sends the others: the best a cache without in-flight sharing can do, if its user knows. "no in-flight
sharing" (--disable-in-flight-sharing) is what such a cache does with the burst as it comes.

Programs: the same kind of burst, as programs of the language. "full" is run_batch, which sends what they have in common
first; "no fork hint" starts each program by itself.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sglang as sgl
from benchmarks.measurements import Measurements
from benchmarks.options import make_parser, new_measurements, only_configuration, parse, publish, run, vocab_size
from benchmarks.prompts import Prompts
from benchmarks.rounds import alone, running, say
from benchmarks.systems.base import Tokens
from benchmarks.systems.ours import OurEngine

GROUPS_IN_CACHE = 3
RUNNING = 8
"""Requests in a step at most, where the order of requests is to matter."""

Send = Callable[[OurEngine, str], None]
Variant = tuple[str, OurEngine, Send]


def greedy(new_tokens: int) -> dict[str, Any]:
    return {"temperature": 0.0, "ignore_eos": True, "max_new_tokens": new_tokens}


class Groups:
    """Requests in groups, each with a long prefix of its own."""

    def __init__(self, vocab: int, groups: int, group_size: int, prefix_tokens: int = 256) -> None:
        self._vocab = vocab
        self._groups = groups
        self._group_size = group_size
        self._prefix_tokens = prefix_tokens
        self._own_tokens = 16
        self._new_tokens = 8

    @property
    def cache_tokens(self) -> int:
        """Room for GROUPS_IN_CACHE groups and what is running."""
        own = self._own_tokens + self._new_tokens
        return GROUPS_IN_CACHE * (self._prefix_tokens + self._group_size * own) + RUNNING * own

    def send_by_group(self, system: OurEngine, name: str) -> None:
        self._send(system, self._prompts(name))

    def send_in_turn(self, system: OurEngine, name: str) -> None:
        """The first of each group, then the second of each, ..."""
        prompts = self._prompts(name)
        self._send(
            system, [prompt for place in range(self._group_size) for prompt in prompts[place :: self._group_size]]
        )

    def _prompts(self, name: str) -> list[list[int]]:
        """Group by group."""
        source = Prompts(self._vocab, name)
        prefixes = source.batch(self._groups, self._prefix_tokens)
        return [[*prefix, *source.tokens(self._own_tokens)] for prefix in prefixes for _ in range(self._group_size)]

    def _send(self, system: OurEngine, prompts: Sequence[Tokens]) -> None:
        system.engine.generate(input_ids=prompts, sampling_params=greedy(self._new_tokens))


class Burst:
    """Questions after the same examples."""

    def __init__(self, vocab: int, questions: int, examples_tokens: int = 1000) -> None:
        self._vocab = vocab
        self._questions = questions
        self._examples_tokens = examples_tokens
        self._sampling = greedy(8)

    def send_at_once(self, system: OurEngine, name: str) -> None:
        system.engine.generate(input_ids=self._prompts(name), sampling_params=self._sampling)

    def send_prefix_first(self, system: OurEngine, name: str) -> None:
        prompts = self._prompts(name)
        system.engine.generate(input_ids=prompts[0][: self._examples_tokens], sampling_params=greedy(0))
        system.engine.generate(input_ids=prompts, sampling_params=self._sampling)

    def send_one_ahead(self, system: OurEngine, name: str) -> None:
        first, *others = self._prompts(name)
        system.engine.generate(input_ids=first, sampling_params=self._sampling)
        system.engine.generate(input_ids=others, sampling_params=self._sampling)

    def _prompts(self, name: str) -> list[list[int]]:
        source = Prompts(self._vocab, name)
        examples = source.tokens(self._examples_tokens)
        return [[*examples, *source.tokens(48)] for _ in range(self._questions)]


@sgl.function
def answer(s: sgl.ProgramState, examples: str, number: int) -> None:
    s += examples + f"Q: What comes after {number}?\nA:"
    s += sgl.gen("answer", temperature=0.0, ignore_eos=True, max_tokens=8)


class FewShotPrograms:
    """The burst, written in the language."""

    def __init__(self, programs: int) -> None:
        self._programs = programs

    def send_as_batch(self, system: OurEngine, name: str) -> None:
        arguments = [{"examples": examples(name), "number": number} for number in range(self._programs)]
        for state in answer.run_batch(arguments, backend=system.engine):
            state.text()

    def send_one_by_one(self, system: OurEngine, name: str) -> None:
        states = [
            answer.run(examples=examples(name), number=number, backend=system.engine, stream=True)
            for number in range(self._programs)
        ]
        for state in states:
            state.text()


def examples(name: str) -> str:
    """About a thousand tokens, which no other run had."""
    draw = random.Random(name)
    numbers = [draw.randrange(10**6) for _ in range(40)]
    return f"Run {name}.\n" + "".join(f"Q: What comes after {number}?\nA: {number + 1}\n\n" for number in numbers)


def compare(case: str, variants: Sequence[Variant], rounds: int, measurements: Measurements) -> None:
    """Every variant in turn, with prompts of its own in each round. Round 0 warms up."""
    engines = list({id(system): system for _, system, _ in variants}.values())
    with running(engines):
        for number in range(rounds + 1):
            for variant, system, send in variants:
                started = time.monotonic()
                with alone(system, engines):
                    send(system, f"{case} {variant} {number}")
                taken = time.monotonic() - started
                say(f"round {number}: {case}: {variant}: {taken:.3f} s")
                if number > 0:
                    measurements.case(case, "s", is_rate=False).add(variant, taken)


@dataclass(frozen=True)
class Setting:
    """What all ablations are made with: ``given`` are options of our engine."""

    given: dict[str, Any]
    vocab: int
    is_small: bool


def scheduling(setting: Setting) -> list[Variant]:
    groups = Groups(setting.vocab, groups=4 if setting.is_small else 12, group_size=4 if setting.is_small else 8)
    limits = {**setting.given, "max_total_tokens": groups.cache_tokens, "max_running_requests": RUNNING}
    fcfs = OurEngine("fcfs", **{**limits, "schedule_policy": "fcfs"})
    return [
        ("full", OurEngine("full", **limits), groups.send_in_turn),
        ("fcfs", fcfs, groups.send_in_turn),
        ("random order", OurEngine("random order", **{**limits, "schedule_policy": "random"}), groups.send_in_turn),
        ("best order", fcfs, groups.send_by_group),
        ("no cache", OurEngine("no cache", **{**limits, "disable_radix_cache": True}), groups.send_in_turn),
    ]


def burst(setting: Setting) -> list[Variant]:
    questions = Burst(setting.vocab, questions=8 if setting.is_small else 32)
    full = OurEngine("full", **setting.given)
    ended = OurEngine("no in-flight sharing", **{**setting.given, "disable_in_flight_sharing": True})
    return [
        ("full", full, questions.send_at_once),
        ("prefix first", full, questions.send_prefix_first),
        ("one ahead", full, questions.send_one_ahead),
        ("no in-flight sharing", ended, questions.send_at_once),
    ]


def programs(setting: Setting) -> list[Variant]:
    few_shot, full = FewShotPrograms(8 if setting.is_small else 64), OurEngine("full", **setting.given)
    return [("full", full, few_shot.send_as_batch), ("no fork hint", full, few_shot.send_one_by_one)]


ABLATIONS: dict[str, Callable[[Setting], list[Variant]]] = {
    "scheduling": scheduling,
    "burst": burst,
    "programs": programs,
}


def chosen(text: str) -> list[str]:
    for name in text.split(","):
        if name not in ABLATIONS:
            raise argparse.ArgumentTypeError(f"unknown ablation {name!r}; there are {', '.join(ABLATIONS)}")
    return list(dict.fromkeys(text.split(",")))


def main() -> None:
    parser = make_parser(__doc__, rounds=3, peers=())
    names = ",".join(ABLATIONS)
    parser.add_argument("--only", type=chosen, default=list(ABLATIONS), metavar="NAMES", help=f"of {names}")
    options = parse(parser, quick={})
    measurements, facts = new_measurements("ablations", options)
    measurements.ours = "full"
    setting = Setting(only_configuration(options), vocab_size(options), options.quick)
    for name in options.only:
        compare(name, ABLATIONS[name](setting), options.rounds, measurements)
    publish(measurements, options, facts)


if __name__ == "__main__":
    run(main)
