"""Peak memory of a server whose key/value cache has been filled.

    python -m benchmarks.memory [--cache-tokens 65536] [--prompt-tokens 2000]

All processes of a server together, in proportional set size: a page that two of them share counts once, and mapped
files count as far as they are in memory. Read ten times a second from the start on. The cache is filled with prompts
that have nothing in common, eight at a time.
"""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType

from benchmarks.options import (
    llama_servers,
    make_parser,
    new_measurements,
    our_configurations,
    parse,
    publish,
    run,
    vocab_size,
)
from benchmarks.processes import proportional_bytes
from benchmarks.prompts import Prompts
from benchmarks.rounds import Work, alternate
from benchmarks.systems.base import Request
from benchmarks.systems.http_server import HttpServer
from benchmarks.systems.ours import OurServer

INTERVAL_SECONDS = 0.1
AT_A_TIME = 8
NEW_TOKENS = 8
WITHOUT_HOST_CACHE = ("--cache-ram", "0")
"""llama-server would keep further copies of prompts in memory."""


class PeakMemory:
    """Watches a server from another thread. ``peak`` is in bytes."""

    def __init__(self, server: HttpServer) -> None:
        self.peak = 0
        self._server = server
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def _watch(self) -> None:
        is_over = False
        while not is_over:
            is_over = self._is_over.wait(INTERVAL_SECONDS)
            self.peak = max(self.peak, proportional_bytes(self._server.process_ids()))


async def fill(server: HttpServer, source: Prompts, cache_tokens: int, prompt_tokens: int) -> None:
    left = cache_tokens // (prompt_tokens + NEW_TOKENS)
    while left > 0:
        batch = source.batch(min(AT_A_TIME, left), prompt_tokens)
        await asyncio.gather(*(server.complete(Request(prompt, NEW_TOKENS)) for prompt in batch))
        left -= len(batch)


def peak_mebibytes(server: HttpServer, source: Prompts, cache_tokens: int, prompt_tokens: int) -> float:
    """Starts, fills and stops it."""
    try:
        with PeakMemory(server) as memory:
            server.start()
            asyncio.run(fill(server, source, cache_tokens, prompt_tokens))
        return memory.peak / 2**20
    finally:
        server.stop()


def main() -> None:
    parser = make_parser(__doc__, rounds=1, peers=("llama.cpp",))
    parser.add_argument("--cache-tokens", type=int, default=65_536)
    parser.add_argument("--prompt-tokens", type=int, default=2000)
    options = parse(parser, quick={"cache_tokens": 8192})
    measurements, facts = new_measurements(f"cache of {options.cache_tokens:,} tokens, filled", options)
    vocab, cache_tokens, prompt_tokens = vocab_size(options), options.cache_tokens, options.prompt_tokens
    ours = [
        OurServer(name, **{**configuration, "max_total_tokens": cache_tokens})
        for name, configuration in our_configurations(options).items()
    ]
    slot_tokens = prompt_tokens + 2 * NEW_TOKENS
    slots = max(1, cache_tokens // slot_tokens)
    theirs = llama_servers(options, slots=slots, slot_tokens=cache_tokens // slots, given=WITHOUT_HOST_CACHE)

    def measure(server: HttpServer, number: int) -> float:
        return peak_mebibytes(server, Prompts(vocab, f"memory {number}"), cache_tokens, prompt_tokens)

    work = Work("peak memory", "MiB", False, measure)
    alternate([*ours, *theirs], [work], options.rounds, measurements, warm_up=False)
    publish(measurements, options, facts)


if __name__ == "__main__":
    run(main)
