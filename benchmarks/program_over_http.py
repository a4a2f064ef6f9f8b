"""What the language costs over HTTP: a program of short generations against the same requests sent by hand.

    python -m benchmarks.program_over_http [--generations 20] [--new-tokens 8] [--rounds 20]

By hand means a loop with httpx over one connection, each prompt being all the text so far. A round runs both, one after
the other, each with an empty cache, and their texts must be equal. The ratio is of medians over the rounds.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import httpx
from rich.console import Console
from rich.table import Table

import sglang as sgl
from benchmarks.options import make_parser, only_configuration, parse, run
from benchmarks.rounds import running, say
from benchmarks.systems.base import REQUEST_SECONDS, BenchmarkError
from benchmarks.systems.ours import OurServer
from sglang.lang.execution import loop

START = "A conversation about numbers.\n"
LENGTH: dict[str, Any] = {"temperature": 0.0, "ignore_eos": True}
MOST = 1.10


@sgl.function
def conversation(s: sgl.ProgramState, generations: int, new_tokens: int) -> None:
    s += START
    for number in range(generations):
        s += question(number) + sgl.gen(f"answer {number}", new_tokens, **LENGTH)


def question(number: int) -> str:
    return f"\nQ: What comes after {number}?\nA:"


def program(backend: sgl.RuntimeEndpoint, generations: int, new_tokens: int) -> str:
    return conversation.run(generations=generations, new_tokens=new_tokens, backend=backend).text()


def by_hand(client: httpx.Client, generations: int, new_tokens: int) -> str:
    text = START
    for number in range(generations):
        text += question(number)
        body = {"text": text, "sampling_params": {**LENGTH, "max_new_tokens": new_tokens}}
        reply = client.post("/generate", json=body)
        text += reply.raise_for_status().json()["text"]
    return text


def measure(url: str, rounds: int, generations: int, new_tokens: int) -> tuple[list[float], list[float]]:
    """Seconds by hand, and of the program. Raises BenchmarkError if their texts differ. Round 0 is not counted."""
    backend = sgl.RuntimeEndpoint(url)
    try:
        return _measure(backend, url, rounds, generations, new_tokens)
    finally:
        loop.run(backend.aclose())


def _measure(
    backend: sgl.RuntimeEndpoint, url: str, rounds: int, generations: int, new_tokens: int
) -> tuple[list[float], list[float]]:
    hands, programs = [], []
    with httpx.Client(base_url=url, timeout=REQUEST_SECONDS) as client:
        for number in range(rounds + 1):
            backend.flush_cache()
            started = time.perf_counter()
            expected = by_hand(client, generations, new_tokens)
            between = time.perf_counter()
            backend.flush_cache()
            flushed = time.perf_counter()
            text = program(backend, generations, new_tokens)
            ended = time.perf_counter()
            if text != expected:
                raise BenchmarkError(f"the program wrote {text!r}, the requests by hand {expected!r}")
            say(f"round {number}: {between - started:.3f} s by hand, {ended - flushed:.3f} s by the program")
            if number > 0:
                hands.append(between - started)
                programs.append(ended - flushed)
    return hands, programs


def main() -> None:
    parser = make_parser(__doc__, rounds=20, peers=())
    parser.add_argument("--generations", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--new-tokens", type=int, default=8, help="of each (default: %(default)s)")
    options = parse(parser, quick={"generations": 5})
    server = OurServer("sglang", **only_configuration(options))
    with running([server]):
        hands, programs = measure(server.url, options.rounds, options.generations, options.new_tokens)
    table = Table(title=f"{options.generations} generations of {options.new_tokens} tokens over HTTP, seconds")
    for title in ("", "median", "lowest", "highest"):
        table.add_column(title, justify="left" if not title else "right")
    for name, values in (("requests by hand", hands), ("one program", programs)):
        table.add_row(name, *(f"{value:.3f}" for value in (statistics.median(values), min(values), max(values))))
    console = Console()
    console.print(table)
    ratio = statistics.median(programs) / statistics.median(hands)
    console.print(f"the program takes {ratio:.3f} times as long (at most {MOST:.2f} wanted)")


if __name__ == "__main__":
    run(main)
