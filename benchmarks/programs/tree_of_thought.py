"""Three plans for a problem, two solutions of each, and a mark for every solution."""

from __future__ import annotations

import asyncio

import sglang as sgl
from benchmarks.programs.client import Client
from benchmarks.programs.material import Material
from benchmarks.programs.program import LENGTH, Item, Program

NUM_EXAMPLES = 3
PLANS = ("by counting what is given", "by working backwards", "by writing an equation")
STYLES = ("briefly", "step by step")
MARKS = [" 1", " 2", " 3", " 4", " 5"]
PLAN_TOKENS = 32
SOLUTION_TOKENS = 48


def items(material: Material, name: str, count: int) -> list[Item]:
    problems = material.some_problems(name, NUM_EXAMPLES + count)
    examples = f"Set {name}.\n\n" + "".join(problem.worked for problem in problems[:NUM_EXAMPLES])
    return [{"start": f"{examples}Question: {problem.question}\n"} for problem in problems[NUM_EXAMPLES:]]


def plan_text(how: str) -> str:
    return f"Plan, {how}:"


def solution_text(style: str) -> str:
    return f"\nSolution, {style}:"


MARK_TEXT = "\nMark from 1 to 5 for this solution:"


@sgl.function
def ours(s: sgl.ProgramState, start: str) -> None:
    s += start
    plans = s.fork(len(PLANS))
    plans += lambda index: plan_text(PLANS[index]) + sgl.gen("plan", PLAN_TOKENS, **LENGTH)
    for plan in plans:
        solutions = plan.fork(len(STYLES))
        solutions += lambda index: solution_text(STYLES[index]) + sgl.gen("solution", SOLUTION_TOKENS, **LENGTH)
        solutions += MARK_TEXT + sgl.select("mark", MARKS)


async def theirs(client: Client, start: str) -> None:
    async def plan(how: str) -> None:
        prompt = start + plan_text(how)
        prompt += await client.complete(prompt, PLAN_TOKENS)
        await asyncio.gather(*(solve(prompt + solution_text(style)) for style in STYLES))

    async def solve(prompt: str) -> None:
        prompt += await client.complete(prompt, SOLUTION_TOKENS)
        await client.choose(prompt + MARK_TEXT, MARKS)

    await asyncio.gather(*(plan(how) for how in PLANS))


PROGRAM = Program("tree of thought", items, ours, theirs)
