"""How near the engine comes to what torch's matrix products alone would give, measured in one run.

    python -m benchmarks.engine [--dtype float32] [--rounds 5] [--streams 32]

A round times, in turn: the matrix products of one token of the model (every layer's projections and the output head,
nothing else) for 1 row; the engine decoding 1 stream; the products for N rows; the engine decoding N streams. Ratios
are of medians over the rounds, so that a machine whose speed drifts still compares like with like.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

import sglang as sgl
from sglang.srt.model.config import ModelConfig, load_config
from sglang.srt.model.source import resolve_model

PROMPT_TOKENS = 64


class MatrixProducts:
    """Products of `rows` rows with matrices of the model's shapes, in the engine's layout: q, k, v as one, gate and up
    as one.
    """

    def __init__(self, config: ModelConfig, rows: int, dtype: torch.dtype) -> None:
        hidden, inner = config.hidden_size, config.intermediate_size
        heads = config.num_attention_heads + 2 * config.num_key_value_heads
        shapes = [(heads * config.head_dim, hidden), (hidden, hidden), (2 * inner, hidden), (hidden, inner)]
        layers = range(config.num_hidden_layers)
        self._weights = [torch.randn(shape, dtype=dtype) for _ in layers for shape in shapes]
        self._weights.append(torch.randn((config.vocab_size, hidden), dtype=dtype))
        self._inputs = {size: torch.randn((rows, size), dtype=dtype) for size in (hidden, inner)}
        self._rows = rows

    @torch.inference_mode()
    def tokens_per_second(self, steps: int) -> float:
        started = time.perf_counter()
        for _ in range(steps):
            for weight in self._weights:
                torch.nn.functional.linear(self._inputs[weight.shape[1]], weight)
        return self._rows * steps / (time.perf_counter() - started)


def decode_tokens_per_second(engine: sgl.Engine, streams: int, new_tokens: int) -> float:
    """Decoding alone: the prompts are in the cache before the clock starts."""
    prompts = [[(index * 7 + place * 13 + 3) % 40_000 for place in range(PROMPT_TOKENS)] for index in range(streams)]
    sampling = {"temperature": 0.0, "ignore_eos": True}
    engine.generate(input_ids=prompts, sampling_params={**sampling, "max_new_tokens": 1})
    started = time.perf_counter()
    engine.generate(input_ids=prompts, sampling_params={**sampling, "max_new_tokens": new_tokens})
    return streams * new_tokens / (time.perf_counter() - started)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, default=32)
    options = parser.parse_args()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    path = resolve_model("smollm2")
    dtype = torch.float32 if options.dtype == "float32" else torch.bfloat16
    with sgl.Engine(model_path=str(path), dtype=options.dtype) as engine:
        show(measure(engine, path, dtype, options.streams, options.rounds), options.streams)


def measure(engine: sgl.Engine, path: Path, dtype: torch.dtype, streams: int, rounds: int) -> dict[str, list[float]]:
    config = load_config(path)
    one, many = MatrixProducts(config, 1, dtype), MatrixProducts(config, streams, dtype)
    cases: dict[str, Callable[[], float]] = {
        "products, 1 row": lambda: one.tokens_per_second(32),
        "engine, 1 stream": lambda: decode_tokens_per_second(engine, 1, 48),
        f"products, {streams} rows": lambda: many.tokens_per_second(8),
        f"engine, {streams} streams": lambda: decode_tokens_per_second(engine, streams, 24),
    }
    for warm_up in cases.values():
        warm_up()
    results: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(rounds):
        for name, case in cases.items():
            results[name].append(case())
    return results


def show(results: dict[str, list[float]], streams: int) -> None:
    table = Table(title="tokens per second")
    for title in ("", "median", "lowest", "highest"):
        table.add_column(title, justify="left" if not title else "right")
    for name, values in results.items():
        table.add_row(name, *(f"{value:.1f}" for value in (statistics.median(values), min(values), max(values))))
    console = Console()
    console.print(table)
    products, single, many_products, many = (statistics.median(values) for values in results.values())
    console.print(f"1 stream: {single / products:.0%} of the products alone (target: at least 60 %)")
    console.print(f"{streams} streams: {many / many_products:.0%} of the products alone")
    console.print(f"{streams} streams: {many / single:.1f} times one stream (target at 32: at least 6)")


if __name__ == "__main__":
    main()
