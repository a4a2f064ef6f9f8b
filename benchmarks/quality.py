"""What approximate arithmetic costs: perplexity, and how far every next-token distribution is from exact arithmetic's.

    python -m benchmarks.quality [--tokens 20000] [--window 512] [--text FILE] [--llama-cpp-python PATH]

The reference is the same file with its weights dequantised to float32 and computed by torch in float32. Beside it
stand our engine as it runs and, where llama-cpp-python is installed (or in the environment of the interpreter named by
--llama-cpp-python), llama.cpp: all three on the same windows of the same text, each window a text of its own without a
beginning-of-text token. Divergences are in nats; ± is a standard error.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Column, Table

from benchmarks.quality_models import WindowModel, engine_model, reference_model, start_llama_cpp
from benchmarks.quality_scores import WindowScores, estimate, score_window, stack
from benchmarks.quality_text import default_text, read_text, windows_of
from sglang.srt.args import engine_args
from sglang.srt.device import open_device
from sglang.srt.errors import ConfigurationError, SglangError
from sglang.srt.executor.step import IntArray
from sglang.srt.model.source import resolve_model
from sglang.srt.tokenizer.tokenizer import load_tokenizer

ENGINE_OPTIONS = ("dtype", "kv_cache_dtype", "num_threads")
LLAMA_CPP_KV_TYPES = {"int8": "q8_0"}
"""Keys and values of as many bits as ours, by our --kv-cache-dtype; its default is ``f16``."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model-path", default="smollm2", help="default: %(default)s")
    parser.add_argument("--text", type=Path, help="a file of UTF-8 text; by default one that is found here")
    parser.add_argument("--tokens", type=int, default=20_000, help="at least so many; default: %(default)s")
    parser.add_argument("--window", type=int, default=512, help="tokens; default: %(default)s")
    parser.add_argument("--dtype", help="the engine's option")
    parser.add_argument("--kv-cache-dtype", help="the engine's option")
    parser.add_argument("--num-threads", type=int, help="for all; by default one per core")
    parser.add_argument("--llama-cpp-python", metavar="PATH", help="a Python interpreter that has llama-cpp-python")
    options = parser.parse_args(arguments)
    try:
        run(options)
    except SglangError as error:
        parser.error(str(error))


def run(options: argparse.Namespace) -> None:
    path = resolve_model(options.model_path)
    given = {name: getattr(options, name) for name in ENGINE_OPTIONS if getattr(options, name) is not None}
    args = engine_args(
        model_path=str(path),
        context_length=options.window,
        max_total_tokens=options.window,
        log_level="warning",
        **given,
    )
    text = read_text(options.text) if options.text else default_text()
    windows = windows_of(text, load_tokenizer(path, ()), options.tokens, options.window)
    num_threads = open_device("auto", options.num_threads).num_threads
    with ExitStack() as processes:
        models: list[WindowModel] = [reference_model(path, options.window), engine_model(args)]
        python = find_llama_cpp(options.llama_cpp_python, path)
        if python is None:
            print("llama.cpp is not compared: name an interpreter with --llama-cpp-python, and a .gguf file")
        else:
            kv_type = LLAMA_CPP_KV_TYPES.get(options.kv_cache_dtype, "f16")
            llama_cpp = start_llama_cpp(python, path, options.window, num_threads, kv_type)
            models.append(processes.enter_context(llama_cpp))
        scores = compare(models, windows)
    print(f"{path.name}; {text.name}: {len(windows)} windows of {options.window} tokens")
    Console().print(table_of(scores))
    if python is not None:
        _, ours, theirs = scores.values()
        print(verdict(ours, theirs))


def find_llama_cpp(python: str | None, model_path: Path) -> str | None:
    """The interpreter to run llama.cpp in: the one asked for, or this one if it has llama.cpp and that reads the model.

    Raises ConfigurationError if llama.cpp was asked for but cannot read the model.
    """
    is_readable = model_path.suffix == ".gguf"
    if python is not None and not is_readable:
        raise ConfigurationError(f"--llama-cpp-python needs a model that is a .gguf file, not {model_path}")
    if python is None and is_readable and importlib.util.find_spec("llama_cpp") is not None:
        return sys.executable
    return python


def compare(models: Sequence[WindowModel], windows: IntArray) -> dict[str, WindowScores]:
    """The scores of every model by its name; the first is the reference. windows: [windows, window + 1] token ids.

    One window at a time, since the distributions of a whole text would not fit into memory.
    """
    parts: dict[str, list[WindowScores]] = {model.name: [] for model in models}
    for window in track(windows, "comparing", transient=True, console=Console(stderr=True)):
        reference = models[0].window_logits(window[:-1])
        parts[models[0].name].append(score_window(reference, reference, window[1:]))
        for model in models[1:]:
            parts[model.name].append(score_window(model.window_logits(window[:-1]), reference, window[1:]))
    return {name: stack(scores) for name, scores in parts.items()}


def table_of(scores: dict[str, WindowScores]) -> Table:
    """A column for each model; the first is the reference."""
    reference = next(iter(scores.values()))
    table = Table("", *(Column(name, justify="right") for name in scores))

    def add_row(title: str, shown: Callable[[WindowScores], str]) -> None:
        table.add_row(title, *map(shown, scores.values()))

    add_row("perplexity", lambda own: f"{np.exp(own.nll.mean()):.4f}")
    add_row("ln of its ratio to the first", lambda own: f"{estimate(own.nll - reference.nll)}")
    add_row("KL divergence, mean", lambda own: f"{estimate(own.divergence)}")
    for title, percent in (("median", 50), ("99 %", 99), ("max", 100)):
        add_row(f"KL divergence, {title}", partial(_percentile, percent=percent))
    add_row("same most likely token", lambda own: f"{own.same_top.mean():.2%}")
    return table


def _percentile(scores: WindowScores, percent: int) -> str:
    return f"{np.percentile(scores.divergence, percent):.6f}"


def verdict(ours: WindowScores, theirs: WindowScores) -> str:
    ratio = ours.divergence.mean() / theirs.divergence.mean()
    difference = estimate(ours.divergence - theirs.divergence)
    return f"Our mean KL divergence is {ratio:.3f} times llama.cpp's; the difference is {difference}."


if __name__ == "__main__":
    main()
