"""What the radix tree costs where nothing can be shared: its part of the whole time, wanted below 0.3 %.

    python -m benchmarks.overhead [--requests 100] [--rounds 3]

The scheduler and the model run in this process, without the text side. All time spent in the tree's public methods is
added up, including what reading the clock takes: 0.2 microseconds a call. Beside it the same requests run with the
cache turned off. Prompts and answers have lengths as in conversations: most are short, a few are long.
"""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from benchmarks.measurements import Measurements
from benchmarks.options import make_parser, new_measurements, only_configuration, parse, publish, run
from benchmarks.prompts import Prompts
from benchmarks.rounds import say
from sglang.srt.args import EngineArgs, engine_args
from sglang.srt.cache.radix_tree import RadixTree
from sglang.srt.executor.build import LoadedModel, load_engine_model
from sglang.srt.messages import GenerateRequest
from sglang.srt.model.config import load_config
from sglang.srt.model.source import resolve_model
from sglang.srt.sampling_params import SamplingParams
from sglang.srt.scheduler.build import build_scheduler
from sglang.srt.tokenizer.tokenizer import load_tokenizer
from sglang.srt.vocab import Vocab

TREE_METHODS = ("match", "match_length", "insert", "lock", "unlock", "evict")
MEDIAN_TOKENS = 100
LARGEST_TOKENS = 600


@dataclass
class Stopwatch:
    """Seconds spent in what it wraps; a call inside another one is part of it."""

    seconds: float = 0.0
    calls: int = 0
    _depth: int = field(default=0, repr=False)

    def wrap(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def timed(*args: Any, **kwargs: Any) -> Any:
            if self._depth:
                return function(*args, **kwargs)
            self._depth, started = 1, time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.perf_counter() - started
                self.calls += 1
                self._depth = 0

        return timed


@contextmanager
def timed_tree() -> Iterator[Stopwatch]:
    """Times every radix tree of this process meanwhile."""
    stopwatch = Stopwatch()
    originals = {name: getattr(RadixTree, name) for name in TREE_METHODS}
    for name, original in originals.items():
        setattr(RadixTree, name, stopwatch.wrap(original))
    try:
        yield stopwatch
    finally:
        for name, original in originals.items():
            setattr(RadixTree, name, original)


def conversation_lengths(count: int, seed: str) -> list[tuple[int, int]]:
    """Tokens of prompt and answer: log-normal, as people's requests are."""
    draw = random.Random(seed)

    def length() -> int:
        return min(LARGEST_TOKENS, max(4, round(draw.lognormvariate(0.0, 0.8) * MEDIAN_TOKENS)))

    return [(length(), length()) for _ in range(count)]


def make_requests(vocab_size: int, count: int, name: str) -> list[GenerateRequest]:
    """Prompts that begin differently: nothing can be shared."""
    source = Prompts(vocab_size, name)
    return [
        GenerateRequest(
            rid=f"{name} {number}",
            input_ids=np.array(source.tokens(prompt_tokens), dtype=np.int32).tobytes(),
            max_new_tokens=new_tokens,
            params=SamplingParams(temperature=0.0, ignore_eos=True),
            seed=0,
        )
        for number, (prompt_tokens, new_tokens) in enumerate(conversation_lengths(count, name))
    ]


def seconds_of(args: EngineArgs, loaded: LoadedModel, vocab: Vocab, requests: list[GenerateRequest]) -> float:
    """All of them at once, until the last has ended, over an empty cache."""
    scheduler = build_scheduler(args, loaded, vocab, lambda: None)
    started = time.perf_counter()
    scheduler.add(requests)
    while scheduler.has_work:
        scheduler.step()
    return time.perf_counter() - started


def measure(args: EngineArgs, count: int, rounds: int, measurements: Measurements) -> None:
    path = resolve_model(args.model_path)
    config = load_config(path)
    vocab = load_tokenizer(path, config.eos_token_ids).vocab
    loaded = load_engine_model(args, str(path))
    without = msgspec.structs.replace(args, disable_radix_cache=True)
    seconds_of(args, loaded, vocab, make_requests(config.vocab_size, 4, "warm up"))
    share = measurements.case("radix tree", "% of the time", is_rate=False)
    whole = measurements.case("whole time", "s", is_rate=False)
    for number in range(rounds):
        requests = make_requests(config.vocab_size, count, f"round {number}")
        with timed_tree() as tree:
            seconds = seconds_of(args, loaded, vocab, requests)
        share.add(measurements.ours, 100 * tree.seconds / seconds)
        whole.add(measurements.ours, seconds)
        whole.add("without cache", seconds_of(without, loaded, vocab, requests))
        say(f"round {number + 1}: {tree.calls} calls of the tree took {tree.seconds:.4f} of {seconds:.1f} s")


def main() -> None:
    parser = make_parser(__doc__, rounds=3, peers=())
    parser.add_argument("--requests", type=int, default=100)
    options = parse(parser, quick={"requests": 16})
    measurements, facts = new_measurements("cost of the radix tree without any reuse", options)
    measure(engine_args(**only_configuration(options)), options.requests, options.rounds, measurements)
    publish(measurements, options, facts)


if __name__ == "__main__":
    run(main)
