"""What the language costs: many short programs against the same requests sent straight to the engine.

    python -m benchmarks.run_batch [--programs 500] [--new-tokens 8] [--rounds 3] [--dtype float32]

A round runs both, one after the other, each with an empty cache. The ratio is of medians over the rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time

from rich.console import Console
from rich.table import Table

import sglang as sgl

EXAMPLES = "Q: What is the opposite of hot?\nA: cold\n\nQ: What is the opposite of big?\nA: small\n\n"


@sgl.function
def answer(s: sgl.ProgramState, number: int) -> None:
    s += EXAMPLES + question(number)
    s += sgl.gen("answer", temperature=0.0, ignore_eos=True)


def question(number: int) -> str:
    return f"Q: What comes after {number}?\nA:"


def seconds_of_programs(engine: sgl.Engine, programs: int, new_tokens: int) -> tuple[float, list[str]]:
    engine.flush_cache()
    started = time.perf_counter()
    states = answer.run_batch([{"number": n} for n in range(programs)], backend=engine, max_new_tokens=new_tokens)
    texts = [state["answer"] for state in states]
    return time.perf_counter() - started, texts


def seconds_of_requests(engine: sgl.Engine, programs: int, new_tokens: int) -> tuple[float, list[str]]:
    engine.flush_cache()
    sampling = {"temperature": 0.0, "ignore_eos": True, "max_new_tokens": new_tokens}
    started = time.perf_counter()
    results = engine.generate([EXAMPLES + question(n) for n in range(programs)], sampling)
    return time.perf_counter() - started, [result["text"] for result in results]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=int, default=500, help="default: %(default)s")
    parser.add_argument("--new-tokens", type=int, default=8, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--dtype", default="auto", help="default: %(default)s")
    arguments = parser.parse_args()
    requests, programs = [], []
    with sgl.Engine(model_path="smollm2", dtype=arguments.dtype) as engine:
        seconds_of_programs(engine, 8, 2)
        for _ in range(arguments.rounds):
            took, expected = seconds_of_requests(engine, arguments.programs, arguments.new_tokens)
            requests.append(took)
            took, texts = seconds_of_programs(engine, arguments.programs, arguments.new_tokens)
            programs.append(took)
            same = sum(map(str.__eq__, texts, expected))
    table = Table(title=f"{arguments.programs} generations of {arguments.new_tokens} tokens, seconds")
    for title in ("", "median", "lowest", "highest"):
        table.add_column(title, justify="left" if not title else "right")
    for name, values in (("requests to the engine", requests), ("programs in run_batch", programs)):
        table.add_row(name, *(f"{value:.2f}" for value in (statistics.median(values), min(values), max(values))))
    console = Console()
    console.print(table)
    ratio = statistics.median(programs) / statistics.median(requests)
    console.print(
        f"programs take {ratio:.3f} times as long (at most 1.05 wanted); {same} of {len(texts)} answers equal"
    )


if __name__ == "__main__":
    main()
