"""Eight ways to the answer of each problem, drawn at once after the same examples."""

from __future__ import annotations

import asyncio

import sglang as sgl
from benchmarks.programs.client import Client
from benchmarks.programs.material import Material
from benchmarks.programs.program import Item, Program

NUM_EXAMPLES = 4
NUM_SAMPLES = 8
SOLUTION_TOKENS = 48
TEMPERATURE = 0.8


def items(material: Material, name: str, count: int) -> list[Item]:
    problems = material.some_problems(name, NUM_EXAMPLES + count)
    examples = f"Set {name}.\n\n" + "".join(problem.worked for problem in problems[:NUM_EXAMPLES])
    return [{"start": f"{examples}Question: {problem.question}\nSolution:"} for problem in problems[NUM_EXAMPLES:]]


@sgl.function
def ours(s: sgl.ProgramState, start: str) -> None:
    s += start
    samples = s.fork(NUM_SAMPLES)
    samples += sgl.gen("solution", SOLUTION_TOKENS, temperature=TEMPERATURE, ignore_eos=True)


async def theirs(client: Client, start: str) -> None:
    await asyncio.gather(*(client.complete(start, SOLUTION_TOKENS, TEMPERATURE) for _ in range(NUM_SAMPLES)))


PROGRAM = Program("self-consistency", items, ours, theirs)
