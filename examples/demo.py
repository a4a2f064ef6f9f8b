"""Three things a prefix cache is for, on a real model: ``make demo``.

A streamed answer, a few-shot classification whose eight sentences share their examples, and a fork of four
continuations. Beside each stands how many prompt tokens came from the cache, and how long it took.
"""

from __future__ import annotations

import argparse
import re
import time
from typing import Any

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.table import Table

import sglang as sgl

EXAMPLES = """Review: The soup was cold and the waiter ignored us.
Sentiment: negative

Review: What a lovely evening, we will be back!
Sentiment: positive

Review: My phone died after two days.
Sentiment: negative

Review: The best present I have ever received.
Sentiment: positive

Review: Terrible service and rude people.
Sentiment: negative

Review: A beautiful book that made me smile.
Sentiment: positive

"""

REVIEWS = (
    "I loved every minute of this film.",
    "The room was dirty and it smelled bad.",
    "Fast delivery, great quality, thank you!",
    "A complete waste of money.",
    "The staff were kind and helpful.",
    "It broke on the first day.",
    "Delicious food and wonderful music.",
    "I would never buy this again.",
)

STORY = "Once upon a time, in a small village by the sea, there lived a clockmaker who could not sleep. One night she"

SELF_CONTAINED_SVG = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""Without the fonts that rich would have a browser fetch."""

console = Console(highlight=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--svg", metavar="FILE", help="also save what was shown as a picture")
    picture = parser.parse_args().svg
    console.record = picture is not None
    run()
    if picture:
        console.save_svg(picture, title="make demo", code_format=SELF_CONTAINED_SVG)


def run() -> None:
    with console.status("Loading SmolLM2-135M ..."):
        started = time.perf_counter()
        engine = sgl.Engine(model_path="smollm2", log_level="error")
    console.print(f"[bold]SmolLM2-135M[/bold] is ready after {time.perf_counter() - started:.1f} s\n")
    with engine:
        show_streaming(engine)
        show_few_shot(engine)
        show_fork(engine)


def show_streaming(engine: sgl.Engine) -> None:
    question = "Name three things that make a good library, in one sentence."
    console.rule("[bold cyan]1. A streamed answer", align="left")
    console.print(f"[dim]{question}[/dim]")
    prompt = engine.tokenizer.apply_chat_template([{"role": "user", "content": question}])
    started, shown, result = time.perf_counter(), 0, None
    for result in engine.generate(input_ids=prompt, sampling_params=greedy(80), stream=True):
        console.print(result["text"][shown:], end="", markup=False)
        shown = len(result["text"])
    console.print()
    report([result], time.perf_counter() - started)


def show_few_shot(engine: sgl.Engine) -> None:
    console.rule("[bold cyan]2. Few-shot classification: eight sentences, one set of examples", align="left")
    words = [" positive", " negative"]
    first_tokens = [engine.tokenizer.encode(word)[0] for word in words]
    prompts = [f"{EXAMPLES}Review: {review}\nSentiment:" for review in REVIEWS]
    only_these = {"max_new_tokens": 1, "temperature": 0.0, "logit_bias": dict.fromkeys(first_tokens, 100.0)}
    started = time.perf_counter()
    results = engine.generate(prompts, only_these)
    took = time.perf_counter() - started
    table = Table(box=None, header_style="bold")
    for title in ("review", "sentiment", "prompt tokens", "from cache"):
        table.add_column(title, justify="left" if title in ("review", "sentiment") else "right")
    for review, result in zip(REVIEWS, results, strict=True):
        answer = result["text"].strip()
        color = "green" if answer == "positive" else "red"
        meta = result["meta_info"]
        table.add_row(review, f"[{color}]{answer}", str(meta["prompt_tokens"]), f"[yellow]{meta['cached_tokens']}")
    console.print(table)
    report(results, took)


def show_fork(engine: sgl.Engine) -> None:
    console.rule("[bold cyan]3. A fork: four continuations of one beginning", align="left")
    console.print(f"[dim]{STORY} ...[/dim]")
    sampling = {"max_new_tokens": 40, "temperature": 0.8, "top_p": 0.95, "n": 4, "sampling_seed": 7}
    started = time.perf_counter()
    results = engine.generate(STORY, sampling)
    took = time.perf_counter() - started
    for number, result in enumerate(results, 1):
        console.print(f"[bold]{number}.[/bold] ...{' '.join(result['text'].split())} ...")
    report(results, took)


def greedy(max_new_tokens: int) -> dict[str, Any]:
    return {"temperature": 0.0, "max_new_tokens": max_new_tokens}


def report(results: list[Any], seconds: float) -> None:
    metas = [result["meta_info"] for result in results]
    prompt, cached, new = (
        sum(meta[key] for meta in metas) for key in ("prompt_tokens", "cached_tokens", "completion_tokens")
    )
    console.print(
        f"[yellow]{cached} of {prompt} prompt tokens from the cache[/yellow], "
        f"{new} new tokens, {seconds:.1f} s ({new / seconds:.0f} tokens/s)\n"
    )


if __name__ == "__main__":
    main()
