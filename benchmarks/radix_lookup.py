"""Does a prefix lookup cost more when more sequences are cached? It should not: it walks the match, not the cache.

    python -m benchmarks.radix_lookup [--length 512]

Fills the tree with 10 to 100,000 sequences that share a quarter of their tokens with others, and times looking up
cached ones, misses, and inserting one more.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table

from sglang.srt.cache.radix_tree import RadixTree, TokenArray

SIZES = (10, 100, 1_000, 10_000, 100_000)
LOOKUPS = 300


def make_sequence(index: int, length: int) -> TokenArray:
    """A quarter common to a hundred neighbours, the rest its own."""
    family, own = np.random.default_rng(index // 100), np.random.default_rng(index + (1 << 32))
    shared = length // 4
    return np.concatenate((family.integers(0, 50_000, shared), own.integers(0, 50_000, length - shared)))


def microseconds(action: Callable[[TokenArray], object], arguments: list[TokenArray]) -> float:
    times = []
    for argument in arguments:
        started = time.perf_counter()
        action(argument)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=int, default=512, help="tokens of a sequence (default: %(default)s)")
    length = parser.parse_args().length
    table = Table(title=f"median microseconds, sequences of {length} tokens")
    for title in ("cached sequences", "cached tokens", "hit", "miss", "insert"):
        table.add_column(title, justify="right")
    tree, stored, rng = RadixTree(), 0, random.Random(0)
    for size in SIZES:
        for index in range(stored, size):
            tree.insert("", make_sequence(index, length), np.arange(length))
        stored = size
        hits = [make_sequence(rng.randrange(size), length) for _ in range(LOOKUPS)]
        misses = [np.random.default_rng(i).integers(60_000, 90_000, length) for i in range(LOOKUPS)]
        new = [make_sequence(10**9 + size * 1000 + i, length) for i in range(LOOKUPS)]
        row = (
            microseconds(lambda tokens: tree.match("", tokens), hits),
            microseconds(lambda tokens: tree.match("", tokens), misses),
            microseconds(lambda tokens: tree.insert("", tokens, np.arange(length)), new),
        )
        table.add_row(f"{size:,}", f"{tree.num_tokens:,}", *(f"{value:.1f}" for value in row))
    Console().print(table)


if __name__ == "__main__":
    main()
