"""What constraints cost: JSON by a schema against free text, and sampling with a grammar against greedy.

    python -m benchmarks.json [--streams 32] [--rounds 5]

Every system extracts the same facts from the same texts. Free text is what the same prompts give without a schema.
Then our engine alone decodes greedily, with top-p, and with top-p and a regular expression that never ends: all steps
are drawn, none is forced.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.extraction import SCHEMA, is_valid, prompts
from benchmarks.measurements import Measurements
from benchmarks.options import endpoints, make_parser, new_measurements, parse, publish, run, vocab_size
from benchmarks.prompts import Prompts
from benchmarks.rounds import Work, alternate, running
from benchmarks.systems.base import Answer, Endpoint, Request
from benchmarks.systems.ours import OurEngine
from sglang.srt.model.config import load_config
from sglang.srt.model.source import resolve_model
from sglang.srt.tokenizer.tokenizer import Tokenizer, load_tokenizer

SLOT_TOKENS = 1024
MAX_ANSWER_TOKENS = 160
FREE_TOKENS = 64
SAMPLING_PROMPT_TOKENS = 128

SAMPLINGS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "top-p 0.9": {"temperature": 0.8, "top_p": 0.9},
    "top-p 0.9 and a grammar": {"temperature": 0.8, "top_p": 0.9, "regex": "([A-Za-z]+[ ,.\n])*"},
}


class Extraction:
    """The two cases of every system. What part of a system's JSON was valid is counted, and requests per second are
    kept: systems that write the same facts with more white space have more tokens per second for them.
    """

    def __init__(self, tokenizer: Tokenizer, streams: int) -> None:
        self._tokenizer = tokenizer
        self._streams = streams
        self._valid: dict[str, list[bool]] = {}
        self._requests: dict[str, list[float]] = {}

    def works(self) -> list[Work[Endpoint]]:
        return [
            Work("free text", "tok/s", True, self._free),
            Work("JSON by schema", "tok/s", True, self._constrained),
        ]

    def add_requests(self, measurements: Measurements) -> None:
        """The case of requests per second, of all rounds that are noted."""
        case = measurements.case("JSON by schema, requests", "requests/s", is_rate=True)
        for system, rates in self._requests.items():
            for rate in rates:
                case.add(system, rate)

    def notes(self) -> list[str]:
        return [
            f"{system}: {sum(valid) / len(valid):.1%} of {len(valid)} JSON answers are valid"
            for system, valid in self._valid.items()
        ]

    def _free(self, system: Endpoint, number: int) -> float:
        seconds, answers = self._ask(system, f"free {number}", FREE_TOKENS, None)
        return num_tokens(answers) / seconds

    def _constrained(self, system: Endpoint, number: int) -> float:
        seconds, answers = self._ask(system, f"JSON {number}", MAX_ANSWER_TOKENS, SCHEMA)
        texts = (self._tokenizer.decode(answer.token_ids) for answer in answers)
        self._valid.setdefault(system.name, []).extend(map(is_valid, texts))
        if number > 0:
            self._requests.setdefault(system.name, []).append(len(answers) / seconds)
        return num_tokens(answers) / seconds

    def _ask(
        self, system: Endpoint, name: str, new_tokens: int, schema: dict[str, Any] | None
    ) -> tuple[float, list[Answer]]:
        texts = self._tokenizer.encode_batch(prompts(self._streams, name))
        requests = [Request(prompt, new_tokens, schema) for prompt in texts]
        started = time.monotonic()
        answers = asyncio.run(complete_all(system, requests))
        return time.monotonic() - started, answers


def num_tokens(answers: Sequence[Answer]) -> int:
    return sum(len(answer.token_ids) for answer in answers)


async def complete_all(system: Endpoint, requests: Sequence[Request]) -> list[Answer]:
    return list(await asyncio.gather(*(system.complete(request) for request in requests)))


def sampling_work(name: str, vocab: int, streams: int, new_tokens: int) -> Work[OurEngine]:
    """Decoding with one of SAMPLINGS, prompts cached before."""

    def measure(system: OurEngine, number: int) -> float:
        batch = Prompts(vocab, f"{name} {number}").batch(streams, SAMPLING_PROMPT_TOKENS)
        system.prefill_seconds(batch)
        given = {**SAMPLINGS[name], "ignore_eos": True, "max_new_tokens": new_tokens}
        started = time.monotonic()
        results = system.engine.generate(input_ids=batch, sampling_params=given)
        seconds = time.monotonic() - started
        return sum(len(result["output_ids"]) for result in results) / seconds

    return Work(name, "tok/s", True, measure)


def relations(measurements: Measurements) -> list[str]:
    """Of each system: what JSON is to free text, and what each way to sample is to greedy."""
    medians = {case.name: {system: case.median(system) for system in case.values} for case in measurements.cases}
    pairs = [("JSON by schema", "free text"), *((name, "greedy") for name in SAMPLINGS if name != "greedy")]
    return [
        f"{system}: {name} has {medians[name][system] / medians[base][system]:.1%} of the tokens per second of {base}"
        for name, base in pairs
        for system in medians[name]
    ]


def main() -> None:
    parser = make_parser(__doc__, rounds=5)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--new-tokens", type=int, default=64, help="of each stream in the sampling cases")
    options = parse(parser, quick={"streams": 8, "new_tokens": 32})
    measurements, facts = new_measurements(f"constraints, {options.streams} streams", options)
    path = resolve_model(options.model)
    extraction = Extraction(load_tokenizer(path, load_config(path).eos_token_ids), options.streams)
    systems = endpoints(options, slots=options.streams, slot_tokens=SLOT_TOKENS)
    with running(systems):
        alternate(systems, extraction.works(), options.rounds, measurements)
        extraction.add_requests(measurements)
        engines = [system for system in systems if isinstance(system, OurEngine)]
        vocab = vocab_size(options)
        samplings = [sampling_work(name, vocab, options.streams, options.new_tokens) for name in SAMPLINGS]
        alternate(engines, samplings, options.rounds, measurements)
    measurements.notes += [*relations(measurements), *extraction.notes()]
    publish(measurements, options, facts)


if __name__ == "__main__":
    run(main)
