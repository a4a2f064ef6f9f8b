"""From starting the server's process to the first token of a streamed answer over HTTP, with files in the disk cache.

    python -m benchmarks.startup [--rounds 5]

The client asks again every 10 ms until somebody listens who does not say that he is still loading. OpenVINO has no
server: its time is to the first token in process.
"""

from __future__ import annotations

import asyncio
import time

from benchmarks.options import (
    llama_servers,
    make_parser,
    new_measurements,
    openvino_systems,
    our_configurations,
    parse,
    publish,
    run,
    vllm_servers,
    vocab_size,
)
from benchmarks.prompts import Prompts
from benchmarks.rounds import Work, alternate
from benchmarks.systems.base import PEERS, Request
from benchmarks.systems.http_server import HttpServer
from benchmarks.systems.openvino import OpenVino
from benchmarks.systems.ours import OurServer

PROMPT_TOKENS = 16


def seconds_to_first_token(system: HttpServer | OpenVino, prompt: list[int]) -> float:
    """Starts and stops it."""
    try:
        if isinstance(system, HttpServer):
            return system.start_until_token(prompt)
        started = time.monotonic()
        system.start()
        asyncio.run(system.complete(Request(prompt, 1)))
        return time.monotonic() - started
    finally:
        system.stop()


def main() -> None:
    options = parse(make_parser(__doc__, rounds=5, peers=PEERS), quick={})
    measurements, facts = new_measurements("start to first token", options)
    ours = [OurServer(name, **given) for name, given in our_configurations(options).items()]
    theirs = llama_servers(options, slots=4, slot_tokens=2048)
    systems: list[HttpServer | OpenVino] = [*ours, *theirs, *openvino_systems(options), *vllm_servers(options)]
    vocab = vocab_size(options)

    def measure(system: HttpServer | OpenVino, number: int) -> float:
        return seconds_to_first_token(system, Prompts(vocab, f"startup {number}").tokens(PROMPT_TOKENS))

    work: Work[HttpServer | OpenVino] = Work("start to first token", "s", False, measure)
    alternate(systems, [work], options.rounds, measurements)
    publish(measurements, options, facts)


if __name__ == "__main__":
    run(main)
