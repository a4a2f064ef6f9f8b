"""Thoughts and actions in turn, each action followed by what a tool says."""

from __future__ import annotations

import sglang as sgl
from benchmarks.programs.client import Client
from benchmarks.programs.material import Material
from benchmarks.programs.program import LENGTH, Item, Program

NUM_EXAMPLES = 4
NUM_STEPS = 4
THOUGHT_TOKENS = 24
ACTION_TOKENS = 12


def items(material: Material, name: str, count: int) -> list[Item]:
    """What the tool says is what stands in the solutions of other problems, whatever it was asked."""
    problems = material.some_problems(name, NUM_EXAMPLES + count)
    examples = "".join(f"{problem.worked}Action: finish[{problem.answer}]\n\n" for problem in problems[:NUM_EXAMPLES])
    start = f"Set {name}.\nThink, then act with search[...] or finish[...].\n\n{examples}"
    asked = problems[NUM_EXAMPLES:]
    found = [problem.solution for problem in material.some_problems(f"{name}, found", NUM_STEPS * count)]
    return [
        {
            "start": f"{start}Question: {problem.question}\n",
            "observations": found[number * NUM_STEPS : (number + 1) * NUM_STEPS],
        }
        for number, problem in enumerate(asked)
    ]


@sgl.function
def ours(s: sgl.ProgramState, start: str, observations: list[str]) -> None:
    s += start
    for observation in observations:
        s += "Thought:" + sgl.gen("thought", THOUGHT_TOKENS, **LENGTH)
        s += "\nAction:" + sgl.gen("action", ACTION_TOKENS, **LENGTH)
        s += f"\nObservation: {observation}\n"
    s += "Answer:" + sgl.gen("answer", ACTION_TOKENS, **LENGTH)


async def theirs(client: Client, start: str, observations: list[str]) -> None:
    text = start
    for observation in observations:
        text += "Thought:"
        text += await client.complete(text, THOUGHT_TOKENS)
        text += "\nAction:"
        text += await client.complete(text, ACTION_TOKENS)
        text += f"\nObservation: {observation}\n"
    await client.complete(text + "Answer:", ACTION_TOKENS)


PROGRAM = Program("ReAct", items, ours, theirs)
