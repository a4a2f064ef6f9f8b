"""A text judged from several sides at once, a mark for each, and then a verdict on all of them."""

from __future__ import annotations

import asyncio

import sglang as sgl
from benchmarks.programs.client import Client
from benchmarks.programs.material import Material
from benchmarks.programs.program import LENGTH, Item, Program

NUM_PROBLEMS = 4
SIDES = ("correctness", "clarity", "completeness", "style")
MARKS = [" 1", " 2", " 3", " 4", " 5"]
REASON_TOKENS = 24
VERDICT_TOKENS = 24


def items(material: Material, name: str, count: int) -> list[Item]:
    """Every text is several solutions of problems, one after the other."""
    problems = material.some_problems(name, NUM_PROBLEMS * count)
    texts = [
        "".join(problem.worked for problem in problems[number * NUM_PROBLEMS : (number + 1) * NUM_PROBLEMS])
        for number in range(count)
    ]
    return [{"start": f"Set {name}.\nJudge this homework.\n\n{text}"} for text in texts]


def side_text(side: str) -> str:
    return f"\nOn its {side}:"


MARK_TEXT = "\nMark from 1 to 5:"
VERDICT_TEXT = "\nVerdict:"


@sgl.function
def ours(s: sgl.ProgramState, start: str) -> None:
    s += start
    sides = s.fork(len(SIDES))
    sides += lambda index: side_text(SIDES[index]) + sgl.gen("reason", REASON_TOKENS, **LENGTH)
    sides += MARK_TEXT + sgl.select("mark", MARKS)
    s += sides.join("concate_and_append")
    s += VERDICT_TEXT + sgl.gen("verdict", VERDICT_TOKENS, **LENGTH)


async def theirs(client: Client, start: str) -> None:
    async def judge(side: str) -> str:
        text = side_text(side)
        text += await client.complete(start + text, REASON_TOKENS) + MARK_TEXT
        return text + await client.choose(start + text, MARKS)

    judged = await asyncio.gather(*(judge(side) for side in SIDES))
    await client.complete(start + "".join(judged) + VERDICT_TEXT, VERDICT_TOKENS)


PROGRAM = Program("judge", items, ours, theirs)
