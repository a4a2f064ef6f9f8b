"""Questions after the same worked examples, each answered by one of four numbers."""

from __future__ import annotations

import random

import sglang as sgl
from benchmarks.programs.client import Client
from benchmarks.programs.material import Material, Problem
from benchmarks.programs.program import Item, Program

NUM_EXAMPLES = 8


def items(material: Material, name: str, count: int) -> list[Item]:
    problems = material.some_problems(name, NUM_EXAMPLES + count)
    examples = f"Set {name}.\n\n" + "".join(problem.worked for problem in problems[:NUM_EXAMPLES])
    asked = problems[NUM_EXAMPLES:]
    return [{"examples": examples, "question": problem.question, "options": options(problem)} for problem in asked]


def options(problem: Problem) -> list[str]:
    """The answer, and three that differ, in some order."""
    found = [problem.answer + away for away in (0, 7, 25, -10)]
    random.Random(problem.question).shuffle(found)
    return [f" {number}" for number in found]


@sgl.function
def ours(s: sgl.ProgramState, examples: str, question: str, options: list[str]) -> None:
    s += examples + f"Question: {question}\nAnswer:"
    s += sgl.select("answer", options)


async def theirs(client: Client, examples: str, question: str, options: list[str]) -> None:
    await client.choose(examples + f"Question: {question}\nAnswer:", options)


PROGRAM = Program("few-shot select", items, ours, theirs)
