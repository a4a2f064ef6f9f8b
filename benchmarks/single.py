"""One stream: how fast a single user gets his tokens.

    python -m benchmarks.single [--prompt-tokens 64] [--new-tokens 128] [--rounds 5]

Decoding is timed without the prompt; the first token is the time from giving a new prompt to having its first token.
"""

from __future__ import annotations

from benchmarks.options import batch_systems, make_parser, new_measurements, parse, publish, run, vocab_size
from benchmarks.prompts import Prompts
from benchmarks.rounds import Work, alternate, running
from benchmarks.systems.base import BatchSystem


def works(vocab: int, prompt_tokens: int, new_tokens: int) -> list[Work[BatchSystem]]:
    def decode(system: BatchSystem, number: int) -> float:
        return system.decode_rate(Prompts(vocab, f"decode {number}").batch(1, prompt_tokens), new_tokens)

    def first_token(system: BatchSystem, number: int) -> float:
        return 1000 * system.prefill_seconds(Prompts(vocab, f"first token {number}").batch(1, prompt_tokens))

    return [
        Work(f"decode, {prompt_tokens} + {new_tokens}", "tok/s", True, decode),
        Work(f"first token, prompt of {prompt_tokens}", "ms", False, first_token),
    ]


def main() -> None:
    parser = make_parser(__doc__, rounds=5)
    parser.add_argument("--prompt-tokens", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=128)
    options = parse(parser, quick={"new_tokens": 48})
    measurements, facts = new_measurements("single stream", options)
    systems = batch_systems(options)
    with running(systems):
        cases = works(vocab_size(options), options.prompt_tokens, options.new_tokens)
        alternate(systems, cases, options.rounds, measurements)
    publish(measurements, options, facts)


if __name__ == "__main__":
    run(main)
