"""Seed 001.13: the tree behind RadixAttention, with the document's three sequences, and what a lookup costs.

The document has no code that runs for this. The tree is the one the engine uses; slots stand for memory.
"""

import statistics
import time

import numpy as np

from sglang.srt.cache.radix_tree import RadixTree

SYSTEM, QUESTION_1, QUESTION_2, ANSWER_1, QUESTION_3 = (list(range(n, n + 100)) for n in range(0, 500, 100))
A = SYSTEM + QUESTION_1
B = SYSTEM + QUESTION_2
C = SYSTEM + QUESTION_1 + ANSWER_1 + QUESTION_3


def insert(tree, tokens):
    """Returns how many of the tokens the tree had already, and how many it took in."""
    tokens, stored = np.array(tokens), tree.num_tokens
    known = tree.match_length("", tokens)
    tree.insert("", tokens, np.arange(len(tokens)))
    return known, tree.num_tokens - stored


def lookup_microseconds(tree, tokens, repeats=200):
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        tree.match("", tokens)
        times.append(time.perf_counter() - started)
    return statistics.median(times) * 1e6


print("Longest-prefix match and incremental insertion, 100 tokens a part:")
tree = RadixTree()
inserted = {name: insert(tree, tokens) for name, tokens in (("A", A), ("B", B), ("C", C))}
for name, (known, added) in inserted.items():
    print(f"  {name}: {known} tokens were there, {added} were added")

print("Eviction takes leaves, least recently used first:")
tree.evict(100)
lengths = {name: tree.match_length("", np.array(tokens)) for name, tokens in (("A", A), ("B", B), ("C", C))}
print(f"  after evicting 100 tokens, A has {lengths['A']}, B {lengths['B']}, C {lengths['C']}")

print("Looking up 512 cached tokens:")
random = np.random.default_rng(0)
tree = RadixTree()
for size in (10, 100, 1000, 10_000):
    while tree.num_tokens < 512 * size:
        wanted = np.append(tree.num_tokens, random.integers(0, 50_000, 511))  # its first token is its own
        tree.insert("", wanted, np.arange(512))
    print(f"  among {size:6,} sequences: {lookup_microseconds(tree, wanted):.1f} microseconds")
