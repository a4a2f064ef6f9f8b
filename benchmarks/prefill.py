"""Prompts alone: many short ones at once, and a long one. Every prompt is new.

python -m benchmarks.prefill [--streams 32] [--prompt-tokens 128] [--long 2048] [--rounds 5]
"""

from __future__ import annotations

from benchmarks.options import batch_systems, make_parser, new_measurements, parse, publish, run, vocab_size
from benchmarks.prompts import Prompts
from benchmarks.rounds import Work, alternate, running
from benchmarks.systems.base import BatchSystem


def prefill(vocab: int, streams: int, prompt_tokens: int) -> Work[BatchSystem]:
    def measure(system: BatchSystem, number: int) -> float:
        prompts = Prompts(vocab, f"prefill {streams} x {prompt_tokens}, {number}").batch(streams, prompt_tokens)
        return streams * prompt_tokens / system.prefill_seconds(prompts)

    return Work(f"prefill, {streams} x {prompt_tokens}", "tok/s", True, measure)


def main() -> None:
    parser = make_parser(__doc__, rounds=5)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--long", type=int, default=2048, metavar="TOKENS")
    options = parse(parser, quick={"streams": 8, "long": 512})
    measurements, facts = new_measurements("prefill", options)
    systems = batch_systems(options)
    vocab = vocab_size(options)
    with running(systems):
        cases = [prefill(vocab, options.streams, options.prompt_tokens), prefill(vocab, 1, options.long)]
        alternate(systems, cases, options.rounds, measurements)
    publish(measurements, options, facts)


if __name__ == "__main__":
    run(main)
