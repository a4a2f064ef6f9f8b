"""Whole programs: the language on our engine against the same work written with the ``openai`` client.

    python -m benchmarks.programs [--only few-shot-select,judge] [--runs 32] [--http] [--rounds 5] [--data FOLDER]

Every round runs each program once for each of so many inputs, all at a time, on one system after the other. Their
prompts begin with what no earlier round had, so what is found in a cache, the program has put there itself; answers
have the same length everywhere. The ``openai`` client asks a server of ours too, and llama.cpp's with its prefix cache
on. It cannot score options, so there a choice is decoded under a constraint. OpenVINO has no server, and takes no part.

Beside the measured ratio stands the one that is predicted from the hit rate and from how the time divides into prompts
and new tokens; see benchmarks/programs/calibration.py for the formula.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from benchmarks.measurements import Measurements
from benchmarks.options import llama_servers, make_parser, new_measurements, our_configurations, parse, publish, run
from benchmarks.programs import (
    few_shot_select,
    json_extraction,
    judge,
    multi_turn,
    react,
    self_consistency,
    skeleton_of_thought,
    tree_of_thought,
)
from benchmarks.programs.client import choices_body, grammar_body
from benchmarks.programs.comparison import Comparison
from benchmarks.programs.material import load
from benchmarks.programs.program import Program
from benchmarks.programs.systems import OnEngine, OnServer, ProgramSystem, WithClient
from benchmarks.rounds import alternate, running
from benchmarks.systems.ours import OurEngine, OurServer

PROGRAMS = [
    few_shot_select.PROGRAM,
    tree_of_thought.PROGRAM,
    skeleton_of_thought.PROGRAM,
    react.PROGRAM,
    judge.PROGRAM,
    self_consistency.PROGRAM,
    multi_turn.PROGRAM,
    json_extraction.PROGRAM,
]
SLOTS = 32
SLOT_TOKENS = 3072
LLAMA_OPTIONS = ("--cont-batching", "--cache-reuse", "256")


def option_name(program: Program) -> str:
    return program.name.lower().replace(" ", "-")


def chosen(text: str) -> list[Program]:
    known = {option_name(program): program for program in PROGRAMS}
    for name in text.split(","):
        if name not in known:
            raise argparse.ArgumentTypeError(f"unknown program {name!r}; there are {', '.join(known)}")
    return [known[name] for name in dict.fromkeys(text.split(","))]


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no positive number")
    return int(text)


def slot_counts(text: str) -> list[int]:
    return [positive(part) for part in text.split(",")]


def program_systems(options: argparse.Namespace) -> list[ProgramSystem]:
    """Ours by the language first, then all servers by the client."""
    configurations = our_configurations(options)
    systems: list[ProgramSystem] = [OnEngine(OurEngine(name, **given)) for name, given in configurations.items()]
    if options.http:
        systems += [OnServer(OurServer(f"{name}, HTTP", **given)) for name, given in configurations.items()]
    for name, given in configurations.items():
        systems.append(WithClient(f"{name}, openai client", OurServer(name, **given), choices_body))
    for slots in options.llama_slots:
        suffix = f", {slots} slots"
        for server in llama_servers(options, slots=slots, slot_tokens=SLOT_TOKENS, suffix=suffix, given=LLAMA_OPTIONS):
            systems.append(WithClient(f"{server.name}, openai client", server, grammar_body))
    return systems


def make_options() -> argparse.ArgumentParser:
    parser = make_parser(__doc__, rounds=5, peers=("llama.cpp",))
    names = ",".join(map(option_name, PROGRAMS))
    parser.add_argument("--only", type=chosen, default=PROGRAMS, metavar="NAMES", help=f"of {names}")
    parser.add_argument("--runs", type=positive, default=32, help="of each program in a round (default: %(default)s)")
    parser.add_argument("--http", action="store_true", help="measure the language over HTTP too")
    parser.add_argument(
        "--llama-slots",
        type=slot_counts,
        default=[SLOTS],
        metavar="NUMBERS",
        help="requests at a time of llama.cpp's server, which share no prefix while they run: fewer of them compute a "
        f"common one less often; each of several is measured (default: {SLOTS})",
    )
    found = os.environ.get("SGLANG_BENCH_DATA")
    parser.add_argument(
        "--data",
        type=Path,
        default=Path(found) if found else None,
        metavar="FOLDER",
        help="has gsm8k/ and mt-bench/ (default: $SGLANG_BENCH_DATA; without it texts are made up)",
    )
    return parser


def main() -> None:
    options = parse(make_options(), quick={"runs": 4})
    material = load(options.data)
    title = f"programs, {options.runs} at a time, about {material.source}"
    measurements, facts = new_measurements(title, options)
    comparison = Comparison(material, options.runs)
    systems = program_systems(options)
    with running(systems):
        alternate(systems, comparison.works(options.only), options.rounds, measurements)
    conclude(measurements, comparison)
    publish(measurements, options, facts)


def conclude(measurements: Measurements, comparison: Comparison) -> None:
    measurements.details["programs"] = comparison.details(measurements)
    measurements.notes += comparison.notes(measurements)


if __name__ == "__main__":
    run(main)
