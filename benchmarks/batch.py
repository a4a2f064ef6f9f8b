"""Many streams at once: what a server gives all its users together.

    python -m benchmarks.batch [--streams 32] [--prompt-tokens 128] [--new-tokens 64] [--http] [--rounds 5]

Decoding is timed while all streams decode; end to end is from giving new prompts to the last token of all. With
``--http`` servers are measured too, each stream a client of its own; what the clients cost is told.
"""

from __future__ import annotations

import argparse

from benchmarks.options import (
    batch_systems,
    llama_servers,
    make_parser,
    new_measurements,
    our_configurations,
    parse,
    publish,
    run,
    vllm_servers,
    vocab_size,
)
from benchmarks.prompts import Prompts
from benchmarks.rounds import Work, alternate, running
from benchmarks.systems.base import BatchSystem
from benchmarks.systems.ours import OurServer
from benchmarks.systems.streaming_clients import StreamingClients


def works(vocab: int, streams: int, prompt_tokens: int, new_tokens: int) -> list[Work[BatchSystem]]:
    tokens = streams * new_tokens

    def decode(system: BatchSystem, number: int) -> float:
        return system.decode_rate(Prompts(vocab, f"decode {number}").batch(streams, prompt_tokens), new_tokens)

    def end_to_end(system: BatchSystem, number: int) -> float:
        prompts = Prompts(vocab, f"end to end {number}").batch(streams, prompt_tokens)
        return tokens / system.total_seconds(prompts, new_tokens)

    size = f"{streams} x ({prompt_tokens} + {new_tokens})"
    return [
        Work(f"decode, {size}", "tok/s", True, decode),
        Work(f"end to end, {size}", "new tok/s", True, end_to_end),
    ]


def servers(options: argparse.Namespace) -> list[StreamingClients]:
    given = our_configurations(options)
    ours = [OurServer(f"{name}, HTTP", **arguments) for name, arguments in given.items()]
    theirs = llama_servers(
        options, slots=options.streams, slot_tokens=options.prompt_tokens + options.new_tokens + 8, suffix=", HTTP"
    )
    return [StreamingClients(server) for server in [*ours, *theirs, *vllm_servers(options, suffix=", HTTP")]]


def main() -> None:
    parser = make_parser(__doc__, rounds=5)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--new-tokens", type=int, default=64)
    parser.add_argument("--http", action="store_true", help="measure servers beside what runs in process")
    options = parse(parser, quick={"new_tokens": 16})
    measurements, facts = new_measurements(f"{options.streams} streams", options)
    over_http = servers(options) if options.http else []
    systems = [*batch_systems(options), *over_http]
    with running(systems):
        cases = works(vocab_size(options), options.streams, options.prompt_tokens, options.new_tokens)
        alternate(systems, cases, options.rounds, measurements)
    for system in over_http:
        share = system.client_cpu / system.elapsed
        measurements.notes.append(f"{system.name}: the clients took {share:.1%} of one core")
    publish(measurements, options, facts)


if __name__ == "__main__":
    run(main)
